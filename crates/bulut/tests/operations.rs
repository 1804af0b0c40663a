//! Durable operations: the registry is walked, every step failing, repeated and dying; nothing may be left behind.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::faults::Fault;
use bulut::operations::definition;
use bulut_compute::simulated::{Fail, FailWith, Verb};
use bulut_model::ServerId;
use bulut_model::operation::OperationKind;
use bulut_store::{addresses, nodes, servers};
use bulut_testkit::{Customer, Database, TestCloud};

/// Nothing is reserved, taken or running any more.
async fn assert_nothing_left(cloud: &TestCloud, context: &str) {
    assert!(cloud.world().is_empty(), "machines are left: {context}");
    assert_eq!(addresses::taken(cloud.app().store()).await.unwrap(), 0, "addresses are left: {context}");
    for node in nodes::list(cloud.app().store()).await.unwrap() {
        assert_eq!(node.reserved, nodes::Size::default(), "room is left reserved: {context}");
    }
}

fn points(kind: OperationKind, moment: &str) -> Vec<String> {
    definition(kind).steps.iter().map(|step| format!("{}.{}.{moment}", kind.as_str(), step.name)).collect()
}

async fn order(customer: &Customer<'_>, kind: OperationKind, server: i64) -> i64 {
    let verb = match kind {
        OperationKind::ServerStart => "start",
        OperationKind::ServerStop => "stop",
        OperationKind::ServerReboot => "reboot",
        other => panic!("{other:?} has its own test"),
    };
    let answer = customer.send("POST", &format!("/v1/server/{server}/{verb}"), "").await;
    answer.data()["event_id"].as_i64().unwrap()
}

#[tokio::test]
async fn a_create_that_fails_for_good_at_any_step_leaves_nothing_behind() {
    for moment in ["before", "after"] {
        for point in points(OperationKind::ServerCreate, moment) {
            let cloud = TestCloud::new().await;
            let alice = cloud.customer("alice").await;
            cloud.fault(&point, Fault::Fatal, 1);
            let (server, event) = alice.order_server("web1").await;
            cloud.run_until_idle().await;
            let event = alice.event(event).await;
            assert_eq!(event["status"], -1, "at {point}");
            assert!(event["message"].as_str().unwrap().contains("could not"), "at {point}: {event}");
            assert_nothing_left(&cloud, &point).await;
            alice.send("GET", &format!("/v1/server/{server}"), "").await.refusal(404);
        }
    }
}

#[tokio::test]
async fn a_create_that_dies_at_any_step_ends_with_one_machine_after_a_restart() {
    for database in [Database::Sqlite, Database::Postgres] {
        for moment in ["before", "after"] {
            for point in points(OperationKind::ServerCreate, moment) {
                let mut cloud = TestCloud::on(database).await;
                cloud.fault(&point, Fault::Die, 1);
                let (server, event) = cloud.customer("alice").await.order_server("web1").await;
                bulut::operations::engine::run_due(cloud.app()).await.unwrap();
                cloud.restart().await;
                cloud.run_until_idle().await;
                let machines = cloud.world().machines();
                assert_eq!(machines.len(), 1, "at {point}");
                assert_eq!(machines[0].id, ServerId(server), "at {point}");
                let account =
                    servers::find(cloud.app().store(), ServerId(server)).await.unwrap().unwrap().account;
                let id = bulut_model::OperationId(event);
                let operation =
                    bulut_store::operations::find_owned(cloud.app().store(), account, id).await.unwrap();
                assert_eq!(operation.unwrap().status.code(), 1, "at {point}");
            }
        }
    }
}

#[tokio::test]
async fn a_create_whose_undoing_dies_is_undone_after_a_restart() {
    for step in definition(OperationKind::ServerCreate).steps.iter().filter(|step| step.undo.is_some()) {
        let mut cloud = TestCloud::new().await;
        cloud.fault(&format!("server_create.{}.after", step.name), Fault::Fatal, 1);
        cloud.fault(&format!("server_create.{}.undo.after", step.name), Fault::Die, 1);
        cloud.customer("alice").await.order_server("web1").await;
        bulut::operations::engine::run_due(cloud.app()).await.unwrap();
        cloud.restart().await;
        cloud.run_until_idle().await;
        assert_nothing_left(&cloud, step.name).await;
    }
}

#[tokio::test]
async fn a_step_that_fails_for_a_while_is_tried_again_until_it_holds() {
    for kind in [OperationKind::ServerStart, OperationKind::ServerStop, OperationKind::ServerReboot] {
        for point in points(kind, "after") {
            let cloud = TestCloud::new().await;
            let alice = cloud.customer("alice").await;
            let server = alice.running_server("web1").await;
            cloud.fault(&point, Fault::Retry, 2);
            let event = order(&alice, kind, server).await;
            cloud.run_until_idle().await;
            assert_eq!(alice.event(event).await["status"], 1, "at {point}");
        }
    }
}

#[tokio::test]
async fn power_verbs_that_fail_for_good_show_the_machine_as_it_is() {
    for kind in [OperationKind::ServerStop, OperationKind::ServerReboot] {
        for point in points(kind, "before") {
            let cloud = TestCloud::new().await;
            let alice = cloud.customer("alice").await;
            let server = alice.running_server("web1").await;
            cloud.fault(&point, Fault::Fatal, 1);
            let event = order(&alice, kind, server).await;
            cloud.run_until_idle().await;
            assert_eq!(alice.event(event).await["status"], -1, "at {point}");
            assert_eq!(alice.servers().await[0]["state"], "Running", "at {point}");
        }
    }
}

#[tokio::test]
async fn a_destroy_insists_until_the_node_answers_again_and_gives_everything_back() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let failing = FailWith::times(Fail::Unreachable, 20);
    cloud.world().fail(Verb::Remove, failing);
    let answer = alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await;
    assert_eq!(answer.data(), true);
    cloud.run_until_idle().await;
    assert!(alice.servers().await.is_empty());
    assert_nothing_left(&cloud, "destroy").await;
}

#[tokio::test]
async fn a_node_that_is_away_for_long_undoes_a_create_once_it_is_back() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for verb in [Verb::Start, Verb::Remove] {
        cloud.world().fail(verb, FailWith::times(Fail::Unreachable, 8));
    }
    let (_, event) = alice.order_server("web1").await;
    cloud.run_until_idle().await;
    let event = alice.event(event).await;
    assert_eq!(event["status"], -1);
    assert!(event["message"].as_str().unwrap().contains("4 times"), "{event}");
    assert_nothing_left(&cloud, "unreachable").await;
}

#[tokio::test]
async fn one_operation_at_a_time_holds_a_server() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let event = order(&alice, OperationKind::ServerStop, server).await;
    assert_eq!(alice.servers().await[0]["state"], "Stopping");
    assert_eq!(alice.servers().await[0]["active_events"], serde_json::json!([event]));
    for (method, path) in [("POST", "start"), ("POST", "stop"), ("POST", "reboot"), ("DELETE", "destroy")] {
        alice.send(method, &format!("/v1/server/{server}/{path}"), "").await.refusal(409);
    }
    cloud.run_until_idle().await;
    assert_eq!(alice.servers().await[0]["state"], "Stopped");
    assert_eq!(alice.servers().await[0]["active_events"], serde_json::json!([]));
}

#[tokio::test]
async fn a_machine_that_changes_by_itself_is_shown_as_it_is() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let crashed = alice.running_server("crashed").await;
    let off = alice.running_server("off").await;
    cloud.world().crash_machine(ServerId(crashed), "killed");
    cloud.world().guest_powers_off(ServerId(off));
    cloud.reconcile().await;
    for server in alice.servers().await {
        assert_eq!(server["state"], "Stopped", "{server}");
    }
}

#[tokio::test]
async fn a_machine_that_cannot_be_looked_at_is_left_as_it_was_and_hides_no_other() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let veiled = alice.running_server("veiled").await;
    let off = alice.running_server("off").await;
    cloud.world().set_reachable(ServerId(veiled), false);
    cloud.world().guest_powers_off(ServerId(off));
    cloud.reconcile().await;
    let states: Vec<_> =
        alice.servers().await.iter().map(|it| (it["id"].clone(), it["state"].clone())).collect();
    assert!(states.contains(&(veiled.into(), "Running".into())), "{states:?}");
    assert!(states.contains(&(off.into(), "Stopped".into())), "{states:?}");
}

#[tokio::test]
async fn a_machine_that_outlives_its_server_is_removed_and_an_unknown_one_is_not() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let spec = cloud.world().machine(ServerId(server)).unwrap().spec.unwrap();
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    cloud.world().plant(&spec);
    let unknown = bulut_compute::MachineSpec { id: ServerId(4711), ..spec.clone() };
    cloud.world().plant(&unknown);
    cloud.reconcile().await;
    let left: Vec<ServerId> = cloud.world().machines().iter().map(|machine| machine.id).collect();
    assert_eq!(left, [ServerId(4711)]);
}

#[tokio::test]
async fn parallel_orders_get_different_addresses_and_never_more_room_than_there_is() {
    for database in [Database::Sqlite, Database::Postgres] {
        let mut setup = bulut_testkit::cloud::Setup { database, ..Default::default() };
        setup.node.memory_mib = 20 * 1024;
        setup.configure = |config| config.memory_overcommit_percent = 100;
        let cloud = TestCloud::with(setup).await;
        let alice = cloud.customer("alice").await;
        let orders = (0..30).map(|i| {
            let alice = &alice;
            async move {
                let form = format!("name=web{i}&region=ist2&package=eos1&image=tiny");
                alice.send("POST", "/v1/server/create", &form).await.status.as_u16()
            }
        });
        let statuses = futures_util::future::join_all(orders).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 10, "{statuses:?}");
        cloud.run_until_idle().await;
        let servers = alice.servers().await;
        let addresses: std::collections::BTreeSet<String> =
            servers.iter().map(|server| server["networks"]["v4"]["ip"].to_string()).collect();
        assert_eq!(addresses.len(), 20);
    }
}
