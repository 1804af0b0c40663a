//! Laws of names: who has one, what tells that they have changed, serials, and what another server was told.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, at_once};
use bulut_model::address::ServerIpv6;
use bulut_store::names::{self, Named, Published, ZoneState};
use bulut_store::{addresses, servers};
use std::time::Duration;

laws! {
    both:
    the_revision_changes_with_every_server_that_comes_goes_or_is_renamed
    all_servers_that_exist_are_told_with_their_names_and_addresses
    a_name_belongs_to_one_server_until_that_is_called_otherwise_or_gone
    of_many_who_want_a_name_at_once_one_gets_it
    what_was_told_is_remembered_from_the_intention_on
    what_is_refused_waits_and_what_is_agreed_is_not_told_again
    everything_can_be_told_again
    a_zone_keeps_its_serial_and_whoever_sets_serials_is_alone;
}

async fn the_revision_changes_with_every_server_that_comes_goes_or_is_renamed(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let mut seen = vec![names::revision(s).await.unwrap()];
    let mut next = async |what: &str| {
        let revision = names::revision(s).await.unwrap();
        assert!(!seen.contains(&revision), "{what}: {revision:?} in {seen:?}");
        seen.push(revision);
    };
    world.pool(s, 1, 4).await;
    next("a pool").await;
    let first = world.server(s, "web1").await;
    next("a server").await;
    let second = world.server(s, "web2").await;
    next("another").await;
    names::set_reverse(s, first, "a.example").await.unwrap();
    next("a name").await;
    names::set_reverse(s, first, "b.example").await.unwrap();
    next("another name").await;
    servers::bury(s, second, at(1)).await.unwrap();
    next("the end of a server").await;
    world.server(s, "web3").await;
    next("one in its place").await;
}

async fn all_servers_that_exist_are_told_with_their_names_and_addresses(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.pool(s, 1, 4).await;
    let (named, bare, gone) =
        (world.server(s, "web1").await, world.server(s, "web2").await, world.server(s, "web3").await);
    let ipv4 = addresses::take_ipv4(s, world.region, named, START, Duration::ZERO).await.unwrap();
    let ipv6 = ServerIpv6 {
        address: "fd00::1:0".parse().unwrap(),
        prefix: 128,
        gateway: "fe80::1".parse().unwrap(),
    };
    servers::set_ipv6(s, named, &ipv6).await.unwrap();
    names::set_reverse(s, named, "Web.Example").await.unwrap();
    names::set_reverse(s, gone, "gone.example").await.unwrap();
    servers::bury(s, gone, at(1)).await.unwrap();
    let expected = [
        Named {
            server: named,
            reverse_name: Some("Web.Example".into()),
            claimed: false,
            ipv4,
            further: vec![],
            ipv6: Some(ipv6.address),
        },
        Named { server: bare, reverse_name: None, claimed: false, ipv4: None, further: vec![], ipv6: None },
    ];
    assert_eq!(names::all(s).await.unwrap(), expected);
    let server = servers::find(s, named).await.unwrap().unwrap();
    assert_eq!(
        (server.hostname.as_str(), server.reverse_name.as_deref()),
        ("Web.Example", Some("Web.Example"))
    );
    assert!(names::claim(s, "web.example", named).await.unwrap());
    assert!(names::all(s).await.unwrap()[0].claimed);
}

async fn a_name_belongs_to_one_server_until_that_is_called_otherwise_or_gone(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (a, b) = (world.server(s, "web1").await, world.server(s, "web2").await);
    assert!(names::claim(s, "x.cloud", a).await.unwrap());
    assert!(names::claim(s, "x.cloud", a).await.unwrap(), "it has it already");
    assert!(!names::claim(s, "x.cloud", b).await.unwrap());
    assert!(
        names::is_claimed(s, "x.cloud", a).await.unwrap()
            && !names::is_claimed(s, "x.cloud", b).await.unwrap()
    );
    // An order that came to nothing: the server is not called so.
    names::settle_claims(s, a).await.unwrap();
    assert!(names::claim(s, "x.cloud", b).await.unwrap());
    names::set_reverse(s, b, "X.Cloud").await.unwrap();
    names::settle_claims(s, b).await.unwrap();
    assert!(!names::claim(s, "x.cloud", a).await.unwrap(), "whoever is called so keeps it");
    assert!(names::claim(s, "y.cloud", b).await.unwrap());
    names::set_reverse(s, b, "y.cloud").await.unwrap();
    names::settle_claims(s, b).await.unwrap();
    assert!(names::claim(s, "x.cloud", a).await.unwrap(), "called otherwise");
    servers::bury(s, b, at(1)).await.unwrap();
    assert!(names::claim(s, "y.cloud", a).await.unwrap(), "gone");
}

async fn of_many_who_want_a_name_at_once_one_gets_it(db: Db) {
    let world = World::new(&db.store).await;
    let servers = world.servers(&db.store, 16).await;
    let got = at_once(16, |i| {
        let (store, server) = (db.store.clone(), servers[i]);
        async move {
            let tx = store.begin().await.unwrap();
            let got = names::claim(&tx, "x.cloud", server).await.unwrap();
            tx.commit().await.unwrap();
            got
        }
    })
    .await;
    assert_eq!(got.iter().filter(|got| **got).count(), 1);
}

const OWNER: &str = "2.0.0.10.in-addr.arpa";

async fn the_one(db: &Db) -> Published {
    let mut all = names::published(&db.store).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn what_was_told_is_remembered_from_the_intention_on(db: Db) {
    let s = &db.store;
    names::intend(s, OWNER, "PTR", Some("a.example"), START).await.unwrap();
    let told = the_one(&db).await;
    assert_eq!((told.value.as_deref(), told.agreed), (Some("a.example"), false));
    names::agree(s, &told).await.unwrap();
    assert!(the_one(&db).await.agreed);
    // Another name is intended while the first one is being told: the answer to the first settles nothing.
    names::intend(s, OWNER, "PTR", Some("b.example"), START).await.unwrap();
    names::agree(s, &told).await.unwrap();
    assert!(!the_one(&db).await.agreed);
    names::agree(s, &the_one(&db).await).await.unwrap();
    names::intend(s, OWNER, "PTR", None, START).await.unwrap();
    let going = the_one(&db).await;
    assert_eq!(
        (going.value.as_deref(), going.agreed),
        (None, false),
        "it is there until the server has agreed"
    );
    names::agree(s, &told).await.unwrap();
    names::agree(s, &going).await.unwrap();
    assert_eq!(names::published(s).await.unwrap(), []);
    // Somebody else has the address before the server agreed to forget the first.
    names::intend(s, OWNER, "PTR", None, START).await.unwrap();
    let going = the_one(&db).await;
    names::intend(s, OWNER, "PTR", Some("c.example"), START).await.unwrap();
    names::agree(s, &going).await.unwrap();
    assert_eq!(the_one(&db).await.value.as_deref(), Some("c.example"));
}

async fn what_is_refused_waits_and_what_is_agreed_is_not_told_again(db: Db) {
    let s = &db.store;
    for (owner, second) in [("a", 0), ("b", 1), ("c", 2)] {
        names::intend(s, owner, "A", Some("10.0.0.1"), at(second)).await.unwrap();
    }
    let due = async |second| {
        let due = names::due(s, at(second), 10).await.unwrap();
        due.into_iter().map(|record| record.owner).collect::<Vec<_>>()
    };
    assert_eq!(due(1).await, ["a", "b"]);
    assert_eq!(due(9).await, ["a", "b", "c"]);
    let first = names::due(s, at(9), 1).await.unwrap().remove(0);
    names::disagree(s, &first, "REFUSED", at(20)).await.unwrap();
    assert_eq!(due(19).await, ["b", "c"]);
    assert_eq!(due(20).await, ["b", "c", "a"], "the longest waiting first");
    let refused = names::published(s).await.unwrap().remove(0);
    assert_eq!((refused.failures, refused.last_error.as_deref()), (1, Some("REFUSED")));
    for record in names::due(s, at(19), 10).await.unwrap() {
        names::agree(s, &record).await.unwrap();
    }
    assert_eq!(due(99).await, ["a"]);
    names::note_failure(s, "away").await.unwrap();
    let errors: Vec<_> =
        names::published(s).await.unwrap().into_iter().map(|record| record.last_error).collect();
    assert_eq!(errors, [Some("away".to_owned()), None, None]);
    names::disagree(s, &names::published(s).await.unwrap()[1], "late", at(99)).await.unwrap();
    assert!(names::published(s).await.unwrap()[1].agreed, "what is agreed stays so");
}

async fn everything_can_be_told_again(db: Db) {
    let s = &db.store;
    for owner in ["a", "b"] {
        names::intend(s, owner, "A", Some("10.0.0.1"), START).await.unwrap();
    }
    for record in names::published(s).await.unwrap() {
        names::agree(s, &record).await.unwrap();
    }
    assert_eq!(names::due(s, at(9), 10).await.unwrap(), []);
    assert_eq!(names::intend_all(s, at(9)).await.unwrap(), 2);
    assert_eq!(names::due(s, at(9), 10).await.unwrap().len(), 2);
}

async fn a_zone_keeps_its_serial_and_whoever_sets_serials_is_alone(db: Db) {
    let zone = |serial| ZoneState {
        name: "0.0.10.in-addr.arpa".into(),
        digest: format!("digest {serial}"),
        serial,
        changed_at: START,
    };
    for serial in [7, u32::MAX] {
        names::set_zone(&db.store, &zone(serial)).await.unwrap();
        assert_eq!(names::zones(&db.open_again().await).await.unwrap(), [zone(serial)]);
    }
    // Each adds one to what it reads, as replicas do that find the same change.
    names::set_zone(&db.store, &zone(100)).await.unwrap();
    at_once(8, |_| {
        let store = db.store.clone();
        async move {
            let tx = store.begin().await.unwrap();
            let mut state = names::lock_zones(&tx).await.unwrap().remove(0);
            tokio::task::yield_now().await;
            state.serial += 1;
            names::set_zone(&tx, &state).await.unwrap();
            tx.commit().await.unwrap();
        }
    })
    .await;
    assert_eq!(names::zones(&db.store).await.unwrap()[0].serial, 108);
}
