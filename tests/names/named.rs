//! A BIND of the test's own on loopback, which takes updates that are signed with a key.

use crate::dig::dig;
use bulut_testkit::program::eventually;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The secret of the key, and one that is not.
pub const SECRET: &str = "pRP5FapFoJ95JEL06sv4PQ7r5LDbmOzBMxDvlSjkrqs=";
pub const OTHER_SECRET: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyMTI=";

/// A server with its directory. It ends when dropped.
pub struct Named {
    dir: tempfile::TempDir,
    at: SocketAddr,
    child: Option<Child>,
}

impl Named {
    /// Serves these zones, empty at first.
    pub async fn start(zones: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = socket.local_addr().expect("its address");
        drop(socket);
        let mut text = format!(
            "key \"bulut\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             options {{ directory \"{dir}\"; pid-file none; session-keyfile none; listen-on port {port} \
             {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; empty-zones-enable no; \
             dnssec-validation no; notify no; managed-keys-directory \"{dir}\"; }};\ncontrols {{ }};\n",
            dir = dir.path().display(),
            port = at.port(),
        );
        for (number, zone) in zones.iter().enumerate() {
            let file = dir.path().join(format!("zone{number}"));
            let content = "$TTL 60\n@ SOA ns.example. hostmaster.example. 1 60 60 60 60\n@ NS ns.example.\n";
            std::fs::write(&file, content).expect("a zone's file");
            text.push_str(&format!(
                "zone \"{zone}\" {{ type primary; file \"{}\"; allow-update {{ key \"bulut\"; }}; }};\n",
                file.display()
            ));
        }
        std::fs::write(dir.path().join("named.conf"), text).expect("a configuration");
        let mut named = Self { dir, at, child: None };
        named.run(zones[0]).await;
        named
    }

    /// Starts it again, with what it had.
    pub async fn run(&mut self, zone: &str) {
        let program = std::env::var_os("BULUT_TEST_NAMED").map(PathBuf::from);
        let program = program.expect("BULUT_TEST_NAMED names no BIND; `make test` unpacks one and sets it");
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let mut command = Command::new(program);
        command.arg("-g").arg("-c").arg(self.dir.path().join("named.conf")).args(["-n", "1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.child = Some(command.spawn().expect("BIND starts"));
        let (at, log) = (self.at, self.dir.path().join("log"));
        eventually("BIND answers", Duration::from_secs(30), || async {
            assert!(log.exists());
            (dig(at, &format!("{zone} SOA")).status == "NOERROR").then_some(())
        })
        .await;
    }

    /// Ends it; what it has stays.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be told to stop");
        child.wait().expect("it ends");
    }

    /// Where it is.
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// A file for a secret, beside its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = read(&self.dir.path().join("log"));
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            #[expect(clippy::disallowed_macros, reason = "the last lines of the log explain a failing test")]
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
