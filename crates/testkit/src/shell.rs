//! The program as people call it at a prompt: one command after the other, against a cloud in the test's process.

use crate::TestCloud;
use crate::cloud::PASSWORD;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::process::Command;

/// A prompt on the box of a cloud, signed in as alice. Nothing of the test's own environment reaches a command.
#[derive(Debug)]
pub struct Shell {
    program: &'static str,
    address: SocketAddr,
    database: String,
    home: TempDir,
    settings: BTreeMap<&'static str, &'static str>,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// What it said on stdout.
    pub out: String,
    /// What it said on stderr.
    pub err: String,
}

impl Shell {
    /// Serves the cloud until the test ends; `program` is the binary. The runtime needs a thread besides the test's.
    pub async fn open(cloud: &TestCloud, program: &'static str) -> Self {
        let address = cloud.serve().await;
        let home = tempfile::tempdir().expect("a directory");
        Self { program, address, database: cloud.database().to_owned(), home, settings: BTreeMap::new() }
    }

    /// The same with an environment variable more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.insert(name, value);
        self
    }

    /// Writes a file where commands run, and answers its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// What is in a file that a command wrote.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.home.path().join(name)).expect("the command wrote it")
    }

    /// A command, however it ends.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(self.program)
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("BULUT_URL", format!("http://{}", self.address))
            .env("BULUT_USER", "alice")
            .env("BULUT_PASSWORD", PASSWORD)
            .env("BULUT_STATE", self.home.path().join("state"))
            .env("BULUT_DATABASE", &self.database)
            .envs(&self.settings)
            .output()
            .await
            .expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("no signal ended it");
        Said { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// A command that succeeds; what it said on stdout.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// A command with `--json` that succeeds.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat()).await).expect("JSON")
    }

    /// A command that is refused; its error line and its hint.
    pub async fn refused(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}: {said:?}");
        assert!(said.err.starts_with("error: "), "{said:?}");
        said.err
    }
}
