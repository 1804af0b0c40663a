//! Traffic as it is told, and how it is counted.

use super::get;
use bulut::reconcile;
use bulut_model::ServerId;
use bulut_model::traffic::{Minute, Sample};
use bulut_store::traffic;
use bulut_testkit::cloud::BEGINNING;
use bulut_testkit::{Customer, Database, TestCloud};
use serde_json::{Value, json};
use std::time::Duration;

/// 2026-01-01T00:00:00Z, at which every cloud of a test begins.
const T0: i64 = 1_767_225_600;
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a simulated guest takes to move a byte.
const PATIENCE: Duration = Duration::from_secs(30);

async fn moved(cloud: &TestCloud, server: i64, minute: i64, received_bytes: u64, sent_bytes: u64) {
    let sample = Sample { minute: Minute(Minute::of(BEGINNING).0 + minute), received_bytes, sent_bytes };
    traffic::add(cloud.app().store(), ServerId(server), &sample).await.unwrap();
}

#[tokio::test]
async fn usage_is_the_documents_in_exact_kib() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v1/usage/list?id={server}");
    assert_eq!(get(&alice, &path).await, json!({"incoming": [], "outgoing": []}));
    // The document's own amounts.
    moved(&cloud, server, -1, 128_088, 6_960).await;
    moved(&cloud, server, -2, 1024, 0).await;
    let answer = alice.send("GET", &path, "").await;
    assert_eq!(
        answer.text,
        format!(
            "{{\"status\":\"success\",\"data\":{{\"incoming\":[[1,{0}],[125.0859375,{1}]],\
             \"outgoing\":[[0,{0}],[6.796875,{1}]]}},\"message\":null}}",
            T0 - 120,
            T0 - 60
        )
    );
}

#[tokio::test]
async fn from_to_and_step_narrow_and_roll_up() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    for minute in [-3000, -1441, -1440, -61, -60, -59, -2, -1, 0] {
        moved(&cloud, server, minute, 1024, 2048).await;
    }
    let incoming = async |query: &str| {
        let answer = get(&alice, &format!("/v1/usage/list?id={server}{query}")).await;
        let (incoming, outgoing) = (answer["incoming"].clone(), answer["outgoing"].clone());
        let doubled = |point: &Value| json!([point[0].as_i64().unwrap() * 2, point[1]]);
        let expected: Vec<Value> = incoming.as_array().unwrap().iter().map(doubled).collect();
        assert_eq!(outgoing, Value::from(expected), "{query}");
        incoming
    };
    let points = |minutes: &[(i64, i64)]| {
        Value::from(minutes.iter().map(|(kib, minute)| json!([kib, T0 + minute * 60])).collect::<Vec<_>>())
    };
    // The last day; this minute has not ended, but only what begins before now is asked for.
    let day = points(&[(1, -1440), (1, -61), (1, -60), (1, -59), (1, -2), (1, -1)]);
    assert_eq!(incoming("").await, day);
    assert_eq!(incoming("&from=&to=&step=").await, day);
    assert_eq!(incoming("&step=60").await, day);
    assert_eq!(incoming(&format!("&from={}", T0 - 120)).await, points(&[(1, -2), (1, -1)]));
    assert_eq!(incoming("&from=2025-12-31T23:58:00Z").await, points(&[(1, -2), (1, -1)]));
    // A minute is asked for when it begins in the span.
    assert_eq!(incoming(&format!("&from={}", T0 - 119)).await, points(&[(1, -1)]));
    assert_eq!(
        incoming(&format!("&to={}", T0 + 1)).await.as_array().unwrap().last(),
        points(&[(1, 0)]).get(0)
    );
    let both = "&from=2025-12-31T22:59:00Z&to=2025-12-31T23:00:00Z";
    assert_eq!(incoming(both).await, points(&[(1, -61)]));
    assert_eq!(incoming("&to=2025-12-31T00:00:00Z").await, points(&[(1, -1441)]));
    assert_eq!(incoming(&format!("&from={T0}&to={T0}")).await, json!([]));
    let hours = points(&[(1, -1440), (1, -120), (4, -60)]);
    assert_eq!(incoming("&step=hour").await, hours);
    assert_eq!(incoming("&step=3600").await, hours);
    let days = points(&[(1, -4320), (1, -2880), (6, -1440)]);
    assert_eq!(incoming("&from=0&step=day").await, days);
    // Half a day is in the sum of its day, no more.
    assert_eq!(incoming("&from=2025-12-31T23:00:00Z&step=day").await, points(&[(4, -1440)]));
}

#[tokio::test]
async fn nonsense_is_refused_by_its_name() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    for (query, word) in [
        ("&from=1767225601", "from"),
        ("&from=2027-01-01T00:00:00Z", "from"),
        ("&from=20&to=10", "from"),
        ("&from=yesterday", "from"),
        ("&to=-1", "to"),
        ("&to=253402300800", "to"),
        ("&to=2026-02-30T00:00:00Z", "to"),
        ("&step=week", "step"),
        ("&step=90", "step"),
        ("&step=0", "step"),
    ] {
        let answer = alice.send("GET", &format!("/v1/usage/list?id={server}{query}"), "").await;
        let sentence = answer.refusal(400);
        assert!(sentence.contains(&format!("parameter {word} ")), "{query}: {sentence}");
        assert_eq!(answer.word(), "validation");
    }
}

#[tokio::test]
async fn more_points_than_an_answer_holds_are_refused_and_a_longer_step_is_not() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let tx = cloud.app().store().begin().await.unwrap();
    for minute in 0..10_000 {
        let minute = Minute(Minute::of(BEGINNING).0 - 1 - minute);
        let sample = Sample { minute, received_bytes: 1024, sent_bytes: 1024 };
        traffic::add(&tx, ServerId(server), &sample).await.unwrap();
    }
    tx.commit().await.unwrap();
    let path = format!("/v1/usage/list?id={server}&from=0");
    assert_eq!(get(&alice, &path).await["incoming"].as_array().unwrap().len(), 10_000);
    moved(&cloud, server, -20_000, 1024, 1024).await;
    let sentence = alice.send("GET", &path, "").await.refusal(400);
    assert!(sentence.contains("parameter step ") && sentence.contains("10000"), "{sentence}");
    let days = get(&alice, &format!("{path}&step=day")).await;
    assert_eq!(days["outgoing"].as_array().unwrap().len(), 8);
    let everything = get(&alice, &format!("{path}&step=day&to=253402300799")).await;
    assert_eq!(everything, days);
}

/// KiB that the API tells of a server, in bytes: received and sent.
async fn told(customer: &Customer<'_>, server: i64) -> (u64, u64) {
    let answer =
        get(customer, &format!("/v1/usage/list?id={server}&from=2025-12-31T00:00:00Z&step=day")).await;
    let bytes = |direction: &Value| {
        let kib: f64 = direction.as_array().unwrap().iter().map(|point| point[0].as_f64().unwrap()).sum();
        (kib * 1024.0) as u64
    };
    (bytes(&answer["incoming"]), bytes(&answer["outgoing"]))
}

/// Waits until the guest has moved more bytes than it had.
async fn works(cloud: &TestCloud, server: i64) {
    let driver = cloud.app().driver(cloud.node()).unwrap();
    let counters = async || {
        let usage = driver.usage(ServerId(server)).await.unwrap();
        (usage.received_bytes, usage.sent_bytes)
    };
    let before = counters().await;
    let wait = async {
        loop {
            let now = counters().await;
            if now.0 > before.0 && now.1 > before.1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

async fn every_byte_is_counted_once(database: Database) {
    let mut cloud = TestCloud::on(database).await;
    let account = cloud.customer("alice").await.account;
    let server = cloud.sign_in(&account).await.running_server("web1").await;
    let mut ended = (0, 0);
    let mut epochs = std::collections::BTreeSet::new();
    for round in 0..3 {
        for _ in 0..3 {
            works(&cloud, server).await;
            cloud.app().clock().advance(MINUTE);
            reconcile::traffic::sample(cloud.app()).await;
            // Once more is once too often, and changes nothing.
            reconcile::traffic::sample(cloud.app()).await;
        }
        works(&cloud, server).await;
        if round == 1 {
            // The control plane dies; the guest works on.
            cloud.restart().await;
            works(&cloud, server).await;
        }
        let alice = cloud.sign_in(&account).await;
        // What it moves between the last sample and its end is counted when it has stopped, although it is started
        // again before the minute is over.
        alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
        cloud.run_until_idle().await;
        let driver = cloud.app().driver(cloud.node()).unwrap();
        let last = driver.usage(ServerId(server)).await.unwrap();
        assert!(epochs.insert(last.epoch), "every start is another epoch");
        ended = (ended.0 + last.received_bytes, ended.1 + last.sent_bytes);
        alice.send("POST", &format!("/v1/server/{server}/start"), "").await.data();
        cloud.run_until_idle().await;
    }
    let alice = cloud.sign_in(&account).await;
    alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
    cloud.run_until_idle().await;
    let driver = cloud.app().driver(cloud.node()).unwrap();
    let last = driver.usage(ServerId(server)).await.unwrap();
    ended = (ended.0 + last.received_bytes, ended.1 + last.sent_bytes);
    cloud.app().clock().advance(MINUTE);
    reconcile::traffic::sample(cloud.app()).await;
    cloud.app().clock().advance(MINUTE);
    assert!(ended.0 > 0 && ended.1 > 0);
    assert_eq!(told(&alice, server).await, ended);
}

#[tokio::test]
async fn every_byte_is_counted_once_over_restarts_of_guest_and_control_plane_on_sqlite() {
    every_byte_is_counted_once(Database::Sqlite).await;
}

#[tokio::test]
async fn every_byte_is_counted_once_over_restarts_of_guest_and_control_plane_on_postgresql() {
    every_byte_is_counted_once(Database::Postgres).await;
}

#[tokio::test]
async fn a_sample_belongs_to_the_minute_that_has_ended() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    works(&cloud, server).await;
    cloud.app().clock().advance(MINUTE + Duration::from_millis(300));
    reconcile::traffic::sample(cloud.app()).await;
    let usage = get(&alice, &format!("/v1/usage/list?id={server}")).await;
    let minutes: Vec<&Value> = usage["incoming"].as_array().unwrap().iter().map(|point| &point[1]).collect();
    assert_eq!(minutes, [T0]);
}
