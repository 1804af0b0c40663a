//! Laws of the ledger.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::error::Kind;
use bulut_model::{AccountId, Micros, Result};
use bulut_store::ledger::{self, Entry, Posted};
use bulut_store::{Session, Store};

laws! {
    both:
    the_balance_is_the_sum_of_the_customers_entries
    a_posting_is_made_once_per_key
    a_posting_of_many_at_once_is_made_once
    a_posting_that_does_not_add_up_is_refused
    amounts_that_wrap_around_do_not_add_up
    a_posting_that_does_not_add_up_is_seen
    large_amounts_are_exact;
}

async fn post(s: &Store, key: &str, entries: &[Entry]) -> Result<Posted> {
    let tx = s.begin().await?;
    let posted = ledger::post(&tx, key, "charge", "One hour", "server/1", entries, at(0)).await?;
    tx.commit().await?;
    Ok(posted)
}

fn payment(account: AccountId, micros: i64) -> [Entry; 2] {
    [
        Entry { book: "customer", account: Some(account), amount: Micros(micros) },
        Entry { book: "payments", account: None, amount: Micros(-micros) },
    ]
}

async fn entries(s: &impl Session) -> i64 {
    let row = s.one("SELECT COUNT(*) AS entries FROM ledger_entry", vec![]).await.unwrap().unwrap();
    row.int("entries").unwrap()
}

async fn the_balance_is_the_sum_of_the_customers_entries(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    assert_eq!(ledger::balance(s, alice).await.unwrap(), Micros::ZERO);
    post(s, "pay", &payment(alice, 10_000_000)).await.unwrap();
    let charge = [
        Entry { book: "customer", account: Some(alice), amount: Micros(-8_880) },
        Entry { book: "revenue", account: None, amount: Micros(7_400) },
        Entry { book: "tax", account: None, amount: Micros(1_480) },
    ];
    post(s, "charge", &charge).await.unwrap();
    // What stands in another book under the customer's name is not the customer's.
    let foreign = [
        Entry { book: "credits", account: Some(alice), amount: Micros(5) },
        Entry { book: "revenue", account: None, amount: Micros(-5) },
    ];
    post(s, "foreign", &foreign).await.unwrap();
    assert_eq!(ledger::balance(s, alice).await.unwrap(), Micros(9_991_120));
    assert_eq!(ledger::balance(s, bob).await.unwrap(), Micros::ZERO);
    assert_eq!(ledger::unbalanced(s).await.unwrap(), Vec::<i64>::new());
}

async fn a_posting_is_made_once_per_key(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    assert_eq!(post(s, "pay", &payment(alice, 5)).await.unwrap(), Posted::New);
    assert_eq!(post(s, "pay", &payment(alice, 5)).await.unwrap(), Posted::Before);
    assert_eq!(post(s, "pay", &payment(alice, 7)).await.unwrap(), Posted::Before);
    assert_eq!(ledger::balance(s, alice).await.unwrap(), Micros(5));
    assert_eq!(entries(s).await, 2);
}

async fn a_posting_of_many_at_once_is_made_once(db: Db) {
    let alice = account(&db.store, "alice").await.id;
    let outcomes = at_once(10, |_| {
        let s = db.store.clone();
        async move { post(&s, "pay", &payment(alice, 5)).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|posted| **posted == Posted::New).count(), 1);
    assert_eq!(ledger::balance(&db.store, alice).await.unwrap(), Micros(5));
}

async fn refused(s: &Store, entries: &[Entry]) {
    let error = post(s, "odd", entries).await.unwrap_err();
    assert_eq!(error.kind, Kind::Internal);
    assert!(error.internal.contains("odd"), "{error}");
}

async fn a_posting_that_does_not_add_up_is_refused(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let [customer, payments] = payment(alice, 5);
    refused(s, std::slice::from_ref(&customer)).await;
    refused(s, &[customer.clone(), customer.clone(), payments.clone()]).await;
    assert_eq!(entries(s).await, 0);
    assert_eq!(post(s, "odd", &[customer, payments]).await.unwrap(), Posted::New, "its key is still free");
}

async fn amounts_that_wrap_around_do_not_add_up(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let entry = |micros| Entry { book: "customer", account: Some(alice), amount: Micros(micros) };
    refused(s, &[entry(i64::MAX), entry(i64::MAX), entry(2)]).await;
}

async fn a_posting_that_does_not_add_up_is_seen(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    post(s, "good", &payment(alice, 5)).await.unwrap();
    post(s, "bad", &payment(alice, 5)).await.unwrap();
    let sql = "UPDATE ledger_entry SET amount_micros = 6 WHERE book = 'customer' AND posting_id = \
               (SELECT id FROM ledger_posting WHERE idempotency_key = 'bad') RETURNING posting_id";
    let bad = s.one(sql, vec![]).await.unwrap().unwrap().int("posting_id").unwrap();
    assert_eq!(ledger::unbalanced(s).await.unwrap(), [bad]);
}

async fn large_amounts_are_exact(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    // One more than a float of 64 bits can tell from its neighbour.
    post(s, "a", &payment(alice, (1 << 53) + 1)).await.unwrap();
    post(s, "b", &payment(alice, 2)).await.unwrap();
    assert_eq!(ledger::balance(s, alice).await.unwrap(), Micros((1 << 53) + 3));
}
