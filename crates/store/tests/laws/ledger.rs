//! Laws of the ledger.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::error::Kind;
use bulut_model::ledger::Transaction;
use bulut_model::{AccountId, Micros, Result, TransactionId};
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
    large_amounts_are_exact
    entries_are_told_newest_first_each_with_the_balance_after_it
    entries_are_told_in_pages;
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

async fn entries_are_told_newest_first_each_with_the_balance_after_it(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    assert_eq!(ledger::list(s, alice, None, 10).await.unwrap(), []);
    let large = (1 << 53) + 1;
    ledger::post(s, "a", "payment", "Paid ü", "pay/1", &payment(alice, large), at(1)).await.unwrap();
    ledger::post(s, "b", "payment", "Paid", "pay/2", &payment(bob, 7), at(2)).await.unwrap();
    let charge = [
        Entry { book: "revenue", account: None, amount: Micros(7_400) },
        Entry { book: "customer", account: Some(alice), amount: Micros(-8_880) },
        Entry { book: "tax", account: None, amount: Micros(1_480) },
    ];
    ledger::post(s, "c", "charge", "One hour", "server/1", &charge, at(3)).await.unwrap();
    let listed = ledger::list(s, alice, None, 10).await.unwrap();
    let ids: Vec<TransactionId> = listed.iter().map(|it| it.id).collect();
    let line = |id, kind: &str, amount, balance, description: &str, reference: &str, seconds| Transaction {
        id,
        kind: kind.into(),
        amount: Micros(amount),
        balance_after: Micros(balance),
        description: description.into(),
        reference: reference.into(),
        created_at: at(seconds),
    };
    assert_eq!(
        listed,
        [
            line(ids[0], "charge", -8_880, large - 8_880, "One hour", "server/1", 3),
            line(ids[1], "payment", large, large, "Paid ü", "pay/1", 1),
        ]
    );
    assert!(ids[0] > ids[1]);
    assert_eq!(ledger::balance(s, alice).await.unwrap(), listed[0].balance_after);
    let bobs = ledger::list(s, bob, None, 10).await.unwrap();
    assert_eq!(bobs.iter().map(|it| it.balance_after.0).collect::<Vec<_>>(), [7]);
}

async fn entries_are_told_in_pages(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    for number in 1..=5 {
        post(s, &format!("pay {number}"), &payment(alice, number)).await.unwrap();
    }
    let all = ledger::list(s, alice, None, 10).await.unwrap();
    let balances: Vec<i64> = all.iter().map(|it| it.balance_after.0).collect();
    assert_eq!(balances, [15, 10, 6, 3, 1]);
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = ledger::list(s, alice, before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        before = Some(last.id);
        paged.extend(page);
    }
    assert_eq!(paged, all);
}
