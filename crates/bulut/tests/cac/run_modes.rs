//! Run modes: a safe server is powered off after its idle days, and no sooner, whatever restarts or jumps.

use crate::client::client;
use bulut::reconcile::run_modes;
use bulut_compute::Usage;
use bulut_model::{OperationId, ServerId};
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Customer, TestCloud};
use serde_json::Value;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Looked at every hour, so that days take few looks.
async fn cloud() -> TestCloud {
    TestCloud::with(Setup { configure: |config| config.idle.look_every_s = 3600, ..Setup::default() }).await
}

async fn look(cloud: &TestCloud) {
    run_modes::look(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
}

/// So many hours in which nothing happens but looks.
async fn idle(cloud: &TestCloud, hours: u32) {
    for _ in 0..hours {
        cloud.app().clock().advance(HOUR);
        look(cloud).await;
    }
}

async fn safe_server(cloud: &TestCloud, alice: &Customer<'_>) -> i64 {
    let server = alice.running_server("web1").await;
    let client = client(cloud, alice).await;
    client.ok("runmode.php", &[("sid", &server.to_string()), ("mode", "safe")]).await;
    look(cloud).await;
    server
}

async fn state(cloud: &TestCloud, server: i64) -> String {
    let server = bulut_store::servers::find(cloud.app().store(), ServerId(server)).await.unwrap().unwrap();
    server.power.as_str().to_owned()
}

fn works(cloud: &TestCloud, server: i64) {
    // A tenth of an hour of its one processor.
    let busy = Usage { cpu_us: 360_000_000, ..Usage::default() };
    cloud.world().add_usage(ServerId(server), &busy);
}

#[tokio::test]
async fn a_safe_server_is_powered_off_after_seven_idle_days() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    let normal = alice.running_server("normal").await;
    look(&cloud).await;
    idle(&cloud, 7 * 24 - 1).await;
    assert_eq!(state(&cloud, server).await, "running");
    idle(&cloud, 1).await;
    assert_eq!(state(&cloud, server).await, "stopped");
    assert_eq!(state(&cloud, normal).await, "running");
    let operations =
        bulut_store::operations::list(cloud.app().store(), alice.account.id, bulut_model::Timestamp(0))
            .await
            .unwrap();
    let last = operations.last().unwrap();
    assert_eq!((last.kind.as_str(), last.server), ("server_stop", ServerId(server)));
    idle(&cloud, 48).await;
    let more =
        bulut_store::operations::list(cloud.app().store(), alice.account.id, bulut_model::Timestamp(0))
            .await
            .unwrap();
    assert_eq!(more.len(), operations.len(), "it is powered off once");
}

#[tokio::test]
async fn work_traffic_and_a_start_begin_the_days_anew() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    let talk = Usage { received_bytes: 60 * 64 * 1024 + 1, ..Usage::default() };
    for wake in 0..3 {
        idle(&cloud, 7 * 24 - 1).await;
        match wake {
            0 => works(&cloud, server),
            1 => cloud.world().add_usage(ServerId(server), &talk),
            _ => {
                let again = cloud.sign_in(&alice.account).await;
                again.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
                cloud.run_until_idle().await;
                again.send("POST", &format!("/v1/server/{server}/start"), "").await.data();
                cloud.run_until_idle().await;
            }
        }
        idle(&cloud, 1).await;
        assert_eq!(state(&cloud, server).await, "running", "after wake {wake}");
    }
    idle(&cloud, 7 * 24 - 1).await;
    assert_eq!(state(&cloud, server).await, "running");
    idle(&cloud, 1).await;
    assert_eq!(state(&cloud, server).await, "stopped");
}

#[tokio::test]
async fn a_mode_that_changes_begins_the_days_anew_and_one_that_does_not_does_not() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    let sid = server.to_string();
    let client = client(&cloud, &alice).await;
    idle(&cloud, 100).await;
    client.ok("runmode.php", &[("sid", &sid), ("mode", "safe")]).await;
    idle(&cloud, 60).await;
    client.ok("runmode.php", &[("sid", &sid), ("mode", "normal")]).await;
    idle(&cloud, 200).await;
    assert_eq!(state(&cloud, server).await, "running", "a normal server stays on");
    client.ok("runmode.php", &[("sid", &sid), ("mode", "safe")]).await;
    idle(&cloud, 7 * 24 - 1).await;
    assert_eq!(state(&cloud, server).await, "running");
    idle(&cloud, 1).await;
    assert_eq!(state(&cloud, server).await, "stopped");
}

#[tokio::test]
async fn restarts_forget_nothing_and_time_without_looks_counts_for_nothing() {
    let mut cloud = cloud().await;
    let account = {
        let alice = cloud.customer("alice").await;
        safe_server(&cloud, &alice).await;
        alice.account.clone()
    };
    let server = 1;
    for _ in 0..6 {
        idle(&cloud, 24).await;
        cloud.restart().await;
        // The control plane was down for a week: nobody saw the server idle.
        cloud.app().clock().advance(HOUR * 24 * 7);
        look(&cloud).await;
    }
    assert_eq!(state(&cloud, server).await, "running");
    let deadline = deadline(&cloud, &cloud.sign_in(&account).await, server).await;
    idle(&cloud, 23).await;
    assert_eq!(state(&cloud, server).await, "running");
    idle(&cloud, 1).await;
    assert_eq!(state(&cloud, server).await, "stopped");
    assert_eq!(Some(cloud.app().clock().now().wire()), deadline, "as was said a day before");
}

#[tokio::test]
async fn a_clock_that_jumps_ends_nothing_early_and_a_busy_week_is_no_idling() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    idle(&cloud, 10).await;
    cloud.app().clock().advance(HOUR * 24 * 365);
    look(&cloud).await;
    assert_eq!(state(&cloud, server).await, "running", "a year's jump is no evidence");
    idle(&cloud, 7 * 24 - 11).await;
    assert_eq!(state(&cloud, server).await, "running");
    // It works all through a week in which nobody looks.
    let week = Usage { cpu_us: 7 * 24 * 3_600_000_000, ..Usage::default() };
    cloud.world().add_usage(ServerId(server), &week);
    cloud.app().clock().advance(HOUR * 24 * 7);
    look(&cloud).await;
    idle(&cloud, 7 * 24 - 1).await;
    assert_eq!(state(&cloud, server).await, "running");
    idle(&cloud, 1).await;
    assert_eq!(state(&cloud, server).await, "stopped");
}

#[tokio::test]
async fn an_operation_that_holds_the_server_decides() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    idle(&cloud, 7 * 24 - 1).await;
    cloud.app().clock().advance(HOUR);
    let again = cloud.sign_in(&alice.account).await;
    let reboot = again.send("POST", &format!("/v1/server/{server}/reboot"), "").await.data();
    run_modes::look(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
    let reboot = OperationId(reboot["event_id"].as_i64().unwrap());
    let operation =
        bulut_store::operations::find_owned(cloud.app().store(), alice.account.id, reboot).await.unwrap();
    assert_eq!(operation.unwrap().status.code(), 1);
    assert_eq!(state(&cloud, server).await, "running");
}

async fn deadline(cloud: &TestCloud, alice: &Customer<'_>, server: i64) -> Option<String> {
    let shown = alice.send("GET", &format!("/v2/servers/{server}"), "").await.json();
    assert_eq!(shown["run_mode"], if shown["powers_off_at"].is_null() { "normal" } else { "safe" });
    let _ = cloud;
    shown["powers_off_at"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn the_deadline_is_shown_and_moves_with_work() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let server = safe_server(&cloud, &alice).await;
    let begun = cloud.app().clock().now();
    let week = HOUR * 24 * 7;
    assert_eq!(deadline(&cloud, &alice, server).await, Some(begun.plus(week).wire()));
    idle(&cloud, 5).await;
    let alice = cloud.sign_in(&alice.account).await;
    assert_eq!(deadline(&cloud, &alice, server).await, Some(begun.plus(week).wire()));
    works(&cloud, server);
    idle(&cloud, 1).await;
    let alice = cloud.sign_in(&alice.account).await;
    assert_eq!(deadline(&cloud, &alice, server).await, Some(begun.plus(HOUR * 6).plus(week).wire()));
    let answer = alice.send("PUT", &format!("/v2/servers/{server}/run-mode"), "mode=normal").await;
    assert_eq!(
        (&answer.json()["run_mode"], &answer.json()["powers_off_at"]),
        (&"normal".into(), &Value::Null)
    );
    let refused = alice.send("PUT", &format!("/v2/servers/{server}/run-mode"), "mode=none").await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let renamed = alice.send("PUT", &format!("/v2/servers/{server}"), "name=another").await;
    assert_eq!(renamed.json()["name"], "another");
}
