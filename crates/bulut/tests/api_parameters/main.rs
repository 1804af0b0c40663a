//! Bad input at the calls of the Cloude dialect: each parameter of each call with each kind of bad value, in every
//! encoding, gets the right status in the envelope and a sentence that names the parameter, and changes nothing.
//! So do broken bodies, wrong methods, unknown paths and bodies that are too large.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod calls;
mod requests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_model::catalog::ImageFiles;
use bulut_testkit::cloud::Setup;
use bulut_testkit::http::{Answer, escaped, form};
use bulut_testkit::{Database, TestCloud};
use calls::{BARE, Call, Scene, calls, scene};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One request as it goes over the wire.
struct Wire {
    path: String,
    content_type: &'static str,
    body: String,
}

/// The same parameters in every encoding that can carry them.
fn encodings(call: &Call, given: &[(&'static str, Value)]) -> Vec<Wire> {
    let (method, pattern) = call.name.split_once(' ').unwrap();
    let mut path = pattern.to_owned();
    let mut rest: Vec<(&str, &Value)> = Vec::new();
    for (name, value) in given {
        let hole = format!("{{{name}}}");
        if !path.contains(&hole) {
            rest.push((name, value));
        } else if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            path = path.replace(&hole, &escaped(text));
        } else {
            // A path carries text, and without it is another one.
            return vec![];
        }
    }
    rest.retain(|(_, value)| !value.is_null());
    let mut wires = Vec::new();
    if let Some(pairs) =
        rest.iter().map(|(name, value)| Some((*name, value.as_str()?))).collect::<Option<Vec<_>>>()
    {
        let fields = form(&pairs);
        // Longer addresses are no valid request.
        if fields.len() < 32_000 {
            wires.push(Wire { path: format!("{path}?{fields}"), content_type: "", body: String::new() });
        }
        let multipart = multipart(&pairs);
        wires.push(Wire {
            path: path.clone(),
            content_type: "application/x-www-form-urlencoded",
            body: fields,
        });
        wires.push(Wire {
            path: path.clone(),
            content_type: "multipart/form-data; boundary=XoX",
            body: multipart,
        });
    }
    if method == "GET" {
        wires.retain(|wire| wire.content_type.is_empty());
        return wires;
    }
    let members: Map<String, Value> =
        rest.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    wires.push(Wire { path, content_type: "application/json", body: Value::from(members).to_string() });
    wires
}

fn multipart(pairs: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--XoX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    pairs.iter().map(part).collect::<String>() + "--XoX--\r\n"
}

async fn ask(scene: &Scene<'_>, call: &Call, wire: &Wire) -> Answer {
    let (method, _) = call.name.split_once(' ').unwrap();
    let bearer = format!("Bearer {}", scene.alice.token);
    let mut headers = vec![("content-type", wire.content_type)];
    // The refresh token may come as Bearer, too: without one, none is given.
    if !call.name.contains("/user/") {
        headers.push(("authorization", bearer.as_str()));
    }
    scene.cloud.send(method, &wire.path, &headers, &wire.body).await
}

fn word_of(status: u16) -> &'static str {
    match status {
        400 => "validation",
        401 => "unauthenticated",
        404 => "not_found",
        409 => "exists",
        other => panic!("no word for {other}"),
    }
}

/// Spoils each parameter of a call in turn; at last the good request shows that nothing else was wrong.
async fn spoil(scene: &Scene<'_>, call: &Call) {
    for (parameter, bad) in &call.bad {
        let before = scene.cloud.state().await;
        for (value, status) in bad {
            let mut given = call.good.clone();
            given.retain(|(name, _)| name != parameter);
            given.push((parameter, value.clone()));
            let shown: String = format!("{} {parameter}={value}", call.name).chars().take(160).collect();
            let mut sentences = BTreeSet::new();
            for wire in encodings(call, &given) {
                let answer = ask(scene, call, &wire).await;
                assert_eq!(
                    answer.status.as_u16(),
                    *status,
                    "{shown} as {}: {}",
                    wire.content_type,
                    answer.text
                );
                let sentence = answer.refusal(*status);
                assert_eq!(answer.word(), word_of(*status), "{shown}");
                let is_named = sentence.replace(' ', "").contains(parameter);
                assert!(is_named || *status == 409, "{shown} is not named: {sentence}");
                assert!(sentence.chars().count() < 400, "{shown} comes back whole: {} bytes", sentence.len());
                assert!(!sentence.contains(char::is_control), "{shown}: {sentence:?}");
                sentences.insert(sentence);
            }
            assert!(sentences.len() <= 1, "{shown} depends on the encoding: {sentences:?}");
        }
        assert_eq!(before, scene.cloud.state().await, "{} {parameter}: something changed", call.name);
    }
    if let Some(wire) = encodings(call, &call.good).into_iter().next()
        && !call.good.is_empty()
        && call.name != "DELETE /v1/server/destroy"
    {
        ask(scene, call, &wire).await.data();
    }
    scene.cloud.run_until_idle().await;
}

async fn spoil_all(database: Database) {
    let cloud = TestCloud::on(database).await;
    let scene = scene(&cloud).await;
    for call in calls(&scene) {
        spoil(&scene, &call).await;
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name_and_change_nothing_on_sqlite() {
    spoil_all(Database::Sqlite).await;
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name_and_change_nothing_on_postgresql() {
    spoil_all(Database::Postgres).await;
}

/// The paths of the description, each with its methods and these with the names of their parameters.
pub async fn described(cloud: &TestCloud) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let document = cloud.send("GET", "/v1/openapi.json", &[], "").await.json();
    let parameters = |operation: &Value| {
        let form = "application/x-www-form-urlencoded";
        let plain = operation["parameters"].as_array().unwrap().iter();
        // Headers are described once, for all calls together.
        let plain = plain.filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned()));
        let body = operation["requestBody"]["content"][form]["schema"]["properties"].as_object();
        plain.chain(body.into_iter().flat_map(|body| body.keys().cloned())).collect()
    };
    let methods = |path: &Value| {
        path.as_object().unwrap().iter().map(|(method, it)| (method.to_uppercase(), parameters(it))).collect()
    };
    document["paths"].as_object().unwrap().iter().map(|(path, it)| (path.clone(), methods(it))).collect()
}

#[tokio::test]
async fn each_parameter_of_each_described_call_is_spoilt() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let mut spoilt: BTreeMap<String, BTreeSet<String>> =
        BARE.map(|name| (name.to_owned(), BTreeSet::new())).into();
    for call in calls(&scene) {
        let names = call.bad.iter().map(|(parameter, _)| (*parameter).to_owned()).collect();
        spoilt.insert(call.name.to_owned(), names);
    }
    let known: BTreeMap<String, BTreeSet<String>> = described(&cloud)
        .await
        .into_iter()
        .flat_map(|(path, methods)| {
            methods.into_iter().map(move |(method, it)| (format!("{method} {path}"), it))
        })
        .collect();
    assert_eq!(spoilt, known);
}

#[tokio::test]
async fn an_id_of_somebody_else_is_told_like_one_that_does_not_exist() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let told = async |path: String| scene.alice.send("GET", &path, "").await.refusal(404);
    let foreign = told(format!("/v1/server/{}", scene.foreign_server)).await;
    assert_eq!(
        foreign.replace(&scene.foreign_server.to_string(), "4711"),
        told("/v1/server/4711".into()).await
    );
    let foreign = told(format!("/v1/event/{}", scene.foreign_event)).await;
    assert_eq!(
        foreign.replace(&scene.foreign_event.to_string(), "4711"),
        told("/v1/event/4711".into()).await
    );
    let order = async |key: &str| {
        let order =
            [("name", "a"), ("region", "ist2"), ("package", "eos1"), ("image", "tiny"), ("ssh_key", key)];
        scene.alice.send("POST", "/v1/server/create", &form(&order)).await.refusal(400)
    };
    let foreign = order(&scene.foreign_fingerprint).await;
    let unknown = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    assert_eq!(foreign.replace(&scene.foreign_fingerprint, unknown), order(unknown).await);
}

#[tokio::test]
async fn the_path_wins_over_the_body_and_the_body_over_the_query() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let foreign = scene.foreign_server;
    let answer = scene
        .alice
        .send("POST", &format!("/v1/server/{foreign}/stop"), &format!("id={}", scene.server))
        .await;
    answer.refusal(404);
    let answer = scene
        .alice
        .send("POST", &format!("/v1/server/stop?id={}", scene.server), &format!("id={foreign}"))
        .await;
    answer.refusal(404);
    let answer = scene.alice.send("POST", &format!("/v1/server/stop?id={}", scene.server), "id=").await;
    assert_eq!(answer.data(), true);
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn the_largest_good_values_are_accepted() {
    let cloud = TestCloud::new().await;
    let scene = scene(&cloud).await;
    let name = "é".repeat(64);
    let hostname = format!("{}.{}", "a".repeat(31), "b".repeat(32));
    let user_data = STANDARD.encode(vec![b'#'; 64 * 1024]);
    let tags: Vec<String> = (0..32).map(|i| format!("{i:0>64}")).collect();
    let order = json!({
        "name": name, "region": "ist2", "package": "eos1", "image": "tiny", "hostname": hostname,
        "user_data": user_data, "tags": tags, "ssh_keys": ["laptop"], "unknown": {"is": "ignored"},
    });
    let id = scene.alice.send_json("POST", "/v1/server/create", &order).await.data()["id"].clone();
    cloud.run_until_idle().await;
    let server = scene.alice.send("GET", &format!("/v1/server/{id}"), "").await.data()[0].clone();
    assert_eq!(server["name"], name);
    assert_eq!(server["hostname"], hostname);
    assert_eq!(server["tags"], json!(tags));
}

#[tokio::test]
async fn an_order_without_room_or_below_the_images_needs_changes_nothing() {
    for database in [Database::Sqlite, Database::Postgres] {
        let mut setup = Setup { database, ..Setup::default() };
        setup.node.memory_mib = 3 * 1024;
        setup.configure = |config| config.memory_overcommit_percent = 100;
        let cloud = TestCloud::with(setup).await;
        let alice = cloud.customer("alice").await;
        let files = ImageFiles {
            digest: format!("sha256:{}", "1".repeat(64)),
            directory: "debian-13-x64".into(),
            virtual_bytes: 30 << 30,
            file_bytes: 1,
            direct: None,
        };
        bulut_store::images::set_files(cloud.app().store(), "debian-13-x64", Some(&files)).await.unwrap();
        let order = async |package: &str, image: &str| {
            let order = format!("name=a&region=ist2&package={package}&image={image}");
            alice.send("POST", "/v1/server/create", &order).await
        };
        let before = cloud.state().await;
        let answer = order("eos4", "tiny").await;
        assert!(answer.refusal(409).contains("room"), "{}", answer.text);
        assert_eq!(answer.word(), "no_capacity");
        let sentence = order("eos1", "debian-13-x64").await.refusal(400);
        assert!(["package", "30", "20"].iter().all(|word| sentence.contains(word)), "{sentence}");
        assert_eq!(before, cloud.state().await);
        order("eos2", "debian-13-x64").await.data();
        cloud.run_until_idle().await;
    }
}
