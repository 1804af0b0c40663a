//! Traffic by months: exact over the ends of months, restarts and gaps; and what happens when it is used up.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::domain::traffic as verbs;
use bulut::faults::Fault;
use bulut::reconcile::traffic as reconciler;
use bulut_compute::Usage;
use bulut_model::traffic::{Minute, Sample};
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB, Month, MonthUse};
use bulut_model::{ServerId, Timestamp};
use bulut_store::{servers, traffic, traffic_months};
use bulut_testkit::{Customer, Database, TestCloud};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More than a simulated guest moves by itself while a test runs.
const NOISE: u64 = 1 << 30;
/// A portion of traffic that stands out of that.
const PORTION: u64 = 100 * NOISE;

/// Moves the clock to this time.
fn go_to(cloud: &TestCloud, time: &str) {
    let now = cloud.app().clock().now();
    let then = Timestamp::from_wire(time).unwrap();
    assert!(then >= now, "the clock is at {} already", now.wire());
    cloud.app().clock().advance(then.since(now));
}

/// The guest moves so much, beside what it moves by itself.
fn moves(cloud: &TestCloud, server: i64, received_bytes: u64, sent_bytes: u64) {
    let nothing = Usage {
        epoch: String::new(),
        cpu_us: 0,
        memory_bytes: 0,
        received_bytes: 0,
        sent_bytes: 0,
        forged_frames: 0,
        disk_bytes: 0,
    };
    cloud.world().add_usage(ServerId(server), &Usage { received_bytes, sent_bytes, ..nothing });
}

async fn used(cloud: &TestCloud, server: i64, month: &str) -> MonthUse {
    let month = Month::parse(month).unwrap();
    traffic_months::find(cloud.app().store(), ServerId(server), month).await.unwrap().unwrap()
}

fn portions(bytes: u64) -> u64 {
    assert!(bytes % PORTION < NOISE, "{bytes} bytes are no whole portions");
    bytes / PORTION
}

async fn power(customer: &Customer<'_>, server: i64, verb: &str) -> i64 {
    let answer = customer.send("POST", &format!("/v1/server/{server}/{verb}"), "").await;
    answer.data()["event_id"].as_i64().unwrap()
}

async fn state(customer: &Customer<'_>) -> String {
    customer.servers().await[0]["state"].as_str().unwrap().to_owned()
}

async fn months_are_exact(database: Database) {
    let mut cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    let mut ended = (0, 0);
    for (time, received, sent) in [
        ("2026-01-31T23:59:00Z", 1, 2),
        // What is read at midnight was moved before it.
        ("2026-02-01T00:00:00Z", 1, 2),
        ("2026-02-01T00:01:00Z", 3, 1),
        // Minutes are missing from here on: whatever was moved stands in the last of them.
        ("2026-03-01T00:00:00Z", 2, 2),
        ("2028-02-29T00:00:00Z", 5, 1),
        ("2028-02-29T12:00:00Z", 1, 1),
        ("2028-03-01T00:00:00Z", 1, 1),
        ("2028-03-01T00:01:00Z", 7, 1),
    ] {
        go_to(&cloud, time);
        moves(&cloud, server, received * PORTION, sent * PORTION);
        if time.contains("12:00") || time.contains("2026-02-01T00:01") {
            // The control plane dies before it has looked, and the machine is started again: another epoch.
            cloud.restart().await;
            let alice = cloud.sign_in(&account).await;
            power(&alice, server, "stop").await;
            cloud.run_until_idle().await;
            let last = cloud.app().driver(cloud.node()).unwrap().usage(ServerId(server)).await.unwrap();
            ended = (ended.0 + last.received_bytes, ended.1 + last.sent_bytes);
            power(&alice, server, "start").await;
            cloud.run_until_idle().await;
        }
        reconciler::sample(cloud.app()).await;
        reconciler::sample(cloud.app()).await;
    }
    let alice = cloud.sign_in(&account).await;
    power(&alice, server, "stop").await;
    cloud.run_until_idle().await;
    let last = cloud.app().driver(cloud.node()).unwrap().usage(ServerId(server)).await.unwrap();
    ended = (ended.0 + last.received_bytes, ended.1 + last.sent_bytes);

    let mut total = (0, 0);
    for (month, expected) in [
        ("2026-01", (2, 4)),
        ("2026-02", (5, 3)),
        ("2026-03", (0, 0)),
        ("2028-02", (7, 3)),
        ("2028-03", (7, 1)),
    ] {
        let used = used(&cloud, server, month).await;
        assert_eq!((portions(used.received_bytes), portions(used.sent_bytes)), expected, "{month}");
        total = (total.0 + used.received_bytes, total.1 + used.sent_bytes);
    }
    assert_eq!(total, ended, "every byte is in one month");
}

#[tokio::test]
async fn months_are_exact_over_their_ends_restarts_and_missing_minutes_on_sqlite() {
    months_are_exact(Database::Sqlite).await;
}

#[tokio::test]
async fn months_are_exact_over_their_ends_restarts_and_missing_minutes_on_postgresql() {
    months_are_exact(Database::Postgres).await;
}

/// The traffic of the month is used up, to the byte, and looked at.
async fn use_up(cloud: &TestCloud, server: i64) {
    let id = ServerId(server);
    let included = servers::find(cloud.app().store(), id).await.unwrap().unwrap().traffic_tb * BYTES_PER_TB;
    moves(cloud, server, included / 2, included - included / 2);
    cloud.app().clock().advance(MINUTE);
    reconciler::sample(cloud.app()).await;
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
}

async fn events(customer: &Customer<'_>) -> Vec<(String, i64)> {
    let events = customer.send("GET", "/v1/event/list", "").await.data();
    let word = |event: &serde_json::Value| {
        let kind = event["action"].as_str().or_else(|| event["event"].as_str());
        (kind.unwrap_or_default().to_owned(), event["status"].as_i64().unwrap())
    };
    events.as_array().unwrap().iter().map(word).collect()
}

/// What its owner is told of the limit.
async fn limit(customer: &Customer<'_>, server: i64) -> serde_json::Value {
    customer.send("GET", &format!("/v2/servers/{server}"), "").await.json()["traffic_limit"].clone()
}

async fn a_used_up_server_is_stopped(database: Database) {
    let cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    verbs::set_at_limit(cloud.app(), "eos1", AtLimit::Stop).await.unwrap();
    let before = events(&alice).await.len();
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    assert_eq!(events(&alice).await.len(), before, "it has moved next to nothing");
    assert_eq!(limit(&alice, server).await, serde_json::Value::Null);

    use_up(&cloud, server).await;
    assert_eq!(state(&alice).await, "Stopped");
    let seen = events(&alice).await;
    assert_eq!(seen.len(), before + 1, "its owner sees the event");
    assert_eq!(seen.last().unwrap().1, 1);
    let (_, lines) = verbs::month(cloud.app(), None).await.unwrap();
    assert!(lines[0].used.must_stop());
    let held = limit(&alice, server).await;
    let since = lines[0].stopped_at.unwrap().wire();
    assert_eq!(held, serde_json::json!({"action": "stop", "since": since, "until": "2026-02-01T00:00:00Z"}));
    let all = alice.send("GET", "/v1/event/list", "").await.data();
    let message = all[before]["message"].as_str().unwrap();
    assert!(
        message.contains("traffic") && message.contains("stopped until 2026-02-01T00:00:00Z"),
        "{message}"
    );

    for verb in ["start", "reboot"] {
        let refusal = alice.send("POST", &format!("/v1/server/{server}/{verb}"), "").await;
        let sentence = refusal.refusal(403);
        assert!(
            sentence.contains("TB of traffic") && sentence.contains("2026-02-01T00:00:00Z"),
            "{sentence}"
        );
    }
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    assert_eq!(events(&alice).await.len(), before + 1, "it is not stopped twice");

    // The operator allows it more, until the month is over.
    verbs::set_allowed(cloud.app(), ServerId(server), true).await.unwrap();
    power(&alice, server, "start").await;
    cloud.run_until_idle().await;
    moves(&cloud, server, PORTION, PORTION);
    cloud.app().clock().advance(MINUTE);
    reconciler::sample(cloud.app()).await;
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Running");
    assert_eq!(limit(&alice, server).await, serde_json::Value::Null);
    // Taken back, it is stopped again.
    verbs::set_allowed(cloud.app(), ServerId(server), false).await.unwrap();
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Stopped");

    // The next month begins anew, and ends as it did.
    go_to(&cloud, "2026-02-01T00:00:00Z");
    let alice = cloud.sign_in(&account).await;
    assert_eq!(limit(&alice, server).await, serde_json::Value::Null, "it may be started");
    power(&alice, server, "start").await;
    cloud.run_until_idle().await;
    cloud.app().clock().advance(MINUTE);
    reconciler::sample(cloud.app()).await;
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Running");
    use_up(&cloud, server).await;
    assert_eq!(state(&alice).await, "Stopped");

    // A larger package lets it run, although it stops servers as well.
    verbs::set_at_limit(cloud.app(), "eos3", AtLimit::Stop).await.unwrap();
    let form = "package=eos3&type=flexible";
    alice.send("POST", &format!("/v1/server/{server}/upgrade_package"), form).await.data();
    cloud.run_until_idle().await;
    power(&alice, server, "start").await;
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Running");
}

#[tokio::test]
async fn a_used_up_server_stays_stopped_until_the_next_month_on_sqlite() {
    a_used_up_server_is_stopped(Database::Sqlite).await;
}

#[tokio::test]
async fn a_used_up_server_stays_stopped_until_the_next_month_on_postgresql() {
    a_used_up_server_is_stopped(Database::Postgres).await;
}

#[tokio::test]
async fn nothing_happens_at_the_limit_unless_the_package_says_so() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    use_up(&cloud, server).await;
    assert_eq!(state(&alice).await, "Running");
    assert!(used(&cloud, server, "2026-01").await.is_used_up());
    power(&alice, server, "reboot").await;
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_control_plane_that_dies_while_it_stops_a_server_stops_it_after_its_restart() {
    let mut cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    verbs::set_at_limit(cloud.app(), "eos1", AtLimit::Stop).await.unwrap();
    cloud.fault("server_stop.stop_machine.before", Fault::Die, 1);
    use_up(&cloud, server).await;
    cloud.restart().await;
    cloud.run_until_idle().await;
    let alice = cloud.sign_in(&account).await;
    assert_eq!(state(&alice).await, "Stopped");
}

#[tokio::test]
async fn a_server_that_something_else_holds_is_stopped_by_a_later_look() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    verbs::set_at_limit(cloud.app(), "eos1", AtLimit::Stop).await.unwrap();
    power(&alice, server, "reboot").await;
    moves(&cloud, server, BYTES_PER_TB * 100, 0);
    cloud.app().clock().advance(MINUTE);
    reconciler::sample(cloud.app()).await;
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Running", "the reboot was first");
    reconciler::hold_to_limits(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(state(&alice).await, "Stopped");
}

#[tokio::test]
async fn old_traffic_is_rolled_up_and_forgotten_and_its_sums_are_not() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    power(&alice, server, "stop").await;
    cloud.run_until_idle().await;
    let store = cloud.app().store();
    let begin = Minute::of(cloud.app().clock().now()).0;
    // Two hours of minutes, on each of three days.
    let tx = store.begin().await.unwrap();
    for day in [0, 1, 58] {
        for minute in 0..120 {
            let minute = Minute(begin + day * 1440 + 600 + minute);
            let sample = Sample { minute, received_bytes: 1024, sent_bytes: 2048 };
            traffic::add(&tx, ServerId(server), &sample).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    cloud.app().clock().advance(DAY);
    let first = used(&cloud, server, "2026-01").await;
    let points = async || {
        reconciler::roll_up(cloud.app()).await.unwrap();
        let alice = cloud.sign_in(&account).await;
        let query =
            format!("/v1/usage/list?id={server}&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&step=3600");
        let usage = alice.send("GET", &query, "").await.data();
        let sum = |direction: &str| -> f64 {
            usage[direction].as_array().unwrap().iter().map(|point| point[0].as_f64().unwrap()).sum()
        };
        let hours = usage["incoming"].as_array().unwrap().len();
        (hours, sum("incoming").round() as u64, sum("outgoing").round() as u64)
    };
    let all = points().await;
    assert!(all.1 >= 240 && all.2 >= 480, "{all:?}");
    // The first two days are hours by now: nothing of what is told by the hour has changed.
    cloud.app().clock().advance(DAY * 9);
    assert_eq!(points().await, all);
    // And now days: two hours of each became one point.
    cloud.app().clock().advance(DAY * 52);
    let days = points().await;
    assert!(days.0 < all.0, "{days:?} {all:?}");
    assert_eq!((days.1, days.2), (all.1, all.2), "no byte is lost");
    // A year later they are gone, and the month is what it was.
    cloud.app().clock().advance(DAY * 366);
    assert_eq!(points().await, (0, 0, 0));
    assert_eq!(used(&cloud, server, "2026-01").await, first);
    assert!(first.received_bytes >= 240 * 1024);
}
