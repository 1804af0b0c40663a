//! Laws of servers.

use crate::databases::{Db, START, at, laws};
use crate::world::{ROOM, World, account, at_once, files};
use bulut_model::ServerId;
use bulut_model::address::{ServerIpv4, ServerIpv6};
use bulut_model::error::Kind;
use bulut_model::run_mode::RunMode;
use bulut_model::server::{Phase, Power, Server};
use bulut_store::nodes::{self, Size};
use bulut_store::{Session, addresses, operations, servers, tags};
use std::net::Ipv4Addr;
use std::time::Duration;

laws! {
    both:
    a_server_comes_back_as_it_was_ordered
    what_only_operations_know_comes_back_as_well
    what_is_set_on_a_server_is_seen_on_it_and_on_no_other
    a_list_shows_tags_and_what_is_under_way
    another_accounts_server_does_not_exist
    a_change_of_power_is_news_once
    only_running_servers_that_are_ready_have_their_seed_cleared
    a_buried_server_is_gone_but_its_row_stays
    a_burial_gives_room_and_address_back_and_takes_the_secrets
    a_server_is_buried_once_however_many_try
    servers_are_counted_by_phase_and_power;
}

const REST: Duration = Duration::from_secs(600);

async fn a_server_comes_back_as_it_was_ordered(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 4).await;
    let id = world.server(s, "web1").await;
    let bare = servers::find(s, id).await.unwrap().unwrap();
    let expected = Server {
        id,
        account: world.account,
        region: world.region,
        node: world.node,
        package: world.package,
        image: world.image,
        region_slug: "ist1".into(),
        package_slug: "eos1".into(),
        image_slug: "debian-12-x64".into(),
        name: "web1".into(),
        hostname: "web1.example.com".into(),
        reverse_name: None,
        cpu: 1,
        memory_mib: 1024,
        disk_gib: 25,
        traffic_tb: 2,
        phase: Phase::Building,
        power: Power::Stopped,
        ipv4: None,
        ipv6: None,
        ssh_endpoint: None,
        in_pool: false,
        is_named: true,
        run_mode: RunMode::Normal,
        created_at: START,
        active_operations: Vec::new(),
        tags: Vec::new(),
    };
    assert_eq!(bare, expected);
    addresses::take_ipv4(s, world.region, id, START, REST).await.unwrap().unwrap();
    let ipv6 =
        ServerIpv6 { address: "fd00::1".parse().unwrap(), prefix: 128, gateway: "fe80::1".parse().unwrap() };
    servers::set_ipv6(s, id, &ipv6).await.unwrap();
    let ipv4 =
        ServerIpv4 { address: Ipv4Addr::new(10, 0, 1, 2), prefix: 24, gateway: Ipv4Addr::new(10, 0, 1, 1) };
    let expected = Server { ipv4: Some(ipv4), ipv6: Some(ipv6), ..expected };
    assert_eq!(servers::find(s, id).await.unwrap(), Some(expected.clone()));
    assert_eq!(servers::find_owned(s, world.account, id).await.unwrap(), Some(expected.clone()));
    assert_eq!(servers::list(s, world.account).await.unwrap(), std::slice::from_ref(&expected));
    assert_eq!(servers::list_on_node(s, world.node).await.unwrap(), [expected]);
    assert_eq!(servers::find(s, ServerId(id.0 + 1)).await.unwrap(), None);
}

async fn what_only_operations_know_comes_back_as_well(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.server(s, "web1").await;
    let order = world.order("web1");
    let details = servers::details(s, id).await.unwrap();
    assert_eq!((details.instance_id, details.ssh_keys), (order.instance_id, order.ssh_keys));
    assert_eq!((details.sealed_password, details.user_data), (order.sealed_password, order.user_data));
    assert_eq!(details.image_files, files());
    assert!(details.seed_secret);
    let plain =
        servers::New { sealed_password: None, user_data: None, ssh_keys: vec![], ..world.order("web2") };
    let id = servers::insert(s, &plain, START).await.unwrap();
    let details = servers::details(s, id).await.unwrap();
    assert_eq!((details.sealed_password, details.user_data, details.ssh_keys), (None, None, vec![]));
    assert_eq!(servers::details(s, ServerId(99)).await.unwrap_err().kind, Kind::Internal);
}

async fn what_is_set_on_a_server_is_seen_on_it_and_on_no_other(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.server(s, "web1").await;
    let other = world.server(s, "web2").await;
    let untouched = servers::find(s, other).await.unwrap();
    servers::set_hostname(s, id, "server-1").await.unwrap();
    servers::set_ssh_endpoint(s, id, "127.0.0.1:2200").await.unwrap();
    servers::set_sealed_password(s, id, "sealed anew").await.unwrap();
    servers::set_seed_secret(s, id, false).await.unwrap();
    servers::set_phase(s, id, Phase::Ready).await.unwrap();
    servers::set_power(s, id, Power::Running).await.unwrap();
    let set = servers::find(s, id).await.unwrap().unwrap();
    assert_eq!((set.hostname.as_str(), set.ssh_endpoint.as_deref()), ("server-1", Some("127.0.0.1:2200")));
    assert_eq!((set.phase, set.power), (Phase::Ready, Power::Running));
    let details = servers::details(s, id).await.unwrap();
    assert_eq!((details.sealed_password.as_deref(), details.seed_secret), (Some("sealed anew"), false));
    assert_eq!(servers::find(s, other).await.unwrap(), untouched);
    let details = servers::details(s, other).await.unwrap();
    assert_eq!((details.sealed_password.as_deref(), details.seed_secret), (Some("sealed"), true));
}

async fn a_list_shows_tags_and_what_is_under_way(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    assert_eq!(servers::list(s, world.account).await.unwrap(), []);
    let (first, second) = (world.server(s, "web1").await, world.server(s, "web2").await);
    for tag in ["prod", "eu", "prod"] {
        tags::ensure(s, first, tag, START).await.unwrap();
    }
    tags::ensure(s, second, "prod", START).await.unwrap();
    let operation = world.operation(s, second, START).await;
    let listed = servers::list(s, world.account).await.unwrap();
    let shown: Vec<_> =
        listed.iter().map(|s| (s.id, s.tags.join(" "), s.active_operations.clone())).collect();
    assert_eq!(shown, [(first, "eu prod".into(), vec![]), (second, "prod".into(), vec![operation.0])]);
    for server in listed {
        assert_eq!(servers::find_owned(s, world.account, server.id).await.unwrap(), Some(server));
    }
    let claimed = operations::claim(s, &[world.node], "me", at(0), at(30)).await.unwrap().unwrap();
    let fence = crate::world::fence("me", &claimed);
    let status = bulut_model::operation::Status::Success;
    assert!(operations::settle(s, &fence, status, None, at(1)).await.unwrap());
    let ended = servers::find_owned(s, world.account, second).await.unwrap().unwrap();
    assert_eq!(ended.active_operations, Vec::<i64>::new());
}

async fn another_accounts_server_does_not_exist(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.server(s, "web1").await;
    tags::ensure(s, id, "prod", START).await.unwrap();
    let bob = account(s, "bob").await.id;
    assert_eq!(servers::find_owned(s, bob, id).await.unwrap(), None);
    assert_eq!(servers::list(s, bob).await.unwrap(), []);
    let own = World { account: bob, ..world }.server(s, "web1").await;
    assert_ne!(own, id, "names are the owner's: two accounts may use one");
    let listed = servers::list(s, bob).await.unwrap();
    assert_eq!((listed.len(), listed[0].id, listed[0].tags.len()), (1, own, 0));
}

async fn a_change_of_power_is_news_once(db: Db) {
    let s = &db.store;
    let id = World::new(s).await.server(s, "web1").await;
    for (power, news) in [
        (Power::Stopped, false),
        (Power::Running, true),
        (Power::Running, false),
        (Power::Stopping, true),
        (Power::Stopped, true),
    ] {
        assert_eq!(servers::set_power(s, id, power).await.unwrap(), news, "{power:?}");
        assert_eq!(servers::find(s, id).await.unwrap().unwrap().power, power);
    }
}

async fn only_running_servers_that_are_ready_have_their_seed_cleared(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let ids = world.servers(s, 4).await;
    for id in &ids[1..] {
        servers::set_phase(s, *id, Phase::Ready).await.unwrap();
    }
    for id in [ids[0], ids[2], ids[3]] {
        servers::set_power(s, id, Power::Running).await.unwrap();
    }
    servers::set_seed_secret(s, ids[3], false).await.unwrap();
    assert_eq!(servers::list_with_seed_secret(s, world.node).await.unwrap(), [ids[2]]);
    servers::set_seed_secret(s, ids[3], true).await.unwrap();
    assert_eq!(servers::list_with_seed_secret(s, world.node).await.unwrap(), [ids[2], ids[3]]);
    assert_eq!(servers::list_with_seed_secret(s, bulut_model::NodeId(99)).await.unwrap(), []);
}

async fn a_buried_server_is_gone_but_its_row_stays(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.server(s, "web1").await;
    servers::set_power(s, id, Power::Running).await.unwrap();
    servers::bury(s, id, at(50)).await.unwrap();
    assert_eq!(servers::find_owned(s, world.account, id).await.unwrap(), None);
    assert_eq!(servers::list(s, world.account).await.unwrap(), []);
    assert_eq!(servers::list_on_node(s, world.node).await.unwrap(), []);
    assert_eq!(servers::list_with_seed_secret(s, world.node).await.unwrap(), []);
    assert_eq!(servers::count(s).await.unwrap(), []);
    let row = servers::find(s, id).await.unwrap().unwrap();
    assert_eq!((row.phase, row.power), (Phase::Destroyed, Power::Stopped));
    assert!(world.server(s, "web2").await > id);
}

async fn a_burial_gives_room_and_address_back_and_takes_the_secrets(db: Db) {
    let s = &db.store;
    let world = World::with_room(s, 2).await;
    world.pool(s, 1, 1).await;
    let id = world.server(s, "web1").await;
    let other = world.server(s, "web2").await;
    addresses::take_ipv4(s, world.region, id, START, REST).await.unwrap().unwrap();
    servers::set_ssh_endpoint(s, id, "127.0.0.1:2200").await.unwrap();
    tags::ensure(s, id, "prod", START).await.unwrap();
    assert_eq!(nodes::reserve(s, world.region, ROOM).await.unwrap(), None, "the node is full");
    servers::bury(s, id, at(50)).await.unwrap();

    let node = nodes::list(s).await.unwrap().remove(0);
    assert_eq!(node.reserved, ROOM, "what the other server has");
    assert_eq!(addresses::taken(s).await.unwrap(), 0);
    let rested = addresses::take_ipv4(s, world.region, other, at(649), REST).await.unwrap();
    assert_eq!(rested, None, "the address rests first");
    assert!(addresses::take_ipv4(s, world.region, other, at(650), REST).await.unwrap().is_some());
    let row = servers::find(s, id).await.unwrap().unwrap();
    assert_eq!((row.ipv4, row.ssh_endpoint), (None, None));
    let details = servers::details(s, id).await.unwrap();
    assert_eq!((details.sealed_password, details.user_data, details.seed_secret), (None, None, false));
    let tags = s.all("SELECT tag FROM tag", vec![]).await.unwrap();
    assert!(tags.is_empty());
    let details = servers::details(s, other).await.unwrap();
    assert!(details.sealed_password.is_some() && details.seed_secret, "the other server keeps its own");
}

async fn a_server_is_buried_once_however_many_try(db: Db) {
    let world = World::with_room(&db.store, 5).await;
    world.pool(&db.store, 1, 5).await;
    let id = world.server(&db.store, "web1").await;
    let other = world.server(&db.store, "web2").await;
    addresses::take_ipv4(&db.store, world.region, id, START, REST).await.unwrap().unwrap();
    at_once(6, |i| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            servers::bury(&tx, id, at(50 + i as i64)).await.unwrap();
            tx.commit().await.unwrap();
        }
    })
    .await;
    assert_eq!(nodes::list(&db.store).await.unwrap()[0].reserved, ROOM);
    let sql = "SELECT destroyed_at FROM server WHERE id = $1";
    let died =
        async || db.store.one(sql, vec![id.0.into()]).await.unwrap().unwrap().int("destroyed_at").unwrap();
    let first = died().await;
    servers::bury(&db.store, id, at(9_999)).await.unwrap();
    assert_eq!(died().await, first, "the first burial is the one that counts");
    servers::bury(&db.store, other, at(60)).await.unwrap();
    assert_eq!(nodes::list(&db.store).await.unwrap()[0].reserved, Size::default());
}

async fn servers_are_counted_by_phase_and_power(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let ids = world.servers(s, 4).await;
    for id in &ids[..2] {
        servers::set_phase(s, *id, Phase::Ready).await.unwrap();
        servers::set_power(s, *id, Power::Running).await.unwrap();
    }
    servers::bury(s, ids[3], START).await.unwrap();
    let row = |phase: &str, power: &str, servers| (phase.to_owned(), power.to_owned(), servers);
    assert_eq!(servers::count(s).await.unwrap(), [row("building", "stopped", 1), row("ready", "running", 2)]);
}
