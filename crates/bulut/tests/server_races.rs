//! Fifty mixed calls on one server at once: one operation holds it at a time, the others are told so, and at the end
//! the server, its machine and what is reserved for it agree.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::operations::engine;
use bulut_compute::{Observed, Power};
use bulut_model::ServerId;
use bulut_store::nodes;
use bulut_testkit::{Database, TestCloud};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls of all kinds on the server `{id}` and its snapshot `{snapshot}`.
const CALLS: [(&str, &str, &str); 10] = [
    ("POST", "/v1/server/{id}/start", ""),
    ("POST", "/v1/server/stop", "id={id}"),
    ("POST", "/v1/server/{id}/reboot", ""),
    ("POST", "/v1/server/{id}/change_password", ""),
    ("POST", "/v1/server/{id}/upgrade_package", "package=eos3"),
    ("POST", "/v1/server/{id}/upgrade_package", "package=eos1&type=flexible"),
    ("POST", "/v1/server/{id}/refresh_install", "image=debian-12-x64"),
    ("POST", "/v1/server/{id}/restore_from_snapshot", "snapshot_id={snapshot}"),
    ("POST", "/v1/snapshot/create", "id={id}&name=again"),
    ("PUT", "/v1/tags/update", "sub_id={id}&tags=a,b"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_operation_at_a_time_holds_a_server_whatever_is_asked_at_once() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let id = alice.running_server("web1").await;
        let form = format!("id={id}&name=first");
        let snapshot = alice.send("POST", "/v1/snapshot/create", &form).await.data()["id"].to_string();
        cloud.run_until_idle().await;
        let earlier = events(&alice).await;

        let filled = |text: &str| text.replace("{id}", &id.to_string()).replace("{snapshot}", &snapshot);
        let over = AtomicBool::new(false);
        let calls = async {
            let calls = (0..50).map(|i| {
                let (method, path, form) = CALLS[i % CALLS.len()];
                let (alice, path, form) = (&alice, filled(path), filled(form));
                async move { (alice.send(method, &path, &form).await.status.as_u16(), path.contains("tags")) }
            });
            let answers = futures_util::future::join_all(calls).await;
            over.store(true, Ordering::SeqCst);
            answers
        };
        // The engine works meanwhile, so that some calls come between two operations.
        let working = async {
            while !over.load(Ordering::SeqCst) {
                engine::run_due(cloud.app()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = tokio::join!(calls, working);
        cloud.run_until_idle().await;

        let mut counted: BTreeMap<u16, usize> = BTreeMap::new();
        for (status, tags) in &answers {
            assert!(matches!(status, 200 | 400 | 409), "{answers:?}");
            assert!(!tags || *status == 200, "tags hold no server: {answers:?}");
            *counted.entry(*status).or_default() += 1;
        }
        assert!(counted[&409] > 0, "nothing was refused, so nothing was at once: {counted:?}");
        let begun = answers.iter().filter(|(status, tags)| *status == 200 && !tags).count();
        let ended = events(&alice).await;
        assert_eq!(ended.len() - earlier.len(), begun, "each success is one operation, and nothing else is");
        assert!(ended.iter().all(|status| *status == 1), "{ended:?}");
        assert_consistent(&cloud, &alice, id).await;
    }
}

async fn events(customer: &bulut_testkit::Customer<'_>) -> Vec<i64> {
    let events = customer.send("GET", "/v1/event/list", "").await.data();
    events.as_array().unwrap().iter().map(|event| event["status"].as_i64().unwrap()).collect()
}

/// What the API shows, what the machine is and what the node has reserved are one and the same.
async fn assert_consistent(cloud: &TestCloud, customer: &bulut_testkit::Customer<'_>, id: i64) {
    let server = customer.servers().await.remove(0);
    let machine = cloud.world().machine(ServerId(id)).unwrap();
    let spec = machine.spec.clone().unwrap();
    let runs = matches!(machine.observed, Observed::Present(ref present) if present.power == Power::Running);
    assert_eq!(server["state"], if runs { "Running" } else { "Stopped" });
    assert_eq!(server["active_events"], serde_json::json!([]));
    assert_eq!(server["cpu"].as_u64(), Some(u64::from(spec.cpu)));
    assert_eq!(server["disk"].as_u64(), machine.disk_gib);
    assert!(machine.stages.is_empty());
    let reserved = nodes::list(cloud.app().store()).await.unwrap()[0].reserved;
    let expected = nodes::Size {
        cpu: i64::from(spec.cpu),
        memory_mib: i64::try_from(spec.memory_mib).unwrap(),
        disk_gib: server["disk"].as_i64().unwrap(),
    };
    assert_eq!(reserved, expected);
}
