//! Laws of waking other processes.

use crate::databases::{Db, START, laws};
use crate::world::World;
use bulut_store::Session;
use bulut_store::forks::Listener;
use std::time::Duration;

laws! {
    sqlite:
    there_is_nobody_else_to_wake;
    postgres:
    a_commit_wakes_every_listener
    what_was_undone_wakes_nobody
    a_lost_connection_counts_as_a_wake_up_and_is_made_anew;
}

/// Longer than any wake-up takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is waited for.
const SILENCE: Duration = Duration::from_millis(150);

async fn listener(db: &Db) -> Listener {
    db.store.listen().await.unwrap().unwrap()
}

async fn woken(listener: &mut Listener) {
    tokio::time::timeout(PATIENCE, listener.wait()).await.expect("no wake-up came").unwrap();
}

async fn silent(listener: &mut Listener) {
    assert!(tokio::time::timeout(SILENCE, listener.wait()).await.is_err(), "a wake-up for nothing");
}

async fn there_is_nobody_else_to_wake(db: Db) {
    assert!(db.store.listen().await.unwrap().is_none());
}

async fn a_commit_wakes_every_listener(db: Db) {
    let world = World::new(&db.store).await;
    let servers = world.servers(&db.store, 2).await;
    let other = db.open_again().await;
    let (mut near, mut far) = (listener(&db).await, other.listen().await.unwrap().unwrap());
    let tx = db.store.begin().await.unwrap();
    world.operation(&tx, servers[0], START).await;
    silent(&mut far).await;
    tx.commit().await.unwrap();
    woken(&mut far).await;
    woken(&mut near).await;
    silent(&mut far).await;
    world.operation(&db.store, servers[1], START).await;
    woken(&mut far).await;
}

async fn what_was_undone_wakes_nobody(db: Db) {
    let world = World::new(&db.store).await;
    let servers = world.servers(&db.store, 2).await;
    let mut listener = listener(&db).await;
    let tx = db.store.begin().await.unwrap();
    world.operation(&tx, servers[0], START).await;
    tx.rollback().await.unwrap();
    let tx = db.store.begin().await.unwrap();
    world.operation(&tx, servers[1], START).await;
    drop(tx);
    silent(&mut listener).await;
}

async fn a_lost_connection_counts_as_a_wake_up_and_is_made_anew(db: Db) {
    let world = World::new(&db.store).await;
    let server = world.server(&db.store, "web1").await;
    let mut listener = listener(&db).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(db.store.all(cut, vec![]).await.unwrap().len(), 1);
    // What was queued while nobody listened is not lost: the listener's owner looks for it.
    woken(&mut listener).await;
    silent(&mut listener).await;
    world.operation(&db.store, server, START).await;
    woken(&mut listener).await;
}
