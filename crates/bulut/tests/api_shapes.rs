//! The exact shapes of the Cloude document's answers (cloude-api-v1, the response examples of each call): names and
//! types of all fields, and that what a customer orders is what the machine is told.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bulut::faults::Fault;
use bulut_compute::Seed;
use bulut_model::{Micros, ServerId};
use bulut_store::ledger::{self, Entry};
use bulut_testkit::http::form;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@home";
const KEY_NAME: &str = "laptop";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An order that lacks nothing.
fn order(more: &[(&str, &str)]) -> String {
    let plain = [("name", "web1"), ("region", "ist2"), ("package", "eos2"), ("image", "tiny")];
    let plain = plain.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    form(&plain.chain(more.iter().copied()).collect::<Vec<_>>())
}

async fn ordered(customer: &Customer<'_>, more: &[(&str, &str)]) -> i64 {
    customer.send("POST", "/v1/server/create", &order(more)).await.data()["id"].as_i64().unwrap()
}

/// What the guest of this server was told.
async fn seed(cloud: &TestCloud, server: i64) -> Seed {
    cloud.run_until_idle().await;
    cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().seed
}

async fn get(customer: &Customer<'_>, path: &str) -> Value {
    customer.send("GET", path, "").await.data()
}

#[tokio::test]
async fn the_envelope_has_its_three_members() {
    let cloud = TestCloud::new().await;
    let answer = cloud.send("GET", "/v1/region/list", &[], "").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let json = answer.json();
    assert_eq!(json, json!({"status": "success", "data": json["data"], "message": null}));
    let refused = cloud.send("GET", "/v1/server/list", &[], "").await;
    assert_eq!(refused.headers["content-type"], "application/json");
    let sentence = refused.refusal(401);
    assert_eq!(
        refused.json(),
        json!({
            "status": "error",
            "data": null,
            "message": sentence,
            "error": {"errorMessage": sentence, "errorDev": "unauthenticated"},
        })
    );
}

#[tokio::test]
async fn regions_are_the_documents() {
    let cloud = TestCloud::new().await;
    assert_eq!(
        cloud.send("GET", "/v1/region/list", &[], "").await.data(),
        json!([
            {"slug": "ist1", "name": "Ist-01", "country": "TR", "status": false},
            {"slug": "ist2", "name": "Ist-02", "country": "TR", "status": true},
        ])
    );
}

#[tokio::test]
async fn packages_are_the_documents() {
    let cloud = TestCloud::new().await;
    let packages = cloud.send("GET", "/v1/package/list", &[], "").await.data();
    let slugs: Vec<&Value> = packages.as_array().unwrap().iter().map(|package| &package["slug"]).collect();
    assert_eq!(slugs, ["eos1", "eos2", "eos3", "eos4", "eos5", "eos6"]);
    assert_eq!(
        packages[1],
        json!({
            "slug": "eos2", "cpu": 1, "ram": 1, "disk": 40, "bandwidth": 4,
            "hourly_price": "0.0150", "monthly_price": "10.0000", "regions": ["ist1", "ist2"],
        })
    );
    assert_eq!(packages[0]["hourly_price"], "0.0074");
}

#[tokio::test]
async fn images_are_listed_when_their_files_are_there() {
    let cloud = TestCloud::new().await;
    let images =
        async |query: &str| cloud.send("GET", &format!("/v1/image/list{query}"), &[], "").await.data();
    let templates = images("?type=template").await;
    assert_eq!(
        templates,
        json!([
            {
                "name": "Debian 12 x64", "slug": "debian-12-x64", "type": "template", "distribution": "Debian",
                "regions": ["ist1", "ist2"], "min_cpu": 1, "min_ram": 0.5, "min_disk_size": 5,
            },
            {
                "name": "Tiny Linux 1", "slug": "tiny", "type": "template", "distribution": "Tiny Linux",
                "regions": ["ist1", "ist2"], "min_cpu": 1, "min_ram": 0.09375, "min_disk_size": null,
            },
        ])
    );
    // An application is there as soon as the template is that it stands on.
    let applications = images("?type=application").await;
    let slugs: Vec<&str> =
        applications.as_array().unwrap().iter().map(|image| image["slug"].as_str().unwrap()).collect();
    for slug in ["docker", "nginx", "postgresql", "wordpress"] {
        assert!(slugs.contains(&slug), "{slug} is not among {slugs:?}");
    }
    let all = images("").await;
    let both = |list: &Value| list.as_array().unwrap().len();
    assert_eq!(both(&all), both(&templates) + both(&applications));
    for query in [
        "?type=all",
        "?type=all,application",
        "?type[]=all&type[]=application",
        "?type=template,application",
        "?type=",
    ] {
        assert_eq!(images(query).await, all, "{query}");
    }
}

#[tokio::test]
async fn a_server_is_the_documents() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let more = [("name", "ubuntu-16-04-x64"), ("hostname", ""), ("ssh_keys", ""), ("user_data", "")];
    let answer = alice.send("POST", "/v1/server/create", &order(&more)).await.data();
    let (id, event) = (answer["id"].as_i64().unwrap(), answer["event_id"].as_i64().unwrap());
    assert_eq!(answer, json!({"event_id": event, "id": id}));
    let building = alice.servers().await;
    assert_eq!(building[0]["active_events"], json!([event]));
    assert_eq!(building[0]["state"], "Stopped");
    cloud.run_until_idle().await;
    let servers = alice.servers().await;
    let v6 = servers[0]["networks"]["v6"].clone();
    let ip = servers[0]["networks"]["v4"]["ip"].clone();
    assert!(ip.as_str().unwrap().starts_with("10.86.112."), "{ip}");
    assert_eq!(
        servers,
        [json!({
            "id": id, "name": "ubuntu-16-04-x64", "cpu": 1, "memory": 1, "disk": 40, "bandwidth": 4,
            "state": "Running", "region": "ist2", "image": "tiny", "package": "eos2",
            "networks": {"v4": {"ip": ip, "netmask": "255.255.255.0", "gateway": "10.86.112.1"}, "v6": v6},
            "created_at": "2026-01-01T00:00:00Z", "active_events": [],
            "hostname": "ubuntu-16-04-x64", "tags": [],
        })]
    );
    // One server is an array of one.
    assert_eq!(get(&alice, &format!("/v1/server/{id}")).await, Value::from(servers));
}

#[tokio::test]
async fn an_ipv6_address_is_of_the_servers_own() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for name in ["web1", "web2"] {
        alice.running_server(name).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for server in alice.servers().await {
        let v6 = server["networks"]["v6"].as_object().unwrap();
        assert_eq!(v6.len(), 3);
        let ip: std::net::Ipv6Addr = v6["ip"].as_str().unwrap().parse().unwrap();
        assert_eq!(ip.segments()[..4], [0xfd62, 0x756c, 0x7574, 0x86]);
        assert_eq!((&v6["netmask"], &v6["gateway"]), (&json!("128"), &json!("fe80::1")));
        let id = ServerId(server["id"].as_i64().unwrap());
        let nic = cloud.world().machine(id).unwrap().spec.unwrap().nic;
        assert_eq!(nic.ipv6.unwrap().address, ip);
        assert_eq!(nic.ipv4.unwrap().address.to_string(), server["networks"]["v4"]["ip"].as_str().unwrap());
        assert!(seen.insert(ip));
    }
}

#[tokio::test]
async fn actions_answer_an_event_in_the_path_form_and_true_in_the_body_form() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let id = alice.running_server("web1").await;
    for (verb, kind, state) in
        [("stop", "VM.STOP", "Stopped"), ("start", "VM.START", "Running"), ("reboot", "VM.REBOOT", "Running")]
    {
        for name in ["id", "subscription_id"] {
            let answer = alice.send("POST", &format!("/v1/server/{verb}"), &format!("{name}={id}")).await;
            assert_eq!(answer.data(), true);
            cloud.run_until_idle().await;
            assert_eq!(alice.servers().await[0]["state"], state);
        }
        let data = alice.send("POST", &format!("/v1/server/{id}/{verb}"), "").await.data();
        let event = data["event_id"].as_i64().unwrap();
        assert_eq!(data, json!({"event_id": event}));
        cloud.run_until_idle().await;
        assert_eq!(alice.event(event).await["event"], kind);
        assert_eq!(alice.servers().await[0]["state"], state);
    }
    assert_eq!(alice.send("DELETE", &format!("/v1/server/{id}/destroy"), "").await.data(), true);
    let other = alice.running_server("web2").await;
    assert_eq!(alice.send("DELETE", "/v1/server/destroy", &format!("id={other}")).await.data(), true);
    cloud.run_until_idle().await;
    assert_eq!(alice.servers().await, Vec::<Value>::new());
    let events = get(&alice, "/v1/event/list").await;
    let kinds: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "VM.DESTROY").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn an_event_says_when_it_ended_and_a_failed_one_why() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (server, id) = alice.order_server("web1").await;
    let running = json!({
        "id": id, "event": "VM.CREATE", "status": 0, "subscription_id": server,
        "created_at": "2026-01-01T00:00:00Z", "completed_at": "",
    });
    assert_eq!(alice.event(id).await, running);
    assert_eq!(get(&alice, "/v1/event/list").await, json!([running]));
    cloud.app().clock().advance(Duration::from_secs(5));
    cloud.run_until_idle().await;
    let done = json!({
        "id": id, "event": "VM.CREATE", "status": 1, "subscription_id": server,
        "created_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:05Z",
    });
    assert_eq!(alice.event(id).await, done);
    cloud.fault("server_create.ensure_disk.before", Fault::Fatal, 1);
    let (server, id) = alice.order_server("web2").await;
    cloud.run_until_idle().await;
    let failed = alice.event(id).await;
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains(' ') && message.ends_with('.'), "{message}");
    assert_eq!(
        failed,
        json!({
            "id": id, "event": "VM.CREATE", "status": -1, "subscription_id": server,
            "created_at": "2026-01-01T00:00:05Z", "completed_at": failed["completed_at"], "message": message,
        })
    );
    assert_ne!(failed["completed_at"], "");
}

#[tokio::test]
async fn events_of_the_last_day_are_listed_newest_last() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (server, first) = alice.order_server("web1").await;
    cloud.run_until_idle().await;
    cloud.app().clock().advance(DAY - Duration::from_secs(60));
    let alice = cloud.sign_in(&alice.account).await;
    let stop = alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data()["event_id"].clone();
    cloud.run_until_idle().await;
    let start =
        alice.send("POST", &format!("/v1/server/{server}/start"), "").await.data()["event_id"].clone();
    cloud.run_until_idle().await;
    let ids = async |customer: &Customer<'_>| {
        let events = get(customer, "/v1/event/list").await;
        Value::from(events.as_array().unwrap().iter().map(|event| event["id"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(ids(&alice).await, json!([first, stop, start]));
    cloud.app().clock().advance(Duration::from_secs(61));
    assert_eq!(ids(&alice).await, json!([stop, start]));
    // It is not forgotten, only no longer listed.
    assert_eq!(alice.event(first).await["status"], 1);
}

#[tokio::test]
async fn the_account_is_the_documents() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let detail = json!({
        "name": "alice Test", "email": "alice@example.com", "balance": 50,
        "register_date": "2026-01-01T00:00:00Z", "last_login_date": "2026-01-01T00:00:00Z", "is_verified": false,
    });
    let alice = cloud.sign_in(&alice.account).await;
    assert_eq!(get(&alice, "/v1/account/detail").await, detail);
    assert_eq!(get(&alice, "/v1/user/info").await, detail);
    assert_eq!(get(&alice, "/v1/account/user_balance").await, json!({"balance": 50}));
    let spent = Micros(43_750_000);
    let entries = [
        Entry { book: "customer", account: Some(alice.account.id), amount: -spent },
        Entry { book: "credits", account: None, amount: spent },
    ];
    let now = cloud.app().clock().now();
    ledger::post(cloud.app().store(), "spent", "charge", "Spent", "spent", &entries, now).await.unwrap();
    assert_eq!(
        alice.send("GET", "/v1/account/user_balance", "").await.text,
        r#"{"status":"success","data":{"balance":6.25},"message":null}"#
    );
    assert_eq!(get(&alice, "/v1/account/detail").await["balance"], 6.25);
}

/// Makes a key with OpenSSH's own tool; answers its line and the MD5 fingerprint that the tool shows.
fn generated(dir: &Path, kind: &str, more: &[&str]) -> (String, String) {
    let file = dir.join(format!("{kind}{}", more.join("")));
    let file = file.to_str().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new("ssh-keygen").args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&[&["-q", "-t", kind, "-N", "", "-C", "made for a test", "-f", file], more].concat());
    let shown = run(&["-l", "-E", "md5", "-f", file]);
    let fingerprint = shown.split(' ').nth(1).unwrap().strip_prefix("MD5:").unwrap().to_owned();
    (std::fs::read_to_string(format!("{file}.pub")).unwrap().trim().to_owned(), fingerprint)
}

#[tokio::test]
async fn keys_have_the_fingerprints_that_ssh_keygen_shows() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    assert_eq!(get(&alice, "/v1/sshkey/list").await, json!({}));
    let dir = tempfile::tempdir().unwrap();
    let mut expected = json!({});
    let kinds: [(&str, &[&str]); 6] = [
        ("rsa", &["-b", "1024"]),
        ("rsa", &["-b", "3072"]),
        ("ecdsa", &["-b", "256"]),
        ("ecdsa", &["-b", "384"]),
        ("ecdsa", &["-b", "521"]),
        ("ed25519", &[]),
    ];
    for (index, (kind, more)) in kinds.into_iter().enumerate() {
        let (line, fingerprint) = generated(dir.path(), kind, more);
        let name = format!("{kind} {index}");
        let fields = form(&[("name", &name), ("public_key", &line)]);
        assert_eq!(alice.send("POST", "/v1/sshkey/create", &fields).await.data(), true);
        expected[&name] = json!({"name": name, "public_key": line, "fingerprint": fingerprint});
    }
    assert_eq!(get(&alice, "/v1/sshkey/list").await, expected);
}

#[tokio::test]
async fn keys_are_named_by_fingerprint_or_name_in_every_spelling() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let dir = tempfile::tempdir().unwrap();
    let (other, other_fingerprint) = generated(dir.path(), "ed25519", &[]);
    for (name, line) in [(KEY_NAME, KEY), ("other", &other)] {
        alice.send("POST", "/v1/sshkey/create", &form(&[("name", name), ("public_key", line)])).await.data();
    }
    let keys = get(&alice, "/v1/sshkey/list").await;
    let one = keys[KEY_NAME]["fingerprint"].as_str().unwrap();
    let two = other_fingerprint.as_str();
    let upper = one.to_uppercase();
    let prefixed = format!("MD5:{one}");
    let both = format!("{one}, {two}");
    let first: [&[(&str, &str)]; 8] = [
        &[("ssh_key", one)],
        &[("ssh_keys", one)],
        &[("ssh_keys[]", one)],
        &[("ssh_key[0]", one)],
        &[("ssh_keys", upper.as_str())],
        &[("ssh_keys", prefixed.as_str())],
        &[("ssh_keys", KEY_NAME)],
        &[("ssh_key", one), ("ssh_keys", one)],
    ];
    for more in first {
        let server = ordered(&alice, more).await;
        assert_eq!(seed(&cloud, server).await.ssh_keys, [KEY], "{more:?}");
    }
    let second: [&[(&str, &str)]; 5] = [
        &[("ssh_keys", both.as_str())],
        &[("ssh_key", both.as_str())],
        &[("ssh_keys[]", one), ("ssh_keys[]", two)],
        &[("ssh_keys[0]", one), ("ssh_keys[1]", two)],
        &[("ssh_keys", one), ("ssh_keys", two)],
    ];
    for more in second {
        let server = ordered(&alice, more).await;
        assert_eq!(seed(&cloud, server).await.ssh_keys, [KEY, other.as_str()], "{more:?}");
    }
    let body =
        json!({"name": "a", "region": "ist2", "package": "eos1", "image": "tiny", "ssh_keys": [one, two]});
    let server = alice.send_json("POST", "/v1/server/create", &body).await.data()["id"].as_i64().unwrap();
    assert_eq!(seed(&cloud, server).await.ssh_keys, [KEY, other.as_str()]);
    let server = ordered(&alice, &[("ssh_keys", "")]).await;
    assert_eq!(seed(&cloud, server).await.ssh_keys, Vec::<String>::new());
}

#[tokio::test]
async fn tags_on_create_tag_the_server() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let spellings: [&[(&str, &str)]; 5] = [
        &[("tags", "web,blue")],
        &[("tags", " blue , web ,, ")],
        &[("tags[]", "web"), ("tags[]", "blue"), ("tags[]", "web")],
        &[("tags[1]", "web"), ("tags[0]", "blue")],
        &[("tags", "web"), ("tags", "blue")],
    ];
    for more in spellings {
        let server = ordered(&alice, more).await;
        assert_eq!(
            get(&alice, &format!("/v1/server/{server}")).await[0]["tags"],
            json!(["blue", "web"]),
            "{more:?}"
        );
    }
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn user_data_arrives_as_it_was() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    // Bytes that need every digit of Base64, its plus and slash among them, and its padding.
    let script: Vec<u8> = b"#!/bin/sh\n# \xfb\xef\xbe\xff?>~ \0\n".iter().copied().chain(0..=255).collect();
    let wrapped = STANDARD.encode(&script);
    let wrapped = wrapped.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap());
    let wrapped = wrapped.collect::<Vec<_>>().join("\r\n");
    let spellings =
        [STANDARD.encode(&script), STANDARD_NO_PAD.encode(&script), URL_SAFE_NO_PAD.encode(&script), wrapped];
    for encoded in spellings {
        let server = ordered(&alice, &[("user_data", &encoded)]).await;
        assert_eq!(seed(&cloud, server).await.user_data.as_ref(), Some(&script), "{encoded}");
    }
    // A client that forgets to escape its plus signs sends blanks.
    let forgetful = format!("{}&user_data={}", order(&[]), STANDARD.encode(&script));
    let server = alice.send("POST", "/v1/server/create", &forgetful).await.data()["id"].as_i64().unwrap();
    assert_eq!(seed(&cloud, server).await.user_data.as_ref(), Some(&script));
    let server = ordered(&alice, &[("user_data", "")]).await;
    assert_eq!(seed(&cloud, server).await.user_data, None);
}

#[tokio::test]
async fn a_host_name_is_given_or_made_from_the_name() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for (name, hostname) in [
        ("web1", "web1"),
        ("Web 1.Example.COM", "web-1.example.com"),
        ("snaptovm - api2", "snaptovm-api2"),
        ("__a__", "a"),
        ("Müller's box", "m-ller-s-box"),
    ] {
        let server = ordered(&alice, &[("name", name)]).await;
        assert_eq!(get(&alice, &format!("/v1/server/{server}")).await[0]["hostname"], hostname, "{name}");
        assert_eq!(seed(&cloud, server).await.hostname, hostname, "{name}");
    }
    let server = ordered(&alice, &[("name", "日本")]).await;
    assert_eq!(seed(&cloud, server).await.hostname, format!("server-{server}"));
    let server = ordered(&alice, &[("hostname", "Mail.Example.com")]).await;
    let given = get(&alice, &format!("/v1/server/{server}")).await[0]["hostname"].clone();
    assert_eq!(given, "Mail.Example.com");
    assert_eq!(seed(&cloud, server).await.hostname, "Mail.Example.com");
}

#[tokio::test]
async fn a_name_may_say_anything_and_comes_back_as_it_was() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for name in ["<b>&amp;\"'\\", "a+b c%20", "日本 🖥", "null", "0", "-1", "{{name}}", "' OR 1=1 --"] {
        let server = ordered(&alice, &[("name", name)]).await;
        assert_eq!(get(&alice, &format!("/v1/server/{server}")).await[0]["name"], name);
    }
    cloud.run_until_idle().await;
}
