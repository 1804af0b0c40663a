//! Laws of SSH keys.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::AccountId;
use bulut_model::error::Kind;
use bulut_model::ssh_key::{PublicKey, SshKey};
use bulut_store::{Store, ssh_keys};

laws! {
    both:
    keys_come_back_oldest_first
    a_name_and_a_key_stand_once_in_an_account
    of_two_that_add_a_key_at_once_one_is_refused
    a_key_is_renamed_by_its_account_to_what_is_free
    a_key_is_removed_by_its_account;
}

fn key(number: u8) -> PublicKey {
    PublicKey {
        line: format!("ssh-ed25519 AAAA{number} ü \"x\""),
        fingerprint: format!("d3:b7:{number:02x}"),
    }
}

async fn keys_come_back_oldest_first(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let mut made = Vec::new();
    for (number, name) in [(1, "zeta"), (2, "alpha")] {
        made.push(ssh_keys::insert(s, alice, name, &key(number), at(number.into())).await.unwrap());
    }
    assert_eq!(made[0].public_key, key(1).line);
    assert_eq!(made[0].fingerprint, key(1).fingerprint);
    assert_eq!((made[0].name.as_str(), made[0].created_at), ("zeta", at(1)));
    assert_eq!(ssh_keys::list(s, alice).await.unwrap(), made);
}

async fn a_name_and_a_key_stand_once_in_an_account(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    let made = ssh_keys::insert(s, alice, "laptop", &key(1), at(0)).await.unwrap();
    for (name, number) in [("laptop", 2), ("desktop", 1), ("laptop", 1)] {
        let refused = ssh_keys::insert(s, alice, name, &key(number), at(0)).await.unwrap_err();
        assert_eq!(refused.kind, Kind::AlreadyExists);
        assert!(refused.public.contains(name), "{refused}");
    }
    assert_eq!(ssh_keys::list(s, alice).await.unwrap(), [made]);
    ssh_keys::insert(s, alice, "Laptop", &key(3), at(0)).await.unwrap();
    ssh_keys::insert(s, bob, "laptop", &key(1), at(0)).await.unwrap();
    assert_eq!(ssh_keys::list(s, bob).await.unwrap().len(), 1);
}

async fn of_two_that_add_a_key_at_once_one_is_refused(db: Db) {
    let alice = account(&db.store, "alice").await.id;
    let outcomes = at_once(6, |_| {
        let s = db.store.clone();
        async move { ssh_keys::insert(&s, alice, "laptop", &key(1), at(0)).await.map_err(|error| error.kind) }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == Err(Kind::AlreadyExists)));
}

async fn names(s: &Store, account: AccountId) -> Vec<String> {
    ssh_keys::list(s, account).await.unwrap().into_iter().map(|key| key.name).collect()
}

async fn a_key_is_renamed_by_its_account_to_what_is_free(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    let laptop = ssh_keys::insert(s, alice, "laptop", &key(1), at(0)).await.unwrap();
    ssh_keys::insert(s, alice, "desktop", &key(2), at(0)).await.unwrap();
    ssh_keys::insert(s, bob, "free", &key(1), at(0)).await.unwrap();
    let refused = ssh_keys::rename(s, alice, laptop.id, "desktop").await.unwrap_err();
    assert_eq!(refused.kind, Kind::AlreadyExists);
    assert!(refused.public.contains("desktop"), "{refused}");
    ssh_keys::rename(s, bob, laptop.id, "stolen").await.unwrap();
    assert_eq!(names(s, alice).await, ["laptop", "desktop"]);
    for name in ["laptop", "free"] {
        ssh_keys::rename(s, alice, laptop.id, name).await.unwrap();
        let renamed = SshKey { name: name.into(), ..laptop.clone() };
        assert_eq!(ssh_keys::list(s, alice).await.unwrap()[0], renamed);
    }
    assert_eq!(names(s, bob).await, ["free"]);
}

async fn a_key_is_removed_by_its_account(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    let laptop = ssh_keys::insert(s, alice, "laptop", &key(1), at(0)).await.unwrap();
    ssh_keys::insert(s, alice, "desktop", &key(2), at(0)).await.unwrap();
    ssh_keys::insert(s, bob, "laptop", &key(1), at(0)).await.unwrap();
    ssh_keys::remove(s, bob, laptop.id).await.unwrap();
    assert_eq!(names(s, alice).await, ["laptop", "desktop"]);
    for _ in 0..2 {
        ssh_keys::remove(s, alice, laptop.id).await.unwrap();
        assert_eq!(names(s, alice).await, ["desktop"]);
    }
    assert_eq!(names(s, bob).await, ["laptop"]);
    // Its name and its key are free again; its id is not.
    let again = ssh_keys::insert(s, alice, "laptop", &key(1), at(1)).await.unwrap();
    assert_ne!(again.id, laptop.id);
}
