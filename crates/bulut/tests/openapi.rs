//! The description of the Cloude dialect against the program: it is served, its examples are what its schemas say, and
//! what it says of values is what the domain says. That every answer conforms to it is checked wherever a test of the
//! dialect gets one (the testkit sees to that), and from outside by `tests/contract`.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_model::name::{check_hostname, check_name};
use bulut_model::ssh_key;
use bulut_testkit::TestCloud;
use bulut_testkit::cloud::Setup;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::OnceLock;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(bulut::api::cloude::openapi)
}

fn validator(schema: &Value) -> Validator {
    let whole = json!({"allOf": [schema], "components": {"schemas": document()["components"]["schemas"]}});
    jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap()
}

/// The schema of a parameter in the JSON body of a call.
fn parameter(call: &str, name: &str) -> Value {
    let pointer = call.replace('/', "~1");
    let content =
        format!("/paths/{pointer}/post/requestBody/content/application~1json/schema/properties/{name}");
    document().pointer(&content).unwrap_or_else(|| panic!("{content}")).clone()
}

#[tokio::test]
async fn it_is_served_to_anybody_and_names_the_public_url() {
    let cloud = TestCloud::new().await;
    let answer = cloud.send("GET", "/v1/openapi.json", &[], "").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(&answer.json(), document());
    assert_eq!(document()["openapi"], "3.1.0");
    assert_eq!(document()["servers"][0]["url"], "/");

    let configure = |config: &mut bulut::config::Config| {
        config.public_url = Some("https://cloud.example.com/bulut".into());
    };
    let cloud = TestCloud::with(Setup { configure, ..Setup::default() }).await;
    let answer = cloud.send("GET", "/v1/openapi.json", &[], "").await.json();
    assert_eq!(answer["servers"][0]["url"], "https://cloud.example.com/bulut");
}

/// Every (schema, example) of the document, with where it stands.
fn examples(value: &Value, at: &str, found: &mut Vec<(String, Value, Value)>) {
    match value {
        Value::Object(members) => {
            if let (Some(schema), Some(example)) = (members.get("schema"), members.get("example")) {
                found.push((at.to_owned(), schema.clone(), example.clone()));
            }
            if let Some(Value::Array(all)) = members.get("examples") {
                found.extend(all.iter().map(|example| (at.to_owned(), value.clone(), example.clone())));
            }
            for (name, member) in members.iter().filter(|(name, _)| !name.starts_with("example")) {
                examples(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                examples(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_example_is_what_its_schema_says() {
    let mut found = Vec::new();
    examples(document(), "", &mut found);
    for (at, schema, example) in &found {
        let errors: Vec<_> = validator(schema).iter_errors(example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{at}: {errors:?}: {example}");
    }
    let of_calls = found.iter().filter(|(at, ..)| at.starts_with("/paths")).count();
    let calls: usize =
        document()["paths"].as_object().unwrap().values().map(|it| it.as_object().unwrap().len()).sum();
    assert!(of_calls >= calls && calls > 40, "{of_calls} examples of {calls} calls");
    let named = document()["components"]["schemas"].as_object().unwrap();
    for (name, schema) in named.iter().filter(|(_, schema)| schema.get("properties").is_some()) {
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
}

#[test]
fn a_call_says_who_may_call_and_how_it_can_fail() {
    let document = document();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let call = format!("{method} {path}");
            assert!(tags.contains(&&operation["tags"][0]), "{call}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(!responses.contains_key("default"), "{call}");
            let has = |status: &str| responses.contains_key(status);
            assert!(has("200") && has("429") && has("500") && has("503"), "{call}");
            let public = operation["security"] == json!([]);
            assert!(has("401") || public, "{call}");
            let keyed = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|it| it["$ref"] == "#/components/parameters/IdempotencyKey");
            let changes = method != "get" && operation.get("security").is_none();
            assert_eq!(keyed, changes, "{call}");
            assert_eq!(has("409") && has("403"), changes, "{call}");
            assert_eq!(has("413"), method != "get", "{call}");
        }
    }
}

/// Texts near the border between names that are accepted and those that are not.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{0,70}",
        "([a-z0-9]{1,4}[.-]{0,2}){0,5}",
        "[a-z0-9-]{62,65}",
        "[ \t\u{a0}\u{2003}]{0,3}[a-zé🖥]{0,2}[ \t\u{a0}]{0,3}",
        "[,a b\u{0}\u{85}\u{7f}]{0,5}",
        "[é🖥]{63,65}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn what_it_says_of_names_the_domain_says_too(text in texts()) {
        static VALIDATORS: OnceLock<(Validator, Validator, Validator)> = OnceLock::new();
        let (name, hostname, tags) = VALIDATORS.get_or_init(|| {
            let of = |name| validator(&parameter("/v1/server/create", name));
            (of("name"), of("hostname"), of("tags"))
        });
        prop_assert_eq!(name.is_valid(&json!(text)), check_name("name", &text).is_ok(), "name {:?}", text);
        prop_assert_eq!(hostname.is_valid(&json!(text)), check_hostname("hostname", &text).is_ok(), "{:?}", text);
        let is_tag = bulut_model::tag::check(std::slice::from_ref(&text)).is_ok();
        prop_assert_eq!(tags.is_valid(&json!([text])), is_tag, "tag {:?}", text);
    }
}

#[test]
fn what_it_says_of_keys_fits_every_kind_of_key() {
    let key = validator(&parameter("/v1/sshkey/create", "public_key"));
    let documented = document().pointer("/components/schemas/SshKey/examples/0/public_key").unwrap();
    assert!(key.is_valid(documented));
    ssh_key::parse(documented.as_str().unwrap()).unwrap();
    for kind in [
        "ssh-rsa",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ] {
        assert!(key.is_valid(&json!(format!("{kind} AAAAC3Nz/+== somebody at home"))), "{kind}");
    }
    for junk in ["", "ssh-dss AAAA", "ssh-rsa", "AAAAC3Nz", "ssh-rsa AAAA\nssh-rsa AAAA", "ssh-rsa A*"] {
        assert!(!key.is_valid(&json!(junk)), "{junk:?}");
        ssh_key::parse(junk).unwrap_err();
    }
}
