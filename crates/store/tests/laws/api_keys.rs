//! Laws of API keys.

use crate::databases::{Db, START, at, laws};
use crate::world::account;
use bulut_model::network::parse_all;
use bulut_model::{AccountId, ApiKeyId};
use bulut_store::api_keys::{self, New};

laws! {
    both:
    a_key_comes_back_as_it_was_made
    another_accounts_key_does_not_exist
    an_ended_key_stays_ended_since_then
    a_use_is_remembered_at_most_so_often;
}

fn new(account: AccountId, prefix: &str) -> New {
    New {
        account,
        name: "ci \"ü\"".into(),
        prefix: prefix.into(),
        digest: format!("digest of {prefix}"),
        networks: parse_all("addresses", &["10.0.0.0/8", "2001:db8::7"]).unwrap(),
        expires_at: Some(at(100)),
    }
}

async fn a_key_comes_back_as_it_was_made(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let made = api_keys::insert(s, &new(alice, "bk1"), START).await.unwrap();
    assert_eq!((made.account, made.name.as_str(), made.created_at), (alice, "ci \"ü\"", START));
    assert_eq!((made.expires_at, made.last_used_at, made.revoked_at), (Some(at(100)), None, None));
    assert_eq!(made.networks, new(alice, "bk1").networks);
    let (found, digest) = api_keys::find_by_prefix(s, "bk1").await.unwrap().unwrap();
    assert_eq!((found.clone(), digest.as_str()), (made, "digest of bk1"));
    assert_eq!(api_keys::find_by_prefix(s, "bk").await.unwrap(), None);
    assert_eq!(api_keys::find_by_prefix(s, "BK1").await.unwrap(), None);
    assert!(api_keys::insert(s, &new(alice, "bk1"), START).await.is_err(), "a beginning is unique");
    let more = api_keys::insert(s, &New { expires_at: None, ..new(alice, "bk2") }, at(1)).await.unwrap();
    assert_eq!(api_keys::list(s, alice).await.unwrap(), [found, more]);
}

async fn another_accounts_key_does_not_exist(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    let key = api_keys::insert(s, &new(alice, "bk1"), START).await.unwrap();
    assert_eq!(api_keys::list(s, bob).await.unwrap(), []);
    assert_eq!(api_keys::set_networks(s, bob, key.id, &[]).await.unwrap(), None);
    assert_eq!(api_keys::revoke(s, bob, key.id, at(1)).await.unwrap(), None);
    assert_eq!(api_keys::revoke(s, alice, ApiKeyId(key.id.0 + 1), at(1)).await.unwrap(), None);
    assert_eq!(api_keys::list(s, alice).await.unwrap(), [key]);
}

async fn an_ended_key_stays_ended_since_then(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let key = api_keys::insert(s, &new(alice, "bk1"), START).await.unwrap();
    let open = api_keys::set_networks(s, alice, key.id, &[]).await.unwrap().unwrap();
    assert_eq!(open.networks, []);
    for second in [5, 9] {
        let ended = api_keys::revoke(s, alice, key.id, at(second)).await.unwrap().unwrap();
        assert_eq!(ended.revoked_at, Some(at(5)), "it ended once");
    }
    assert_eq!(api_keys::set_networks(s, alice, key.id, &key.networks).await.unwrap(), None);
    assert_eq!(api_keys::list(s, alice).await.unwrap()[0].networks, []);
}

async fn a_use_is_remembered_at_most_so_often(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let key = api_keys::insert(s, &new(alice, "bk1"), START).await.unwrap().id;
    for (now, remembered) in [(0, 0), (30, 0), (60, 0), (61, 61), (100, 61), (122, 122)] {
        api_keys::touch(s, key, at(now - 60), at(now)).await.unwrap();
        let seen = api_keys::list(s, alice).await.unwrap()[0].last_used_at;
        assert_eq!(seen, Some(at(remembered)), "at {now}");
    }
}
