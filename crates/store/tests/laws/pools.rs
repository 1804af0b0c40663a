//! Laws of resource pools.

use crate::databases::{Db, START, laws};
use crate::world::{ROOM, World, account, at_once};
use bulut_model::pool::{Pool, Resources};
use bulut_model::{AccountId, ServerId};
use bulut_store::nodes::Size;
use bulut_store::{Session, Store, nodes, pools, servers};

laws! {
    both:
    an_account_without_a_pool_has_an_empty_one
    a_pool_keeps_what_is_taken_when_its_size_changes
    a_pool_is_never_taken_beyond_its_size_however_many_try
    a_servers_burial_gives_back_once_however_many_try
    a_server_outside_the_pool_gives_nothing_back;
}

fn size(servers: i64) -> Size {
    Size { cpu: ROOM.cpu * servers, memory_mib: ROOM.memory_mib * servers, disk_gib: ROOM.disk_gib * servers }
}

fn resources(servers: u64) -> Resources {
    Resources { cpu: servers, memory_mib: 1024 * servers, disk_gib: 25 * servers }
}

async fn pool(s: &impl Session, account: AccountId) -> Pool {
    pools::find(s, account).await.unwrap()
}

/// A server of the pool, in a transaction of its own; `None` when the pool has no room.
async fn build(store: &Store, world: World, name: String) -> Option<ServerId> {
    let tx = store.begin().await.unwrap();
    if !pools::take(&tx, world.account, ROOM).await.unwrap() {
        tx.rollback().await.unwrap();
        return None;
    }
    assert!(nodes::reserve(&tx, world.region, ROOM).await.unwrap().is_some());
    let new = servers::New { in_pool: true, ..world.order(&name) };
    let id = servers::insert(&tx, &new, START).await.unwrap();
    tx.commit().await.unwrap();
    Some(id)
}

async fn an_account_without_a_pool_has_an_empty_one(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    assert_eq!(pool(s, alice).await, Pool::default());
    assert!(!pools::take(s, alice, ROOM).await.unwrap());
    assert_eq!(pools::list(s).await.unwrap(), []);
    assert_eq!(pools::set(s, alice, size(2)).await.unwrap().total, resources(2));
    assert_eq!(pools::list(s).await.unwrap(), [(alice, pool(s, alice).await)]);
}

async fn a_pool_keeps_what_is_taken_when_its_size_changes(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    pools::set(s, alice, size(2)).await.unwrap();
    assert!(pools::take(s, alice, ROOM).await.unwrap());
    assert!(pools::take(s, alice, ROOM).await.unwrap());
    let smaller = pools::set(s, alice, size(1)).await.unwrap();
    assert_eq!(smaller, Pool { total: resources(1), used: resources(2) });
    assert!(!pools::take(s, alice, Size::default()).await.unwrap(), "it holds more than it has");
    pools::set(s, alice, size(3)).await.unwrap();
    for one_too_much in [
        Size { cpu: 2, ..ROOM },
        Size { memory_mib: ROOM.memory_mib + 1, ..ROOM },
        Size { disk_gib: ROOM.disk_gib + 1, ..ROOM },
    ] {
        assert!(!pools::take(s, alice, one_too_much).await.unwrap(), "{one_too_much:?}");
    }
    assert!(pools::take(s, alice, ROOM).await.unwrap());
    assert_eq!(pool(s, alice).await, Pool { total: resources(3), used: resources(3) });
    assert_eq!(pool(s, bob).await, Pool::default());
}

async fn a_pool_is_never_taken_beyond_its_size_however_many_try(db: Db) {
    let world = World::new(&db.store).await;
    pools::set(&db.store, world.account, size(5)).await.unwrap();
    let built = at_once(20, |n| {
        let store = db.store.clone();
        async move { build(&store, world, format!("web{n}")).await }
    })
    .await;
    assert_eq!(built.iter().flatten().count(), 5);
    assert_eq!(pool(&db.store, world.account).await.used, resources(5));
}

async fn a_servers_burial_gives_back_once_however_many_try(db: Db) {
    let world = World::new(&db.store).await;
    pools::set(&db.store, world.account, size(2)).await.unwrap();
    let one = build(&db.store, world, "one".into()).await.unwrap();
    build(&db.store, world, "two".into()).await.unwrap();
    at_once(8, |_| {
        let store = db.store.clone();
        async move {
            let tx = store.begin().await.unwrap();
            servers::bury(&tx, one, START).await.unwrap();
            tx.commit().await.unwrap();
        }
    })
    .await;
    assert_eq!(pool(&db.store, world.account).await.used, resources(1));
}

async fn a_server_outside_the_pool_gives_nothing_back(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    pools::set(s, world.account, size(2)).await.unwrap();
    assert!(pools::take(s, world.account, ROOM).await.unwrap());
    let id = world.server(s, "web1").await;
    servers::bury(s, id, START).await.unwrap();
    assert_eq!(pool(s, world.account).await.used, resources(1));
}
