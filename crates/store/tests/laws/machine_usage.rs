//! Laws of what machines use.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, account};
use bulut_model::NodeId;
use bulut_model::run_mode::{IdleRules, Look};
use bulut_store::{Store, machine_usage, servers};
use std::time::Duration;

laws! {
    both:
    what_is_known_after_looks_comes_back
    idling_that_is_forgotten_begins_anew
    a_buried_server_is_forgotten;
}

const RULES: IdleRules =
    IdleRules { cpu_permille: 50, traffic_bytes: 1000, gap_max: Duration::from_secs(180) };

fn look(second: i64) -> Look {
    Look {
        epoch: "a".into(),
        cpus: 1,
        cpu_us: 10_000 * second.unsigned_abs(),
        traffic_bytes: 5,
        memory_bytes: 1 << 40,
        disk_bytes: 7,
        at: at(second),
    }
}

async fn record(store: &Store, server: bulut_model::ServerId, second: i64) {
    let tx = store.begin().await.unwrap();
    machine_usage::record(&tx, server, look(second), RULES).await.unwrap();
    tx.commit().await.unwrap();
}

async fn what_is_known_after_looks_comes_back(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (one, two) = (world.server(s, "one").await, world.server(s, "two").await);
    assert_eq!(machine_usage::find(s, one).await.unwrap(), None);
    for second in [0, 60, 120] {
        record(s, one, second).await;
    }
    let known = machine_usage::find(s, one).await.unwrap().unwrap();
    assert_eq!((known.idle, known.cpu_permille), (Duration::from_secs(120), 10));
    assert_eq!((known.epoch.as_str(), known.cpu_us, known.traffic_bytes), ("a", 1_200_000, 5));
    assert_eq!((known.memory_bytes, known.disk_bytes, known.seen_at), (1 << 40, 7, at(120)));
    let all = machine_usage::list(s, world.account).await.unwrap();
    assert_eq!((all.len(), all.get(&one), all.get(&two)), (1, Some(&known), None));
    let seen = machine_usage::seen_on(s, world.node).await.unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(one, at(120))]);
    assert!(machine_usage::seen_on(s, NodeId(world.node.0 + 1)).await.unwrap().is_empty());
    let bob = account(s, "bob").await.id;
    assert!(machine_usage::list(s, bob).await.unwrap().is_empty());
}

async fn idling_that_is_forgotten_begins_anew(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (one, two) = (world.server(s, "one").await, world.server(s, "two").await);
    for second in [0, 60] {
        record(s, one, second).await;
        record(s, two, second).await;
    }
    machine_usage::forget_idling(s, one).await.unwrap();
    for second in [90, 120] {
        record(s, one, second).await;
        record(s, two, second).await;
    }
    let idle = |known: Option<bulut_model::run_mode::MachineUsage>| known.unwrap().idle.as_secs();
    assert_eq!(idle(machine_usage::find(s, one).await.unwrap()), 60);
    assert_eq!(idle(machine_usage::find(s, two).await.unwrap()), 120);
}

async fn a_buried_server_is_forgotten(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "one").await;
    record(s, server, 0).await;
    servers::bury(s, server, START).await.unwrap();
    assert_eq!(machine_usage::find(s, server).await.unwrap(), None);
}
