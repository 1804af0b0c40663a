//! The guest's agent: asked politely, never relied upon. A guest without one is no error, only an absent answer.
//!
//! The protocol is QMP's without a greeting. Every conversation begins with `guest-sync`, so that replies to
//! somebody's earlier, abandoned questions are passed over.

use crate::{DriverError, GuestUsage, PasswordSet, SetupStatus};
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
/// How long a sentence may take to be said: an agent that does not listen fills the line.
const MURMUR_LIMIT: Duration = Duration::from_secs(2);
/// How long an agent may take to set a password: it runs a program for that.
const PASSWORD_LIMIT: Duration = Duration::from_secs(30);
/// The command that sets a password.
const SET_PASSWORD: &str = "guest-set-user-password";
/// The most that is read from a guest's file, bytes.
const FILE_LIMIT: u64 = 64 * 1024;

/// What became of a command.
#[derive(Debug)]
pub enum Reply {
    /// It was carried out, with this result.
    Return(Value),
    /// The agent refused it.
    Refused {
        /// Because it does not know it, or may not carry it out.
        unknown: bool,
    },
    /// No answer came in time, or the agent is gone: nothing is known about what the command did.
    Silent,
}

/// A conversation with the agent of one guest; ends when dropped.
pub struct Agent {
    lines: Framed<UnixStream, LinesCodec>,
    /// An answer did not come in time. It may come yet, and would be taken for that to another question.
    lost: bool,
}

impl Agent {
    /// Greets the agent; `None` when nobody answers within two seconds.
    pub async fn greet(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let lines = Framed::new(stream, LinesCodec::new_with_max_length(4 << 20));
        let mut agent = Self { lines, lost: false };
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
        match self.call(command, arguments, COMMAND_LIMIT).await {
            Reply::Return(value) => Some(value),
            Reply::Refused { .. } | Reply::Silent => None,
        }
    }

    /// Runs one command within a limit. After a [`Reply::Silent`] every later one is silent too.
    pub async fn call(&mut self, command: &str, arguments: &Value, limit: Duration) -> Reply {
        if self.lost {
            return Reply::Silent;
        }
        let asked = async {
            self.say(command, arguments).await?;
            self.hear().await
        };
        let Ok(Some(mut reply)) = tokio::time::timeout(limit, asked).await else {
            self.lost = true;
            return Reply::Silent;
        };
        match reply.get_mut("return").map(Value::take) {
            Some(value) => Reply::Return(value),
            None => Reply::Refused { unknown: reply["error"]["class"] == "CommandNotFound" },
        }
    }

    /// Says a command without waiting for the answer, also after a [`Reply::Silent`].
    pub async fn murmur(&mut self, command: &str) {
        // Whether it was heard is for a new conversation to find out.
        let _ = tokio::time::timeout(MURMUR_LIMIT, self.say(command, &Value::Null)).await;
    }

    /// Sets root's password to one given as in `/etc/shadow`, and reads it back there.
    ///
    /// # Errors
    /// `Retry` when the agent falls silent, or root's password is another one afterwards.
    pub async fn set_root_password(&mut self, hash: &str) -> Result<PasswordSet, DriverError> {
        let info = self.ask("guest-info", &Value::Null).await;
        let info = info.ok_or_else(|| DriverError::retry("the guest's agent does not say what it can do"))?;
        let can_read = allows(&info, "guest-file-open") && allows(&info, "guest-file-read");
        // What cannot be read back is not begun: the seed's way is there, and it tells.
        if !allows(&info, SET_PASSWORD) || !(can_read || allows(&info, "guest-exec")) {
            return Ok(PasswordSet::NoAgent);
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(hash);
        let order = json!({ "username": "root", "password": encoded, "crypted": true });
        match self.call(SET_PASSWORD, &order, PASSWORD_LIMIT).await {
            Reply::Return(_) => {}
            Reply::Refused { unknown: true } => return Ok(PasswordSet::NoAgent),
            Reply::Refused { unknown: false } => {
                return Err(DriverError::retry("the guest could not set the password"));
            }
            Reply::Silent => return Err(DriverError::retry("the guest did not set the password in time")),
        }
        let shadow = match can_read {
            true => self.file("/etc/shadow").await.map(|text| String::from_utf8_lossy(&text).into_owned()),
            false => None,
        };
        let shadow = match shadow {
            Some(shadow) => Some(shadow),
            None => self.run("grep", &["^root:", "/etc/shadow"]).await,
        };
        match shadow.as_deref().and_then(root_password) {
            Some(held) if held == hash => Ok(PasswordSet::Seen),
            Some(_) => Err(DriverError::retry("the guest says that root's password is another one")),
            None => Err(DriverError::retry("the guest does not show root's password")),
        }
    }

    /// Runs a command that has no answer when it succeeds, such as `guest-shutdown`. False when it was refused.
    pub async fn tell(&mut self, command: &str, arguments: &Value) -> bool {
        let said = tokio::time::timeout(MURMUR_LIMIT, self.say(command, arguments)).await;
        if said.ok().flatten().is_none() {
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

    /// What the guest uses, as far as its agent can say.
    pub async fn usage(&mut self) -> GuestUsage {
        let memory = self.file("/proc/meminfo").await;
        let systems = self.ask("guest-get-fsinfo", &Value::Null).await;
        GuestUsage {
            memory_bytes: memory.and_then(|text| memory_in_use(&String::from_utf8_lossy(&text))),
            disk_bytes: systems.as_ref().and_then(disk_in_use),
        }
    }

    /// What a program in the guest prints; `None` when it cannot be run or does not end in time.
    pub async fn run(&mut self, path: &str, arguments: &[&str]) -> Option<String> {
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

/// Whether the agent says in its `guest-info` that it carries out this command.
pub fn allows(info: &Value, command: &str) -> bool {
    let commands = info["supported_commands"].as_array();
    commands.is_some_and(|all| all.iter().any(|it| it["name"] == command && it["enabled"] == true))
}

/// Root's password in the text of an `/etc/shadow`.
fn root_password(shadow: &str) -> Option<&str> {
    shadow.lines().find_map(|line| line.strip_prefix("root:"))?.split(':').next()
}

/// The memory that is in use, by Linux's `/proc/meminfo`.
fn memory_in_use(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    kib("MemTotal")?.checked_sub(kib("MemAvailable")?)?.checked_mul(1024)
}

/// What file systems hold, by `guest-get-fsinfo`. One that is mounted in several places counts once, and those that can
/// only be read are not the guest's own.
fn disk_in_use(systems: &Value) -> Option<u64> {
    let mut names = std::collections::BTreeSet::new();
    let mut sum: Option<u64> = None;
    let own = |system: &&Value| !matches!(system["type"].as_str(), Some("iso9660" | "squashfs" | "udf"));
    for system in systems.as_array()?.iter().filter(own) {
        if let (Some(name), Some(used)) = (system["name"].as_str(), system["used-bytes"].as_u64())
            && names.insert(name)
        {
            sum = Some(sum.unwrap_or(0).saturating_add(used));
        }
    }
    sum
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

    /// A guest whose agent answers each command by what `answer` makes of it, after two stale answers.
    fn guest(path: &Path, mut answer: impl FnMut(&str, &Value) -> Value + Send + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"return\": 7}\n{\"return\": {}}\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let asked: Value = serde_json::from_str(&line).unwrap();
                let reply = match asked["execute"].as_str().unwrap() {
                    "guest-sync" => json!({ "return": asked["arguments"]["id"] }),
                    command => answer(command, &asked["arguments"]),
                };
                if reply.is_null() {
                    continue;
                }
                write.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
            }
        });
    }

    fn refused() -> Value {
        json!({ "error": { "class": "GenericError", "desc": "no" } })
    }

    #[tokio::test]
    async fn stale_answers_are_passed_over_and_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qga.sock");
        guest(&path, |command, arguments| match command {
            "guest-file-open" if arguments["path"] == "/there" => json!({ "return": 1000 }),
            "guest-file-read" => json!({ "return": { "count": 2, "buf-b64": "aGk=", "eof": true } }),
            "guest-file-close" => json!({ "return": {} }),
            _ => refused(),
        });
        let mut agent = Agent::greet(&path).await.unwrap();
        assert_eq!(agent.file("/there").await.unwrap(), b"hi");
        assert_eq!(agent.file("/absent").await, None);
        assert!(!agent.tell("guest-shutdown", &Value::Null).await);
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_not_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qga.sock");
        let mut held = None;
        guest(&path, move |command, _| match command {
            "guest-fsfreeze-freeze" => {
                held = Some(json!({ "return": 3 }));
                Value::Null
            }
            _ => held.take().unwrap_or_else(refused),
        });
        let mut agent = Agent::greet(&path).await.unwrap();
        let limit = Duration::from_millis(50);
        assert!(matches!(agent.call("guest-fsfreeze-freeze", &Value::Null, limit).await, Reply::Silent));
        let late = agent.call("guest-fsfreeze-thaw", &Value::Null, Duration::from_secs(5)).await;
        assert!(matches!(late, Reply::Silent), "{late:?}");
    }

    /// What becomes of a password, with an agent that has these commands, and leaves this in `/etc/shadow`.
    async fn password(commands: &[&str], shadow: &'static str) -> Result<PasswordSet, DriverError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qga.sock");
        let can: Vec<Value> = commands.iter().map(|it| json!({ "name": it, "enabled": true })).collect();
        let known: Vec<String> = commands.iter().map(|it| (*it).to_owned()).collect();
        guest(&path, move |command, arguments| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(shadow);
            match command {
                "guest-info" => json!({ "return": { "supported_commands": can } }),
                "guest-exec-status" => json!({ "return": { "exited": true, "out-data": encoded } }),
                _ if !known.iter().any(|it| it == command) => {
                    json!({ "error": { "class": "CommandNotFound", "desc": "no" } })
                }
                "guest-set-user-password" => {
                    assert_eq!(arguments["username"], "root");
                    assert_eq!(arguments["password"], "JDYkbmV3");
                    assert_eq!(arguments["crypted"], true);
                    json!({ "return": {} })
                }
                "guest-file-open" => json!({ "return": 1 }),
                "guest-file-read" => json!({ "return": { "buf-b64": encoded } }),
                "guest-exec" => json!({ "return": { "pid": 5 } }),
                _ => json!({ "return": {} }),
            }
        });
        Agent::greet(&path).await.unwrap().set_root_password("$6$new").await
    }

    #[tokio::test]
    async fn a_password_is_set_when_the_guests_own_file_shows_it() {
        let all = ["guest-set-user-password", "guest-file-open", "guest-file-read", "guest-exec"];
        let good = "daemon:*:1::::::\nroot:$6$new:20000:0:99999:7:::\n";
        assert!(matches!(password(&all, good).await, Ok(PasswordSet::Seen)));
        assert!(matches!(password(&[all[0], all[3]], good).await, Ok(PasswordSet::Seen)), "by a program");
        for other in ["root:$6$new2:1::::::\n", "root::1::::::\n", "toor:$6$new:1::::::\n", ""] {
            assert!(matches!(password(&all, other).await, Err(DriverError::Retry(_))), "{other:?}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_may_not_set_it_or_show_it_is_none() {
        let good = "root:$6$new:1::::::\n";
        let reading = ["guest-file-open", "guest-file-read", "guest-exec"];
        assert!(matches!(password(&reading, good).await, Ok(PasswordSet::NoAgent)));
        assert!(matches!(password(&["guest-set-user-password"], good).await, Ok(PasswordSet::NoAgent)));
        assert!(matches!(password(&[], good).await, Ok(PasswordSet::NoAgent)));
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let meminfo =
            "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\nSwapTotal: 0 kB\n";
        assert_eq!(memory_in_use(meminfo), Some(400 * 1024));
        for other in
            ["", "MemTotal: 5 kB", "MemTotal: 5 kB\nMemAvailable: 6 kB", "MemTotal: x kB\nMemAvailable: 1 kB"]
        {
            assert_eq!(memory_in_use(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_system_counts_once() {
        let systems = json!([
            { "name": "vda1", "mountpoint": "/", "used-bytes": 700, "total-bytes": 1000 },
            { "name": "vda1", "mountpoint": "/mnt", "used-bytes": 700, "total-bytes": 1000 },
            { "name": "vda15", "mountpoint": "/boot/efi", "used-bytes": 30 },
            { "name": "sr0", "mountpoint": "/cd", "type": "iso9660", "used-bytes": 9 },
            { "name": "vdb", "mountpoint": "/old" },
        ]);
        assert_eq!(disk_in_use(&systems), Some(730));
        assert_eq!(
            disk_in_use(&json!([{ "name": "vda1", "mountpoint": "/" }])),
            None,
            "an agent that does not say it"
        );
        assert_eq!(disk_in_use(&json!([])), None);
        assert_eq!(disk_in_use(&Value::Null), None);
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
