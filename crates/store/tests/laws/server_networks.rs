//! Laws of servers' networks: further addresses, firewalls, rates, and frames that were dropped as forged.

use crate::databases::{Db, at, laws};
use crate::world::{World, at_once, ensure_pool};
use bulut_model::firewall::FirewallRule;
use bulut_model::rate::Rates;
use bulut_model::traffic::{Minute, Reading, Sample};
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB, Month};
use bulut_model::{AddressId, ServerId};
use bulut_store::{
    Session, Store, address_pools, addresses, firewalls, names, rates, servers, traffic, traffic_months,
};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

laws! {
    both:
    a_further_address_is_one_of_the_regions_and_rests_when_it_is_let_go
    an_address_is_a_servers_own_or_a_further_one_and_never_both
    servers_and_further_addresses_race_and_none_is_given_twice
    the_names_of_a_server_follow_its_further_addresses
    rules_keep_their_order_and_go_with_their_server
    a_server_is_made_with_its_packages_rates
    servers_that_should_be_told_other_rates_are_found
    forged_frames_are_counted_once_over_epochs;
}

const REST: Duration = Duration::from_secs(600);

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, last)
}

async fn take(s: &impl Session, world: &World, server: ServerId, now: i64) -> Option<Ipv4Addr> {
    let taken = addresses::take_further(s, world.region, server, at(now), REST).await.unwrap();
    taken.map(|(_, address)| address)
}

async fn further(s: &Store, server: ServerId) -> Vec<Ipv4Addr> {
    addresses::further(s, server).await.unwrap().into_iter().map(|taken| taken.address).collect()
}

async fn a_further_address_is_one_of_the_regions_and_rests_when_it_is_let_go(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    ensure_pool(s, world.region, 1, &[2, 3, 4, 5].map(|last| (host(last), last == 3))).await.unwrap();
    let servers = world.servers(s, 2).await;
    let own = addresses::take_ipv4(s, world.region, servers[0], at(0), REST).await.unwrap();
    assert_eq!(own, Some(host(2)));
    assert_eq!(take(s, &world, servers[0], 0).await, Some(host(4)), "reserved ones are not given");
    assert_eq!(take(s, &world, servers[0], 0).await, Some(host(5)));
    assert_eq!(take(s, &world, servers[0], 0).await, None);
    assert_eq!(further(s, servers[0]).await, [host(4), host(5)]);
    assert_eq!(addresses::find_ipv4(s, servers[0]).await.unwrap().unwrap().address, host(2));
    assert_eq!(addresses::taken(s).await.unwrap(), 3);
    let stock = &address_pools::list(s, at(0).minus(REST)).await.unwrap()[0];
    assert_eq!((stock.free(), stock.used, stock.reserved, stock.resting), (Some(0), 3, 1, 0));
    let entries = address_pools::entries(s, stock.pool.id, at(0)).await.unwrap();
    let whose: Vec<_> = entries.iter().map(|it| (it.address, it.server)).collect();
    let first = Some(servers[0]);
    let expected = [(host(2), first), (host(3), None), (host(4), first), (host(5), first)];
    assert_eq!(whose, expected.map(|(address, server)| (IpAddr::V4(address), server)));

    // Only its own server lets go of it, and what is a server's own is no further one.
    for (server, address) in [(servers[1], host(4)), (servers[0], host(2)), (servers[0], host(9))] {
        assert_eq!(addresses::release_further(s, server, address, at(0)).await.unwrap(), None);
    }
    let id = addresses::further(s, servers[0]).await.unwrap()[0].id;
    let released = addresses::release_further(s, servers[0], host(4), at(100)).await.unwrap();
    assert_eq!(released, Some(id));
    assert_eq!(addresses::release_further(s, servers[0], host(4), at(100)).await.unwrap(), None);
    assert_eq!(take(s, &world, servers[1], 699).await, None, "it still rests");
    assert_eq!(take(s, &world, servers[1], 700).await, Some(host(4)));
    // All of it goes with the server, and a pool is not removed before that.
    let pool = stock.pool.id;
    let tx = s.begin().await.unwrap();
    assert!(!address_pools::remove(&tx, pool).await.unwrap());
    tx.rollback().await.unwrap();
    for server in servers {
        servers::bury(s, server, at(1000)).await.unwrap();
        assert_eq!(further(s, server).await, [Ipv4Addr::UNSPECIFIED; 0]);
    }
    assert_eq!(addresses::taken(s).await.unwrap(), 0);
    let stock = &address_pools::list(s, at(1000).minus(REST)).await.unwrap()[0];
    assert_eq!((stock.used, stock.resting), (0, 3));
    let tx = s.begin().await.unwrap();
    assert!(address_pools::remove(&tx, pool).await.unwrap());
    tx.commit().await.unwrap();
}

async fn an_address_is_a_servers_own_or_a_further_one_and_never_both(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 1).await;
    let servers = world.servers(s, 2).await;
    assert_eq!(take(s, &world, servers[0], 0).await, Some(host(2)));
    assert_eq!(addresses::take_ipv4(s, world.region, servers[1], at(0), REST).await.unwrap(), None);
    let both = "UPDATE address SET server_id = $1";
    assert!(s.execute(both, vec![servers[1].0.into()]).await.is_err());
    assert_eq!(addresses::find_ipv4(s, servers[1]).await.unwrap(), None);
}

async fn servers_and_further_addresses_race_and_none_is_given_twice(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 50).await;
    let servers = world.servers(s, 60).await;
    let given: Vec<Option<Ipv4Addr>> = at_once(60, |i| {
        let (s, server) = (db.store.clone(), servers[i]);
        async move {
            let tx = s.begin().await.unwrap();
            let taken = if i % 2 == 0 {
                take(&tx, &world, server, 0).await
            } else {
                addresses::take_ipv4(&tx, world.region, server, at(0), REST).await.unwrap()
            };
            tokio::task::yield_now().await;
            tx.commit().await.unwrap();
            taken
        }
    })
    .await;
    let all: Vec<Ipv4Addr> = given.into_iter().flatten().collect();
    assert_eq!(all.len(), 50);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 50, "an address was given twice");
    assert_eq!(addresses::taken(s).await.unwrap(), 50);
}

async fn the_names_of_a_server_follow_its_further_addresses(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 3).await;
    let server = world.server(s, "web1").await;
    let before = names::revision(s).await.unwrap();
    assert_eq!(take(s, &world, server, 0).await, Some(host(2)));
    let with = names::revision(s).await.unwrap();
    assert_ne!(before, with);
    assert_eq!(names::all(s).await.unwrap()[0].further, [host(2)]);
    let released: Option<AddressId> = addresses::release_further(s, server, host(2), at(0)).await.unwrap();
    assert!(released.is_some());
    assert_ne!(with, names::revision(s).await.unwrap());
    assert_eq!(names::all(s).await.unwrap()[0].further, [Ipv4Addr::UNSPECIFIED; 0]);
}

async fn rules_keep_their_order_and_go_with_their_server(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, other) = (world.server(s, "web1").await, world.server(s, "web2").await);
    let rules =
        |texts: &[&str]| -> Vec<FirewallRule> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let first =
        rules(&["in allow tcp 22 10.0.0.0/8", "in allow icmp any 2001:db8::/32", "in deny any any any"]);
    let second = rules(&["out deny udp 53-54 any", "in deny any any any"]);
    firewalls::set(s, server, &first).await.unwrap();
    firewalls::set(s, other, &second).await.unwrap();
    assert_eq!(firewalls::list(s, server).await.unwrap(), first);
    firewalls::set(s, server, &second).await.unwrap();
    assert_eq!(firewalls::list(s, server).await.unwrap(), second);
    firewalls::set(s, server, &[]).await.unwrap();
    assert_eq!(firewalls::list(s, server).await.unwrap(), []);
    assert_eq!(firewalls::list(s, other).await.unwrap(), second);
    servers::bury(s, other, at(0)).await.unwrap();
    assert_eq!(firewalls::list(s, other).await.unwrap(), []);
}

const FAST: Rates = Rates { down_bps: 100_000_000, up_bps: 50_000_000 };

async fn a_server_is_made_with_its_packages_rates(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let before = world.server(s, "web1").await;
    assert!(rates::set(s, "eos1", FAST).await.unwrap());
    assert!(!rates::set(s, "none", FAST).await.unwrap());
    assert!(!rates::set_slow(s, "none", 1).await.unwrap());
    let after = world.server(s, "web2").await;
    assert_eq!(rates::of_server(s, before).await.unwrap(), Rates::default());
    assert_eq!(rates::of_server(s, after).await.unwrap(), FAST);
    assert_eq!(rates::of_package(s, world.package).await.unwrap(), FAST);
    let listed = &rates::list(s).await.unwrap()[0];
    assert_eq!((listed.package.as_str(), listed.rates, listed.slow_bps), ("eos1", FAST, 1_000_000));
}

async fn servers_that_should_be_told_other_rates_are_found(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    s.execute("UPDATE server SET phase = 'ready'", vec![]).await.unwrap();
    let month = Month(0);
    // What the list finds is what differs by the rules of the model, whichever way a package says it.
    let check = async |expected: Rates, is_slow: bool, when: &str| {
        let wanted = rates::wanted(s, server, month).await.unwrap().unwrap();
        assert_eq!((wanted.rates, wanted.is_slow), (expected, is_slow), "{when}");
        let other = Rates { down_bps: expected.down_bps + 1, ..expected };
        for (told, found) in [(expected, vec![]), (other, vec![(server, world.account)])] {
            rates::set_of_server(s, server, told).await.unwrap();
            let listed = rates::list_to_tell(s, world.node, month, 10).await.unwrap();
            assert_eq!(listed, found, "{when}, told {told:?}");
        }
    };
    check(Rates::default(), false, "nothing is said").await;
    rates::set(s, "eos1", FAST).await.unwrap();
    check(FAST, false, "the package has rates").await;
    traffic_months::set_at_limit(s, "eos1", AtLimit::Slow).await.unwrap();
    rates::set_slow(s, "eos1", 60_000_000).await.unwrap();
    let sample = |received_bytes| Sample { minute: Minute(0), received_bytes, sent_bytes: 0 };
    traffic::add(s, server, &sample(2 * BYTES_PER_TB - 1)).await.unwrap();
    check(FAST, false, "a byte is left").await;
    traffic::add(s, server, &sample(1)).await.unwrap();
    check(Rates { down_bps: 60_000_000, ..FAST }, true, "all is used, and one direction is slow enough")
        .await;
    rates::set(s, "eos1", Rates { down_bps: 1000, up_bps: 1000 }).await.unwrap();
    check(Rates { down_bps: 1000, up_bps: 1000 }, false, "the package is slower").await;
    rates::set(s, "eos1", Rates::default()).await.unwrap();
    check(Rates { down_bps: 60_000_000, up_bps: 60_000_000 }, true, "the package has none").await;
    traffic_months::set_allowed(s, server, month, true).await.unwrap();
    check(Rates::default(), false, "the operator allows more").await;
    traffic_months::set_allowed(s, server, month, false).await.unwrap();
    for action in [AtLimit::Nothing, AtLimit::Bill, AtLimit::Stop] {
        traffic_months::set_at_limit(s, "eos1", action).await.unwrap();
        check(Rates::default(), false, action.as_str()).await;
    }
    assert_eq!(rates::list_to_tell(s, world.node, month, 10).await.unwrap().len(), 1);
    world.operation(s, server, at(0)).await;
    assert_eq!(rates::list_to_tell(s, world.node, month, 10).await.unwrap(), [], "an operation holds it");
    assert_eq!(rates::wanted(s, ServerId(99), month).await.unwrap(), None);
    s.execute("UPDATE operation SET status = 1", vec![]).await.unwrap();
}

async fn forged_frames_are_counted_once_over_epochs(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let mut before = 0;
    for (epoch, forged_frames, all) in
        [("a", 0, 0), ("a", 5, 5), ("a", 5, 5), ("a", 3, 5), ("b", 2, 7), ("a", 6, 8)]
    {
        let reading = Reading { epoch: epoch.into(), received_bytes: 0, sent_bytes: 0, forged_frames };
        let tx = s.begin().await.unwrap();
        let grown = traffic::record(&tx, server, &reading, Minute(0), at(0)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(grown.forged_frames, all - before, "{epoch} {forged_frames}");
        before = all;
        // It moved nothing, and stands among the servers of the month as soon as it forged something.
        let lines = traffic_months::list(s, Month(0)).await.unwrap();
        let listed: Vec<_> = lines.iter().map(|it| (it.server, it.forged_frames)).collect();
        assert_eq!(listed, if all == 0 { vec![] } else { vec![(server, all)] });
        assert_eq!(traffic::forged_frames(s, server).await.unwrap(), all, "{epoch} {forged_frames}");
        let seen = traffic::seen_on(s, world.node).await.unwrap();
        let most = if epoch == "a" && forged_frames == 3 { 5 } else { forged_frames };
        assert!(seen.iter().any(|(_, it)| it.epoch == epoch && it.forged_frames == most), "{seen:?}");
    }
}
