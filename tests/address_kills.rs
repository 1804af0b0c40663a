//! A hundred servers from ten clients at once on a pool of a hundred addresses, while the program is killed again and again:
//! a hundred different addresses, none for one more, and all of them free in the end.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_testkit::Database;
use bulut_testkit::program::{Program, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const PATIENCE: Duration = Duration::from_secs(120);
const CLIENTS: usize = 10;
const SERVERS: usize = 100;

/// What a client needs to know of the cloud; it outlives the program.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    fn of(cloud: &Program) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, url: cloud.url(), token: cloud.token().to_owned() }
    }

    /// One try; `None` while nobody answers.
    async fn ask(&self, method: &str, path: &str, key: &str, form: &[(&str, &str)]) -> Option<(u16, Value)> {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token).header("Idempotency-Key", key);
        let answer = if form.is_empty() { request } else { request.form(form) }.send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.json().await.ok()?;
        // What is busy or away for a moment says so, and takes the same request again.
        (status != 503).then_some((status, body))
    }

    /// The answer, however often it takes: the key lets nothing happen twice.
    async fn insist(&self, method: &str, path: &str, key: &str, form: &[(&str, &str)]) -> (u16, Value) {
        eventually(&format!("{method} {path}"), PATIENCE, || self.ask(method, path, key, form)).await
    }

    async fn order(&self, name: &str) -> (u16, Value) {
        let form = [("name", name), ("region", "ist2"), ("package", "eos1"), ("image", "tiny")];
        self.insist("POST", "/v1/server/create", name, &form).await
    }
}

/// Does this for each of these from ten clients at once, and kills the program each time another third is done.
async fn from_all_clients<T, F>(cloud: &mut Program, all: Vec<T>, act: fn(Client, T) -> F)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (client, done, count) = (Client::of(cloud), Arc::new(AtomicUsize::new(0)), all.len());
    let mut queues: Vec<Vec<T>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (number, one) in all.into_iter().enumerate() {
        queues[number % CLIENTS].push(one);
    }
    let clients: Vec<_> = queues
        .into_iter()
        .map(|queue| {
            let (client, done) = (client.clone(), done.clone());
            tokio::spawn(async move {
                for one in queue {
                    act(client.clone(), one).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for third in 1..=2 {
        let so_far = || async { (done.load(Ordering::Relaxed) >= third * count / 3).then_some(()) };
        eventually("a third is done", PATIENCE, so_far).await;
        cloud.kill();
        cloud.run().await;
    }
    for client in clients {
        client.await.unwrap();
    }
}

fn on_the_box(cloud: &Program, arguments: &[&str]) -> Value {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .arg("--json")
        .env("BULUT_STATE", cloud.state())
        .env("BULUT_ADDRESS_QUARANTINE_S", "0");
    let output = command.env("BULUT_DATABASE", cloud.database()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

async fn a_hundred_servers(database: Database) {
    let dir = tempfile::tempdir().unwrap();
    let url = database.fresh(dir.path()).await;
    let mut settings = vec![
        ("BULUT_DRIVER", "simulated"),
        ("BULUT_SIMULATED_SIZE", "1000,1000000,100000"),
        ("BULUT_RATE_LIMITS", "false"),
        ("BULUT_ADDRESS_QUARANTINE_S", "0"),
        ("BULUT_LEASE_MS", "1000"),
    ];
    if database == Database::Postgres {
        settings.push(("BULUT_DATABASE", &url));
    }
    let mut cloud = Program::start(BINARY, "tiny", None, &settings).await;
    for pool in on_the_box(&cloud, &["address-pool", "list"]).as_array().unwrap() {
        let id = pool["id"].to_string();
        on_the_box(&cloud, &["address-pool", "drain", &id]);
        on_the_box(&cloud, &["address-pool", "remove", &id]);
    }
    let range = "203.0.113.10-203.0.113.109";
    let add = ["address-pool", "add", range, "--netmask", "24", "--region", "ist2", "--resolver", "9.9.9.9"];
    on_the_box(&cloud, &add);

    let names = (0..SERVERS).map(|number| format!("web{number}")).collect();
    from_all_clients(&mut cloud, names, |client, name| async move {
        let (status, body) = client.order(&name).await;
        assert_eq!(status, 200, "{name}: {body}");
    })
    .await;
    let client = Client::of(&cloud);
    let (status, refusal) = client.order("one-too-many").await;
    assert_eq!(status, 409, "{refusal}");
    assert!(refusal["message"].as_str().unwrap().contains("no free IPv4 address"), "{refusal}");
    let servers = cloud.data("GET", "/v1/server/list", &[]).await.as_array().unwrap().clone();
    let given: BTreeSet<String> = servers.iter().map(|it| it["networks"]["v4"]["ip"].to_string()).collect();
    assert_eq!((servers.len(), given.len()), (SERVERS, SERVERS));
    assert_eq!(stock(&cloud), (0, 100, 0));
    eventually("all servers run", PATIENCE, || async {
        let servers = cloud.data("GET", "/v1/server/list", &[]).await;
        let ready = |it: &Value| it["state"] == "Running" && it["active_events"] == json!([]);
        servers.as_array().unwrap().iter().all(ready).then_some(())
    })
    .await;

    let ids = servers.iter().map(|server| server["id"].as_i64().unwrap()).collect();
    from_all_clients(&mut cloud, ids, |client, id| async move {
        let path = format!("/v1/server/{id}/destroy");
        let (status, body) = client.insist("DELETE", &path, &format!("destroy-{id}"), &[]).await;
        assert_eq!(status, 200, "{id}: {body}");
    })
    .await;
    eventually("all servers are gone", PATIENCE, || async {
        (cloud.data("GET", "/v1/server/list", &[]).await == json!([])).then_some(())
    })
    .await;
    assert_eq!(stock(&cloud), (100, 0, 0), "no address is lost");
    let (status, again) = Client::of(&cloud).order("again").await;
    assert_eq!(status, 200, "{again}");
    cloud.succeeded(&again["data"]).await;
}

/// What is free, used and resting of the only pool.
fn stock(cloud: &Program) -> (u64, u64, u64) {
    let pools = on_the_box(cloud, &["address-pool", "list"]);
    let count = |what: &str| pools[0][what].as_u64().unwrap();
    (count("free"), count("used"), count("resting"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_gives_an_address_twice_or_loses_one_on_sqlite() {
    a_hundred_servers(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_gives_an_address_twice_or_loses_one_on_postgresql() {
    a_hundred_servers(Database::Postgres).await;
}
