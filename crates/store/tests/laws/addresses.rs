//! Laws of address pools.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, at_once, ensure_pool};
use bulut_model::error::Kind;
use bulut_model::{RegionId, ServerId, Timestamp};
use bulut_store::{Session, Store, addresses, regions};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

laws! {
    both:
    a_pool_is_made_once_with_its_addresses
    a_pool_that_overlaps_another_is_refused
    an_address_is_found_with_its_pool
    reserved_addresses_and_pools_that_are_not_ready_give_nothing
    addresses_are_of_the_region_that_was_asked
    never_used_addresses_come_first_and_released_ones_rest
    an_order_that_is_undone_leaves_its_address_free
    a_hundred_takers_of_sixty_addresses_get_sixty_different_ones
    a_hundred_takers_of_a_hundred_addresses_all_get_one
    a_hundred_orders_of_a_hundred_addresses_all_get_one;
}

const REST: Duration = Duration::from_secs(600);

async fn take(s: &impl Session, region: RegionId, server: ServerId, now: Timestamp) -> Option<Ipv4Addr> {
    addresses::take_ipv4(s, region, server, now, REST).await.unwrap()
}

fn host(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, net, host)
}

async fn count(s: &impl Session) -> i64 {
    let row = s.one("SELECT COUNT(*) AS addresses FROM address", vec![]).await.unwrap().unwrap();
    row.int("addresses").unwrap()
}

async fn a_pool_is_made_once_with_its_addresses(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    // More than one statement's worth of them.
    world.pool(s, 1, 253).await;
    assert_eq!(count(s).await, 253);
    world.pool(s, 1, 10).await;
    assert_eq!(count(s).await, 253);
    let pools = addresses::pools(s, world.region, 4).await.unwrap();
    assert_eq!(pools.len(), 1);
    assert_eq!((pools[0].network, pools[0].prefix), (IpAddr::from([10, 0, 1, 0]), 24));
    assert_eq!(pools[0].gateway, IpAddr::from(host(1, 1)));
    assert_eq!(pools[0].resolvers, [IpAddr::from([9, 9, 9, 9]), "2620:fe::fe".parse().unwrap()]);

    let prefix: IpAddr = "fd00:1::".parse().unwrap();
    let gateway = IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    addresses::ensure_pool(s, world.region, prefix, 64, gateway, &[], &[], START).await.unwrap();
    let pools6 = addresses::pools(s, world.region, 6).await.unwrap();
    assert_eq!((pools6[0].network, pools6[0].prefix, pools6[0].gateway), (prefix, 64, gateway));
    assert_eq!(addresses::all_pools(s).await.unwrap(), [pools, pools6].concat());
    assert_eq!(addresses::pools(s, RegionId(99), 4).await.unwrap(), []);
}

async fn a_pool_that_overlaps_another_is_refused(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 10).await;
    let tx = s.begin().await.unwrap();
    let refused =
        ensure_pool(&tx, world.region, 2, &[(host(2, 2), false), (host(1, 5), false)]).await.unwrap_err();
    drop(tx);
    assert_eq!(refused.kind, Kind::AlreadyExists);
    assert!(refused.public.contains("10.0.2.0/24"), "{refused}");
    assert_eq!(addresses::all_pools(s).await.unwrap().len(), 1);
    assert_eq!(count(s).await, 10);
}

async fn an_address_is_found_with_its_pool(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 3).await;
    let server = world.server(s, "web1").await;
    assert_eq!(addresses::find_ipv4(s, server).await.unwrap(), None);
    assert_eq!(addresses::taken(s).await.unwrap(), 0);
    let address = take(s, world.region, server, at(0)).await.unwrap();
    assert_eq!(address, host(1, 2));
    let found = addresses::find_ipv4(s, server).await.unwrap().unwrap();
    assert_eq!(found.address, address);
    assert_eq!(addresses::pools(s, world.region, 4).await.unwrap(), [found.pool]);
    assert_eq!(addresses::taken(s).await.unwrap(), 1);
    let second = addresses::take_ipv4(s, world.region, server, at(0), REST).await;
    assert!(second.is_err(), "a server has one address");
    assert_eq!(addresses::taken(s).await.unwrap(), 1);
}

async fn reserved_addresses_and_pools_that_are_not_ready_give_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let servers = world.servers(s, 3).await;
    let reserved = |last: u8| (host(1, last), last != 4);
    ensure_pool(s, world.region, 1, &[2, 3, 4, 5].map(reserved)).await.unwrap();
    assert_eq!(take(s, world.region, servers[0], at(0)).await, Some(host(1, 4)));
    assert_eq!(take(s, world.region, servers[1], at(0)).await, None);
    world.pool(s, 2, 5).await;
    let sql = "UPDATE address_pool SET state = 'draining' WHERE network = '10.0.2.0'";
    s.execute(sql, vec![]).await.unwrap();
    assert_eq!(take(s, world.region, servers[1], at(0)).await, None);
    world.pool(s, 3, 1).await;
    assert_eq!(take(s, world.region, servers[1], at(0)).await, Some(host(3, 2)));
}

async fn addresses_are_of_the_region_that_was_asked(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let elsewhere = regions::ensure(s, "ams1", "Ams-01", "NL", true, 2).await.unwrap();
    world.pool(s, 1, 5).await;
    ensure_pool(s, elsewhere, 2, &[(host(2, 2), false)]).await.unwrap();
    let servers = world.servers(s, 2).await;
    assert_eq!(take(s, elsewhere, servers[0], at(0)).await, Some(host(2, 2)));
    assert_eq!(take(s, elsewhere, servers[1], at(0)).await, None);
}

async fn never_used_addresses_come_first_and_released_ones_rest(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 4).await;
    let servers = world.servers(s, 4).await;
    for (server, last) in servers.iter().zip([2, 3, 4]) {
        assert_eq!(take(s, world.region, *server, at(0)).await, Some(host(1, last)));
    }
    // .4 is let go first, then .3; .5 was never used.
    addresses::release(s, servers[2], at(100)).await.unwrap();
    addresses::release(s, servers[1], at(200)).await.unwrap();
    addresses::release(s, servers[1], at(900)).await.unwrap();
    assert_eq!(addresses::taken(s).await.unwrap(), 1);
    let late = at(10_000);
    assert_eq!(take(s, world.region, servers[1], late).await, Some(host(1, 5)), "never used comes first");
    assert_eq!(take(s, world.region, servers[2], at(699)).await, None, "both still rest");
    assert_eq!(take(s, world.region, servers[2], at(700)).await, Some(host(1, 4)), "its rest is over");
    assert_eq!(take(s, world.region, servers[3], at(799)).await, None);
    assert_eq!(take(s, world.region, servers[3], late).await, Some(host(1, 3)));
}

async fn an_order_that_is_undone_leaves_its_address_free(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 1).await;
    let server = world.server(s, "web1").await;
    let tx = s.begin().await.unwrap();
    assert_eq!(take(&tx, world.region, server, at(0)).await, Some(host(1, 2)));
    tx.rollback().await.unwrap();
    assert_eq!(take(s, world.region, server, at(0)).await, Some(host(1, 2)));
}

/// A hundred takers at the same moment; answers what each of them got.
async fn takers(store: &Store, world: World, in_transaction: bool) -> Vec<Option<Ipv4Addr>> {
    let servers = world.servers(store, 100).await;
    at_once(100, |i| {
        let (s, server) = (store.clone(), servers[i]);
        async move {
            if !in_transaction {
                return take(&s, world.region, server, at(0)).await;
            }
            let tx = s.begin().await.unwrap();
            let taken = take(&tx, world.region, server, at(0)).await;
            tokio::task::yield_now().await;
            tx.commit().await.unwrap();
            taken
        }
    })
    .await
}

async fn different(store: &Store, given: &[Option<Ipv4Addr>]) -> usize {
    let all: Vec<Ipv4Addr> = given.iter().flatten().copied().collect();
    let different: HashSet<Ipv4Addr> = all.iter().copied().collect();
    assert_eq!(all.len(), different.len(), "an address was given twice");
    assert_eq!(addresses::taken(store).await.unwrap(), all.len() as u64);
    all.len()
}

async fn a_hundred_takers_of_sixty_addresses_get_sixty_different_ones(db: Db) {
    let world = World::new(&db.store).await;
    world.pool(&db.store, 1, 40).await;
    world.pool(&db.store, 2, 20).await;
    let given = takers(&db.store, world, false).await;
    assert_eq!(different(&db.store, &given).await, 60);
}

async fn a_hundred_takers_of_a_hundred_addresses_all_get_one(db: Db) {
    let world = World::new(&db.store).await;
    world.pool(&db.store, 1, 100).await;
    let given = takers(&db.store, world, false).await;
    assert_eq!(different(&db.store, &given).await, 100);
}

async fn a_hundred_orders_of_a_hundred_addresses_all_get_one(db: Db) {
    let world = World::new(&db.store).await;
    world.pool(&db.store, 1, 100).await;
    let given = takers(&db.store, world, true).await;
    assert_eq!(different(&db.store, &given).await, 100);
}
