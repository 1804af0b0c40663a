//! The guest's agent: asked politely, never relied upon. A guest without one is no error, only an absent answer.
//!
//! The protocol is QMP's without a greeting. Every conversation begins with `guest-sync`, so that replies to
//! somebody's earlier, abandoned questions are passed over.

use crate::SetupStatus;
use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LinesCodec};

/// How long an agent may take to show that it is there.
const SYNC_LIMIT: Duration = Duration::from_secs(2);
/// How long an agent may take for one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// The most that is read from a guest's file, bytes.
const FILE_LIMIT: u64 = 64 * 1024;

/// A conversation with the agent of one guest; ends when dropped.
pub struct Agent {
    lines: Framed<UnixStream, LinesCodec>,
}

impl Agent {
    /// Greets the agent; `None` when nobody answers within two seconds.
    pub async fn greet(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let mut agent = Self { lines: Framed::new(stream, LinesCodec::new_with_max_length(4 << 20)) };
        let token = token();
        let greeted = async {
            agent.say("guest-sync", &json!({ "id": token })).await?;
            loop {
                if agent.hear().await?.get("return").and_then(Value::as_u64) == Some(token) {
                    return Some(());
                }
            }
        };
        tokio::time::timeout(SYNC_LIMIT, greeted).await.ok()??;
        Some(agent)
    }

    /// Runs one command; `None` when the agent refuses it, does not know it or is gone.
    pub async fn ask(&mut self, command: &str, arguments: &Value) -> Option<Value> {
        let asked = async {
            self.say(command, arguments).await?;
            self.hear().await
        };
        let mut reply = tokio::time::timeout(COMMAND_LIMIT, asked).await.ok()??;
        reply.get_mut("return").map(Value::take)
    }

    /// Runs a command that has no answer when it succeeds, such as `guest-shutdown`. False when it was refused.
    pub async fn tell(&mut self, command: &str, arguments: &Value) -> bool {
        if self.say(command, arguments).await.is_none() {
            return false;
        }
        match tokio::time::timeout(Duration::from_millis(500), self.hear()).await {
            Ok(Some(reply)) => reply.get("error").is_none(),
            Ok(None) | Err(_) => true,
        }
    }

    /// A guest's file, at most 64 KiB of it; `None` when it is not there or the agent may not read files.
    pub async fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        let handle = self.ask("guest-file-open", &json!({ "path": path, "mode": "r" })).await?;
        let read = self.ask("guest-file-read", &json!({ "handle": handle, "count": FILE_LIMIT })).await;
        self.ask("guest-file-close", &json!({ "handle": handle })).await;
        let encoded = read?.get("buf-b64")?.as_str()?.to_owned();
        base64::engine::general_purpose::STANDARD.decode(encoded).ok()
    }

    /// How far cloud-init is, by the files that it leaves: reading them takes no process in the guest.
    pub async fn setup_status(&mut self) -> SetupStatus {
        if let Some(result) = self.file("/run/cloud-init/result.json").await {
            return finished(&result);
        }
        if self.file("/run/cloud-init/status.json").await.is_some() {
            return SetupStatus::Running;
        }
        // Not begun yet, another program of that name, or an agent that may not read files: let the guest say it.
        let said = self.run("cloud-init", &["status"]).await;
        said.map_or(SetupStatus::Unknown, |said| stated(&said))
    }

    /// What a program in the guest prints; `None` when it cannot be run or does not end in time.
    async fn run(&mut self, path: &str, arguments: &[&str]) -> Option<String> {
        let order = json!({ "path": path, "arg": arguments, "capture-output": true });
        let pid = self.ask("guest-exec", &order).await?.get("pid")?.clone();
        let deadline = tokio::time::Instant::now() + COMMAND_LIMIT;
        while tokio::time::Instant::now() < deadline {
            let status = self.ask("guest-exec-status", &json!({ "pid": pid })).await?;
            if status["exited"] == true {
                let output = status["out-data"].as_str().unwrap_or("");
                let output = base64::engine::general_purpose::STANDARD.decode(output).ok()?;
                return Some(String::from_utf8_lossy(&output).into_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn say(&mut self, command: &str, arguments: &Value) -> Option<()> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments.clone();
        }
        self.lines.send(message.to_string()).await.ok()
    }

    /// The next line that is JSON; `None` when the socket is gone.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            let line = self.lines.next().await?.ok()?;
            if let Ok(value) = serde_json::from_str(line.trim_start_matches('\u{fffd}')) {
                return Some(value);
            }
        }
    }
}

/// What cloud-init's `result.json` says: `{"v1": {"datasource": …, "errors": […]}}`.
fn finished(result: &[u8]) -> SetupStatus {
    let errors =
        serde_json::from_slice::<Value>(result).ok().and_then(|r| Some(r["v1"]["errors"].as_array()?.len()));
    match errors {
        Some(0) => SetupStatus::Done,
        Some(_) => SetupStatus::Failed,
        // Caught while it was being written.
        None => SetupStatus::Running,
    }
}

/// What `cloud-init status` prints: `status: done`, among other lines.
fn stated(output: &str) -> SetupStatus {
    let word = output.lines().find_map(|line| line.strip_prefix("status:")).map(str::trim);
    match word {
        Some("done") => SetupStatus::Done,
        Some("error") => SetupStatus::Failed,
        Some("running" | "not started" | "not run") => SetupStatus::Running,
        _ => SetupStatus::Unknown,
    }
}

/// A number that earlier conversations did not use.
fn token() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // The process id keeps apart what an earlier control plane asked; 31 bits are safe in every agent.
    let own = u64::from(std::process::id()) << 12;
    (own + NEXT.fetch_add(1, Ordering::Relaxed)) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn stale_answers_are_passed_over_and_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qga.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"return\": 7}\n{\"return\": {}}\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let asked: Value = serde_json::from_str(&line).unwrap();
                let reply = match asked["execute"].as_str().unwrap() {
                    "guest-sync" => json!({ "return": asked["arguments"]["id"] }),
                    "guest-file-open" if asked["arguments"]["path"] == "/there" => json!({ "return": 1000 }),
                    "guest-file-read" => json!({ "return": { "count": 2, "buf-b64": "aGk=", "eof": true } }),
                    "guest-file-close" => json!({ "return": {} }),
                    _ => json!({ "error": { "class": "GenericError", "desc": "no" } }),
                };
                write.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
            }
        });
        let mut agent = Agent::greet(&path).await.unwrap();
        assert_eq!(agent.file("/there").await.unwrap(), b"hi");
        assert_eq!(agent.file("/absent").await, None);
        assert!(!agent.tell("guest-shutdown", &Value::Null).await);
    }

    #[test]
    fn the_result_says_whether_it_went_well() {
        assert_eq!(finished(br#"{"v1":{"datasource":"x","errors":[]}}"#), SetupStatus::Done);
        assert_eq!(finished(br#"{"v1":{"errors":["no"]}}"#), SetupStatus::Failed);
        assert_eq!(finished(b"{"), SetupStatus::Running);
    }

    #[test]
    fn the_command_says_it_too() {
        assert_eq!(stated("\nstatus: running\n"), SetupStatus::Running);
        assert_eq!(stated("status: done\ndetail: x\n"), SetupStatus::Done);
        assert_eq!(stated("status: error\n"), SetupStatus::Failed);
        assert_eq!(stated("sh: not found\n"), SetupStatus::Unknown);
    }

    #[tokio::test]
    async fn no_agent_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qga.sock");
        assert!(Agent::greet(&path).await.is_none());
        let _silent = UnixListener::bind(&path).unwrap();
        assert!(Agent::greet(&path).await.is_none());
    }
}
