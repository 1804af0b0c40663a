//! The bench: a state directory with the tiny image, the driver that is open on it, and ways behind its back.

use async_trait::async_trait;
use bulut_compute::conformance::{Meanwhile, Subject};
use bulut_compute::qemu::{QemuConfig, QemuDriver, RoutedConfig};
use bulut_compute::{
    Boot, Driver, DriverError, Image, Ipv4, Ipv6, MachineSpec, Networking, Nic, PoolNetwork, Rates, Secret,
    Seed,
};
use bulut_model::{ServerId, SnapshotId};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An emulated guest on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where marks stand on a disk of 1 GiB: between the tables of the guest's file system, whatever its block size.
const MARK_AT: usize = 1_053_294_592;
/// The room of a mark.
const MARK_BYTES: usize = 512;

pub struct Bench {
    networking: Networking,
    image: Image,
    public_key: String,
    driver: Mutex<Option<Arc<QemuDriver>>>,
    /// Machines whose network is another than their number says.
    nics: Mutex<HashMap<ServerId, Nic>>,
    /// Last, so that it goes last: what lies in it is in use.
    directory: tempfile::TempDir,
}

/// Runs the body in a network namespace of its own, on a thread of its own; does nothing without root.
pub fn in_namespace(body: impl Future<Output = ()> + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: routed networking needs root");
        return;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        output("ip", &["link", "set", "lo", "up"]);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The tiny image below `state`, as an installation has it.
fn image(state: &Path) -> Image {
    let Some(images) = std::env::var_os("BULUT_TEST_IMAGES") else {
        panic!(
            "BULUT_TEST_IMAGES must name the directory of the test images; `make test` builds them and sets it"
        );
    };
    let from = PathBuf::from(images).join("tiny");
    let to = state.join("images/tiny");
    std::fs::create_dir_all(&to).unwrap();
    for file in ["disk.qcow2", "vmlinuz", "initrd.img", "image.json"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap_or_else(|error| {
            panic!("{} has no {file} ({error}); `make test` builds it", from.display())
        });
    }
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(to.join("image.json")).unwrap()).unwrap();
    let disk = to.join("disk.qcow2");
    let sum = output("sha256sum", &[disk.to_str().unwrap()]);
    Image {
        digest: format!("sha256:{}", &sum[..64]),
        disk,
        boot: Boot::Direct {
            kernel: to.join("vmlinuz"),
            initrd: to.join("initrd.img"),
            cmdline: record["cmdline"].as_str().unwrap().to_owned(),
        },
    }
}

/// The driver's settings on a bench, with user networking.
pub fn config(directory: &Path) -> QemuConfig {
    let mut config = QemuConfig::new(directory.join("s"), directory.join("r"));
    config.networking = Some(Networking::User);
    config.qemu_img = directory.join("qemu-img");
    config
}

/// Makes a `qemu-img` that stops in the middle of every copy as long as there is a file `stall` beside it.
fn stallable(directory: &Path) {
    let (script, real) = (directory.join("qemu-img"), output("sh", &["-c", "command -v qemu-img"]));
    let stall = directory.join("stall");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = convert ] && [ -e {} ]; then printf '    (7.00/100%%)\\r'; exec sleep 600; fi\n\
         exec {real} \"$@\"\n",
        stall.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

impl Bench {
    pub async fn new(networking: Networking) -> Self {
        let _ = tracing_subscriber::fmt().with_env_filter("info").with_test_writer().try_init();
        // Short, for the sockets' sake.
        let directory = tempfile::Builder::new().prefix("bc").tempdir_in("/var/tmp").unwrap();
        let key = directory.path().join("key");
        output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
        let public_key = std::fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .unwrap();
        let image = image(&directory.path().join("s"));
        stallable(directory.path());
        let bench = Self {
            networking,
            image,
            public_key,
            driver: Mutex::new(None),
            nics: Mutex::default(),
            directory,
        };
        bench.open().await.unwrap();
        bench
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn config(&self) -> QemuConfig {
        let mut config = config(self.directory.path());
        config.networking = Some(self.networking);
        let private = |address, prefix| PoolNetwork { address, prefix, private: true };
        let own6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0);
        config.routed = RoutedConfig {
            pools: vec![private(Ipv4Addr::new(10, 77, 0, 0).into(), 24), private(own6.into(), 64)],
            ..RoutedConfig::default()
        };
        config
    }

    /// Opens a driver; the tasks of the last one may take a moment to let go.
    pub async fn open(&self) -> Result<(), DriverError> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match QemuDriver::open(self.config()).await {
                Err(DriverError::Retry(_)) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => {
                    *self.driver.lock().unwrap() = Some(answer?);
                    return Ok(());
                }
            }
        }
    }

    /// Lets the open driver go.
    pub fn close(&self) {
        drop(self.driver.lock().unwrap().take());
    }

    pub fn qemu(&self) -> Arc<QemuDriver> {
        self.driver.lock().unwrap().clone().expect("a driver is open")
    }

    pub fn disk(&self, id: ServerId) -> PathBuf {
        self.path("s/machines").join(id.to_string()).join("disk.qcow2")
    }

    /// Process ids whose command line speaks of this machine's own directory.
    pub fn processes(&self, id: ServerId) -> Vec<i32> {
        let needle = format!("{}/", self.path("r").join(id.to_string()).display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<i32>().ok()) else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.extend(String::from_utf8_lossy(&line).contains(&needle).then_some(pid));
        }
        found
    }

    pub fn kill_processes(&self, id: ServerId) {
        for pid in self.processes(id) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// What the guest says over ssh to `command`.
    pub async fn ask(&self, id: ServerId, command: &str) -> Option<String> {
        let ssh = self.qemu().ensure_machine(&self.spec(id)).await.ok()?.ssh;
        self.ask_at(ssh, command).await
    }

    /// A client that trusts whoever answers there.
    fn ssh(&self, to: SocketAddr) -> tokio::process::Command {
        let mut client = tokio::process::Command::new("ssh");
        client
            .args(["-F", "/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-p", &to.port().to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        client
    }

    pub async fn ask_at(&self, ssh: SocketAddr, command: &str) -> Option<String> {
        let mut client = self.ssh_as_root(ssh, command);
        let output = tokio::time::timeout(Duration::from_secs(60), client.output()).await.ok()?.ok()?;
        if !output.status.success() {
            tracing::debug!(%ssh, said = %String::from_utf8_lossy(&output.stderr), "the guest does not answer");
        }
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Bench {
    fn ssh_as_root(&self, to: SocketAddr, command: &str) -> tokio::process::Command {
        let mut client = self.ssh(to);
        client
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.path("key"))
            .args([&format!("root@{}", to.ip()), command]);
        client
    }

    /// Writes a file in the guest; whether the guest has all of it.
    pub async fn put_at(&self, ssh: SocketAddr, path: &str, data: &[u8]) -> bool {
        use tokio::io::AsyncWriteExt as _;
        let mut client = self.ssh_as_root(ssh, &format!("cat > {path}; wc -c < {path}"));
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async move { stdin.write_all(data).await };
        let (fed, output) = tokio::join!(feed, child.wait_with_output());
        let said = String::from_utf8_lossy(&output.unwrap().stdout).trim().to_owned();
        fed.is_ok() && said == data.len().to_string()
    }

    /// Gives a machine another network than its number says.
    pub fn set_nic(&self, id: ServerId, nic: Nic) {
        self.nics.lock().unwrap().insert(id, nic);
    }
}

impl Drop for Bench {
    /// A law that broke leaves its machines; they must not outlive the test.
    fn drop(&mut self) {
        let machines = std::fs::read_dir(self.path("s/machines")).into_iter().flatten().flatten();
        for id in machines.filter_map(|it| it.file_name().to_str()?.parse().ok()) {
            self.kill_processes(ServerId(id));
        }
    }
}

#[async_trait]
impl Subject for Bench {
    fn driver(&self) -> Arc<dyn Driver> {
        self.qemu()
    }

    fn spec(&self, id: ServerId) -> MachineSpec {
        let number = u8::try_from(id.0).expect("ids of this test fit in an octet");
        let gateway = Ipv4Addr::new(10, 77, 0, 1);
        let address = Ipv4Addr::new(10, 77, 0, number);
        let routed = self.networking == Networking::Routed;
        let ipv6 = Ipv6 {
            address: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()),
            prefix: 128,
            gateway: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        };
        MachineSpec {
            id,
            cpu: 1,
            memory_mib: 128,
            disk_gib: 1,
            image: self.image.clone(),
            snapshot: None,
            nic: self.nics.lock().unwrap().get(&id).cloned().unwrap_or(Nic {
                mac: format!("52:54:00:00:00:{number:02x}"),
                ipv4: Some(Ipv4 { address, prefix: 24, gateway }),
                ipv6: routed.then_some(ipv6),
                resolvers: vec![Ipv4Addr::new(9, 9, 9, 9).into()],
                more_ipv4: vec![],
                mtu: 1500,
                firewall: vec![],
                rates: Rates::default(),
            }),
            seed: Seed {
                instance_id: format!("i-{id}"),
                hostname: format!("law{id}"),
                renamed: false,
                ssh_keys: vec![self.public_key.clone()],
                root_password: Some(Secret("quite-secret-42".into())),
                user_data: None,
                recipe: None,
                fresh_identity: false,
                password_change: None,
            },
        }
    }

    async fn reopen(&self, meanwhile: Meanwhile) -> Result<(), DriverError> {
        self.close();
        if let Meanwhile::Kill(id) = meanwhile {
            self.kill_processes(id);
            let until = Instant::now() + Duration::from_secs(20);
            while !self.processes(id).is_empty() {
                assert!(Instant::now() < until, "machine {id} does not die");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.open().await
    }

    async fn kill(&self, id: ServerId) {
        assert_eq!(self.processes(id).len(), 1, "machine {id} has not exactly one process");
        self.kill_processes(id);
    }

    async fn disk_gib(&self, id: ServerId) -> Option<u64> {
        let disk = self.disk(id);
        let info = output("qemu-img", &["info", "-U", "--output=json", disk.to_str()?]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        info["virtual-size"].as_u64().map(|bytes| bytes >> 30)
    }

    async fn guest_boot(&self, id: ServerId) -> Option<String> {
        self.ask(id, "cat /proc/sys/kernel/random/boot_id").await
    }

    async fn mark(&self, id: ServerId, mark: &str) {
        let text = self.path("mark");
        let mut bytes = mark.as_bytes().to_vec();
        bytes.resize(MARK_BYTES, 0);
        std::fs::write(&text, bytes).unwrap();
        let write = format!("write -q -s {} {MARK_AT} {MARK_BYTES}", text.display());
        output("qemu-io", &["-f", "qcow2", "-c", &write, self.disk(id).to_str().unwrap()]);
    }

    async fn marked(&self, id: ServerId) -> Option<String> {
        let read = format!("read -v {MARK_AT} {MARK_BYTES}");
        let said =
            output("qemu-io", &["-r", "-U", "-f", "qcow2", "-c", &read, self.disk(id).to_str().unwrap()]);
        // Lines of `3ec80000:  68 65 6c 6c 6f 00 … 00  hello....`.
        let bytes = said.lines().filter_map(|line| line.split_once(":  ")).flat_map(|(_, line)| {
            line.split(' ').take(16).filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Vec<u8>>()
        });
        let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        String::from_utf8(text).ok().filter(|text| !text.is_empty())
    }

    async fn guest_writes(&self, id: ServerId, text: &str) -> bool {
        let said = self.ask(id, &format!("echo {text} > /root/law && sync && cat /root/law")).await;
        said.as_deref() == Some(text)
    }

    async fn guest_reads(&self, id: ServerId) -> Option<String> {
        self.ask(id, "cat /root/law").await
    }

    async fn logs_in(&self, id: ServerId, password: &Secret) -> bool {
        let script = self.path("askpass");
        std::fs::write(&script, "#!/bin/sh\nprintf '%s\\n' \"$LAW_PASSWORD\"\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let Ok(applied) = self.qemu().ensure_machine(&self.spec(id)).await else { return false };
        let mut client = self.ssh(applied.ssh);
        client
            .args(["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password"])
            .args(["-o", "NumberOfPasswordPrompts=1", &format!("root@{}", applied.ssh.ip()), "true"])
            .env("SSH_ASKPASS", script)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("LAW_PASSWORD", &password.0);
        let output = tokio::time::timeout(Duration::from_secs(60), client.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // A refusal must be one of the password, not of the connection.
        assert!(output.status.success() || said.contains("Permission denied"), "{said}");
        output.status.success()
    }

    async fn spoil(&self, snapshot: SnapshotId) {
        let dir = self.path("s/snapshots").join(snapshot.to_string());
        std::fs::remove_file(dir.join("snapshot.json")).unwrap();
        let disk = dir.join("disk.qcow2");
        std::fs::set_permissions(&disk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let disk = std::fs::OpenOptions::new().write(true).open(disk).unwrap();
        disk.set_len(disk.metadata().unwrap().len() / 2).unwrap();
    }

    async fn snapshot_left(&self, snapshot: SnapshotId) -> Vec<String> {
        let dir = self.path("s/snapshots").join(snapshot.to_string());
        dir.exists().then(|| dir.display().to_string()).into_iter().collect()
    }

    async fn left_behind(&self, id: ServerId) -> Vec<String> {
        let mut left: Vec<String> = self.processes(id).iter().map(|pid| format!("process {pid}")).collect();
        for path in [self.path("s/machines").join(id.to_string()), self.path("r").join(id.to_string())] {
            left.extend(path.exists().then(|| path.display().to_string()));
        }
        if self.networking == Networking::Routed {
            let mark = format!("bv{id}");
            for what in ["ip -o link", "ip route", "ip -6 route", "nft list ruleset netdev"] {
                let text = output("sh", &["-c", what]);
                let word = |line: &&str| line.split([' ', ':', '@', '"']).any(|it| it.trim() == mark);
                left.extend(text.lines().filter(word).map(str::to_owned));
            }
        }
        left
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
