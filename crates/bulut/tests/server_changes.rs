//! Changes of servers and snapshots: every step failing, dying and repeated, on machines that ran and that did not.
//! Whatever happens, a change is done and seen on the machine, or everything is as it was.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::domain::passwords;
use bulut::faults::Fault;
use bulut::operations::{definition, engine};
use bulut_compute::Observed;
use bulut_compute::Power;
use bulut_model::ServerId;
use bulut_model::operation::OperationKind;
use bulut_store::nodes;
use bulut_testkit::{Customer, Database, TestCloud};
use serde_json::Value;

/// The kinds that this file is about; the power verbs, create and destroy have tests of their own.
const CHANGES: [Change; 8] = [
    Change::Password,
    Change::PasswordWithoutAgent,
    Change::Upgrade,
    Change::Downgrade,
    Change::Restore,
    Change::Reinstall,
    Change::Snapshot,
    Change::SnapshotEnd,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Password,
    PasswordWithoutAgent,
    Upgrade,
    Downgrade,
    Restore,
    Reinstall,
    Snapshot,
    SnapshotEnd,
}

impl Change {
    fn kind(self) -> OperationKind {
        match self {
            Self::Password | Self::PasswordWithoutAgent => OperationKind::ServerPassword,
            Self::Upgrade | Self::Downgrade => OperationKind::ServerUpgrade,
            Self::Restore => OperationKind::ServerRestore,
            Self::Reinstall => OperationKind::ServerReinstall,
            Self::Snapshot => OperationKind::SnapshotCreate,
            Self::SnapshotEnd => OperationKind::SnapshotDestroy,
        }
    }

    /// Points of its steps, and whether the step can make the change fail.
    fn points(self, moment: &str) -> Vec<(String, bool)> {
        let kind = self.kind();
        let fails = definition(kind).on_failure == bulut::operations::step::OnFailure::Undo;
        let point = |name: &str| format!("{}.{name}.{moment}", kind.as_str());
        definition(kind).steps.iter().map(|step| (point(step.name), fails && !step.insists)).collect()
    }

    async fn order(self, stage: &Stage, customer: &Customer<'_>) -> i64 {
        let (server, snapshot) = (stage.server, stage.snapshot);
        let (method, path, form) = match self {
            Self::Password | Self::PasswordWithoutAgent => {
                ("POST", format!("/v1/server/{server}/change_password"), "password=a+fine+password".into())
            }
            Self::Upgrade => ("POST", format!("/v1/server/{server}/upgrade_package"), "package=eos3".into()),
            Self::Downgrade => {
                ("POST", format!("/v1/server/{server}/upgrade_package"), "package=eos1&type=flexible".into())
            }
            Self::Restore => (
                "POST",
                format!("/v1/server/{server}/restore_from_snapshot"),
                format!("snapshot_id={snapshot}"),
            ),
            Self::Reinstall => {
                ("POST", format!("/v1/server/{server}/refresh_install"), "image=debian-12-x64".into())
            }
            Self::Snapshot => ("POST", "/v1/snapshot/create".into(), format!("id={server}&name=another")),
            Self::SnapshotEnd => ("DELETE", "/v1/snapshot/destroy".into(), format!("id={snapshot}")),
        };
        customer.send(method, &path, &form).await.data()["event_id"].as_i64().unwrap()
    }

    /// What has to be true of the world once it is done.
    async fn assert_done(self, stage: &Stage, cloud: &TestCloud, customer: &Customer<'_>, context: &str) {
        let id = ServerId(stage.server);
        let server = customer.servers().await.remove(0);
        let machine = cloud.world().machine(id).unwrap();
        let spec = machine.spec.clone().unwrap();
        let disk = cloud.world().read_disk(id).unwrap();
        match self {
            Self::Password | Self::PasswordWithoutAgent => {
                let hash = cloud.world().password_of(id).expect(context).0;
                assert!(passwords::is_shadow_of("a fine password", &hash), "{context}");
                assert_eq!(spec.seed.password_change, None, "{context}");
            }
            Self::Upgrade => {
                assert_eq!((spec.cpu, spec.memory_mib, machine.disk_gib), (2, 2048, Some(60)), "{context}");
                assert_eq!((server["cpu"].as_i64(), server["disk"].as_i64()), (Some(2), Some(60)));
                assert_eq!(server["package"], "eos3", "{context}");
            }
            Self::Downgrade => {
                assert_eq!((spec.cpu, spec.memory_mib, machine.disk_gib), (1, 1024, Some(40)), "{context}");
                assert_eq!((&server["package"], server["disk"].as_i64()), (&"eos1".into(), Some(40)));
            }
            Self::Restore => assert_eq!(disk, "before the snapshot", "{context}"),
            Self::Reinstall => {
                assert!(disk.starts_with("image sha256:"), "{context}: {disk}");
                assert_eq!(server["image"], "debian-12-x64", "{context}");
                assert_ne!(spec.seed.instance_id, stage.instance, "{context}");
            }
            Self::Snapshot => {
                let snapshot = customer.snapshots().await.pop().unwrap();
                assert_eq!((&snapshot["name"], &snapshot["progress"]), (&"another".into(), &100.into()));
                assert_eq!(
                    snapshot["consistency"],
                    if stage.runs { "filesystem" } else { "stopped" },
                    "{context}"
                );
            }
            Self::SnapshotEnd => assert!(customer.snapshots().await.is_empty(), "{context}"),
        }
        assert!(machine.stages.is_empty(), "a disk is left aside: {context}");
        let runs = stage.runs || self == Self::Reinstall;
        assert_eq!(is_running(cloud, id), runs, "{context}");
        assert_eq!(server["state"], if runs { "Running" } else { "Stopped" }, "{context}");
        assert_eq!(server["networks"], stage.networks, "{context}");
    }
}

/// A server with a snapshot, and what was written to it since.
struct Stage {
    server: i64,
    snapshot: i64,
    runs: bool,
    instance: String,
    networks: Value,
}

fn is_running(cloud: &TestCloud, id: ServerId) -> bool {
    let observed = cloud.world().machine(id).unwrap().observed;
    matches!(observed, Observed::Present(present) if present.power == Power::Running)
}

/// Two CPUs do not fit eos2, so that both directions are there: the server has eos2.
async fn set(cloud: &TestCloud, customer: &Customer<'_>, change: Change, runs: bool) -> Stage {
    let form = "name=web1&region=ist2&package=eos2&image=tiny";
    let server = customer.send("POST", "/v1/server/create", form).await.data()["id"].as_i64().unwrap();
    cloud.run_until_idle().await;
    let id = ServerId(server);
    cloud.world().write_disk(id, "before the snapshot");
    let form = format!("id={server}&name=first");
    let snapshot = customer.send("POST", "/v1/snapshot/create", &form).await.data()["id"].as_i64().unwrap();
    cloud.run_until_idle().await;
    cloud.world().write_disk(id, "after the snapshot");
    if change == Change::PasswordWithoutAgent {
        cloud.world().set_agent(id, false);
    }
    if !runs {
        customer.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
        cloud.run_until_idle().await;
    }
    let instance = cloud.world().machine(id).unwrap().spec.unwrap().seed.instance_id;
    let networks = customer.servers().await[0]["networks"].clone();
    Stage { server, snapshot, runs, instance, networks }
}

/// All that a change could have altered.
async fn picture(cloud: &TestCloud, customer: &Customer<'_>) -> String {
    let servers = customer.servers().await;
    let machines = cloud.world().machines();
    let machines: Vec<_> = machines
        .iter()
        .map(|machine| {
            let id = machine.id;
            let password = cloud.world().password_of(id).map(|hash| hash.0);
            (
                machine.disk_gib,
                machine.spec.clone(),
                cloud.world().read_disk(id),
                is_running(cloud, id),
                password,
            )
        })
        .collect();
    let reserved: Vec<_> =
        nodes::list(cloud.app().store()).await.unwrap().into_iter().map(|node| node.reserved).collect();
    format!("{servers:#?} {:#?} {machines:#?} {reserved:#?}", customer.snapshots().await)
}

#[tokio::test]
async fn every_change_is_done_and_seen_on_the_machine() {
    for database in [Database::Sqlite, Database::Postgres] {
        for change in CHANGES {
            for runs in [true, false] {
                let cloud = TestCloud::on(database).await;
                let alice = cloud.customer("alice").await;
                let stage = set(&cloud, &alice, change, runs).await;
                let event = change.order(&stage, &alice).await;
                cloud.run_until_idle().await;
                let context = format!("{change:?}, running: {runs}");
                let event = alice.event(event).await;
                assert_eq!(event["status"], 1, "{context}: {event}");
                assert_eq!(event["event"], change.kind().event());
                change.assert_done(&stage, &cloud, &alice, &context).await;
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_fails_for_good_at_any_step_changes_nothing() {
    for change in CHANGES {
        for runs in [true, false] {
            for moment in ["before", "after"] {
                for (point, fails) in change.points(moment) {
                    let cloud = TestCloud::new().await;
                    let alice = cloud.customer("alice").await;
                    let stage = set(&cloud, &alice, change, runs).await;
                    let before = picture(&cloud, &alice).await;
                    cloud.fault(&point, Fault::Fatal, 1);
                    let event = change.order(&stage, &alice).await;
                    cloud.run_until_idle().await;
                    let event = alice.event(event).await;
                    let context = format!("{point}, running: {runs}: {event}");
                    if !fails {
                        assert_eq!(event["status"], 1, "{context}");
                        change.assert_done(&stage, &cloud, &alice, &context).await;
                        continue;
                    }
                    assert_eq!(event["status"], -1, "{context}");
                    let after = picture(&cloud, &alice).await;
                    // What cannot be taken back, and harms nobody: a larger disk, and a password that the guest has.
                    let kept = matches!(
                        (change, point.as_str()),
                        (Change::Upgrade, "server_upgrade.grow_disk.after")
                            | (Change::Upgrade, "server_upgrade.start_machine.before")
                            | (Change::Upgrade, "server_upgrade.start_machine.after")
                            | (_, "server_password.set_password.after")
                    );
                    if kept {
                        assert_eq!(is_running(&cloud, ServerId(stage.server)), runs, "{context}");
                        assert_eq!(
                            nodes::list(cloud.app().store()).await.unwrap()[0].reserved,
                            nodes::Size { cpu: 1, memory_mib: 1024, disk_gib: 40 },
                            "{context}"
                        );
                    } else {
                        assert_eq!(before, after, "{context}");
                    }
                }
            }
        }
    }
}

async fn die_at_any_step(database: Database, moments: &[&str]) {
    for change in CHANGES {
        for moment in moments {
            for (point, _) in change.points(moment) {
                let mut cloud = TestCloud::on(database).await;
                let account = cloud.customer("alice").await.account;
                let stage = {
                    let alice = cloud.sign_in(&account).await;
                    let stage = set(&cloud, &alice, change, true).await;
                    cloud.fault(&point, Fault::Die, 1);
                    change.order(&stage, &alice).await;
                    stage
                };
                engine::run_due(cloud.app()).await.unwrap();
                cloud.restart().await;
                cloud.run_until_idle().await;
                let alice = cloud.sign_in(&account).await;
                change.assert_done(&stage, &cloud, &alice, &point).await;
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_dies_at_any_step_is_done_after_a_restart_on_sqlite() {
    die_at_any_step(Database::Sqlite, &["before", "after"]).await;
}

#[tokio::test]
async fn a_change_that_dies_at_any_step_is_done_after_a_restart_on_postgresql() {
    // What differs between the databases is what is written after a step.
    die_at_any_step(Database::Postgres, &["after"]).await;
}

#[tokio::test]
async fn a_change_whose_undoing_dies_is_undone_after_a_restart() {
    for change in CHANGES {
        for step in definition(change.kind()).steps.iter().filter(|step| step.undo.is_some()) {
            let mut cloud = TestCloud::new().await;
            let account = cloud.customer("alice").await.account;
            let point = format!("{}.{}", change.kind().as_str(), step.name);
            let before = {
                let alice = cloud.sign_in(&account).await;
                let stage = set(&cloud, &alice, change, true).await;
                let before = picture(&cloud, &alice).await;
                // Before the step's own work, so that all of it can be taken back.
                cloud.fault(&format!("{point}.before"), Fault::Fatal, 1);
                cloud.fault(&format!("{point}.undo.after"), Fault::Die, 1);
                change.order(&stage, &alice).await;
                before
            };
            engine::run_due(cloud.app()).await.unwrap();
            cloud.restart().await;
            cloud.run_until_idle().await;
            let alice = cloud.sign_in(&account).await;
            let grown = point == "server_upgrade.start_machine";
            if !grown {
                assert_eq!(before, picture(&cloud, &alice).await, "at {point}");
            }
            assert_eq!(alice.servers().await[0]["active_events"], serde_json::json!([]), "at {point}");
        }
    }
}

#[tokio::test]
async fn a_change_that_fails_for_a_while_is_tried_again_until_it_holds() {
    for change in CHANGES {
        for (point, _) in change.points("after") {
            let cloud = TestCloud::new().await;
            let alice = cloud.customer("alice").await;
            let stage = set(&cloud, &alice, change, true).await;
            cloud.fault(&point, Fault::Retry, 2);
            change.order(&stage, &alice).await;
            cloud.run_until_idle().await;
            change.assert_done(&stage, &cloud, &alice, &point).await;
        }
    }
}

#[tokio::test]
async fn a_guest_that_neither_answers_nor_confirms_keeps_its_password() {
    let setup =
        bulut_testkit::cloud::Setup { configure: |config| config.password_limit_s = 1, ..Default::default() };
    let cloud = TestCloud::with(setup).await;
    let alice = cloud.customer("alice").await;
    let stage = set(&cloud, &alice, Change::PasswordWithoutAgent, true).await;
    // A guest whose set-up is broken never says that it has the password.
    cloud.world().set_setup(ServerId(stage.server), bulut_compute::SetupStatus::Failed);
    let before = picture(&cloud, &alice).await;
    let event = Change::Password.order(&stage, &alice).await;
    cloud.run_until_idle().await;
    let event = alice.event(event).await;
    assert_eq!(event["status"], -1, "{event}");
    assert!(event["message"].as_str().unwrap().contains("did not confirm"), "{event}");
    assert_eq!(before, picture(&cloud, &alice).await);
}

#[tokio::test]
async fn a_snapshot_on_the_node_whose_row_is_gone_is_removed() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let stage = set(&cloud, &alice, Change::Snapshot, true).await;
    let driver = cloud.app().driver(cloud.node()).unwrap();
    let (app, id) = (cloud.app(), bulut_model::SnapshotId(stage.snapshot));
    let now = app.clock().now();
    bulut_store::snapshots::bury(app.store(), id, now).await.unwrap();
    bulut::domain::metering::snapshot(app, app.store(), id, now).await.unwrap();
    assert_eq!(driver.snapshots().await.unwrap().len(), 1);
    bulut::reconcile::snapshots::look(cloud.app()).await.unwrap();
    assert!(driver.snapshots().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_snapshot_outlives_its_server_and_cannot_go_while_it_is_used() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let stage = set(&cloud, &alice, Change::Snapshot, true).await;
    alice.send("DELETE", &format!("/v1/server/{}/destroy", stage.server), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(alice.snapshots().await[0]["subscription_id"], stage.server);
    let of_it = alice.send("GET", &format!("/v1/server/{}/snapshots", stage.server), "").await.data();
    assert_eq!(of_it.as_array().unwrap().len(), 1);
    let form = format!("name=web2&package=eos3&snapshot_id={}", stage.snapshot);
    let made = alice.send("POST", "/v1/server/create_from_snapshot", &form).await.data();
    assert_eq!(alice.snapshots().await[0]["active_events"], serde_json::json!([made["event_id"]]));
    let end = format!("id={}", stage.snapshot);
    let refusal = alice.send("DELETE", "/v1/snapshot/destroy", &end).await;
    assert_eq!(refusal.status.as_u16(), 409);
    cloud.run_until_idle().await;
    let id = ServerId(made["id"].as_i64().unwrap());
    assert_eq!(cloud.world().read_disk(id).unwrap(), "before the snapshot");
    let seed = cloud.world().machine(id).unwrap().spec.unwrap().seed;
    assert!(seed.fresh_identity && seed.instance_id != stage.instance);
    alice.send("DELETE", "/v1/snapshot/destroy", &end).await.data();
    cloud.run_until_idle().await;
    assert_eq!(cloud.world().read_disk(id).unwrap(), "before the snapshot", "it shares nothing with it");
}
