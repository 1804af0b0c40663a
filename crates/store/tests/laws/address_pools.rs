//! Laws of address pools as their operator sees them, and of IPv6 networks.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, at_once};
use bulut_model::address_pool::Wanted;
use bulut_model::{RegionId, ServerId};
use bulut_store::address_pools::{self, Stock};
use bulut_store::addresses::{self, TakenIpv6};
use bulut_store::{Session, Store, servers};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

laws! {
    both:
    a_pool_tells_what_is_free_used_reserved_and_resting
    the_gateway_of_a_pool_is_given_to_nobody
    a_reserved_address_is_kept_from_the_next_server
    a_pool_that_drains_gives_nothing_and_takes_nothing_away
    only_a_pool_that_nobody_uses_is_removed
    every_server_of_a_prefix_has_a_network_of_its_own
    networks_rest_and_are_given_again_when_all_were_used
    fifty_takers_of_thirty_networks_get_thirty_different_ones
    a_server_keeps_the_resolvers_of_its_pool
    a_pool_tells_the_range_that_it_was_made_of
    the_largest_pool_is_made_in_one_transaction;
}

const REST: Duration = Duration::from_secs(60);

async fn add(s: &Store, region: RegionId, addresses: &str, per_server: Option<u8>) -> i64 {
    let resolver = if addresses.contains(':') { "2620:fe::fe" } else { "9.9.9.9" };
    let wanted = Wanted {
        addresses: addresses.into(),
        netmask: addresses.contains('-').then(|| "24".into()),
        resolvers: vec![resolver.parse().unwrap()],
        per_server,
        ..Wanted::default()
    };
    let tx = s.begin().await.unwrap();
    addresses::lock_pools(&tx).await.unwrap();
    let id = addresses::insert_pool(&tx, region, &wanted.check().unwrap(), START).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn stock(s: &Store, pool: i64, now: i64) -> Stock {
    let stocks = address_pools::list(s, at(now).minus(REST)).await.unwrap();
    stocks.into_iter().find(|stock| stock.pool.id == pool).unwrap()
}

async fn counts(s: &Store, pool: i64, now: i64) -> (Option<u64>, u64, u64, u64) {
    let stock = stock(s, pool, now).await;
    (stock.free(), stock.used, stock.reserved, stock.resting)
}

async fn take4(s: &impl Session, world: &World, server: ServerId, now: i64) -> Option<Ipv4Addr> {
    addresses::take_ipv4(s, world.region, server, at(now), REST).await.unwrap()
}

async fn take6(s: &impl Session, world: &World, server: ServerId, now: i64) -> Option<Ipv6Addr> {
    match addresses::take_ipv6(s, world.region, server, at(now), REST).await.unwrap() {
        TakenIpv6::Taken(taken) => Some(taken.address),
        TakenIpv6::Full | TakenIpv6::NoPool => None,
    }
}

async fn remove(s: &Store, pool: i64) -> bool {
    let tx = s.begin().await.unwrap();
    addresses::lock_pools(&tx).await.unwrap();
    let removed = address_pools::remove(&tx, pool).await.unwrap();
    if removed {
        tx.commit().await.unwrap()
    } else {
        tx.rollback().await.unwrap()
    }
    removed
}

async fn a_pool_tells_what_is_free_used_reserved_and_resting(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let pool = add(s, world.region, "203.0.113.0/29", None).await;
    let other = add(s, world.region, "203.0.113.8/29", None).await;
    assert_eq!(counts(s, pool, 0).await, (Some(5), 0, 1, 0), "the gateway is reserved");
    let servers = world.servers(s, 2).await;
    for server in &servers {
        take4(s, &world, *server, 0).await.unwrap();
    }
    address_pools::set_reserved(s, Ipv4Addr::new(203, 0, 113, 6), true, Some("a printer")).await.unwrap();
    assert_eq!(counts(s, pool, 0).await, (Some(2), 2, 2, 0));
    addresses::release(s, servers[0], at(100)).await.unwrap();
    assert_eq!(counts(s, pool, 159).await, (Some(2), 1, 2, 1));
    assert_eq!(counts(s, pool, 160).await, (Some(3), 1, 2, 0), "its rest is over");
    assert_eq!(counts(s, other, 0).await, (Some(5), 0, 1, 0));
    let stock = stock(s, pool, 0).await;
    assert_eq!((stock.total, stock.region.as_str(), stock.per_server), (Some(6), "ist1", 32));
    let entries = address_pools::entries(s, pool, at(159).minus(REST)).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it.address.to_string(), it.server, it.reserved, it.note.as_deref(), it.released_at))
        .collect();
    assert_eq!(
        told,
        [
            ("203.0.113.1".into(), None, true, Some("the gateway"), None),
            ("203.0.113.2".into(), None, false, None, Some(at(100))),
            ("203.0.113.3".into(), Some(servers[1]), false, None, None),
            ("203.0.113.6".into(), None, true, Some("a printer"), None),
        ]
    );
}

async fn the_gateway_of_a_pool_is_given_to_nobody(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    add(s, world.region, "203.0.113.1-203.0.113.3", None).await;
    let servers = world.servers(s, 3).await;
    let mut given = Vec::new();
    for server in servers {
        given.extend(take4(s, &world, server, 0).await);
    }
    assert_eq!(given, [Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3)]);
}

async fn a_reserved_address_is_kept_from_the_next_server(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    add(s, world.region, "203.0.113.2-203.0.113.2", None).await;
    let servers = world.servers(s, 2).await;
    let address = Ipv4Addr::new(203, 0, 113, 2);
    assert_eq!(take4(s, &world, servers[0], 0).await, Some(address));
    address_pools::set_reserved(s, address, true, None).await.unwrap();
    assert_eq!(addresses::find_ipv4(s, servers[0]).await.unwrap().unwrap().address, address, "it stays");
    addresses::release(s, servers[0], at(0)).await.unwrap();
    assert_eq!(take4(s, &world, servers[1], 1000).await, None);
    address_pools::set_reserved(s, address, false, None).await.unwrap();
    assert_eq!(take4(s, &world, servers[1], 1000).await, Some(address));
}

async fn a_pool_that_drains_gives_nothing_and_takes_nothing_away(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let four = add(s, world.region, "203.0.113.0/29", None).await;
    let six = add(s, world.region, "2001:db8::/64", None).await;
    let servers = world.servers(s, 2).await;
    assert!(
        take4(s, &world, servers[0], 0).await.is_some() && take6(s, &world, servers[0], 0).await.is_some()
    );
    for pool in [four, six] {
        assert!(address_pools::set_draining(s, pool, true).await.unwrap());
    }
    assert!(!address_pools::set_draining(s, 99, true).await.unwrap());
    assert_eq!(counts(s, four, 0).await, (Some(0), 1, 1, 0));
    assert_eq!(take4(s, &world, servers[1], 0).await, None);
    assert_eq!(take6(s, &world, servers[1], 0).await, None);
    let server = servers::find(s, servers[0]).await.unwrap().unwrap();
    assert!(server.ipv4.is_some() && server.ipv6.is_some());
    address_pools::set_draining(s, four, false).await.unwrap();
    assert!(take4(s, &world, servers[1], 0).await.is_some());
}

async fn only_a_pool_that_nobody_uses_is_removed(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let mut pools = Vec::new();
    for (addresses, per_server) in
        [("203.0.113.0/29", None), ("2001:db8::/64", None), ("2001:db8:1::/56", Some(64))]
    {
        // Of the two IPv6 pools each one is used in its turn.
        if let Some(before) = pools.last().filter(|_| pools.len() == 2) {
            address_pools::set_draining(s, *before, true).await.unwrap();
        }
        let pool = add(s, world.region, addresses, per_server).await;
        pools.push(pool);
        let taken = if addresses.contains(':') {
            addresses::release(s, server, at(0)).await.unwrap();
            take6(s, &world, server, 0).await.is_some()
        } else {
            take4(s, &world, server, 0).await.is_some()
        };
        assert!(taken, "{addresses}");
        assert!(!remove(s, pool).await, "{addresses} is used");
        assert_eq!(counts(s, pool, 0).await.1, 1, "{addresses}");
    }
    addresses::release(s, server, at(0)).await.unwrap();
    for pool in &pools {
        assert!(remove(s, *pool).await);
    }
    assert_eq!(addresses::all_pools(s).await.unwrap(), []);
    // The same network may come again.
    add(s, world.region, "203.0.113.0/29", None).await;
}

async fn every_server_of_a_prefix_has_a_network_of_its_own(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let pool = add(s, world.region, "2001:db8:5::/48", None).await;
    let servers = world.servers(s, 3).await;
    for (server, network) in servers.iter().zip(["1", "2", "3"]) {
        let taken = take6(s, &world, *server, 0).await.unwrap();
        assert_eq!(taken.to_string(), format!("2001:db8:5:{network}::1"));
        let stored = servers::find(s, *server).await.unwrap().unwrap().ipv6.unwrap();
        assert_eq!((stored.address, stored.prefix), (taken, 64));
    }
    assert_eq!(counts(s, pool, 0).await, (Some(65_535 - 3), 3, 0, 0));
    // An order that is undone leaves its number free.
    let late = world.server(s, "late").await;
    let tx = s.begin().await.unwrap();
    let first = take6(&tx, &world, late, 0).await;
    tx.rollback().await.unwrap();
    assert_eq!(take6(s, &world, late, 0).await, first);
}

async fn networks_rest_and_are_given_again_when_all_were_used(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let pool = add(s, world.region, "2001:db8:5::/62", Some(64)).await;
    let servers = world.servers(s, 4).await;
    let mut given = Vec::new();
    for server in &servers[..3] {
        given.push(take6(s, &world, *server, 0).await.unwrap());
    }
    let full = addresses::take_ipv6(s, world.region, servers[3], at(0), REST).await.unwrap();
    assert_eq!(full, TakenIpv6::Full);
    addresses::release(s, servers[1], at(100)).await.unwrap();
    assert_eq!(take6(s, &world, servers[3], 159).await, None, "it rests");
    assert_eq!(counts(s, pool, 159).await, (Some(0), 2, 0, 1));
    // What is counted is listed.
    let resting = async |now| {
        let entries = address_pools::entries(s, pool, at(now).minus(REST)).await.unwrap();
        let resting = entries.into_iter().filter(|it| it.server.is_none() && !it.reserved);
        resting.map(|it| (it.address, it.released_at)).collect::<Vec<_>>()
    };
    assert_eq!(resting(159).await, [(IpAddr::from(given[1]), Some(at(100)))]);
    assert_eq!(resting(160).await, []);
    assert_eq!(take6(s, &world, servers[3], 160).await, Some(given[1]));
    assert_eq!(counts(s, pool, 160).await, (Some(0), 3, 0, 0));
}

async fn fifty_takers_of_thirty_networks_get_thirty_different_ones(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    // Thirty-one networks, of which the last one is taken by somebody else.
    add(s, world.region, "2001:db8::/59", Some(64)).await;
    let servers = world.servers(s, 51).await;
    take6(s, &world, servers[50], 0).await.unwrap();
    let given = at_once(50, |i| {
        let (s, server) = (db.store.clone(), servers[i]);
        async move {
            let tx = s.begin().await.unwrap();
            let taken = take6(&tx, &world, server, 0).await;
            tokio::task::yield_now().await;
            tx.commit().await.unwrap();
            taken
        }
    })
    .await;
    let different: HashSet<_> = given.iter().flatten().collect();
    assert_eq!((different.len(), given.iter().flatten().count()), (30, 30));
}

async fn a_pool_tells_the_range_that_it_was_made_of(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    // In the order of their numbers, not of their letters; more of them than one statement inserts, too.
    for (addresses, first, last) in [
        ("198.51.100.9-198.51.100.20", "198.51.100.9", "198.51.100.20"),
        ("203.0.113.0/28", "203.0.113.1", "203.0.113.14"),
        ("10.20.0.0/20", "10.20.0.1", "10.20.15.254"),
    ] {
        let pool = add(s, world.region, addresses, None).await;
        assert_eq!(stock(s, pool, 0).await.range, Some((ip(first), ip(last))), "{addresses}");
    }
    let pool = add(s, world.region, "2001:db8:5::/48", None).await;
    assert_eq!(stock(s, pool, 0).await.range, None);
}

async fn a_server_keeps_the_resolvers_of_its_pool(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let pool = add(s, world.region, "2001:db8::/64", None).await;
    let server = world.server(s, "web1").await;
    assert_eq!(addresses::find_ipv6_pool(s, server).await.unwrap(), None);
    take6(s, &world, server, 0).await.unwrap();
    address_pools::set_draining(s, pool, true).await.unwrap();
    let found = addresses::find_ipv6_pool(s, server).await.unwrap().unwrap();
    assert_eq!(found.resolvers, ["2620:fe::fe".parse::<IpAddr>().unwrap()]);
}

async fn the_largest_pool_is_made_in_one_transaction(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let pool = add(s, world.region, "10.20.0.0/16", None).await;
    assert_eq!(counts(s, pool, 0).await, (Some(65_533), 0, 1, 0));
    let server = world.server(s, "web1").await;
    assert_eq!(take4(s, &world, server, 0).await, Some(Ipv4Addr::new(10, 20, 0, 2)));
}
