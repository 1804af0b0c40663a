//! A real browser (Chromium) for the tests, driven by playwright in a Node.js beside it.
//!
//! Promises: it sees nobody's profile, asks nobody on the network by itself, and ends with the value. Must not know: any
//! page.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest that one call may take: a machine that tests on all its cores is slow.
const CALL: Duration = Duration::from_secs(120);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Below the child, so that it goes after it.
    _profile: TempDir,
}

impl Browser {
    /// Starts one. `arguments` are for Chromium, `context` for playwright (`colorScheme`, `viewport`, …).
    pub async fn start(arguments: &[&str], context: Value) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let profile = tempfile::tempdir().expect("a directory");
        let quiet = [
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
        ];
        let arguments: Vec<_> = quiet.iter().chain(arguments).collect();
        let wishes = json!({
            "program": program(),
            "profile": profile.path(),
            "arguments": arguments,
            "context": context,
        });
        let mut child = Command::new("node")
            .arg(here.join("browser.mjs"))
            .arg(wishes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let calls = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, calls, answers, _profile: profile }
    }

    /// Calls a method of `page` or `context`, for example `page.goto`; answers what it answers.
    pub async fn try_call(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        let line = format!("{}\n", json!({"call": name, "arguments": arguments}));
        self.calls.write_all(line.as_bytes()).await.expect("the browser's driver takes a call");
        let answer = tokio::time::timeout(CALL, self.answers.next_line()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name} takes too long")).expect("an answer");
        let answer = answer.unwrap_or_else(|| panic!("the browser's driver ended at {name}"));
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
        match answer["failure"].as_str() {
            Some(failure) => Err(failure.to_owned()),
            None => Ok(answer["answer"].take()),
        }
    }

    /// As [`Browser::try_call`], for what has to succeed.
    pub async fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.try_call(name, arguments.clone()).await.unwrap_or_else(|why| panic!("{name} {arguments}: {why}"))
    }

    /// Goes to a page; answers its status.
    pub async fn goto(&mut self, url: &str) -> i64 {
        self.call("page.goto", json!([url])).await["status"].as_i64().expect("a status")
    }

    /// What a script in the page says.
    pub async fn evaluate(&mut self, script: &str) -> Value {
        self.call("page.evaluate", json!([script])).await
    }

    /// The text of an element.
    pub async fn text(&mut self, selector: &str) -> String {
        let text = self.call("page.textContent", json!([selector])).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks an element.
    pub async fn click(&mut self, selector: &str) {
        self.call("page.click", json!([selector])).await;
    }

    /// Types a text on a US keyboard, key by key.
    pub async fn type_keys(&mut self, text: &str) {
        self.call("type", json!([text])).await;
    }

    /// Presses a key (`Enter`, `Control+Alt+Shift+M`).
    pub async fn press(&mut self, key: &str) {
        self.call("page.keyboard.press", json!([key])).await;
    }

    /// Waits until a script in the page says something true, at most `limit`.
    pub async fn until(&mut self, what: &str, limit: Duration, script: &str) {
        let begun = std::time::Instant::now();
        while !self.evaluate(script).await.as_bool().unwrap_or(false) {
            if begun.elapsed() > limit {
                let (page, trouble) = (self.text("body").await, self.trouble().await);
                panic!("{what}: not within {} s\n{page}\n{trouble:?}", limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Keeps a picture of the page under the target directory, for a person to look at; answers where.
    pub async fn picture(&mut self, name: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pictures");
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join(format!("{name}.png"));
        self.call("page.screenshot", json!([{"path": path}])).await;
        path
    }

    /// What went wrong in the pages so far.
    pub async fn trouble(&mut self) -> Vec<String> {
        let trouble = self.call("trouble", json!([])).await;
        serde_json::from_value(trouble).expect("a list of texts")
    }

    /// Ends it in order.
    pub async fn close(mut self) {
        drop(self.calls);
        let ended = tokio::time::timeout(CALL, self.child.wait()).await;
        assert!(ended.is_ok(), "the browser ends");
    }
}

/// Chromium under the name that the distribution gives it.
fn program() -> PathBuf {
    let known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let found = known.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("no Chromium is installed; `make test` installs it")
}
