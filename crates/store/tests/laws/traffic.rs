//! Laws of traffic.

use crate::databases::{Db, at, laws};
use crate::world::{World, at_once};
use bulut_model::ServerId;
use bulut_model::traffic::{Minute, Reading, Sample, Step, Window};
use bulut_store::{Session, Store, servers, traffic};

laws! {
    both:
    a_window_holds_its_minutes_and_no_others
    steps_add_minutes_up
    bytes_of_one_minute_are_added_up
    what_a_counter_has_grown_by_is_counted_once
    every_epoch_counts_from_nothing
    a_reading_that_was_overtaken_adds_nothing
    readers_at_once_count_every_byte_once
    what_was_seen_is_told_for_the_servers_of_a_node
    counters_that_nobody_will_read_again_are_forgotten;
}

const EVER: Window = Window { from: Minute(0), to: Minute(i64::MAX / 60), step: Step::MINUTE };

fn sample(minute: i64, received_bytes: u64, sent_bytes: u64) -> Sample {
    Sample { minute: Minute(minute), received_bytes, sent_bytes }
}

fn reading(epoch: &str, received_bytes: u64, sent_bytes: u64) -> Reading {
    Reading { epoch: epoch.into(), received_bytes, sent_bytes, forged_frames: 0 }
}

async fn samples(s: &Store, server: ServerId) -> Vec<Sample> {
    traffic::list(s, server, &EVER, 100).await.unwrap()
}

async fn record(s: &Store, server: ServerId, reading: &Reading, minute: i64) -> Sample {
    let tx = s.begin().await.unwrap();
    let grown = traffic::record(&tx, server, reading, Minute(minute), at(minute)).await.unwrap().sample;
    tx.commit().await.unwrap();
    grown
}

async fn a_window_holds_its_minutes_and_no_others(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, other) = (world.server(s, "web1").await, world.server(s, "web2").await);
    for minute in [13, 10, 12, 11] {
        traffic::add(s, server, &sample(minute, minute.unsigned_abs(), 1)).await.unwrap();
        traffic::add(s, other, &sample(minute, 7, 7)).await.unwrap();
    }
    let window = Window { from: Minute(11), to: Minute(13), step: Step::MINUTE };
    assert_eq!(traffic::list(s, server, &window, 100).await.unwrap(), [sample(11, 11, 1), sample(12, 12, 1)]);
    assert_eq!(traffic::list(s, server, &EVER, 2).await.unwrap(), [sample(10, 10, 1), sample(11, 11, 1)]);
    let nothing = Window { from: Minute(13), to: Minute(13), step: Step::MINUTE };
    assert_eq!(traffic::list(s, server, &nothing, 100).await.unwrap(), []);
}

async fn steps_add_minutes_up(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    // One more than a float of 64 bits can tell from its neighbour.
    let many = (1 << 53) + 1;
    for (minute, received) in [(59, 1), (60, many), (119, 2), (120, 4), (1440, 8)] {
        traffic::add(s, server, &sample(minute, received, 1)).await.unwrap();
    }
    let by = |word: &str| Window { step: Step::parse(word).unwrap(), ..EVER };
    let hours = traffic::list(s, server, &by("hour"), 100).await.unwrap();
    assert_eq!(hours, [sample(0, 1, 1), sample(60, many + 2, 2), sample(120, 4, 1), sample(1440, 8, 1)]);
    let days = traffic::list(s, server, &by("day"), 100).await.unwrap();
    assert_eq!(days, [sample(0, many + 7, 4), sample(1440, 8, 1)]);
    // What is outside the window is in no step of it.
    let window = Window { from: Minute(60), to: Minute(119), ..by("day") };
    assert_eq!(traffic::list(s, server, &window, 100).await.unwrap(), [sample(0, many, 1)]);
}

async fn bytes_of_one_minute_are_added_up(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    at_once(10, |_| {
        let s = db.store.clone();
        async move { traffic::add(&s, server, &sample(5, 3, 2)).await.unwrap() }
    })
    .await;
    assert_eq!(samples(s, server).await, [sample(5, 30, 20)]);
}

async fn what_a_counter_has_grown_by_is_counted_once(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    assert_eq!(record(s, server, &reading("", 9, 9), 0).await, sample(0, 0, 0));
    assert_eq!(record(s, server, &reading("a", 100, 10), 1).await, sample(1, 100, 10));
    assert_eq!(record(s, server, &reading("a", 100, 10), 2).await, sample(2, 0, 0));
    assert_eq!(record(s, server, &reading("a", 130, 10), 3).await, sample(3, 30, 0));
    assert_eq!(samples(s, server).await, [sample(1, 100, 10), sample(3, 30, 0)]);
    // A reading whose transaction does not come to its end was none.
    let tx = s.begin().await.unwrap();
    traffic::record(&tx, server, &reading("a", 200, 20), Minute(4), at(4)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(record(s, server, &reading("a", 200, 20), 5).await, sample(5, 70, 10));
    assert_eq!(samples(s, server).await.len(), 3);
}

async fn every_epoch_counts_from_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    record(s, server, &reading("a", 100, 10), 1).await;
    record(s, server, &reading("b", 40, 4), 2).await;
    // Somebody who had looked before the restart is late with the last of the old epoch.
    record(s, server, &reading("a", 105, 10), 3).await;
    record(s, server, &reading("b", 41, 4), 4).await;
    let total: u64 = samples(s, server).await.iter().map(|it| it.received_bytes).sum();
    assert_eq!(total, 105 + 41);
}

async fn a_reading_that_was_overtaken_adds_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    record(s, server, &reading("a", 100, 10), 1).await;
    assert_eq!(record(s, server, &reading("a", 90, 12), 2).await, sample(2, 0, 2));
    assert_eq!(record(s, server, &reading("a", 100, 12), 3).await, sample(3, 0, 0));
}

async fn readers_at_once_count_every_byte_once(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    at_once(12, |reader| {
        let s = db.store.clone();
        async move {
            for look in 1..=10 {
                let bytes = look * 100 + reader as u64;
                record(&s, server, &reading(&format!("epoch {}", look % 2), bytes, bytes), 1).await;
            }
        }
    })
    .await;
    // Each epoch's highest counter: looks 9 and 10 of the last reader.
    let bytes = (900 + 11) + (1000 + 11);
    assert_eq!(samples(s, server).await, [sample(1, bytes, bytes)]);
}

async fn what_was_seen_is_told_for_the_servers_of_a_node(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, gone) = (world.server(s, "web1").await, world.server(s, "web2").await);
    record(s, server, &reading("a", 100, 10), 1).await;
    record(s, gone, &reading("b", 1, 1), 1).await;
    servers::bury(s, gone, at(2)).await.unwrap();
    assert_eq!(traffic::seen_on(s, world.node).await.unwrap(), [(server, reading("a", 100, 10))]);
}

async fn counters_that_nobody_will_read_again_are_forgotten(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, gone) = (world.server(s, "web1").await, world.server(s, "web2").await);
    for (minute, epoch) in [(1, "a"), (2, "b"), (3, "c")] {
        record(s, server, &reading(epoch, 100, 10), minute).await;
    }
    record(s, gone, &reading("a", 100, 10), 1).await;
    servers::bury(s, gone, at(5)).await.unwrap();
    let left = async || {
        let sql = "SELECT epoch FROM traffic_counter ORDER BY server_id, epoch";
        let rows = s.all(sql, vec![]).await.unwrap();
        rows.iter().map(|row| row.text("epoch").unwrap()).collect::<Vec<_>>()
    };
    // The one that still counts is kept, however long nothing has moved.
    assert_eq!(traffic::sweep(s, at(3), 10).await.unwrap(), 1);
    assert_eq!(left().await, ["b", "c", "a"]);
    assert_eq!(traffic::sweep(s, at(9), 1).await.unwrap(), 1);
    assert_eq!(traffic::sweep(s, at(9), 10).await.unwrap(), 1);
    assert_eq!(traffic::sweep(s, at(9), 10).await.unwrap(), 0);
    assert_eq!(left().await, ["c"]);
    assert_eq!(record(s, server, &reading("c", 100, 10), 10).await, sample(10, 0, 0));
    assert_eq!(samples(s, server).await.len(), 3, "the samples themselves stay");
}
