//! Laws of kept answers.

use crate::databases::{Db, at, laws};
use crate::world::account;
use bulut_model::AccountId;
use bulut_store::idempotency::{self, Kept};
use bulut_store::{Session, Store};

laws! {
    both:
    an_answer_is_kept_for_its_account_and_key
    an_answer_that_is_too_old_is_as_good_as_none_and_makes_room
    an_answer_lives_and_dies_with_its_transaction
    old_answers_are_forgotten_in_batches_and_young_ones_kept;
}

fn kept(number: u8) -> Kept {
    Kept { fingerprint: format!("{number:064x}"), sealed_answer: format!("v1:{number}") }
}

async fn found(s: &impl Session, account: AccountId, key: &str, since: i64) -> Option<Kept> {
    idempotency::find(s, account, key, at(since)).await.unwrap()
}

async fn rows(s: &Store) -> i64 {
    let row = s.one("SELECT COUNT(*) AS kept FROM idempotency", vec![]).await.unwrap().unwrap();
    row.int("kept").unwrap()
}

async fn an_answer_is_kept_for_its_account_and_key(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    assert_eq!(found(s, alice, "a", 0).await, None);
    idempotency::keep(s, alice, "a", &kept(1), at(1)).await.unwrap();
    idempotency::keep(s, bob, "a", &kept(2), at(1)).await.unwrap();
    idempotency::keep(s, alice, "A", &kept(3), at(1)).await.unwrap();
    assert_eq!(found(s, alice, "a", 0).await, Some(kept(1)));
    assert_eq!(found(s, bob, "a", 0).await, Some(kept(2)));
    assert_eq!(found(s, alice, "A", 0).await, Some(kept(3)));
    assert_eq!(found(s, bob, "A", 0).await, None);
}

async fn an_answer_that_is_too_old_is_as_good_as_none_and_makes_room(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    idempotency::keep(s, alice, "a", &kept(1), at(10)).await.unwrap();
    assert_eq!(found(s, alice, "a", 9).await, Some(kept(1)));
    assert_eq!(found(s, alice, "a", 10).await, None);
    idempotency::keep(s, alice, "a", &kept(2), at(20)).await.unwrap();
    assert_eq!(found(s, alice, "a", 10).await, Some(kept(2)));
    assert_eq!(rows(s).await, 1);
}

async fn an_answer_lives_and_dies_with_its_transaction(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let tx = s.begin().await.unwrap();
    idempotency::keep(&tx, alice, "a", &kept(1), at(1)).await.unwrap();
    assert_eq!(found(&tx, alice, "a", 0).await, Some(kept(1)));
    tx.rollback().await.unwrap();
    assert_eq!(found(s, alice, "a", 0).await, None);
}

async fn old_answers_are_forgotten_in_batches_and_young_ones_kept(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for seconds in 1..=5 {
        idempotency::keep(s, alice, &format!("key {seconds}"), &kept(1), at(seconds)).await.unwrap();
    }
    idempotency::keep(s, bob, "key 5", &kept(2), at(1)).await.unwrap();
    assert_eq!(idempotency::sweep(s, at(5), 3).await.unwrap(), 3);
    assert_eq!(idempotency::sweep(s, at(5), 3).await.unwrap(), 2);
    assert_eq!(idempotency::sweep(s, at(5), 3).await.unwrap(), 0);
    assert_eq!(rows(s).await, 1);
    assert_eq!(found(s, alice, "key 5", 0).await, Some(kept(1)));
}
