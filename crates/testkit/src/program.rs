//! The real program as a child process, on a state directory of its own, with real guests.
//!
//! What it asserts about is outside the program: processes, files, sockets, and what a guest says over ssh.

use crate::images;
use bulut::app::App;
use bulut::clock::Clock;
use bulut::config::{Config, Overrides};
use bulut::domain::accounts::NewAccount;
use bulut::domain::image_files::{DISK, ImageDir};
use bulut::domain::{accounts, catalog, images as image_verbs};
use bulut::faults::Faults;
use bulut_model::Micros;
use bulut_model::catalog::DirectBoot;
use bulut_store::migrations;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Who signs in.
pub const EMAIL: &str = "alice@example.com";
/// With which password.
pub const PASSWORD: &str = "correct horse battery";

/// An unprivileged user and group that own nothing of ours.
pub const NOBODY: u32 = 65_534;

/// Waits until `look` gives something, at most `limit`; `what` is said when it does not.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {} s", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The program and its state.
#[derive(Debug)]
pub struct Program {
    binary: PathBuf,
    dir: TempDir,
    listen: SocketAddr,
    settings: Vec<(String, String)>,
    user: Option<u32>,
    child: Option<Child>,
    http: reqwest::Client,
    token: String,
}

impl Program {
    /// Prepares a state directory with the image `slug` and an account, and starts the program on it.
    /// `user` runs it without privileges; `settings` are environment variables.
    pub async fn start(binary: &str, slug: &str, user: Option<u32>, settings: &[(&str, &str)]) -> Self {
        Self::start_with(binary, &[slug], user, settings).await
    }

    /// The same with several images.
    pub async fn start_with(
        binary: &str,
        slugs: &[&str],
        user: Option<u32>,
        settings: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let mut program = Self {
            binary: std::path::absolute(binary).expect("a path"),
            dir,
            listen: port.expect("a free port"),
            settings: Vec::new(),
            user,
            child: None,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            token: String::new(),
        };
        program.set(settings);
        program.prepare(slugs).await;
        program.run().await;
        program.sign_in().await;
        program
    }

    /// Changes settings; they hold from the next start on.
    pub fn set(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push(((*name).into(), (*value).into()));
        }
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where sockets live.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    async fn prepare(&self, slugs: &[&str]) {
        let overrides = Overrides { state: Some(self.state()), listen: None };
        let mut config = Config::load(None, overrides).expect("settings");
        config.database = Some(self.database());
        let app = App::open(config, Clock::System, Faults::default()).await.expect("the state opens");
        migrations::migrate(app.store(), app.clock().now()).await.expect("the database migrates");
        catalog::seed(&app).await.expect("the catalogue is sown");
        for slug in slugs {
            adopt(&app, slug).await;
        }
        let new = NewAccount {
            email: EMAIL.into(),
            user_name: None,
            first_name: "Alice".into(),
            last_name: "Test".into(),
            password: PASSWORD.into(),
            is_operator: false,
            credit: Micros(50_000_000),
        };
        accounts::create(&app, new).await.expect("an account");
        app.store().close().await.expect("the database closes");
        std::fs::create_dir(self.run_dir()).expect("a directory");
        // Guests' own users pass through these to their sockets and disks, and may not list them.
        for dir in [self.dir.path(), &self.run_dir()] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).expect("permissions");
        }
        if let Some(user) = self.user {
            let owner = format!("{user}:{user}");
            let status = Command::new("chown").args(["-R", &owner]).arg(self.dir.path()).status();
            assert!(status.expect("chown runs").success());
        }
    }

    /// Starts the program and waits until it is ready.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log file");
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .env("BULUT_STATE", self.state())
            .env("BULUT_RUN_DIR", self.run_dir())
            .env("BULUT_LISTEN", self.listen.to_string())
            .env("BULUT_LOG", "info,bulut=debug,bulut_compute=debug")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .current_dir("/");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        self.child = Some(command.spawn().expect("the program starts"));
        let url = format!("{}/readyz", self.url());
        for _ in 0..600 {
            if let Ok(answer) = self.http.get(&url).send().await
                && answer.status().is_success()
            {
                return;
            }
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("the program ended ({status}):\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program is not ready:\n{}", self.log());
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Asks it to end and waits for that.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be told to stop");
        assert!(child.wait().expect("it ends").success(), "{}", self.log());
    }

    /// Where its APIs are.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its database, which others may open besides it.
    pub fn database(&self) -> String {
        let set = self.settings.iter().find(|(name, _)| name == "BULUT_DATABASE");
        set.map_or_else(
            || format!("sqlite://{}", self.state().join("bulut.db").display()),
            |(_, url)| url.clone(),
        )
    }

    /// The access token that the account signed in with.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The id of its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    async fn sign_in(&mut self) {
        let form = [("username", EMAIL), ("password", PASSWORD)];
        let answer = self.http.post(format!("{}/v1/user/login", self.url())).form(&form).send().await;
        let json: Value = answer.expect("an answer").json().await.expect("JSON");
        self.token = json["data"]["token"].as_str().expect("a token").to_owned();
    }

    /// Sends a form with the token; answers the whole JSON body.
    pub async fn call(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url())).bearer_auth(&self.token);
        let answer = if form.is_empty() { request } else { request.form(form) }.send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    /// Runs a curl line of the Cloude document in a shell, with our host and token in the place of its own;
    /// answers the data of a success.
    pub async fn curl(&self, line: &str) -> Value {
        let json = self.curl_whole(line).await;
        assert_eq!(json["status"], "success", "{line}: {json}\n{}", self.log());
        json["data"].clone()
    }

    /// The same; answers the whole JSON body, whatever it says.
    pub async fn curl_whole(&self, line: &str) -> Value {
        let line = ["https://api.cloude.ro", "https://api.cloud.ro"]
            .iter()
            .fold(line.to_owned(), |line, host| line.replace(host, &self.url()))
            .replace("{{authToken}}", &self.token);
        let mut shell = tokio::process::Command::new("bash");
        shell.arg("-c").arg(format!("{} --silent --show-error --noproxy '*'", line.trim_end()));
        let output = shell.stdin(Stdio::null()).output().await.expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said)
            .unwrap_or_else(|why| panic!("{why}: {said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The data of a call that succeeds.
    pub async fn data(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let json = self.call(method, path, form).await;
        assert_eq!(json["status"], "success", "{method} {path}: {json}\n{}", self.log());
        json["data"].clone()
    }

    /// Waits until an event has ended; answers it.
    pub async fn ended(&self, event: i64) -> Value {
        let path = format!("/v1/event/{event}");
        eventually(&format!("event {event} ends"), Duration::from_secs(180), || async {
            let event = self.data("GET", &path, &[]).await;
            (event["status"] != 0).then_some(event)
        })
        .await
    }

    /// Waits until an event has succeeded.
    pub async fn succeeded(&self, event: &Value) {
        let event = event["event_id"].as_i64().expect("an event");
        let event = self.ended(event).await;
        assert_eq!(event["status"], 1, "{event}\n{}", self.log());
    }

    /// Orders a server; answers its id and the event.
    pub async fn order(&self, image: &str, form: &[(&str, &str)]) -> (i64, Value) {
        let mut all = vec![("name", "web1"), ("region", "ist2"), ("package", "eos1"), ("image", image)];
        all.extend(form);
        let data = self.data("POST", "/v1/server/create", &all).await;
        (data["id"].as_i64().expect("an id"), data)
    }

    /// A server as the API shows it.
    pub async fn server(&self, id: i64) -> Value {
        self.data("GET", &format!("/v1/server/{id}"), &[]).await[0].clone()
    }

    /// Waits until a server is shown in this state.
    pub async fn state_is(&self, id: i64, state: &str) {
        eventually(&format!("server {id} is {state}"), Duration::from_secs(20), || async {
            (self.server(id).await["state"] == state).then_some(())
        })
        .await;
    }

    /// Makes an ssh key for [`Program::ssh`], and answers its public line.
    pub fn make_key(&self) -> String {
        let path = self.dir.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
        assert!(made.expect("ssh-keygen runs").success());
        let public = std::fs::read_to_string(path.with_extension("pub")).expect("a public key");
        public.trim().to_owned()
    }

    /// Makes an ssh key, adds it to the account and answers its fingerprint.
    pub async fn add_key(&self) -> String {
        let public = self.make_key();
        self.data("POST", "/v1/sshkey/create", &[("name", "test"), ("public_key", &public)]).await;
        let keys = self.data("GET", "/v1/sshkey/list", &[]).await;
        keys["test"]["fingerprint"].as_str().expect("a fingerprint").to_owned()
    }

    /// Runs a command in the guest over ssh, as root, by the key of [`Program::add_key`].
    pub async fn ssh(&self, id: i64, command: &str) -> Output {
        let key = self.dir.path().join("key");
        let mut ssh = self.ssh_to(id).await;
        ssh.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"]).arg(key).arg(command);
        ssh.output().await.expect("ssh runs")
    }

    /// Whether the guest lets root in by this password, once its ssh answers at all.
    pub async fn lets_in(&self, id: i64, password: &str, limit: Duration) -> bool {
        let ask = self.dir.path().join("ask");
        std::fs::write(&ask, "#!/bin/sh\nprintf '%s\\n' \"$ANSWER\"\n").expect("a file");
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).expect("permissions");
        eventually(&format!("the guest {id} decides about a password"), limit, || async {
            let mut ssh = self.ssh_to(id).await;
            ssh.args(["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "echo in"])
                .envs([("SSH_ASKPASS_REQUIRE", "force"), ("ANSWER", password)])
                .env("SSH_ASKPASS", &ask);
            let output = ssh.output().await.expect("ssh runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => Some(output.stdout == b"in\n"),
                _ if said.contains("Permission denied") => Some(false),
                _ => None,
            }
        })
        .await
    }

    async fn ssh_to(&self, id: i64) -> tokio::process::Command {
        let shown = self.http.get(format!("{}/v2/servers/{id}", self.url())).bearer_auth(&self.token);
        let shown: Value = shown.send().await.expect("an answer").json().await.expect("JSON");
        let host = shown["ssh"]["host"].as_str().unwrap_or_else(|| panic!("no ssh endpoint: {shown}"));
        let port = shown["ssh"]["port"].as_u64().expect("a port").to_string();
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ServerAliveInterval=5"])
            .args(["-p", &port, "-l", "root", host])
            .stdin(Stdio::null());
        ssh
    }

    /// Waits until the guest lets us in, and answers what a command prints there.
    pub async fn says(&self, id: i64, command: &str, limit: Duration) -> String {
        let what = format!("the guest {id} answers `{command}`");
        eventually(&what, limit, || async {
            let output = self.ssh(id, command).await;
            // 255 is ssh's own: not up yet.
            (output.status.code() != Some(255))
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        })
        .await
    }

    /// Process ids of the QEMUs that work on this state directory.
    pub fn machines(&self) -> Vec<i32> {
        let needle = self.run_dir().display().to_string();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            if arguments.contains("qemu-system") && arguments.contains(&needle) {
                pids.push(pid);
            }
        }
        pids
    }

    /// Names of what is left of machines on disk: directories of machines and of their sockets.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let names = |dir: PathBuf| -> Vec<PathBuf> {
            std::fs::read_dir(dir)
                .map(|entries| entries.flatten().map(|e| e.path()).collect())
                .unwrap_or_default()
        };
        let mut left = names(self.state().join("machines"));
        left.extend(names(self.run_dir()));
        left
    }

    /// Destroys a server and waits until it is gone.
    pub async fn destroy(&self, id: i64) {
        assert_eq!(self.data("DELETE", &format!("/v1/server/{id}/destroy"), &[]).await, json!(true));
        eventually(&format!("server {id} is gone"), Duration::from_secs(60), || async {
            let answer = self.call("GET", &format!("/v1/server/{id}"), &[]).await;
            (answer["error"]["errorDev"] == "not_found").then_some(())
        })
        .await;
    }
}

impl Drop for Program {
    /// Ends the program and the guests of this state directory, whatever a failing test left running.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            #[expect(clippy::disallowed_macros, reason = "the last lines of the log explain a failing test")]
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in self.machines() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Takes in an image that `make test` has built, as `bulut image build` would have.
async fn adopt(app: &App, slug: &str) {
    let built = images::built(slug);
    let dir = ImageDir::open(&app.config().images_dir()).expect("the image directory");
    let made = dir.workspace().expect("a workspace");
    let description = std::fs::read_to_string(built.join("image.json")).expect("image.json");
    let description: Value = serde_json::from_str(&description).expect("JSON");
    let mut files = vec![DISK.to_owned()];
    let text = |name: &str| description[name].as_str().expect("a text in image.json").to_owned();
    let direct = (description["boot"] == "direct").then(|| DirectBoot {
        kernel: text("kernel"),
        initrd: text("initrd"),
        cmdline: text("cmdline"),
    });
    if let Some(direct) = &direct {
        files.extend([direct.kernel.clone(), direct.initrd.clone()]);
    }
    for name in files {
        copy(&built.join(&name), &made.path().join(&name));
    }
    let files = dir.adopt(made, &app.config().qemu_img, direct).await.expect("the image is taken in");
    image_verbs::register(app, slug, &files).await.expect("the catalogue has the image");
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|why| panic!("{}: {why}", from.display()));
}
