//! A real mail server for one test: aiosmtpd, in the Python environment of the tests.

use bulut::config::Mail;
use bulut::mailer::Mailer;
use bulut_testkit::TestCloud;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A mail server that runs until it is dropped.
pub struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub port: u16,
}

impl Server {
    /// Starts one; `arguments` are those of `smtp_server.py`.
    pub fn start(arguments: &[&str]) -> Self {
        let python = std::env::var_os("BULUT_TEST_PYTHON").map(PathBuf::from).expect(
            "BULUT_TEST_PYTHON names no Python with the packages of tests/contract/requirements.txt; `make test` makes one",
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/smtp_server.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
        Self { child, lines, port }
    }

    /// The next letter that it has taken; waits for it.
    pub fn letter(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// Ends it; answers all letters that it has taken since the last one that was asked for.
    pub fn end(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    /// A mailer of the cloud for this server.
    pub fn mailer(&self, cloud: &TestCloud, change: impl FnOnce(&mut Mail)) -> Mailer {
        mailer(cloud, self.port, change)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mailer of the cloud for the server at a port of this host.
pub fn mailer(cloud: &TestCloud, port: u16, change: impl FnOnce(&mut Mail)) -> Mailer {
    let mut settings = cloud.app().config().mail.clone();
    settings.host = Some("localhost".into());
    settings.port = Some(port);
    settings.tls = "none".into();
    settings.from = Some("cloud@example.net".into());
    settings.name = "Sky & Söhne".into();
    change(&mut settings);
    settings.check().unwrap();
    Mailer::open(&settings).unwrap().unwrap()
}

/// A certificate for localhost, the authority that vouches for it, and the key, in files of this directory.
pub fn certificate(dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let file = |name: &str| dir.join(name);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let request = |rest: &[&str]| openssl(&[&["req"], &new_key[..], rest].concat());
    request(&["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=An authority"]);
    request(&["-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=localhost"]);
    std::fs::write(file("names"), "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
        .unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "own.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "own.pem",
    ]);
    (file("own.pem"), file("ca.pem"), file("own.key"))
}
