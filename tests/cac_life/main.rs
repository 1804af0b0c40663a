//! Cloud at Cost from end to end: the lines of its document run by curl against the real program, with their effects in a
//! real guest; clients of many languages; a server that is powered off because it idles; and secrets that no log holds.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod clients;
mod document;

use bulut_testkit::program::Program;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const LOGIN: &str = "alice@example.com";

/// Runs the program's own command line on the box; answers what it prints.
fn bulut(cloud: &Program, arguments: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(arguments)
        .env("BULUT_STATE", cloud.state())
        .stdin(Stdio::null())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "bulut {}: {said}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A key that may be used from this machine.
fn key(cloud: &Program) -> String {
    let allow = "127.0.0.0/8,::1";
    bulut(cloud, &["--quiet", "api-key", "create", "--account", LOGIN, "--name", "test", "--allow", allow])
}

/// Runs a shell line; answers what it prints.
async fn shell(line: &str, dir: &Path) -> String {
    let mut bash = tokio::process::Command::new("bash");
    bash.arg("-c").arg(line).current_dir(dir).stdin(Stdio::null()).env("no_proxy", "*");
    let output = bash.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// What an answer on one line says.
fn read(text: &str) -> Value {
    assert!(!text.contains('\n') && text.starts_with("{\"status\": \""), "{text}");
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}
