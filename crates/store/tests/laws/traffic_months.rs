//! Laws of traffic by months, and of rolling its samples up.

use crate::databases::{Db, at, laws};
use crate::world::{World, at_once};
use bulut_model::traffic::{Minute, Reading, Sample, Step, Window};
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB, Month};
use bulut_model::{ServerId, Timestamp};
use bulut_store::{Session, Store, operations, servers, traffic, traffic_months};

laws! {
    both:
    a_month_has_the_bytes_of_its_own_minutes
    what_is_counted_stands_in_minute_and_month_or_in_neither
    old_minutes_are_rolled_up_and_no_byte_is_lost
    two_who_roll_up_at_once_lose_and_double_nothing
    forgotten_samples_leave_the_month_as_it_is
    servers_beyond_their_packages_traffic_are_found_where_it_says_stop
    a_month_is_listed_by_what_was_moved;
}

const EVER: Window = Window { from: Minute(0), to: Minute(i64::MAX / 60), step: Step::MINUTE };

fn minute(text: &str) -> i64 {
    Minute::of(Timestamp::from_wire(text).unwrap()).0
}

async fn add(s: &impl Session, server: ServerId, minute: i64, received_bytes: u64, sent_bytes: u64) {
    let sample = Sample { minute: Minute(minute), received_bytes, sent_bytes };
    traffic::add(s, server, &sample).await.unwrap();
}

async fn used(s: &Store, server: ServerId, month: &str) -> (u64, u64) {
    let found = traffic_months::find(s, server, Month::parse(month).unwrap()).await.unwrap().unwrap();
    (found.received_bytes, found.sent_bytes)
}

async fn samples(s: &Store, server: ServerId) -> Vec<(i64, u64, u64)> {
    let listed = traffic::list(s, server, &EVER, 100_000).await.unwrap();
    listed.iter().map(|it| (it.minute.0, it.received_bytes, it.sent_bytes)).collect()
}

async fn roll_up(s: &Store, from: i64, to: i64, step: i64) -> u64 {
    let tx = s.begin().await.unwrap();
    let rolled = traffic::roll_up(&tx, Minute(from), Minute(to), step, 100).await.unwrap();
    tx.commit().await.unwrap();
    rolled
}

async fn a_month_has_the_bytes_of_its_own_minutes(db: Db) {
    let s = &db.store;
    let server = World::new(s).await.server(s, "web1").await;
    for (minutes, bytes) in [
        ("2028-01-31T23:59:00Z", 1),
        ("2028-02-01T00:00:00Z", 10),
        ("2028-02-29T23:59:00Z", 100),
        ("2028-03-01T00:00:00Z", 1000),
    ] {
        add(s, server, minute(minutes), bytes, 2 * bytes).await;
    }
    assert_eq!(used(s, server, "2028-01").await, (1, 2));
    assert_eq!(used(s, server, "2028-02").await, (110, 220));
    assert_eq!(used(s, server, "2028-03").await, (1000, 2000));
    assert_eq!(used(s, server, "2028-04").await, (0, 0));
    assert_eq!(traffic_months::find(s, ServerId(99), Month(0)).await.unwrap(), None);
}

async fn what_is_counted_stands_in_minute_and_month_or_in_neither(db: Db) {
    let s = &db.store;
    let server = World::new(s).await.server(s, "web1").await;
    let at_minute = minute("2028-02-29T23:59:00Z");
    let reading = |epoch: &str, bytes| Reading {
        epoch: epoch.into(),
        received_bytes: bytes,
        sent_bytes: bytes,
        forged_frames: 0,
    };
    for (epoch, bytes, keep) in [("a", 100, true), ("a", 150, false), ("a", 160, true), ("b", 5, true)] {
        let tx = s.begin().await.unwrap();
        traffic::record(&tx, server, &reading(epoch, bytes), Minute(at_minute), at(0)).await.unwrap();
        if keep { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    assert_eq!(used(s, server, "2028-02").await, (165, 165));
    assert_eq!(samples(s, server).await, [(at_minute, 165, 165)]);
}

async fn old_minutes_are_rolled_up_and_no_byte_is_lost(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, other) = (world.server(s, "web1").await, world.server(s, "web2").await);
    // More than one batch of hours: 120 hours of every second minute, for two servers.
    let tx = s.begin().await.unwrap();
    for minute in (0..120 * 60).step_by(2) {
        add(&tx, server, minute, 1, (1 << 40) + 1).await;
    }
    for minute in [61, 62, 7199] {
        add(&tx, other, minute, 5, 7).await;
    }
    tx.commit().await.unwrap();
    // All but the last day.
    assert_eq!(roll_up(s, 0, 96 * 60, 60).await, 97);
    while roll_up(s, 0, 96 * 60, 60).await > 0 {}
    let rolled = samples(s, server).await;
    assert_eq!(rolled.len(), 96 + 24 * 30);
    assert!(rolled[..96].iter().zip(0..).all(|(it, hour)| *it == (hour * 60, 30, 30 * ((1 << 40) + 1))));
    assert_eq!(samples(s, other).await, [(60, 10, 14), (7199, 5, 7)]);
    // The first two days once more, into days; what is rolled up already is left alone.
    assert_eq!(roll_up(s, 0, 48 * 60, 1440).await, 3);
    assert_eq!(roll_up(s, 0, 48 * 60, 1440).await, 0);
    let rolled = samples(s, server).await;
    assert_eq!(rolled[..3].iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1440, 2880]);
    assert_eq!(samples(s, other).await, [(0, 10, 14), (7199, 5, 7)]);
    assert_eq!(rolled.iter().map(|it| it.1).sum::<u64>(), 3600);
    assert_eq!(rolled.iter().map(|it| it.2).sum::<u64>(), 3600 * ((1 << 40) + 1));
    assert_eq!(used(s, server, "1970-01").await, (3600, 3600 * ((1 << 40) + 1)));
}

async fn two_who_roll_up_at_once_lose_and_double_nothing(db: Db) {
    let s = &db.store;
    let server = World::new(s).await.server(s, "web1").await;
    let tx = s.begin().await.unwrap();
    for minute in 0..600 {
        add(&tx, server, minute, 1, 1).await;
    }
    tx.commit().await.unwrap();
    at_once(4, |i| {
        let s = db.store.clone();
        // Some are a step ahead of the others, and one is late with a byte.
        let step = if i < 2 { 60 } else { 120 };
        async move {
            if i == 3 {
                add(&s, server, 30, 1, 1).await;
            }
            let tx = s.begin().await.unwrap();
            // A deadlock's victim is undone as a whole, and looks again in an hour.
            if traffic::roll_up(&tx, Minute(0), Minute(600), step, 100).await.is_ok() {
                tx.commit().await.unwrap();
            }
        }
    })
    .await;
    while roll_up(s, 0, 600, 120).await > 0 {}
    let expected: Vec<_> = (0..5).map(|i| (i * 120, if i == 0 { 121 } else { 120 })).collect();
    assert_eq!(samples(s, server).await.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(), expected);
}

async fn forgotten_samples_leave_the_month_as_it_is(db: Db) {
    let s = &db.store;
    let server = World::new(s).await.server(s, "web1").await;
    for minute in 0..5 {
        add(s, server, minute, 1, 2).await;
    }
    assert_eq!(traffic::forget_samples(s, Minute(3), 2).await.unwrap(), 2);
    assert_eq!(traffic::forget_samples(s, Minute(3), 2).await.unwrap(), 1);
    assert_eq!(traffic::forget_samples(s, Minute(3), 2).await.unwrap(), 0);
    assert_eq!(samples(s, server).await, [(3, 1, 2), (4, 1, 2)]);
    assert_eq!(used(s, server, "1970-01").await, (5, 10));
}

async fn servers_beyond_their_packages_traffic_are_found_where_it_says_stop(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let sql = "UPDATE server SET phase = 'ready', power = 'running' WHERE id = $1";
    s.execute(sql, vec![server.0.into()]).await.unwrap();
    let month = Month(0);
    let found = async || traffic_months::list_to_stop(s, world.node, month, 10).await.unwrap();
    // The package includes 2 TB, in both directions together.
    add(s, server, 0, BYTES_PER_TB, BYTES_PER_TB - 1).await;
    assert!(traffic_months::set_at_limit(s, "eos1", AtLimit::Stop).await.unwrap());
    assert!(!traffic_months::set_at_limit(s, "none", AtLimit::Stop).await.unwrap());
    assert_eq!(found().await, []);
    add(s, server, 1, 0, 1).await;
    assert_eq!(found().await, [(server, world.account)]);
    assert!(traffic_months::find(s, server, month).await.unwrap().unwrap().must_stop());
    assert_eq!(traffic_months::list_to_stop(s, world.node, month.next(), 10).await.unwrap(), []);
    traffic_months::set_allowed(s, server, month, true).await.unwrap();
    assert_eq!(found().await, []);
    traffic_months::set_allowed(s, server, month, false).await.unwrap();
    let operation = world.operation(s, server, at(0)).await;
    assert_eq!(found().await, [], "an operation holds it");
    s.execute("UPDATE operation SET status = 1 WHERE id = $1", vec![operation.0.into()]).await.unwrap();
    assert_eq!(operations::unfinished(s).await.unwrap(), []);
    assert_eq!(found().await, [(server, world.account)]);
    traffic_months::set_at_limit(s, "eos1", AtLimit::Nothing).await.unwrap();
    assert_eq!(found().await, []);
    traffic_months::set_at_limit(s, "eos1", AtLimit::Stop).await.unwrap();
    servers::bury(s, server, at(0)).await.unwrap();
    assert_eq!(found().await, []);
}

async fn a_month_is_listed_by_what_was_moved(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let servers = world.servers(s, 3).await;
    add(s, servers[0], 0, 1, 1).await;
    add(s, servers[1], 0, 1, 9).await;
    let lines = traffic_months::list(s, Month(0)).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.server).collect::<Vec<_>>(), [servers[1], servers[0]]);
    let line = &lines[0];
    assert_eq!(
        (line.name.as_str(), line.account.as_str(), line.package.as_str()),
        ("web1", "alice@example.com", "eos1")
    );
    assert_eq!((line.used.total_bytes(), line.used.traffic_tb, line.stopped_at), (10, 2, None));
    traffic_months::set_stopped(s, servers[1], Month(0), at(7)).await.unwrap();
    assert_eq!(traffic_months::list(s, Month(0)).await.unwrap()[0].stopped_at, Some(at(7)));
    assert_eq!(traffic_months::list(s, Month(1)).await.unwrap(), []);
    servers::bury(s, servers[1], at(9)).await.unwrap();
    let lines = traffic_months::list(s, Month(0)).await.unwrap();
    let gone: Vec<_> = lines.iter().map(|line| (line.server, line.destroyed_at)).collect();
    assert_eq!(gone, [(servers[1], Some(at(9))), (servers[0], None)]);
    assert_eq!(traffic_months::at_limits(s).await.unwrap(), [("eos1".to_owned(), 2, AtLimit::Nothing)]);
}
