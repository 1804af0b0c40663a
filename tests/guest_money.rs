//! A real guest for real minutes under the real clock: what is charged is how long it ran.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_model::interval::State;
use bulut_model::rating;
use bulut_model::traffic_month::Month;
use bulut_model::{Micros, ServerId, Timestamp};
use bulut_store::{Store, accounts, intervals};
use bulut_testkit::program::{EMAIL, Program, eventually};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(240);
/// How long the guest runs, seconds: what it says itself.
const RUNS_FOR: f64 = 65.0;

/// When the event ended, and how long it took at most, seconds.
async fn ended(cloud: &Program, event: &serde_json::Value) -> (i64, i64) {
    cloud.succeeded(event).await;
    let event = cloud.data("GET", &format!("/v1/event/{}", event["event_id"]), &[]).await;
    let second = |name: &str| Timestamp::from_wire(event[name].as_str().unwrap()).unwrap().unix_seconds();
    (second("created_at"), second("completed_at"))
}

#[tokio::test]
async fn a_guest_that_ran_for_a_minute_is_charged_for_that_minute() {
    let cloud = Program::start(BINARY, "tiny", None, &[("BULUT_NETWORKING", "user")]).await;
    let fingerprint = cloud.add_key().await;
    let (id, ordered) = cloud.order("tiny", &[("ssh_keys", &fingerprint)]).await;
    let (_, runs_from) = ended(&cloud, &ordered).await;
    let uptime = async || -> f64 {
        let said = cloud.says(id, "cat /proc/uptime", BOOT).await;
        said.split_whitespace().next().unwrap().parse().unwrap()
    };
    let up = eventually("a minute of the guest's own", BOOT, || async {
        Some(uptime().await).filter(|seconds| *seconds > RUNS_FOR)
    })
    .await;
    let stop = cloud.data("POST", &format!("/v1/server/{id}/stop"), &[]).await;
    let (_, stopped) = ended(&cloud, &stop).await;

    let store = Store::open(&cloud.database(), 1).await.unwrap();
    let (account, _) = accounts::find_by_name(&store, EMAIL).await.unwrap().unwrap();
    let all = intervals::list_of_server(&store, account.id, ServerId(id)).await.unwrap();
    assert_eq!(all.iter().map(|one| one.terms.state).collect::<Vec<_>>(), [State::Running, State::Stopped]);
    let ran = &all[0];
    let (opened, closed) = (ran.opened_at.unix_seconds(), ran.closed_at.unwrap().unix_seconds());
    // What the API says of the two events, to the second in which each was written down.
    assert!((opened - runs_from).abs() <= 1 && (closed - stopped).abs() <= 1, "{opened}..{closed}");
    assert!((closed - opened) as f64 >= up - 1.0, "the guest says that it ran for {up} s");

    // Half an hour before a month ends is the only time at which this could be two lines.
    let (month, now) = (Month::of(ran.opened_at), Timestamp::from_unix_seconds(closed));
    let line = &rating::lines(&all, month, now)[0];
    assert_eq!((line.seconds.cast_signed(), line.intervals.as_slice()), (closed - opened, &[ran.id][..]));
    let exact = i128::from(ran.terms.unit_price.0) * i128::from(closed - opened);
    assert_eq!(line.amount, Micros(i64::try_from((exact + 1800) / 3600).unwrap()));
    assert!(line.amount > Micros(100), "eos1 costs 2 micro-units a second: {:?}", line.amount);
    store.close().await.unwrap();
    cloud.destroy(id).await;
}
