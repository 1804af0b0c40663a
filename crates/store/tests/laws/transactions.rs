//! Laws of connections and transactions.

use crate::databases::{Db, POOL, START, at, laws};
use crate::world::{Dice, account, person};
use bulut_model::error::Kind;
use bulut_model::{AccountId, Micros};
use bulut_store::ledger::{self, Entry};
use bulut_store::{Session, Store, accounts, settings};
use std::time::Duration;

laws! {
    both:
    what_is_no_database_url_is_refused
    a_database_that_cannot_be_opened_is_unavailable
    a_transaction_is_seen_when_it_is_committed
    a_transaction_that_is_dropped_leaves_no_trace_and_no_lock
    a_transaction_with_a_failed_statement_is_not_committed
    a_process_that_dies_before_the_commit_has_written_nothing
    work_that_is_cut_off_anywhere_leaves_all_or_nothing;
    postgres:
    a_cut_connection_is_unavailable_and_the_pool_recovers;
}

/// Longer than a write waits behind the others of these laws.
const PATIENCE: Duration = Duration::from_secs(10);

async fn what_is_no_database_url_is_refused(_: Db) {
    for url in ["", "mysql://root@127.0.0.1/x", "/var/lib/store.db", "http://127.0.0.1"] {
        assert!(matches!(Store::open(url, 1).await.unwrap_err().kind, Kind::Invalid { .. }), "{url}");
    }
}

async fn a_database_that_cannot_be_opened_is_unavailable(db: Db) {
    let (server, name) = db.url.rsplit_once('/').unwrap();
    let missing = format!("{server}/missing/{name}");
    let refused = Store::open(&missing, 1).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(!refused.public.contains(name) && !refused.internal.is_empty(), "{refused}");
}

async fn a_transaction_is_seen_when_it_is_committed(db: Db) {
    let tx = db.store.begin().await.unwrap();
    settings::set(&tx, "a", "1").await.unwrap();
    assert_eq!(settings::find(&tx, "a").await.unwrap().as_deref(), Some("1"));
    let read = tokio::time::timeout(PATIENCE, settings::find(&db.store, "a")).await;
    assert_eq!(read.expect("a reader waits for no writer").unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(settings::find(&db.store, "a").await.unwrap().as_deref(), Some("1"));
}

async fn a_transaction_that_is_dropped_leaves_no_trace_and_no_lock(db: Db) {
    let s = &db.store;
    let id = account(s, "alice").await.id;
    for round in 0..30 {
        let tx = s.begin().await.unwrap();
        accounts::hold(&tx, id).await.unwrap();
        settings::set(&tx, "a", "1").await.unwrap();
        if round % 2 == 0 {
            drop(tx)
        } else {
            tx.rollback().await.unwrap()
        }
        let next = async {
            let tx = s.begin().await.unwrap();
            assert_eq!(accounts::hold(&tx, id).await.unwrap().revision, 1);
            assert_eq!(settings::find(&tx, "a").await.unwrap(), None);
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the dropped one still holds its lock");
    }
}

async fn a_transaction_with_a_failed_statement_is_not_committed(db: Db) {
    let s = &db.store;
    account(s, "alice").await;
    let tx = s.begin().await.unwrap();
    settings::set(&tx, "before", "1").await.unwrap();
    let refused = accounts::insert(&tx, &person("alice"), START).await.unwrap_err();
    assert_eq!(refused.kind, Kind::AlreadyExists);
    // Left to itself, PostgreSQL would answer this commit with success and keep nothing; SQLite keeps half.
    let refused = tx.commit().await.unwrap_err();
    assert_eq!(refused.kind, Kind::Internal);
    assert_eq!(settings::find(s, "before").await.unwrap(), None);
    settings::set(s, "after", "1").await.unwrap();
}

async fn pay(s: Store, account: AccountId, key: String) -> bulut_model::Result<()> {
    let tx = s.begin().await?;
    accounts::hold(&tx, account).await?;
    let entries = [
        Entry { book: "customer", account: Some(account), amount: Micros(1) },
        Entry { book: "payments", account: None, amount: Micros(-1) },
    ];
    ledger::post(&tx, &key, "payment", "", &key, &entries, at(0)).await?;
    tx.commit().await
}

async fn work_that_is_cut_off_anywhere_leaves_all_or_nothing(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let mut dice = Dice::new(7, 0);
    let mut finished = 0;
    for batch in 0..12 {
        let tasks: Vec<_> =
            (0..8).map(|i| tokio::spawn(pay(s.clone(), alice, format!("{batch}/{i}")))).collect();
        tokio::time::sleep(Duration::from_micros(dice.roll(6_000))).await;
        // Every second one is cut off wherever it stands, as a request is whose client went away.
        for task in tasks.iter().skip(batch % 2).step_by(2) {
            task.abort();
        }
        for task in tasks {
            if let Ok(paid) = task.await {
                paid.unwrap();
                finished += 1;
            }
        }
    }
    tokio::time::timeout(PATIENCE, pay(s.clone(), alice, "last".into()))
        .await
        .expect("a lock stayed")
        .unwrap();
    let balance = ledger::balance(s, alice).await.unwrap().0;
    assert!(balance > finished, "{balance} paid, {finished} answered");
    assert_eq!(ledger::unbalanced(s).await.unwrap(), Vec::<i64>::new());
    assert_eq!(
        accounts::find(s, alice).await.unwrap().unwrap().revision,
        balance,
        "a hold without its posting"
    );
}

async fn a_cut_connection_is_unavailable_and_the_pool_recovers(db: Db) {
    let s = &db.store;
    let id = account(s, "alice").await.id;
    let tx = s.begin().await.unwrap();
    accounts::hold(&tx, id).await.unwrap();
    let other = db.open_again().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    other.all(cut, vec![]).await.unwrap();
    let refused = accounts::hold(&tx, id).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
    assert_eq!(tx.commit().await.unwrap_err().kind, Kind::Internal);
    // A connection that was idle when it was cut may be met once, never twice.
    let (mut met, mut well) = (0, 0);
    while well < 20 {
        match accounts::find(s, id).await {
            Ok(found) => {
                assert_eq!(found.unwrap().revision, 0);
                well += 1;
            }
            Err(refused) => {
                assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
                met += 1;
                assert!(met <= POOL, "the pool keeps connections that are dead");
            }
        }
    }
}

async fn a_process_that_dies_before_the_commit_has_written_nothing(db: Db) {
    for (statements, is_there) in [(0, false), (1, false), (2, false), (3, true)] {
        let dying = db.open_again().await;
        dying.die_after(statements);
        let name = format!("died{statements}");
        let write = async {
            let tx = dying.begin().await?;
            settings::set(&tx, &name, "1").await?;
            tx.commit().await
        };
        assert_eq!(write.await.is_ok(), is_there, "after {statements}");
        assert!(settings::find(&dying, &name).await.is_err(), "it is dead");
        assert_eq!(settings::find(&db.store, &name).await.unwrap().is_some(), is_there, "after {statements}");
    }
}
