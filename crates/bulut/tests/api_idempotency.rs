//! Requests that a client repeats under an Idempotency-Key: the first answer comes again, nothing happens a second
//! time, and the key cannot be used for anything else. For each changing call of the Cloude dialect, as its own
//! description lists them.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::reconcile::sweep;
use bulut_store::{idempotency, operations};
use bulut_testkit::http::{Answer, escaped};
use bulut_testkit::{Customer, Database, TestCloud};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@home",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKzGKnQXHpvocKmBh62HqQn4ftFmwdxXEgzsMfCgrYe other@home",
];

/// A changing call: its name in the description, a body that succeeds, and another one. `{server}` is a running server
/// of the caller, also in the path's `{id}`; `{snapshot}` a snapshot of it; `{key}` a public key.
struct Row(&'static str, &'static str, &'static str);

/// All of them, in an order in which each finds what it needs.
const CALLS: [Row; 27] = [
    Row("POST /v1/sshkey/create", "name=desktop&public_key={key}", "name=laptop&public_key={key}"),
    Row("PUT /v1/sshkey/update", "fingerprint=desktop&name=tower", "fingerprint=desktop&name=laptop"),
    Row("DELETE /v1/sshkey/destroy", "fingerprint=tower", "fingerprint=desktop"),
    Row("POST /v1/tags/create", "sub_ids[]={server}&tags[]=a&tags[]=b", "sub_ids[]={server}&tags[]=a"),
    Row("PUT /v1/tags/update", "sub_id={server}&tags=c d", "sub_id={server}&tags=c"),
    Row("DELETE /v1/tags/destroy", "tag=c", "tag=d"),
    Row("POST /v1/server/create", ORDER, "name=b&region=ist2&package=eos1&image=tiny"),
    Row("POST /v1/server/{id}/stop", "", "note=other"),
    Row("POST /v1/server/{id}/start", "", "note=other"),
    Row("POST /v1/server/{id}/reboot", "", "note=other"),
    Row("POST /v1/server/stop", "id={server}", "subscription_id={server}"),
    Row("POST /v1/server/start", "id={server}", "subscription_id={server}"),
    Row("POST /v1/server/reboot", "id={server}", "subscription_id={server}"),
    Row("POST /v1/server/{id}/change_password", "", "password=a fine password"),
    Row("POST /v1/server/change_password", "id={server}&password=a fine password", "id={server}"),
    Row("POST /v1/server/{id}/upgrade_package", "package=eos2", "package=eos3"),
    Row("POST /v1/server/upgrade_package", "id={server}&package=eos2", "id={server}&package=eos3"),
    Row("POST /v1/server/{id}/refresh_install", "image=debian-12-x64", "image=tiny"),
    Row("POST /v1/server/refresh_install", "id={server}&image=debian-12-x64", "id={server}&image=tiny"),
    Row("POST /v1/snapshot/create", "id={server}&name=s", "id={server}&name=t"),
    Row("POST /v1/server/{id}/create_from_snapshot", FROM_SNAPSHOT, "name=d&package=eos1&snapshot_id=1"),
    Row("POST /v1/server/create_from_snapshot", FROM_SNAPSHOT, "name=d&package=eos1&snapshot_id=1"),
    Row("POST /v1/server/{id}/restore_from_snapshot", "snapshot_id={snapshot}", "snapshot_id=4711"),
    Row("POST /v1/server/restore_from_snapshot", RESTORE, "id={server}&snapshot_id=4711"),
    Row("DELETE /v1/snapshot/destroy", "id={snapshot}", "id=4711"),
    Row("DELETE /v1/server/{id}/destroy", "", "note=other"),
    Row("DELETE /v1/server/destroy", "id={server}", "subscription_id={server}"),
];

const ORDER: &str = "name=a&region=ist2&package=eos1&image=tiny";
const FROM_SNAPSHOT: &str = "name=c&package=eos1&snapshot_id={snapshot}";
const RESTORE: &str = "id={server}&snapshot_id={snapshot}";

/// A customer with a running server and a snapshot of it.
struct Scene<'a> {
    cloud: &'a TestCloud,
    customer: Customer<'a>,
    server: i64,
    snapshot: i64,
}

impl<'a> Scene<'a> {
    async fn new(cloud: &'a TestCloud, name: &str) -> Self {
        let customer = cloud.customer(name).await;
        let mut scene = Self { cloud, customer, server: 0, snapshot: 0 };
        scene.another_server().await;
        scene
    }

    async fn another_server(&mut self) {
        self.server = self.customer.running_server("web1").await;
        let form = format!("id={}&name=before", self.server);
        let taken = self.customer.send("POST", "/v1/snapshot/create", &form).await.data();
        self.cloud.run_until_idle().await;
        self.snapshot = taken["id"].as_i64().unwrap();
    }
}

impl Scene<'_> {
    fn filled(&self, text: &str) -> String {
        text.replace("{server}", &self.server.to_string())
            .replace("{snapshot}", &self.snapshot.to_string())
            .replace("{key}", &escaped(KEYS[0]))
            .replace("{id}", &self.server.to_string())
    }

    async fn ask(&self, call: &str, body: &str, key: &str) -> Answer {
        let (method, path) = call.split_once(' ').unwrap();
        let bearer = format!("Bearer {}", self.customer.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("idempotency-key", key),
        ];
        self.cloud.send(method, &self.filled(path), &headers, &self.filled(body)).await
    }

    async fn sign_in_again(&mut self) {
        self.customer.token = self.cloud.sign_in(&self.customer.account).await.token;
    }
}

/// The same request gives the same answer and nothing else; another one under its key is refused and does nothing.
async fn repeat(scene: &Scene<'_>, row: &Row) {
    let (cloud, Row(call, body, other)) = (scene.cloud, row);
    let before = cloud.state().await;
    let first = scene.ask(call, body, call).await;
    first.data();
    let after = cloud.state().await;
    assert_ne!(before, after, "{call} does nothing that could be done twice");
    let assert_kept = async |after: &str, when: &str| {
        let again = scene.ask(call, body, call).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{call} {when}");
        assert_ne!(body, other);
        let refused = scene.ask(call, other, call).await;
        assert!(refused.refusal(409).contains("Idempotency-Key"), "{call} {when}: {}", refused.text);
        assert_eq!(refused.word(), "conflict", "{call} {when}");
        assert_eq!(after, cloud.state().await, "{call} {when}");
    };
    assert_kept(&after, "at once").await;
    cloud.run_until_idle().await;
    let done = cloud.state().await;
    assert_kept(&done, "when it was done").await;
    cloud.run_until_idle().await;
    assert_eq!(done, cloud.state().await, "{call}");
}

async fn repeat_all(database: Database) {
    let cloud = TestCloud::on(database).await;
    let mut scene = Scene::new(&cloud, "alice").await;
    for row in &CALLS {
        if row.0.contains("/server/") || row.0.contains("/snapshot/") {
            scene.another_server().await;
        }
        repeat(&scene, row).await;
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_and_does_nothing_on_sqlite() {
    repeat_all(Database::Sqlite).await;
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_and_does_nothing_on_postgresql() {
    repeat_all(Database::Postgres).await;
}

#[tokio::test]
async fn every_changing_call_of_the_description_stands_in_the_table() {
    let cloud = TestCloud::new().await;
    let document = cloud.send("GET", "/v1/openapi.json", &[], "").await.json();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // Whoever signs in is nobody yet, and so has no keys.
        for method in methods.as_object().unwrap().keys().filter(|_| !path.starts_with("/v1/user/")) {
            if method != "get" {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let rows: BTreeSet<String> = CALLS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(described, rows);
}

/// What an answer tells apart from another one to the same request.
fn told(answer: &Answer) -> String {
    answer.text.clone()
}

/// Many at once are one: each gets the one answer, or is told to come back (never: is done besides).
async fn at_once(database: Database) {
    let cloud = TestCloud::on(database).await;
    let mut scene = Scene::new(&cloud, "alice").await;
    for row in CALLS.iter().filter(|row| !row.0.contains("{id}")) {
        if row.0.contains("/server/") || row.0.contains("/snapshot/") {
            scene.another_server().await;
        }
        let Row(call, body, _) = row;
        let operations = async || operations(&cloud).await;
        let (before, begun) = (cloud.state().await, operations().await);
        let asked = (0..8).map(|_| scene.ask(call, body, call));
        let answers = futures_util::future::join_all(asked).await;
        let different: BTreeSet<String> = answers.iter().map(told).collect();
        assert_eq!(different.len(), 1, "{call}: {different:?}");
        answers[0].data();
        assert_ne!(before, cloud.state().await, "{call}");
        assert!(operations().await - begun <= 1, "{call} began more than one operation");
        assert_eq!(kept(&cloud, call).await, 1, "{call}");
        cloud.run_until_idle().await;
    }
}

async fn operations(cloud: &TestCloud) -> u64 {
    operations::count(cloud.app().store()).await.unwrap().into_iter().map(|(_, _, count)| count).sum()
}

async fn kept(cloud: &TestCloud, key: &str) -> usize {
    let all = idempotency::all(cloud.app().store()).await.unwrap();
    all.iter().filter(|(_, kept, _)| kept == key).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_one_on_sqlite() {
    at_once(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_one_on_postgresql() {
    at_once(Database::Postgres).await;
}

#[tokio::test]
async fn a_key_is_the_accounts_own() {
    let cloud = TestCloud::new().await;
    let alice = Scene::new(&cloud, "alice").await;
    let bob = Scene::new(&cloud, "bob").await;
    let first = alice.ask("POST /v1/server/create", ORDER, "k").await.data();
    let second = bob.ask("POST /v1/server/create", ORDER, "k").await.data();
    assert_ne!(first["id"], second["id"]);
    assert_eq!(alice.ask("POST /v1/server/create", ORDER, "k").await.data(), first);
    assert_eq!(bob.ask("POST /v1/server/create", ORDER, "k").await.data(), second);
    // Nor is it another case's, or that of a name beside it.
    for key in ["K", "k1"] {
        let other = alice.ask("POST /v1/server/create", ORDER, key).await.data();
        assert_ne!(other["id"], first["id"], "{key}");
    }
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn the_same_parameters_are_the_same_request_however_they_are_encoded() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud, "alice").await;
    let first = scene.ask("POST /v1/server/create", ORDER, "k").await.data();
    let bearer = format!("Bearer {}", scene.customer.token);
    let json = r#"{"image":"tiny","package":"eos1","region":"ist2","name":"a","hostname":""}"#;
    for (content_type, body) in [("application/json", json), ("text/plain", ORDER)] {
        let headers =
            [("authorization", bearer.as_str()), ("content-type", content_type), ("idempotency-key", "k")];
        let answer = cloud.send("POST", "/v1/server/create", &headers, body).await;
        assert_eq!(answer.data(), first, "{content_type}");
    }
    // An empty key is none.
    let other = scene.ask("POST /v1/server/create", ORDER, "").await.data();
    assert_ne!(other["id"], first["id"]);
    let long = "k".repeat(256);
    assert!(scene.ask("POST /v1/server/create", ORDER, &long).await.refusal(400).contains("Idempotency-Key"));
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn after_a_day_a_key_is_new_and_the_sweep_forgets_it() {
    let cloud = TestCloud::new().await;
    let mut scene = Scene::new(&cloud, "alice").await;
    let first = scene.ask("POST /v1/server/create", ORDER, "k").await.data();
    scene.ask("POST /v1/server/create", ORDER, "swept").await.data();
    cloud.run_until_idle().await;
    let begun = cloud.app().clock().now();
    cloud.app().clock().advance(DAY - SECOND);
    scene.sign_in_again().await;
    sweep::all(cloud.app()).await.unwrap();
    assert_eq!(scene.ask("POST /v1/server/create", ORDER, "k").await.data(), first);
    assert_eq!(kept(&cloud, "swept").await, 1);
    cloud.app().clock().advance(2 * SECOND);
    assert!(cloud.app().clock().now().since(begun) > DAY);
    let second = scene.ask("POST /v1/server/create", ORDER, "k").await.data();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(scene.ask("POST /v1/server/create", ORDER, "k").await.data(), second);
    sweep::all(cloud.app()).await.unwrap();
    assert_eq!((kept(&cloud, "k").await, kept(&cloud, "swept").await), (1, 0));
    assert_eq!(scene.ask("POST /v1/server/create", ORDER, "k").await.data(), second);
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud, "alice").await;
    let add = async |name: &str, line: &str, key: &str| {
        let body = format!("name={name}&public_key={}", escaped(line));
        scene.ask("POST /v1/sshkey/create", &body, key).await
    };
    add("laptop", KEYS[0], "").await.data();
    add("laptop", KEYS[1], "k").await.refusal(409);
    assert_eq!(kept(&cloud, "k").await, 0);
    scene.ask("DELETE /v1/sshkey/destroy", "fingerprint=laptop", "").await.data();
    // What stood against it is gone, and the same request is as good as new. So is another one under the key.
    add("laptop", KEYS[1], "k").await.data();
    assert_eq!(kept(&cloud, "k").await, 1);
    let held = format!("/v1/server/{}", scene.server);
    scene.customer.send("POST", &format!("{held}/reboot"), "").await.data();
    let busy = scene.ask("POST /v1/server/{id}/stop", "", "busy").await;
    busy.refusal(409);
    cloud.run_until_idle().await;
    assert!(scene.ask("POST /v1/server/{id}/stop", "", "busy").await.data()["event_id"].is_i64());
    scene.ask("POST /v1/server/{id}/stop", "", "bad").await.refusal(409);
    cloud.run_until_idle().await;
    let missing = scene.ask("POST /v1/tags/create", "", "other").await;
    missing.refusal(400);
    scene.ask("POST /v1/tags/create", "sub_ids={server}&tags=a", "other").await.data();
}

#[tokio::test]
async fn a_suspended_account_is_not_told_what_it_was_answered_before() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud, "alice").await;
    scene.ask("POST /v1/server/{id}/change_password", "", "k").await.data();
    cloud.run_until_idle().await;
    let suspended = bulut_model::account::Standing::Suspended;
    bulut::domain::accounts::set_standing(cloud.app(), "alice", suspended).await.unwrap();
    scene.ask("POST /v1/server/{id}/change_password", "", "k").await.refusal(403);
}

async fn all_texts(cloud: &TestCloud) -> String {
    let all = idempotency::all(cloud.app().store()).await.unwrap();
    let texts = all.into_iter().map(|(_, key, kept)| [key, kept.fingerprint, kept.sealed_answer].join("\n"));
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_answer_with_a_password_is_sealed_and_outlives_the_process() {
    let mut cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud, "alice").await;
    let (account, server) = (scene.customer.account.clone(), scene.server);
    let first = scene.ask("POST /v1/server/{id}/change_password", "", "k").await.data();
    let password = first["password"].as_str().unwrap().to_owned();
    cloud.run_until_idle().await;
    let written = all_texts(&cloud).await;
    assert!(written.contains('k') && written.contains("v1:"), "{written}");
    assert!(!written.contains(&password));
    cloud.restart().await;
    let customer = cloud.sign_in(&account).await;
    let scene = Scene { cloud: &cloud, customer, server, snapshot: 0 };
    assert_eq!(scene.ask("POST /v1/server/{id}/change_password", "", "k").await.data(), first);
    // A stolen row opens nowhere else.
    let (store, now) = (cloud.app().store(), cloud.app().clock().now());
    let (owner, _, stolen) = idempotency::all(store).await.unwrap().remove(0);
    idempotency::keep(store, owner, "moved", &stolen, now).await.unwrap();
    let refused = scene.ask("POST /v1/server/{id}/change_password", "", "moved").await;
    assert_eq!(refused.status, 500);
    assert!(!refused.text.contains(&password));
    assert_eq!(refused.json()["data"], Value::Null);
    cloud.run_until_idle().await;
}
