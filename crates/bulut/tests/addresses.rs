//! Address pools from the order to the end of a server: no address twice, none lost, and IPv6 alone.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::domain::address_pools;
use bulut::faults::Fault;
use bulut::operations::definition;
use bulut_compute::simulated::SimulatedConfig;
use bulut_model::address_pool::{Host, Wanted};
use bulut_model::error::Kind;
use bulut_model::operation::OperationKind;
use bulut_model::{Error, ServerId};
use bulut_store::address_pools::{Entry, Stock};
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Answer, Customer, Database, TestCloud};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

const REST: Duration = Duration::from_secs(60);

/// A cloud with room for many servers whose released addresses rest for a minute.
async fn cloud(database: Database) -> TestCloud {
    let node = SimulatedConfig { cpu: 1000, ..SimulatedConfig::default() };
    TestCloud::with(Setup {
        database,
        node,
        configure: |config| config.address_quarantine_s = REST.as_secs(),
    })
    .await
}

/// Removes the pools that every new cloud has.
async fn without_pools(cloud: &TestCloud) {
    for stock in address_pools::list(cloud.app()).await.unwrap() {
        address_pools::set_draining(cloud.app(), stock.pool.id, true).await.unwrap();
        address_pools::remove(cloud.app(), stock.pool.id).await.unwrap();
    }
}

fn pool(addresses: &str) -> Wanted {
    let resolver = if addresses.contains(':') { "2620:fe::fe" } else { "9.9.9.9" };
    Wanted {
        addresses: addresses.into(),
        netmask: addresses.contains('-').then(|| "24".into()),
        resolvers: vec![resolver.parse().unwrap()],
        ..Wanted::default()
    }
}

async fn add(cloud: &TestCloud, wanted: &Wanted) -> i64 {
    address_pools::add(cloud.app(), "ist2", wanted).await.unwrap().pool.id
}

async fn refused(cloud: &TestCloud, wanted: &Wanted) -> Error {
    address_pools::add(cloud.app(), "ist2", wanted).await.unwrap_err()
}

async fn stock(cloud: &TestCloud, id: i64) -> Stock {
    address_pools::find(cloud.app(), id).await.unwrap()
}

async fn order(customer: &Customer<'_>, name: &str) -> Answer {
    let form = format!("name={name}&region=ist2&package=eos1&image=tiny");
    customer.send("POST", "/v1/server/create", &form).await
}

async fn ips(customer: &Customer<'_>) -> BTreeSet<String> {
    let ip = |server: &serde_json::Value| server["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
    customer.servers().await.iter().map(ip).collect()
}

async fn a_hundred_creates(database: Database) {
    let cloud = cloud(database).await;
    without_pools(&cloud).await;
    let pool = add(&cloud, &pool("203.0.113.10-203.0.113.109")).await;
    let alice = cloud.customer("alice").await;
    let clients = (0..10).map(|client| {
        let alice = &alice;
        async move {
            let mut statuses = Vec::new();
            for i in 0..10 {
                statuses.push(order(alice, &format!("web{client}-{i}")).await.status.as_u16());
            }
            statuses
        }
    });
    let statuses: Vec<u16> = futures_util::future::join_all(clients).await.concat();
    assert_eq!(statuses, [200; 100]);
    let given = ips(&alice).await;
    assert_eq!(given.len(), 100, "an address was given twice");
    assert_eq!(stock(&cloud, pool).await.free(), Some(0));

    let full = order(&alice, "one-too-many").await;
    assert!(full.status.is_client_error(), "{}", full.status);
    let sentence = full.refusal(full.status.as_u16());
    assert!(sentence.contains("no free IPv4 address at the moment; try later"), "{sentence}");
    cloud.run_until_idle().await;
    assert_eq!(alice.servers().await.len(), 100, "a refused order leaves nothing");

    for server in alice.servers().await {
        alice.send("DELETE", &format!("/v1/server/{}/destroy", server["id"]), "").await.data();
    }
    cloud.run_until_idle().await;
    let now = stock(&cloud, pool).await;
    assert_eq!((now.free(), now.used, now.resting), (Some(0), 0, 100));
    let early = order(&alice, "too-early").await;
    let again = format!("free again at {}", cloud.app().clock().now().plus(REST).wire());
    assert!(early.status.is_client_error() && early.text.contains(&again), "{}", early.text);
    cloud.app().clock().advance(REST);
    let now = stock(&cloud, pool).await;
    assert_eq!((now.free(), now.used, now.resting), (Some(100), 0, 0));
    order(&alice, "again").await.data();
    cloud.run_until_idle().await;
    assert!(ips(&alice).await.is_subset(&given));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creates_get_a_hundred_addresses_and_all_come_back_on_sqlite() {
    a_hundred_creates(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creates_get_a_hundred_addresses_and_all_come_back_on_postgresql() {
    a_hundred_creates(Database::Postgres).await;
}

/// The process dies at each step of a create, and of the destroy that follows.
async fn no_death_leaks_an_address(database: Database) {
    let kinds = [OperationKind::ServerCreate, OperationKind::ServerDestroy];
    let points = kinds.iter().flat_map(|kind| {
        let point = |step: &str, moment: &str| format!("{}.{step}.{moment}", kind.as_str());
        definition(*kind)
            .steps
            .iter()
            .flat_map(move |step| [point(step.name, "before"), point(step.name, "after")])
    });
    let mut cloud = cloud(database).await;
    without_pools(&cloud).await;
    let four = add(&cloud, &pool("203.0.113.10-203.0.113.12")).await;
    let six = add(&cloud, &Wanted { per_server: Some(64), ..pool("2001:db8::/62") }).await;
    let account = cloud.customer("alice").await.account.clone();
    for point in points {
        cloud.fault(&point, Fault::Die, 1);
        let alice = cloud.sign_in(&account).await;
        order(&alice, "web1").await.data();
        cloud.run_until_idle().await;
        cloud.restart().await;
        cloud.run_until_idle().await;
        let alice = cloud.sign_in(&account).await;
        let servers = alice.servers().await;
        assert_eq!(servers.len(), 1, "at {point}");
        for id in [four, six] {
            assert_eq!(stock(&cloud, id).await.used, 1, "at {point}");
        }
        alice.send("DELETE", &format!("/v1/server/{}/destroy", servers[0]["id"]), "").await.data();
        cloud.run_until_idle().await;
        cloud.restart().await;
        cloud.run_until_idle().await;
        for id in [four, six] {
            let now = stock(&cloud, id).await;
            assert_eq!((now.used, now.resting), (0, 1), "at {point}");
        }
        cloud.app().clock().advance(REST);
        for id in [four, six] {
            assert_eq!(stock(&cloud, id).await.free(), Some(3), "at {point}");
        }
    }
}

#[tokio::test]
async fn no_death_in_between_leaks_an_address_on_sqlite() {
    no_death_leaks_an_address(Database::Sqlite).await;
}

#[tokio::test]
async fn no_death_in_between_leaks_an_address_on_postgresql() {
    no_death_leaks_an_address(Database::Postgres).await;
}

#[tokio::test]
async fn a_create_that_is_undone_gives_its_addresses_back() {
    let cloud = cloud(Database::Sqlite).await;
    without_pools(&cloud).await;
    let four = add(&cloud, &pool("203.0.113.10-203.0.113.10")).await;
    let alice = cloud.customer("alice").await;
    cloud.fault("server_create.start_machine.before", Fault::Fatal, 1);
    order(&alice, "web1").await.data();
    assert_eq!(stock(&cloud, four).await.used, 1);
    cloud.run_until_idle().await;
    let now = stock(&cloud, four).await;
    assert_eq!((now.used, now.resting), (0, 1));
}

#[tokio::test]
async fn a_pool_that_is_added_gives_addresses_at_once_and_stays_away_once_removed() {
    let mut cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    without_pools(&cloud).await;
    let refusal = order(&alice, "web1").await;
    assert!(refusal.status.is_client_error() && refusal.text.contains("no addresses"), "{}", refusal.text);
    let id = add(&cloud, &pool("203.0.113.0/28")).await;
    let server = order(&alice, "web1").await.data()["id"].as_i64().unwrap();
    cloud.run_until_idle().await;
    let machine = cloud.world().machine(ServerId(server)).unwrap();
    let nic = machine.spec.unwrap().nic;
    let v4 = nic.ipv4.unwrap();
    assert_eq!((v4.address.to_string().as_str(), v4.prefix), ("203.0.113.2", 28));
    assert_eq!(nic.resolvers, ["9.9.9.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(ips(&alice).await, BTreeSet::from(["203.0.113.2".to_owned()]));
    // A restart sows the catalogue again, but no pool that is gone.
    cloud.restart().await;
    let pools: Vec<i64> =
        address_pools::list(cloud.app()).await.unwrap().iter().map(|it| it.pool.id).collect();
    assert_eq!(pools, [id]);
    let alice = cloud.sign_in(&account).await;
    assert_eq!(alice.servers().await.len(), 1);
}

#[tokio::test]
async fn only_a_drained_pool_without_servers_and_resting_addresses_is_removed() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    without_pools(&cloud).await;
    let id = add(&cloud, &pool("203.0.113.0/28")).await;
    let server = order(&alice, "web1").await.data()["id"].as_i64().unwrap();
    cloud.run_until_idle().await;
    let why = async || {
        let error = address_pools::remove(cloud.app(), id).await.unwrap_err();
        assert_eq!(error.kind, Kind::Conflict);
        error.public
    };
    assert!(why().await.contains("drain it first"));
    let drained = address_pools::set_draining(cloud.app(), id, true).await.unwrap();
    assert_eq!((drained.free(), drained.used), (Some(0), 1));
    assert!(why().await.contains("Servers have 1 addresses"));
    assert!(order(&alice, "web2").await.status.is_client_error());
    // What it has stays its own over a stop and a start.
    for verb in ["stop", "start"] {
        alice.send("POST", &format!("/v1/server/{server}/{verb}"), "").await.data();
        cloud.run_until_idle().await;
    }
    assert_eq!(ips(&alice).await, BTreeSet::from(["203.0.113.2".to_owned()]));
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert!(why().await.contains("still rest"));
    cloud.app().clock().advance(REST);
    address_pools::remove(cloud.app(), id).await.unwrap();
    let gone = address_pools::remove(cloud.app(), id).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

#[tokio::test]
async fn pools_that_overlap_or_are_too_large_are_refused_with_a_sentence() {
    let cloud = cloud(Database::Sqlite).await;
    add(&cloud, &pool("203.0.113.64/26")).await;
    add(&cloud, &pool("2001:db8::/48")).await;
    for overlapping in
        ["203.0.113.0/24", "203.0.113.96/27", "203.0.113.2-203.0.113.4", "2001:db8:0:7::/64", "2001::/16"]
    {
        let error = refused(&cloud, &pool(overlapping)).await;
        assert_eq!(error.kind, Kind::AlreadyExists, "{overlapping}");
        assert!(error.public.contains("overlaps the pool"), "{}", error.public);
    }
    let large = refused(&cloud, &pool("11.0.0.0/12")).await;
    assert!(matches!(large.kind, Kind::Invalid { .. }) && large.public.contains("/16"), "{}", large.public);
    let nowhere = address_pools::add(cloud.app(), "atlantis", &pool("198.51.100.0/24")).await.unwrap_err();
    assert_eq!(nowhere.kind, Kind::NotFound);
    add(&cloud, &pool("203.0.113.128/26")).await;
}

/// The reserved addresses of a pool, with their notes.
async fn reserved(cloud: &TestCloud, pool: i64) -> BTreeMap<String, String> {
    let entries = address_pools::entries(cloud.app(), pool).await.unwrap();
    let noted = |it: Entry| (it.address.to_string(), it.note.unwrap_or_default());
    entries.into_iter().filter(|it| it.reserved).map(noted).collect()
}

#[tokio::test]
async fn nobody_gets_what_the_host_or_its_router_has() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    without_pools(&cloud).await;
    let host = Host {
        own: vec!["192.0.2.1".parse().unwrap()],
        routers: vec!["192.0.2.2".parse().unwrap()],
        ..Host::default()
    };
    let gateway = |gateway: &str| Some(gateway.parse().unwrap());
    let taking = Wanted { host: host.clone(), gateway: gateway("192.0.2.2"), ..pool("192.0.2.0/29") };
    let refusal = refused(&cloud, &taking).await;
    assert!(matches!(&refusal.kind, Kind::Invalid { field } if field == "gateway"), "{refusal:?}");
    let id = add(&cloud, &Wanted { host, gateway: gateway("192.0.2.6"), ..pool("192.0.2.0/29") }).await;
    let kept = [
        ("192.0.2.1", "an address of this host"),
        ("192.0.2.2", "this host's router"),
        ("192.0.2.6", "the gateway"),
    ];
    assert_eq!(reserved(&cloud, id).await, kept.map(|(at, why)| (at.to_owned(), why.to_owned())).into());
    order(&alice, "web1").await.data();
    cloud.run_until_idle().await;
    assert_eq!(ips(&alice).await, BTreeSet::from(["192.0.2.3".to_owned()]));
}

#[tokio::test]
async fn reserved_addresses_are_given_to_nobody() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    without_pools(&cloud).await;
    let id = add(&cloud, &pool("203.0.113.0/30")).await;
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let app = cloud.app();
    address_pools::reserve(app, &[address("203.0.113.2")], Some("a printer")).await.unwrap();
    assert!(order(&alice, "web1").await.status.is_client_error());
    address_pools::unreserve(app, &[address("203.0.113.2")]).await.unwrap();
    order(&alice, "web1").await.data();
    cloud.run_until_idle().await;
    let gateway = address_pools::unreserve(app, &[address("203.0.113.1")]).await.unwrap_err();
    assert!(gateway.public.contains("gateway"), "{}", gateway.public);
    let strange = address_pools::reserve(app, &[address("203.0.113.9")], None).await.unwrap_err();
    assert_eq!(strange.kind, Kind::NotFound);
    assert!(
        address_pools::reserve(app, &[address("2001:db8::1")], None)
            .await
            .unwrap_err()
            .public
            .contains("IPv6")
    );
    // All or none: what stands before an address of no pool stays free.
    let known = [address("203.0.113.2"), address("203.0.113.9")];
    address_pools::reserve(app, &known, None).await.unwrap_err();
    assert!(!reserved(&cloud, id).await.contains_key("203.0.113.2"));
    address_pools::reserve(app, &known[..1], None).await.unwrap();
    address_pools::unreserve(app, &known).await.unwrap_err();
    assert!(reserved(&cloud, id).await.contains_key("203.0.113.2"));
    let long =
        address_pools::reserve(app, &[address("203.0.113.2")], Some(&"x".repeat(201))).await.unwrap_err();
    assert!(long.public.contains("note"));
}

#[tokio::test]
async fn a_region_with_ipv6_alone_makes_servers_without_ipv4() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    without_pools(&cloud).await;
    add(&cloud, &pool("2001:db8:5::/48")).await;
    let server = alice.running_server("web1").await;
    let listed = &alice.servers().await[0];
    assert_eq!(listed["networks"]["v4"], "");
    let expected = json!({"ip": "2001:db8:5:1::1", "netmask": "64", "gateway": "fe80::1"});
    assert_eq!(listed["networks"]["v6"], expected);
    let nic = cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().nic;
    assert_eq!(nic.ipv4, None);
    assert_eq!(nic.ipv6.unwrap().prefix, 64);
    assert_eq!(nic.resolvers, ["2620:fe::fe".parse::<IpAddr>().unwrap()]);
    // All that is done with servers can be done with it.
    let native = alice.send("GET", &format!("/v2/servers/{server}"), "").await;
    assert!(native.status.is_success(), "{}", native.text);
    for (path, form) in [
        ("stop", String::new()),
        ("start", String::new()),
        ("reboot", String::new()),
        ("refresh_install", "image=tiny".to_owned()),
        ("upgrade_package", "package=eos2".to_owned()),
    ] {
        let answer = alice.send("POST", &format!("/v1/server/{server}/{path}"), &form).await.data();
        cloud.run_until_idle().await;
        let event = alice.event(answer["event_id"].as_i64().unwrap()).await;
        assert_eq!(event["status"], 1, "{path}: {event}");
    }
    let form = format!("id={server}&name=first");
    alice.send("POST", "/v1/snapshot/create", &form).await.data();
    cloud.run_until_idle().await;
    assert_eq!(alice.snapshots().await[0]["networks"], json!({"v4": "", "v6": expected}));
    assert_eq!(alice.servers().await[0]["networks"]["v6"], expected, "it keeps its address over all of it");
    // With IPv4 in the region, a server has both again.
    add(&cloud, &pool("203.0.113.0/28")).await;
    alice.running_server("web2").await;
    let both = &alice.servers().await[1]["networks"];
    assert_eq!(
        (both["v4"]["ip"].as_str(), both["v6"]["ip"].as_str()),
        (Some("203.0.113.2"), Some("2001:db8:5:2::1"))
    );
}

#[tokio::test]
async fn a_region_whose_ipv4_has_run_out_makes_no_servers_with_ipv6_alone() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    without_pools(&cloud).await;
    add(&cloud, &pool("203.0.113.2-203.0.113.2")).await;
    let six = add(&cloud, &Wanted { per_server: Some(64), ..pool("2001:db8::/63") }).await;
    order(&alice, "web1").await.data();
    let refusal = order(&alice, "web2").await;
    assert!(refusal.text.contains("no free IPv4 address"), "{}", refusal.text);
    add(&cloud, &pool("203.0.114.0/28")).await;
    let refusal = order(&alice, "web2").await;
    assert!(refusal.text.contains("no free IPv6 network"), "{}", refusal.text);
    // The refused order has taken neither.
    assert_eq!(stock(&cloud, six).await.used, 1);
    address_pools::set_draining(cloud.app(), six, true).await.unwrap();
    order(&alice, "web2").await.data();
    cloud.run_until_idle().await;
    assert_eq!(alice.servers().await[1]["networks"]["v6"], "");
}
