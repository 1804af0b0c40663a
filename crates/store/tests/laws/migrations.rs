//! Laws of migrations.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, account, at_once};
use bulut_model::error::Kind;
use bulut_store::{Session, accounts, migrations};

laws! {
    bare:
    opening_never_migrates
    an_empty_database_is_brought_to_the_newest_version
    migrating_twice_changes_nothing
    four_processes_may_migrate_at_once
    a_newer_database_is_refused_and_left_as_it_is
    a_migration_that_fails_leaves_no_trace;
    both:
    an_id_is_never_given_twice;
}

async fn opening_never_migrates(db: Db) {
    db.store.ping().await.unwrap();
    assert_eq!(migrations::current(&db.store).await.unwrap(), 0);
    let refused = accounts::list(&db.store).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Internal, "{refused}");
    assert_eq!(migrations::current(&db.open_again().await).await.unwrap(), 0);
}

async fn an_empty_database_is_brought_to_the_newest_version(db: Db) {
    let applied = migrations::migrate(&db.store, START).await.unwrap();
    assert_eq!(applied.len() as i64, migrations::newest());
    assert_eq!(applied.first(), Some(&"base"));
    assert_eq!(migrations::current(&db.store).await.unwrap(), migrations::newest());
    World::new(&db.store).await;
}

async fn migrating_twice_changes_nothing(db: Db) {
    migrations::migrate(&db.store, START).await.unwrap();
    let alice = account(&db.store, "alice").await;
    assert_eq!(migrations::migrate(&db.store, at(9)).await.unwrap(), Vec::<&str>::new());
    assert_eq!(accounts::list(&db.store).await.unwrap(), [alice]);
    let rows = db.store.all("SELECT applied_at FROM schema_migration", vec![]).await.unwrap();
    assert!(rows.iter().all(|row| row.int("applied_at").unwrap() == START.0));
}

async fn four_processes_may_migrate_at_once(db: Db) {
    let applied = at_once(4, |_| {
        let db = db.clone();
        async move {
            let own = db.open_again().await;
            let applied = migrations::migrate(&own, START).await.unwrap();
            own.close().await.unwrap();
            applied
        }
    })
    .await;
    assert_eq!(applied.iter().filter(|names| !names.is_empty()).count(), 1, "{applied:?}");
    assert_eq!(migrations::current(&db.store).await.unwrap(), migrations::newest());
}

async fn a_newer_database_is_refused_and_left_as_it_is(db: Db) {
    let s = &db.store;
    migrations::migrate(s, START).await.unwrap();
    let newer = migrations::newest() + 1;
    s.execute("INSERT INTO schema_migration VALUES ($1, 'later', 0)", vec![newer.into()]).await.unwrap();
    let refused = migrations::migrate(s, START).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(refused.public.contains("newer"), "{refused}");
    assert_eq!(migrations::current(s).await.unwrap(), newer);
    account(s, "alice").await;
}

async fn a_migration_that_fails_leaves_no_trace(db: Db) {
    let s = &db.store;
    // A table in the way, late in the first migration.
    s.execute("CREATE TABLE operation (id BIGINT)", vec![]).await.unwrap();
    let refused = migrations::migrate(s, START).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Internal);
    assert!(refused.internal.contains("migration 1 base"), "{refused}");
    assert_eq!(migrations::current(s).await.unwrap(), 0);
    assert!(s.all("SELECT * FROM setting", vec![]).await.is_err(), "a table was left behind");
    s.execute("DROP TABLE operation", vec![]).await.unwrap();
    migrations::migrate(s, START).await.unwrap();
}

async fn an_id_is_never_given_twice(db: Db) {
    let s = &db.store;
    let last = account(s, "alice").await.id;
    s.execute("DELETE FROM account WHERE id = $1", vec![last.0.into()]).await.unwrap();
    assert!(account(s, "bob").await.id > last);
}
