//! Runs nftables: one process per transaction, fed with JSON.
//!
//! Promises: a transaction holds as a whole or not at all. Must not know: what the rules mean.

use crate::DriverError;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long one transaction may take; a loaded host with hundreds of tables needs well under a second.
const LIMIT: Duration = Duration::from_secs(20);

/// The `nft` binary, also where the administrators' directories are not on the path.
pub(super) fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory: PathBuf| directory.join("nft"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| "nft".into())
}

/// A document of commands, as `nft -j -f -` reads it.
pub(super) fn document(commands: &[Value]) -> Value {
    json!({ "nftables": commands })
}

/// Carries the commands out, all or none.
///
/// # Errors
/// `Fatal` if nft cannot be run at all, `Retry` if it refused.
pub(super) async fn apply(commands: &[Value]) -> Result<(), DriverError> {
    let text = document(commands).to_string();
    run(&text).await?.map_err(|refusal| {
        tracing::debug!(nft.document = text, nft.refusal = refusal, "nftables refused a transaction");
        DriverError::Retry(format!("nftables refused: {refusal}"))
    })
}

/// Feeds `input` to nft: nothing, or what it complained of.
async fn run(input: &str) -> Result<Result<(), String>, DriverError> {
    let binary = binary();
    let mut child = Command::new(&binary)
        .args(["-j", "-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| DriverError::Fatal(format!("cannot run {}: {error}", binary.display())))?;
    let stdin = child.stdin.take();
    let talk = async {
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A process that stopped reading says why on its stderr.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        tokio::join!(feed, child.wait_with_output()).1
    };
    let output = tokio::time::timeout(LIMIT, talk)
        .await
        .map_err(|_| DriverError::Retry(format!("nftables took more than {} s", LIMIT.as_secs())))?
        .map_err(DriverError::retry)?;
    Ok(if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    })
}

/// Asks nftables whether it would carry out `document`, and changes nothing.
///
/// # Errors
/// What it complained of.
pub(super) fn check(document: &str) -> Result<(), String> {
    use std::io::Write;
    let binary = binary();
    let mut child = std::process::Command::new(&binary)
        .args(["-c", "-j", "-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A process that stopped reading says why on its stderr.
        let _ = stdin.write_all(document.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
