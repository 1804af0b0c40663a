//! The running program against its own description, from outside: openapi-spec-validator says whether the description is
//! OpenAPI, schemathesis sends thousands of right and wrong requests and holds every answer against it.
//!
//! What schemathesis has to know of this API, and which of its findings are the API's rules, stands in `hooks.py` and
//! `reader.py`; how it is run in `schemathesis.toml`. The Python packages are those of `requirements.txt`, which
//! `make test` fetches.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_model::Timestamp;
use bulut_model::address::Ipv4Network;
use bulut_store::{Store, addresses, regions};
use bulut_testkit::Database;
use bulut_testkit::program::{EMAIL, PASSWORD, Program};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// How long one run may take: several times what it takes on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(480);

/// Cores, MiB and GiB of the simulated node: room for all that is ordered.
const NODE: &str = "8192,33554432,1048576";

/// Addresses besides the 250 that a new cloud has, which a run would soon have used.
const POOL: &str = "10.90.0.0/20";

/// The files beside this one.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract").canonicalize().unwrap()
}

/// The Python that has the packages; `None` runs the same Python as a module, `Some` a command of the packages.
fn python(command: Option<&str>) -> Command {
    let python = std::env::var_os("BULUT_TEST_PYTHON").map(PathBuf::from).expect(
        "BULUT_TEST_PYTHON names no Python with the packages of tests/contract/requirements.txt; `make test` makes one",
    );
    let program = command.map_or_else(|| python.clone(), |name| python.with_file_name(name));
    let mut command = Command::new(program);
    command
        .env("PYTHONPATH", here())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end; panics with all that it said when it fails.
async fn succeed(what: &str, mut command: Command) {
    let output = tokio::time::timeout(PATIENCE, command.output());
    let output =
        output.await.unwrap_or_else(|_| panic!("{what}: not within {} s", PATIENCE.as_secs())).unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{what} ({}):\n{}", output.status, String::from_utf8_lossy(&said));
}

/// An Ed25519 key of OpenSSH whose bytes are all the same.
fn public_key(byte: u8) -> String {
    let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let blob = [field(b"ssh-ed25519"), field(&[byte; 32])].concat();
    format!("ssh-ed25519 {} key-{byte}", STANDARD.encode(blob))
}

async fn slugs(program: &Program, path: &str) -> Vec<Value> {
    let listed = program.data("GET", path, &[]).await;
    listed.as_array().unwrap().iter().map(|each| each["slug"].clone()).collect()
}

async fn add_addresses(program: &Program) {
    let store = Store::open(&program.database(), 1).await.unwrap();
    let region = regions::find(&store, "ist2").await.unwrap().unwrap();
    let pool = Ipv4Network::parse(POOL).unwrap();
    let gateway = pool.first();
    let all: Vec<_> = pool.hosts().map(|it| (it, (it == gateway).then_some("the gateway"))).collect();
    let tx = store.begin().await.unwrap();
    let network = pool.network.into();
    addresses::ensure_pool(
        &tx,
        region.id,
        network,
        pool.prefix,
        gateway.into(),
        &[],
        &all,
        Timestamp::default(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    store.close().await.unwrap();
}

/// Gives the account something of everything, and tells it by kind: what is to stay, and what each call may destroy.
async fn furnish(program: &Program) -> Value {
    let mut servers = Vec::new();
    for number in 1..=8 {
        let (id, event) = program.order("tiny", &[("name", &format!("web{number}"))]).await;
        program.succeeded(&event).await;
        servers.push(id);
    }
    let mut snapshots = Vec::new();
    for id in &servers[..5] {
        let form = [("id", id.to_string()), ("name", format!("of {id}"))];
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let event = program.data("POST", "/v1/snapshot/create", &form).await;
        program.succeeded(&event).await;
        snapshots.push(event["id"].clone());
    }
    for byte in 1..=5 {
        let form = [("name", &*format!("key-{byte}")), ("public_key", &public_key(byte))];
        program.data("POST", "/v1/sshkey/create", &form).await;
    }
    let keys = program.data("GET", "/v1/sshkey/list", &[]).await;
    let fingerprints: Vec<&Value> =
        keys.as_object().unwrap().values().map(|key| &key["fingerprint"]).collect();
    let tagged = format!("{},{}", servers[0], servers[1]);
    let form = [("sub_ids", tagged.as_str()), ("tags", "web,db,old,older,oldest")];
    program.data("POST", "/v1/tags/create", &form).await;
    let events = program.data("GET", "/v1/event/list", &[]).await;
    let events: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["id"]).collect();
    let mut refresh_tokens = Vec::new();
    for _ in 0..5 {
        let form = [("username", EMAIL), ("password", PASSWORD)];
        refresh_tokens.push(program.data("POST", "/v1/user/login", &form).await["refreshtoken"].clone());
    }
    json!({
        "kept": {
            "id": servers[..2],
            "snapshot_id": snapshots[..2],
            "event_id": events,
            "fingerprint": fingerprints[..2],
            "tag": ["web", "db"],
            "region": ["ist2"],
            "package": slugs(program, "/v1/package/list").await,
            "image": slugs(program, "/v1/image/list").await,
            "public_key": (10..20).map(public_key).collect::<Vec<_>>(),
            "username": [EMAIL],
            "password": [PASSWORD],
            "refreshtoken": refresh_tokens,
        },
        "doomed": {
            "/v1/server/{id}/destroy": {"id": servers[2..5]},
            "/v1/server/destroy": {"id": servers[5..]},
            "/v1/snapshot/destroy": {"snapshot_id": snapshots[2..]},
            "/v1/sshkey/destroy": {"fingerprint": fingerprints[2..]},
            "/v1/tags/destroy": {"tag": ["old", "older", "oldest"]},
        },
    })
}

/// Runs schemathesis on a program that runs on this database; `more` are its arguments. Answers the description, and how
/// often each call answered which status.
async fn conform(database: Database, more: &[&str]) -> (Value, Value) {
    // In memory where that is to be had: what a busy disk delays is not what this is about.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    let url = database.fresh(dir.path()).await;
    let settings = [
        ("BULUT_DRIVER", "simulated"),
        ("BULUT_SIMULATED_SIZE", NODE),
        ("BULUT_DATABASE", &url),
        // What limits requests is tested elsewhere; here it would hide what is behind it.
        ("BULUT_RATE_LIMITS", "false"),
        // Hundreds of servers are ordered: what is to be seen is what becomes of an order, not that it is too dear.
        ("BULUT_BILLING_COVER_HOURS", "0"),
        ("BULUT_LOG", "warn"),
    ];
    let mut program = Program::start(env!("CARGO_BIN_EXE_bulut"), "tiny", None, &settings).await;
    add_addresses(&program).await;
    let described = program.call("GET", "/v1/openapi.json", &[]).await;
    let things = furnish(&program).await;

    let document = dir.path().join("openapi.json");
    std::fs::write(&document, described.to_string()).unwrap();
    let mut validator = python(None);
    validator.args(["-m", "openapi_spec_validator"]).arg(&document);
    succeed("the description is not valid OpenAPI", validator).await;

    let tally = dir.path().join("tally.json");
    let mut schemathesis = python(Some("schemathesis"));
    schemathesis
        .current_dir(dir.path())
        .arg("--config-file")
        .arg(here().join("schemathesis.toml"))
        .args(["run", &format!("{}/v1/openapi.json", program.url())])
        .args(more)
        .env("CONTRACT_URL", program.url())
        .env("CONTRACT_TOKEN", program.token())
        .env("CONTRACT_THINGS", things.to_string())
        .env("CONTRACT_TALLY", &tally);
    succeed("the program does not answer as it is described", schemathesis).await;

    let tally = std::fs::read(&tally).unwrap();
    program.stop();
    (described, serde_json::from_slice(&tally).unwrap())
}

#[tokio::test]
async fn the_program_answers_as_it_is_described() {
    let (described, tally) = conform(Database::Sqlite, &[]).await;
    // A run in which a call never did its work would have shown nothing about it.
    let mut unreached = Vec::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let call = format!("{} {path}", method.to_uppercase());
            if tally[&call]["200"].as_u64().is_none() {
                unreached.push(format!("{call}: {}", tally[&call]));
            }
        }
    }
    assert!(unreached.is_empty(), "calls that never succeeded:\n{}", unreached.join("\n"));
}

#[tokio::test]
async fn on_postgresql_the_program_answers_so_too() {
    let (_, tally) =
        conform(Database::Postgres, &["--phases", "examples,fuzzing", "--max-examples", "12"]).await;
    assert!(tally["POST /v1/server/create"]["200"].as_u64().is_some(), "{tally}");
}

#[tokio::test]
async fn what_judges_requests_knows_right_from_wrong() {
    let mut tests = python(None);
    tests.args(["-m", "unittest", "--verbose", "test_reader"]);
    succeed("the judge of requests is wrong", tests).await;
}
