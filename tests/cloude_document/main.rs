//! Every curl line of the Cloude document, as it stands there but for host, token and ids: its documented answer, and
//! its effect where it happens, in real guests.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_testkit::namespace;
use bulut_testkit::program::{EMAIL, PASSWORD, Program};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

mod lines;
use lines as l;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
const DEBIAN: Duration = Duration::from_secs(420);

/// What makes a guest itself, and not a copy of another.
const IDENTITY: &str = "cat /etc/machine-id; hostname; \
    cat /etc/ssh/ssh_host_*_key.pub /etc/dropbear/*key 2>/dev/null | sha256sum; \
    ip -4 addr show dev eth0 | awk '/inet /{print $2}'";

/// The names of an object's members.
fn fields(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().map(String::as_str).collect()
}

/// The document's fields, and no others.
fn assert_fields<const N: usize>(object: &Value, names: [&str; N]) {
    assert_eq!(fields(object), BTreeSet::from(names), "{object}");
}

/// Whether the document's fields are all there (the contract adds some, which clients pass over).
fn assert_has(object: &Value, names: &[&str]) {
    let there = fields(object);
    for name in names {
        assert!(there.contains(name), "no {name} in {object}");
    }
}

/// Runs a line that begins an event, and waits until that has succeeded.
async fn event(cloud: &Program, line: &str, name: &str) -> Value {
    let answer = cloud.curl(line).await;
    let started = answer["event_id"].as_i64().unwrap_or_else(|| panic!("no event: {answer}"));
    let ended = cloud.ended(started).await;
    assert_eq!((&ended["event"], &ended["status"]), (&json!(name), &json!(1)), "{ended}\n{}", cloud.log());
    answer
}

/// Runs a line that answers `true`, and waits until the event that it began has succeeded.
async fn truth(cloud: &Program, line: &str, name: &str) {
    assert_eq!(cloud.curl(line).await, json!(true));
    let events = cloud.curl(l::EVENT_LIST).await;
    let last = events.as_array().unwrap().last().unwrap();
    assert_eq!(last["event"], name);
    assert_eq!(cloud.ended(last["id"].as_i64().unwrap()).await["status"], 1);
}

async fn signs_in_and_reads_the_catalogue(cloud: &Program) {
    let line = l::LOGIN.replace("{{test_user}}", EMAIL).replace("{{test_pass}}", &PASSWORD.replace(' ', "+"));
    let tokens = cloud.curl(&line).await;
    assert_fields(&tokens, ["token", "refreshtoken", "refresh"]);
    assert_eq!(tokens["refresh"], false);
    let regions = cloud.curl(l::REGION_LIST).await;
    assert_eq!(regions[0], json!({ "slug": "ist1", "name": "Ist-01", "country": "TR", "status": false }));
    assert_eq!(regions[1], json!({ "slug": "ist2", "name": "Ist-02", "country": "TR", "status": true }));
    let packages = cloud.curl(l::PACKAGE_LIST).await;
    assert_fields(
        &packages[0],
        ["slug", "cpu", "ram", "disk", "bandwidth", "hourly_price", "monthly_price", "regions"],
    );
    assert_eq!((&packages[1]["hourly_price"], &packages[1]["disk"]), (&json!("0.0150"), &json!(40)));
    let all = cloud.curl(l::IMAGE_LIST).await;
    assert!(all.as_array().unwrap().iter().any(|image| image["type"] == "template"), "{all}");
    let applications = cloud.curl(l::APPLICATION_LIST).await;
    assert!(applications.as_array().unwrap().len() >= 4, "{applications}");
    for image in applications.as_array().unwrap() {
        assert_eq!(image["type"], "application");
        assert_has(
            image,
            &["name", "slug", "distribution", "regions", "min_cpu", "min_ram", "min_disk_size"],
        );
    }
}

/// Adds the test's key by the document's line, finds it by the list, and gives it another name.
async fn keeps_a_key(cloud: &Program) -> String {
    let public = cloud.make_key().replace(' ', "%20").replace('+', "%2B").replace('/', "%2F");
    let (head, _) = l::SSHKEY_CREATE.split_once("public_key=").unwrap();
    assert_eq!(cloud.curl(&format!("{head}public_key={public}\"")).await, json!(true));
    let keys = cloud.curl(l::SSHKEY_LIST).await;
    let key = &keys["Test SSHKey"];
    assert_fields(key, ["name", "public_key", "fingerprint"]);
    let fingerprint = key["fingerprint"].as_str().unwrap().to_owned();
    let update = l::SSHKEY_UPDATE.replace(l::FINGERPRINT, &fingerprint.replace(':', "%3A"));
    assert_eq!(cloud.curl(&update).await, json!(true));
    assert_fields(&cloud.curl(l::SSHKEY_LIST).await, ["SSTest2"]);
    fingerprint
}

async fn orders_a_server(cloud: &Program, fingerprint: &str) -> i64 {
    let line = l::SERVER_CREATE
        .replace("image=ubuntu-16-04-x64", "image=tiny")
        .replace("ssh_keys=", &format!("ssh_keys={fingerprint}"));
    let ordered = event(cloud, &line, "VM.CREATE").await;
    let id = ordered["id"].as_i64().unwrap();
    assert_eq!(id, 1, "the document's ids name the first server of a fresh cloud");
    let listed = cloud.curl(l::SERVER_LIST).await;
    assert_eq!(cloud.curl(&l::SERVER_GET.replace("1515", "1")).await, listed);
    let server = &listed[0];
    assert_has(
        server,
        &["id", "name", "cpu", "memory", "disk", "bandwidth", "state", "region", "image", "package"],
    );
    assert_has(server, &["networks", "created_at", "active_events"]);
    assert_eq!((&server["name"], &server["state"]), (&json!("ubuntu-16-04-x64"), &json!("Running")));
    let said = cloud.says(id, "hostname; nproc", BOOT).await;
    assert_eq!(said, "ubuntu-16-04-x64\n1");
    let one = cloud.curl(&l::EVENT_GET.replace("%7Bevent_id%7D", "1")).await;
    // A single event is an object.
    assert_fields(&one, ["id", "event", "status", "subscription_id", "created_at", "completed_at"]);
    id
}

async fn tags_it(cloud: &Program) {
    let line = l::TAGS_CREATE.replace("1515", "1").replace("&sub_ids%5B%5D=1520", "");
    assert_eq!(cloud.curl(&line).await, json!(true));
    let tags = cloud.curl(l::TAGS_LIST).await;
    assert_eq!(tags.as_array().unwrap().len(), 2);
    assert_fields(&tags[0], ["count", "tag", "created_at"]);
    assert_eq!(cloud.server(1).await["tags"], json!(["ftp1", "web1"]));
    assert_eq!(cloud.curl(l::TAGS_DESTROY).await, json!(true));
    assert_eq!(cloud.server(1).await["tags"], json!(["web1"]));
    assert_eq!(cloud.curl(&l::TAGS_UPDATE.replace("79", "1")).await, json!(true));
    assert_eq!(cloud.server(1).await["tags"], json!(["asd", "asdsa"]), "exactly these, each once");
}

/// A snapshot of the running guest, a restore, and a second server from it; the second server's id.
async fn snapshots_and_restores(cloud: &Program, fingerprint: &str) -> i64 {
    cloud.says(1, "echo kept > /root/before && sync", BOOT).await;
    let taken = event(cloud, l::SNAPSHOT_CREATE, "SNAPSHOT.CREATE").await;
    let snapshot = taken["id"].as_i64().unwrap();
    let listed = cloud.curl(l::SNAPSHOT_LIST).await;
    let first = &listed[0];
    assert_eq!((&first["id"], &first["name"]), (&json!(snapshot), &json!("SnapTest03")));
    assert_eq!((&first["consistency"], &first["progress"]), (&json!("filesystem"), &json!(100)), "{first}");
    assert!(first["size_mb"].as_u64().unwrap() > 1, "{first}");
    let of_server = l::SERVER_GET.replace("/1515", "/1/snapshots");
    assert_eq!(cloud.curl(&of_server).await, listed);

    let said =
        cloud.says(1, "echo lost > /root/after && sync; cat /proc/sys/kernel/random/boot_id", BOOT).await;
    let (before, networks) = (cloud.says(1, IDENTITY, BOOT).await, cloud.server(1).await["networks"].clone());
    let line = l::RESTORE.replace("{{subscription_id}}", "1").replace("1000", &snapshot.to_string());
    event(cloud, &line, "VM.RESTORE").await;
    let files = "cat /root/before; ls /root/after 2>&1 | tail -n 1; cat /proc/sys/kernel/random/boot_id";
    let after = cloud.says(1, files, BOOT).await;
    let lines: Vec<&str> = after.lines().collect();
    assert_eq!(lines[0], "kept", "{after}");
    assert!(lines[1].contains("No such file"), "{after}");
    assert_ne!(lines[2], said, "it was stopped and started");
    assert_eq!(cloud.says(1, IDENTITY, BOOT).await, before, "who it is stays");
    assert_eq!(cloud.server(1).await["networks"], networks);

    let line = l::CREATE_FROM_SNAPSHOT
        .replace("snapshot_id=37", &format!("snapshot_id={snapshot}"))
        .replace("ssh_keys=", &format!("ssh_keys={fingerprint}"));
    let refused = cloud.curl_whole(&line).await;
    assert_eq!(
        refused["message"],
        "The selected package disk size must be greater than or equal to the snapshot disk size. ( 40/20 GB )."
    );
    assert_eq!(refused["error"]["errorMessage"], refused["message"]);
    assert_eq!((&refused["status"], &refused["data"]), (&json!("error"), &Value::Null));
    let line = line.replace("package=eos1", "package=eos3");
    let made = event(cloud, &line, "VM.CREATE").await;
    let second = made["id"].as_i64().unwrap();
    assert_eq!(cloud.says(second, "cat /root/before; ls /root/after 2>/dev/null; true", BOOT).await, "kept");
    let (one, two) = (before, cloud.says(second, IDENTITY, BOOT).await);
    for (mine, other) in one.lines().zip(two.lines()) {
        assert_ne!(mine, other, "another machine-id, name, host keys and address:\n{one}\n{two}");
    }
    assert_eq!(two.lines().nth(1).unwrap(), cloud.server(second).await["hostname"]);
    let kib: u64 = cloud.says(second, "df -Pk / | awk 'NR==2 {print $2}'", BOOT).await.parse().unwrap();
    assert!(kib > (60 << 20) * 9 / 10, "the file system fills the larger disk: {kib}");
    second
}

async fn changes_the_password(cloud: &Program) {
    let line = l::CHANGE_PASSWORD.replace("{{subscription_id}}", "1").replace("1520", "1");
    let first = event(cloud, &line, "VM.UPDATE").await["password"].as_str().unwrap().to_owned();
    assert!(cloud.lets_in(1, &first, BOOT).await, "the new password logs in");
    let second = event(cloud, &line, "VM.UPDATE").await["password"].as_str().unwrap().to_owned();
    assert!(!cloud.lets_in(1, &first, BOOT).await, "the old one does not any more");
    assert!(cloud.lets_in(1, &second, BOOT).await);
    assert!(!cloud.log().contains(&second), "no password in the log");
}

async fn upgrades(cloud: &Program) {
    let size = "nproc; awk '/MemTotal/{print $2}' /proc/meminfo; df -Pk / | awk 'NR==2 {print $2}'";
    let numbers = async || -> Vec<u64> {
        cloud.says(1, size, BOOT).await.lines().map(|line| line.parse().unwrap()).collect()
    };
    let line = l::UPGRADE.replace("{{subscription_id}}", "1");
    let up = line.replace("package=", "package=eos3").replace("type=", "type=full");
    event(cloud, &up, "VM.UPGRADE").await;
    let has = numbers().await;
    assert_eq!(has[0], 2, "{has:?}");
    assert!(has[1] > 1_700_000, "two GiB of memory: {has:?}");
    assert!(has[2] > (60 << 20) * 9 / 10, "the file system has grown: {has:?}");
    let down = line.replace("package=", "package=eos1").replace("type=", "type=flexible");
    event(cloud, &down, "VM.UPGRADE").await;
    let has = numbers().await;
    assert_eq!(has[0], 1, "{has:?}");
    assert!(has[1] < 1_100_000, "one GiB again: {has:?}");
    assert!(has[2] > (60 << 20) * 9 / 10, "a disk never shrinks: {has:?}");
    let shrinking = line.replace("package=", "package=eos1").replace("type=", "type=full");
    let refused = cloud.curl_whole(&shrinking).await;
    assert!(refused["message"].as_str().unwrap().contains("never shrinks"), "{refused}");
}

async fn powers(cloud: &Program) {
    let boot = cloud.says(1, "cat /proc/sys/kernel/random/boot_id", BOOT).await;
    truth(cloud, l::REBOOT, "VM.REBOOT").await;
    assert_ne!(cloud.says(1, "cat /proc/sys/kernel/random/boot_id", BOOT).await, boot);
    let running = cloud.machines().len();
    truth(cloud, l::STOP, "VM.STOP").await;
    assert_eq!(cloud.machines().len(), running - 1);
    assert_eq!(cloud.server(1).await["state"], "Stopped");
    truth(cloud, l::START, "VM.START").await;
    assert_eq!(cloud.machines().len(), running);
}

async fn installs_anew(cloud: &Program, id: i64) {
    let networks = cloud.server(id).await["networks"].clone();
    let line = l::REFRESH_INSTALL
        .replace("{{subscription_id}}", &id.to_string())
        .replace("image=", "image=debian-12-x64");
    event(cloud, &line, "VM.UPDATE").await;
    let said = cloud.says(id, "cat /etc/os-release; ls /root/before 2>&1 | tail -n 1", DEBIAN).await;
    assert!(said.contains("bookworm") && said.contains("No such file"), "{said}");
    let server = cloud.server(id).await;
    assert_eq!((&server["image"], &server["networks"]), (&json!("debian-12-x64"), &networks));
    let address = cloud.says(id, "ip -4 addr show dev eth0 | awk '/inet /{print $2}'", DEBIAN).await;
    assert_eq!(address, format!("{}/24", networks["v4"]["ip"].as_str().unwrap()));
}

async fn reads_what_is_billed(cloud: &Program) {
    assert_eq!(cloud.curl(l::INVOICE_LIST).await, json!([]));
    let transactions = cloud.curl(l::TRANSACTION_LIST).await;
    let names = ["id", "type", "amount", "balance_after", "description", "reference", "created_at"];
    assert_fields(&transactions[0], names);
    let usage = cloud.curl(l::USAGE_LIST).await;
    assert_fields(&usage, ["incoming", "outgoing"]);
}

async fn ends(cloud: &Program, second: i64, fingerprint: &str) {
    let destroy = |id: i64| l::SERVER_DESTROY.replace("{{subscription_id}}", &id.to_string());
    truth(cloud, &destroy(1), "VM.DESTROY").await;
    let snapshots = cloud.curl(l::SNAPSHOT_LIST).await;
    assert_eq!(snapshots[0]["subscription_id"], 1, "a snapshot outlives its server");
    let id = snapshots[0]["id"].to_string();
    event(cloud, &l::SNAPSHOT_DESTROY.replace("1072", &id), "SNAPSHOT.DESTROY").await;
    assert_eq!(cloud.curl(l::SNAPSHOT_LIST).await, json!([]));
    truth(cloud, &destroy(second), "VM.DESTROY").await;
    assert_eq!(cloud.curl(l::SERVER_LIST).await, json!([]));
    assert!(cloud.machines().is_empty());
    assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
    let kept: Vec<_> = std::fs::read_dir(cloud.state().join("snapshots")).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
    let line = l::SSHKEY_DESTROY.replace(l::FINGERPRINT, &fingerprint.replace(':', "%3A"));
    assert_eq!(cloud.curl(&line).await, json!(true));
    assert_eq!(cloud.curl(l::SSHKEY_LIST).await, json!({}));
}

#[test]
fn every_line_of_the_document_has_its_answer_and_its_effect_in_real_guests() {
    let test = || async {
        let networking = if namespace::possible() { "routed" } else { "user" };
        let settings = [("BULUT_NETWORKING", networking)];
        let cloud = Program::start_with(BINARY, &["tiny", "debian-12-x64"], None, &settings).await;
        signs_in_and_reads_the_catalogue(&cloud).await;
        let fingerprint = keeps_a_key(&cloud).await;
        orders_a_server(&cloud, &fingerprint).await;
        tags_it(&cloud).await;
        let second = snapshots_and_restores(&cloud, &fingerprint).await;
        changes_the_password(&cloud).await;
        upgrades(&cloud).await;
        powers(&cloud).await;
        installs_anew(&cloud, second).await;
        reads_what_is_billed(&cloud).await;
        ends(&cloud, second, &fingerprint).await;
    };
    if namespace::possible() {
        namespace::within(test);
    } else {
        tokio::runtime::Runtime::new().unwrap().block_on(test());
    }
}
