//! Laws of sign-in sessions.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::AccountId;
use bulut_store::sessions::{self, Rotation, SignIn};
use bulut_store::{Session, Store};

laws! {
    both:
    the_newest_token_rotates_and_the_chain_goes_on
    a_used_token_that_comes_back_revokes_its_family_and_no_other
    of_two_rotations_with_one_token_one_is_a_reuse
    of_two_transactions_with_one_token_one_is_a_reuse
    a_token_ends_at_its_expiry
    what_does_not_exist_does_not_rotate
    ending_all_sessions_of_an_account_spares_the_others
    sweeping_forgets_what_ended_long_ago_in_bounded_batches;
}

/// A session of `account` that ends at second 100.
async fn begin(s: &impl Session, id: &str, account: AccountId, token: &str) {
    sessions::insert(s, id, account, token, 3, at(0), at(100)).await.unwrap();
}

async fn rotate(s: &impl Session, id: &str, token: &str, next: &str) -> Rotation {
    sessions::rotate(s, id, token, next, at(10), at(110)).await.unwrap()
}

fn rotated(account: AccountId) -> Rotation {
    Rotation::Rotated(SignIn { account, token_epoch: 3, over: false })
}

async fn the_newest_token_rotates_and_the_chain_goes_on(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    begin(s, "one", alice, "t0").await;
    for i in 0..5 {
        assert_eq!(rotate(s, "one", &format!("t{i}"), &format!("t{}", i + 1)).await, rotated(alice));
    }
}

async fn a_used_token_that_comes_back_revokes_its_family_and_no_other(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    begin(s, "one", alice, "a0").await;
    begin(s, "two", alice, "b0").await;
    assert_eq!(rotate(s, "one", "a0", "a1").await, rotated(alice));
    assert_eq!(rotate(s, "one", "a0", "x").await, Rotation::Reused);
    assert_eq!(rotate(s, "one", "a1", "a2").await, Rotation::Over, "the newest token fell with its family");
    assert_eq!(rotate(s, "one", "a0", "x").await, Rotation::Over);
    assert_eq!(rotate(s, "two", "b0", "b1").await, rotated(alice));
}

async fn of_two_rotations_with_one_token_one_is_a_reuse(db: Db) {
    let alice = account(&db.store, "alice").await.id;
    for round in 0..8 {
        let id = format!("session{round}");
        begin(&db.store, &id, alice, "t0").await;
        let outcomes = at_once(2, |i| {
            let (s, id) = (db.store.clone(), id.clone());
            async move { rotate(&s, &id, "t0", &format!("t1-{i}")).await }
        })
        .await;
        one_rotated_one_reused(&db.store, &id, alice, outcomes).await;
    }
}

async fn of_two_transactions_with_one_token_one_is_a_reuse(db: Db) {
    let alice = account(&db.store, "alice").await.id;
    for round in 0..8 {
        let id = format!("session{round}");
        begin(&db.store, &id, alice, "t0").await;
        let outcomes = at_once(2, |i| {
            let (s, id) = (db.store.clone(), id.clone());
            async move {
                let tx = s.begin().await.unwrap();
                let outcome = rotate(&tx, &id, "t0", &format!("t1-{i}")).await;
                tx.commit().await.unwrap();
                outcome
            }
        })
        .await;
        one_rotated_one_reused(&db.store, &id, alice, outcomes).await;
    }
}

async fn one_rotated_one_reused(s: &Store, id: &str, alice: AccountId, outcomes: Vec<Rotation>) {
    assert!(outcomes.contains(&rotated(alice)) && outcomes.contains(&Rotation::Reused), "{outcomes:?}");
    for i in 0..2 {
        assert_eq!(rotate(s, id, &format!("t1-{i}"), "t2").await, Rotation::Over, "the family is revoked");
    }
}

async fn a_token_ends_at_its_expiry(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    begin(s, "one", alice, "t0").await;
    begin(s, "two", alice, "t0").await;
    let late = sessions::rotate(s, "one", "t0", "t1", at(100), at(200)).await.unwrap();
    assert_eq!(late, Rotation::Over);
    let last_moment = sessions::rotate(s, "two", "t0", "t1", at(99), at(199)).await.unwrap();
    assert_eq!(last_moment, rotated(alice));
    let prolonged = sessions::rotate(s, "two", "t1", "t2", at(198), at(298)).await.unwrap();
    assert_eq!(prolonged, rotated(alice), "each token has a life of its own");
}

async fn what_does_not_exist_does_not_rotate(db: Db) {
    assert_eq!(rotate(&db.store, "none", "t0", "t1").await, Rotation::Over);
}

async fn ending_all_sessions_of_an_account_spares_the_others(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    begin(s, "one", alice, "t0").await;
    begin(s, "two", alice, "t0").await;
    begin(s, "three", bob, "t0").await;
    assert_eq!(sessions::revoke_all(s, alice, at(5)).await.unwrap(), 2);
    assert_eq!(sessions::revoke_all(s, alice, at(5)).await.unwrap(), 0);
    assert_eq!(rotate(s, "one", "t0", "t1").await, Rotation::Over);
    assert_eq!(rotate(s, "two", "t0", "t1").await, Rotation::Over);
    assert_eq!(rotate(s, "three", "t0", "t1").await, rotated(bob));
}

async fn sweeping_forgets_what_ended_long_ago_in_bounded_batches(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    for i in 0..5 {
        let id = format!("old{i}");
        sessions::insert(s, &id, alice, "t0", 3, at(0), at(10 + i)).await.unwrap();
    }
    begin(s, "live", alice, "t0").await;
    assert_eq!(sessions::sweep(s, at(10), 100).await.unwrap(), 0);
    assert_eq!(sessions::sweep(s, at(100), 3).await.unwrap(), 3);
    assert_eq!(sessions::sweep(s, at(100), 3).await.unwrap(), 2);
    assert_eq!(sessions::sweep(s, at(100), 3).await.unwrap(), 0);
    assert_eq!(rotate(s, "live", "t0", "t1").await, rotated(alice));
}
