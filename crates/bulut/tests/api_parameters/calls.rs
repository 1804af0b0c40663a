//! The calls of the dialect, each with a request that is good and with all that can be wrong about it; and the two
//! customers between whom they are tried.

mod labels;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_testkit::cloud::PASSWORD;
use bulut_testkit::http::form;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};

const ALICES_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@home";
const MALLORYS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKzGKnQXHpvocKmBh62HqQn4ftFmwdxXEgzsMfCgrYe mallory@home";
/// A key that nobody has yet.
const NEW_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFrgHl6aIiJOvTejGE4CFeQ30JaGckBdGY7YjwvpIqkb new@home";

/// Two customers who know nothing of each other; what one has is there to be asked for by the other.
pub struct Scene<'a> {
    pub cloud: &'a TestCloud,
    pub alice: Customer<'a>,
    pub server: i64,
    pub event: i64,
    /// Alice's, but destroyed.
    pub gone: i64,
    pub foreign_server: i64,
    pub foreign_event: i64,
    pub snapshot: i64,
    pub foreign_snapshot: i64,
    pub foreign_fingerprint: String,
}

async fn add_key(customer: &Customer<'_>, name: &str, key: &str) -> String {
    let fields = form(&[("name", name), ("public_key", key)]);
    customer.send("POST", "/v1/sshkey/create", &fields).await.data();
    let keys = customer.send("GET", "/v1/sshkey/list", "").await.data();
    keys[name]["fingerprint"].as_str().unwrap().to_owned()
}

async fn take_snapshot(customer: &Customer<'_>, server: i64) -> i64 {
    let form = format!("id={server}&name=first");
    customer.send("POST", "/v1/snapshot/create", &form).await.data()["id"].as_i64().unwrap()
}

pub async fn scene(cloud: &TestCloud) -> Scene<'_> {
    let alice = cloud.customer("alice").await;
    let mallory = cloud.customer("mallory").await;
    add_key(&alice, "laptop", ALICES_KEY).await;
    let foreign_fingerprint = add_key(&mallory, "foreign-key", MALLORYS_KEY).await;
    let gone = alice.running_server("gone").await;
    alice.send("DELETE", &format!("/v1/server/{gone}/destroy"), "").await.data();
    let (server, event) = alice.order_server("web1").await;
    let (foreign_server, foreign_event) = mallory.order_server("web1").await;
    cloud.run_until_idle().await;
    let snapshot = take_snapshot(&alice, server).await;
    let foreign_snapshot = take_snapshot(&mallory, foreign_server).await;
    cloud.run_until_idle().await;
    Scene {
        cloud,
        alice,
        server,
        event,
        gone,
        foreign_server,
        foreign_event,
        snapshot,
        foreign_snapshot,
        foreign_fingerprint,
    }
}

/// Bad values in the place of a parameter's good one, and the status that each is refused with.
pub type Bad = Vec<(Value, u16)>;

/// A call with a request that is good, and what to spoil it with.
pub struct Call {
    /// Method and path as in the description of the API.
    pub name: &'static str,
    pub good: Vec<(&'static str, Value)>,
    pub bad: Vec<(&'static str, Bad)>,
}

fn texts(status: u16, values: &[&str]) -> Bad {
    values.iter().map(|value| (Value::from(*value), status)).collect()
}

fn all(parts: impl IntoIterator<Item = Bad>) -> Bad {
    parts.into_iter().flatten().collect()
}

/// What no text may be.
fn not_text() -> Bad {
    [json!(["a", "b"]), json!({"a": "b"}), json!([{"a": "b"}])]
        .into_iter()
        .map(|value| (value, 400))
        .collect()
}

/// Not given, in all spellings.
fn missing() -> Bad {
    [json!(null), json!(""), json!([]), json!({}), json!([""]), json!([null])]
        .into_iter()
        .map(|value| (value, 400))
        .collect()
}

/// A name with more characters than one may have, and with some that none may have.
fn bad_name() -> Bad {
    let long = ["x".repeat(65), "é".repeat(65), "x".repeat(60_000)];
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    all([
        missing(),
        not_text(),
        texts(400, &long),
        texts(400, &["a\0b", "a\nb", "a\u{7f}", "\u{1b}[31m", "a\u{85}b"]),
    ])
}

/// A slug that no list shows.
fn bad_slug(unknown: &[&str]) -> Bad {
    let long = "x".repeat(60_000);
    let odd = ["mars", "\0", "is\0t2", "a\nb", "' OR 1=1 --", "../../etc", "%", "ıst2", long.as_str()];
    all([missing(), not_text(), texts(400, &odd), texts(400, unknown)])
}

/// An id that is no integer, or no thing of the caller.
fn bad_id(others: &[i64]) -> Bad {
    all([missing(), bad_optional_id(others)])
}

/// The same where none is needed.
fn bad_optional_id(others: &[i64]) -> Bad {
    let digits = "9".repeat(1000);
    let no_integer = [
        "abc",
        "1.5",
        "0x1",
        "1 2",
        "1e3",
        "１",
        "\0",
        "1\0",
        "1;2",
        "--1",
        "99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
        digits.as_str(),
    ];
    let nobodys = ["0", "-1", "4711", "9223372036854775807", "-9223372036854775808"];
    let others: Vec<String> = others.iter().map(i64::to_string).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let odd = [json!(1.5), json!(true), json!(1e30), json!([1, 2]), json!({"a": 1}), json!([{"a": 1}])];
    all([
        texts(400, &no_integer),
        texts(404, &nobodys),
        texts(404, &others),
        odd.into_iter().map(|value| (value, 400)).collect(),
        vec![(json!(-1), 404), (json!([4711]), 404)],
    ])
}

/// What is wrong about the parameters that every order takes.
fn bad_order(scene: &Scene<'_>) -> Vec<(&'static str, Bad)> {
    let long_label = "a".repeat(64);
    let long_host = format!("{0}.{0}", "a".repeat(32));
    let hosts = [
        "-a",
        "a-",
        "a_b",
        "a b",
        "a..b",
        ".a",
        "a.",
        ".",
        "1.2.3.4",
        "é.example.com",
        "a\0b",
        "a\nb",
        "http://a",
        long_label.as_str(),
        long_host.as_str(),
    ];
    let fingerprint = scene.foreign_fingerprint.as_str();
    let prefixed = format!("MD5:{fingerprint}");
    let after_a_good_one = format!("laptop,{fingerprint}");
    let unknown = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    let long = "f".repeat(60_000);
    let keys = [
        fingerprint,
        &prefixed,
        &after_a_good_one,
        "foreign-key",
        unknown,
        "a\0b",
        ALICES_KEY,
        long.as_str(),
    ];
    let too_much = STANDARD.encode(vec![b'#'; 64 * 1024 + 1]);
    let no_base64 = ["!", "a", "#!/bin/sh", "é", "YQ==YQ==", "Y\0Q=", too_much.as_str()];
    let long_tag = "t".repeat(65);
    let many = (0..33).map(|i| format!("t{i}")).collect::<Vec<_>>().join(",");
    let tags = ["a b", "a\0b", "a\nb", "a\u{a0}b", "good,a b", long_tag.as_str(), many.as_str()];
    vec![
        ("name", bad_name()),
        ("hostname", all([texts(400, &hosts), not_text()])),
        ("ssh_keys", all([texts(400, &keys), vec![(json!({"a": "b"}), 400), (json!([{"a": "b"}]), 400)]])),
        ("user_data", all([texts(400, &no_base64), not_text()])),
        ("tags", all([texts(400, &tags), vec![(json!({"a": "b"}), 400), (json!([["a b"]]), 400)]])),
    ]
}

/// Optional parameters of an order, good.
fn good_options() -> Vec<(&'static str, Value)> {
    vec![
        ("hostname", json!("web2.example.com")),
        ("ssh_keys", json!("laptop")),
        ("user_data", json!("IyEvYmluL3NoCg==")),
        ("tags", json!("web,blue")),
    ]
}

fn create_call(scene: &Scene<'_>) -> Call {
    let mut good = vec![
        ("name", json!("web2")),
        ("region", json!("ist2")),
        ("package", json!("eos1")),
        ("image", json!("tiny")),
    ];
    good.extend(good_options());
    let mut bad = vec![
        ("region", bad_slug(&["ist1", "ist3", "Ist-02"])),
        ("package", bad_slug(&["eos0", "eos7"])),
        // The last one is known, but its files are not here.
        ("image", bad_slug(&["windows", "debian-13-x64"])),
    ];
    bad.extend(bad_order(scene));
    Call { name: "POST /v1/server/create", good, bad }
}

/// Orders from a snapshot; the path may name a server, of which nothing is asked but that it is the caller's.
fn snapshot_orders(scene: &Scene<'_>) -> Vec<Call> {
    let call = |name, id: Bad| {
        let mut good = vec![
            ("id", json!(scene.server.to_string())),
            ("name", json!("web3")),
            ("package", json!("eos1")),
            ("snapshot_id", json!(scene.snapshot.to_string())),
        ];
        good.extend(good_options());
        let mut bad = vec![
            ("id", id),
            ("package", bad_slug(&["eos0", "eos7"])),
            ("snapshot_id", bad_id(&[scene.foreign_snapshot])),
        ];
        bad.extend(bad_order(scene));
        Call { name, good, bad }
    };
    let foreign = [scene.foreign_server];
    vec![
        call("POST /v1/server/{id}/create_from_snapshot", bad_id(&foreign)),
        call("POST /v1/server/create_from_snapshot", bad_optional_id(&foreign)),
    ]
}

/// Changes of a server, in both forms.
fn change_calls(scene: &Scene<'_>) -> Vec<Call> {
    let server = || ("id", json!(scene.server.to_string()));
    let id = || ("id", bad_id(&[scene.foreign_server, scene.gone]));
    let call = |name, good: Vec<(&'static str, Value)>, bad: Vec<(&'static str, Bad)>| Call {
        name,
        good: std::iter::once(server()).chain(good).collect(),
        bad: std::iter::once(id()).chain(bad).collect(),
    };
    let long = "x".repeat(257);
    let passwords = || all([not_text(), texts(400, &["short", "a\nb long enough", "long\0 enough", &long])]);
    let password = || (vec![("password", json!("a fine password"))], vec![("password", passwords())]);
    let snapshots = || ("snapshot_id", bad_id(&[scene.foreign_snapshot]));
    let restore = || (vec![("snapshot_id", json!(scene.snapshot.to_string()))], vec![snapshots()]);
    let images = || ("image", bad_slug(&["windows", "debian-13-x64"]));
    let reinstall = || (vec![("image", json!("tiny"))], vec![images()]);
    let upgrade = |package: &str, kind: &str| {
        (
            vec![("package", json!(package)), ("type", json!(kind))],
            vec![
                ("package", bad_slug(&["eos0", "eos7"])),
                ("type", all([not_text(), texts(400, &["sideways", "fullest", "\0", "a\nb"])])),
            ],
        )
    };
    let rows = [
        ("POST /v1/server/{id}/change_password", password()),
        ("POST /v1/server/change_password", password()),
        ("POST /v1/server/{id}/restore_from_snapshot", restore()),
        ("POST /v1/server/restore_from_snapshot", restore()),
        ("POST /v1/server/{id}/refresh_install", reinstall()),
        ("POST /v1/server/refresh_install", reinstall()),
        ("POST /v1/server/{id}/upgrade_package", upgrade("eos2", "full")),
        ("POST /v1/server/upgrade_package", upgrade("eos1", "flexible")),
    ];
    rows.into_iter().map(|(name, (good, bad))| call(name, good, bad)).collect()
}

/// Snapshots; the last of these ends the scene's.
fn snapshot_calls(scene: &Scene<'_>) -> Vec<Call> {
    let server = || ("id", json!(scene.server.to_string()));
    vec![
        Call {
            name: "GET /v1/server/{id}/snapshots",
            good: vec![server()],
            // Those of a server that is gone are still there.
            bad: vec![("id", bad_id(&[scene.foreign_server]))],
        },
        Call {
            name: "POST /v1/snapshot/create",
            good: vec![server(), ("name", json!("second"))],
            bad: vec![("id", bad_id(&[scene.foreign_server, scene.gone])), ("name", bad_name())],
        },
        Call {
            name: "DELETE /v1/snapshot/destroy",
            good: vec![("id", json!(scene.snapshot.to_string()))],
            bad: vec![("id", bad_id(&[scene.foreign_snapshot]))],
        },
    ]
}

/// The calls that take the id of a server, in both forms.
fn server_calls(scene: &Scene<'_>) -> Vec<Call> {
    let names = [
        "GET /v1/server/{id}",
        "POST /v1/server/{id}/start",
        "POST /v1/server/start",
        "POST /v1/server/{id}/stop",
        "POST /v1/server/stop",
        "POST /v1/server/{id}/reboot",
        "POST /v1/server/reboot",
        "DELETE /v1/server/{id}/destroy",
        // The server is gone by now: the same request, refused when it comes again, is how it is known.
        "DELETE /v1/server/destroy",
    ];
    let call = |name| Call {
        name,
        good: vec![("id", json!(scene.server.to_string()))],
        bad: vec![("id", bad_id(&[scene.foreign_server, scene.gone]))],
    };
    names.into_iter().map(call).collect()
}

fn key_call() -> Call {
    let cut = &NEW_KEY[..60];
    let other_type = NEW_KEY.replacen("ssh-ed25519", "ssh-rsa", 1);
    let two = format!("{NEW_KEY}\n{NEW_KEY}");
    let long = format!("{NEW_KEY} {}", "x".repeat(9000));
    let options = format!("command=\"/bin/false\" {NEW_KEY}");
    let renamed = ALICES_KEY.replace("alice@home", "another comment");
    let keys = [
        "junk",
        "ssh-rsa",
        "ssh-ed25519 !!!!",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-dss AAAAB3NzaC1kc3M=",
        "ssh-rsa AAAA",
        "ssh-ed25519 AAAA\0",
        cut,
        &other_type,
        &two,
        &long,
        &options,
    ];
    Call {
        name: "POST /v1/sshkey/create",
        good: vec![("name", json!("desktop")), ("public_key", json!(NEW_KEY))],
        bad: vec![
            ("name", all([bad_name(), texts(409, &["laptop"])])),
            (
                "public_key",
                all([missing(), not_text(), texts(400, &keys), texts(409, &[ALICES_KEY, &renamed])]),
            ),
        ],
    }
}

fn account_calls(scene: &Scene<'_>) -> Vec<Call> {
    let long = "x".repeat(60_000);
    let nobody = ["nobody", "nobody@example.com", "' OR 1=1 --", "a\nb", long.as_str()];
    let wrong = ["wrong", "correct horse battery ", long.as_str()];
    let access = scene.alice.token.as_str();
    let junk = ["junk", "a.b.c", "..", "é.é.é", access, long.as_str()];
    let zero = || texts(400, &["\0", "ali\0ce"]);
    vec![
        Call {
            name: "POST /v1/user/login",
            good: vec![("username", json!("alice")), ("password", json!(PASSWORD))],
            bad: vec![
                ("username", all([missing(), not_text(), zero(), texts(401, &nobody)])),
                ("password", all([missing(), not_text(), zero(), texts(401, &wrong)])),
            ],
        },
        Call {
            name: "POST /v1/user/refreshtoken",
            good: vec![],
            bad: vec![("refreshtoken", all([missing(), not_text(), zero(), texts(401, &junk)]))],
        },
        Call {
            name: "GET /v1/image/list",
            good: vec![("type", json!("all,application"))],
            bad: vec![(
                "type",
                texts(400, &["snapshot", "al", "*", "all,nothing", "\0", "a\nb", long.as_str()]),
            )],
        },
        Call {
            name: "GET /v1/event/{id}",
            good: vec![("id", json!(scene.event.to_string()))],
            bad: vec![("id", bad_id(&[scene.foreign_event]))],
        },
    ]
}

/// Calls without parameters.
pub const BARE: [&str; 11] = [
    "GET /v1/account/detail",
    "GET /v1/account/user_balance",
    "GET /v1/event/list",
    "GET /v1/invoice/list",
    "GET /v1/package/list",
    "GET /v1/region/list",
    "GET /v1/server/list",
    "GET /v1/snapshot/list",
    "GET /v1/sshkey/list",
    "GET /v1/tags/list",
    "GET /v1/user/info",
];

/// All calls that have parameters, in an order in which each finds what it needs.
pub fn calls(scene: &Scene<'_>) -> Vec<Call> {
    let mut calls = account_calls(scene);
    calls.extend([create_call(scene), key_call()]);
    calls.extend(snapshot_orders(scene));
    calls.extend(change_calls(scene));
    calls.extend(snapshot_calls(scene));
    calls.extend(labels::calls(scene));
    calls.extend(server_calls(scene));
    calls
}
