//! The operator's commands, as the program itself runs them on a state directory.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn run(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bulut"))
        .args(arguments)
        .arg("--json")
        .env_clear()
        .env("HOME", state)
        .env("BULUT_STATE", state)
        .output()
        .unwrap()
}

/// What a command that succeeds says.
fn done(state: &Path, arguments: &[&str]) -> Value {
    let output = run(state, arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
    if said.trim().is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
}

fn code(state: &Path, arguments: &[&str]) -> i32 {
    run(state, arguments).status.code().unwrap()
}

#[test]
fn an_operator_sees_letters_makes_payment_keys_and_credits_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    done(state, &["migrate"]);
    done(state, &["account", "create", "--email", "ada@example.com", "--generate"]);
    let listed = done(state, &["mail", "list", "--only", "waiting"]);
    assert_eq!(
        (&listed[0]["template"], &listed[0]["recipient"]),
        (&json!("verification"), &json!("ada@example.com"))
    );
    let id = listed[0]["id"].to_string();
    let shown = done(state, &["mail", "show", &id]);
    assert_eq!(shown["subject"], "Please confirm your e-mail address for bulut");
    assert_eq!(done(state, &["mail", "retry", &id])["state"], "waiting");
    assert_eq!(done(state, &["mail", "retry", "--all"])["retried"], 1);
    assert_eq!(done(state, &["mail", "test", "bob@example.com"])["template"], "test");
    assert_eq!(code(state, &["mail", "test", "nobody"]), 1);
    assert_eq!(code(state, &["mail", "show", "99"]), 1);
    assert_eq!(code(state, &["mail", "list", "--only", "lost"]), 1);

    let key = done(state, &["payment-key", "add", "Card payments"]);
    assert!(key["secret"].as_str().unwrap().starts_with("bps_"));
    let key_id = key["id"].to_string();
    let keys = done(state, &["payment-key", "list"]);
    assert_eq!((&keys[0]["name"], &keys[0]["secret"]), (&json!("Card payments"), &Value::Null));
    done(state, &["payment-key", "remove", &key_id]);
    assert_eq!(code(state, &["payment-key", "remove", &key_id]), 1);

    let credit = ["account", "credit", "ada@example.com", "25.50", "--once", "transfer-1"];
    assert_eq!(done(state, &credit)["balance"], "25.5");
    assert_eq!(done(state, &credit)["balance"], "25.5", "told twice, booked once");
    assert_eq!(done(state, &["account", "debit", "ada@example.com", "0.5"])["balance"], "25");
    assert_eq!(code(state, &["account", "credit", "ada@example.com", "1,5"]), 1);
    assert_eq!(code(state, &["account", "credit", "eve@example.com", "1"]), 1);
    done(state, &["account", "send-reset", "ada@example.com"]);
    done(state, &["account", "send-verification", "ada@example.com"]);
    assert_eq!(done(state, &["account", "verify", "ada@example.com"])["is_verified"], true);
    assert_eq!(done(state, &["account", "events", "ada@example.com"]), json!([]));
    let templates: Vec<Value> = done(state, &["mail", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|mail| mail["template"].clone())
        .collect();
    assert_eq!(templates, ["verification", "password_reset", "test", "verification"]);
}
