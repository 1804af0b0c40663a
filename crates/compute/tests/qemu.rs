//! Real guests under the QEMU driver: what is asserted is what the guest and the host's process table say.
//!
//! Runs when `BULUT_TEST_IMAGES` names a directory with the built images (`tiny/`); does nothing otherwise.
//! User-mode networking only, so that nothing of the host's network is touched. As root it also holds the driver to its
//! promises about users, privileges and permissions.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use bulut_compute::conformance;
use bulut_compute::qemu::{Acceleration, QemuConfig, QemuDriver};
use bulut_compute::{
    Boot, Console, Driver, DriverError, Hint, Image, Ipv4, MachineSpec, Networking, Nic, Observed,
    PasswordSet, Power, Rates, Secret, Seed, SetupStatus, Stop,
};
use bulut_model::snapshot::Consistency;
use bulut_model::{ServerId, SnapshotId};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

const PASSWORD: &str = "quite-secret-42";
/// Boots are slow under TCG on a busy host.
const BOOT: Duration = Duration::from_secs(300);

struct Bench {
    dir: tempfile::TempDir,
    images: PathBuf,
}

impl Bench {
    fn new() -> Option<Self> {
        let images = PathBuf::from(std::env::var_os("BULUT_TEST_IMAGES")?);
        let _ = tracing_subscriber::fmt().with_env_filter("debug").with_test_writer().try_init();
        let dir = tempfile::Builder::new().prefix("bq").tempdir_in("/var/tmp").unwrap();
        Some(Self { dir, images })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    fn config(&self) -> QemuConfig {
        let mut config = QemuConfig::new(self.state(), self.run());
        config.networking = Some(Networking::User);
        config.acceleration = Acceleration::Auto;
        config
    }

    async fn open(&self) -> Arc<QemuDriver> {
        QemuDriver::open(self.config()).await.unwrap()
    }

    /// The tiny image, copied below the state directory as an installation has it.
    fn image(&self) -> Image {
        let to = self.state().join("images/tiny");
        std::fs::create_dir_all(&to).unwrap();
        for file in ["disk.qcow2", "vmlinuz", "initrd.img", "image.json"] {
            std::fs::copy(self.images.join("tiny").join(file), to.join(file)).unwrap();
        }
        let text = std::fs::read_to_string(to.join("image.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        Image {
            digest: format!("sha256:{}", "0".repeat(64)),
            disk: to.join("disk.qcow2"),
            boot: Boot::Direct {
                kernel: to.join("vmlinuz"),
                initrd: to.join("initrd.img"),
                cmdline: json["cmdline"].as_str().unwrap().to_owned(),
            },
        }
    }

    fn spec(&self, id: i64) -> MachineSpec {
        MachineSpec {
            id: ServerId(id),
            cpu: 1,
            memory_mib: 128,
            disk_gib: 1,
            image: self.image(),
            snapshot: None,
            nic: Nic {
                mac: format!("52:54:00:00:00:{id:02x}"),
                ipv4: Some(Ipv4 {
                    address: format!("10.77.0.{}", 10 + id).parse().unwrap(),
                    prefix: 26,
                    gateway: "10.77.0.1".parse().unwrap(),
                }),
                ipv6: None,
                resolvers: vec!["10.77.0.62".parse().unwrap()],
                more_ipv4: vec![],
                mtu: 1500,
                firewall: vec![],
                rates: Rates::default(),
            },
            seed: Seed {
                instance_id: format!("i-{id}"),
                hostname: format!("guest{id}"),
                renamed: false,
                ssh_keys: Vec::new(),
                root_password: Some(Secret(PASSWORD.into())),
                user_data: None,
                recipe: None,
                fresh_identity: false,
                password_change: None,
            },
        }
    }

    async fn make(&self, driver: &QemuDriver, id: i64) -> (ServerId, SocketAddr) {
        let spec = self.spec(id);
        driver.ensure_image(&spec.image).await.unwrap();
        let begun = Instant::now();
        driver.ensure_disk(&spec).await.unwrap();
        let disk = begun.elapsed();
        let applied = driver.ensure_machine(&spec).await.unwrap();
        let machine = begun.elapsed();
        driver.start(spec.id).await.unwrap();
        tracing::info!(?disk, ?machine, started = ?begun.elapsed(), "made");
        (spec.id, applied.ssh)
    }
}

/// Reads the ssh banner, again and again until there is one.
async fn ssh_answers(address: SocketAddr) {
    let begun = Instant::now();
    while begun.elapsed() < BOOT {
        let banner = async {
            let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
            let mut banner = [0; 4];
            stream.read_exact(&mut banner).await.ok()?;
            (&banner == b"SSH-").then_some(())
        };
        if let Ok(Some(())) = tokio::time::timeout(Duration::from_secs(3), banner).await {
            tracing::info!(took = ?begun.elapsed(), "ssh answers");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no ssh banner at {address} within {BOOT:?}");
}

async fn present(driver: &QemuDriver, id: ServerId) -> bulut_compute::Present {
    match driver.observe(id).await.unwrap() {
        Observed::Present(present) => present,
        Observed::Absent => panic!("machine {id} is absent"),
    }
}

/// Waits for a hint and gives back how long it took and what is to be seen then.
async fn stopped_by_itself(
    driver: &QemuDriver,
    id: ServerId,
    hints: &mut tokio::sync::broadcast::Receiver<Hint>,
    limit: Duration,
) -> String {
    let begun = Instant::now();
    let hint = tokio::time::timeout(limit, hints.recv()).await.expect("a hint in time").unwrap();
    assert_eq!(hint, Hint::Machine(id));
    let present = present(driver, id).await;
    tracing::info!(took = ?begun.elapsed(), present.reason, "stopped by itself");
    assert_eq!(present.power, Power::Stopped);
    present.reason
}

/// Types and reads on a console until `wanted` appears; gives back what was read.
async fn converse(console: &mut dyn bulut_compute::ConsoleStream, say: &str, wanted: &str) -> String {
    let mut seen = String::new();
    let mut nudges = 0;
    console.write_all(say.as_bytes()).await.unwrap();
    let begun = Instant::now();
    while !seen.contains(wanted) {
        assert!(begun.elapsed() < BOOT, "never saw {wanted:?} in {seen:?}");
        let mut buffer = [0; 1024];
        match tokio::time::timeout(Duration::from_secs(5), console.read(&mut buffer)).await {
            Ok(Ok(0)) => panic!("the console ended before {wanted:?}: {seen:?}"),
            Ok(n) => seen.push_str(&String::from_utf8_lossy(&buffer[..n.unwrap()])),
            // The prompt may have been shown before this console was opened.
            Err(_) if nudges < 20 && say.trim().is_empty() => {
                nudges += 1;
                console.write_all(b"\n").await.unwrap();
            }
            Err(_) => {}
        }
    }
    seen
}

async fn log_in(console: &mut dyn bulut_compute::ConsoleStream) {
    converse(console, "\n", "login:").await;
    converse(console, "root\n", "assword:").await;
    converse(console, &format!("{PASSWORD}\n"), "# ").await;
}

fn proc_status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn assert_confined(bench: &Bench, pid: i32, id: ServerId) {
    assert_eq!(proc_status(pid, "NoNewPrivs"), "1");
    assert_eq!(proc_status(pid, "Seccomp"), "2");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(environment, b"LANG=C.UTF-8\0");
    let session = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(session.rsplit_once(')').unwrap().1.split_whitespace().nth(3), Some(pid.to_string().as_str()));
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains(PASSWORD));
    if !is_root() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let uid = (1_900_000_000 + u32::try_from(id.0).unwrap()).to_string();
    assert_eq!(proc_status(pid, "Uid").split_whitespace().collect::<Vec<_>>(), vec![uid.as_str(); 4]);
    assert_eq!(proc_status(pid, "Gid").split_whitespace().collect::<Vec<_>>(), vec![uid.as_str(); 4]);
    assert_eq!(proc_status(pid, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(proc_status(pid, set), "0000000000000000", "{set}");
    }
    let dir = bench.state().join("machines").join(id.to_string()).metadata().unwrap();
    assert_eq!((dir.uid(), dir.gid().to_string(), dir.mode() & 0o777), (0, uid.clone(), 0o710));
    let run = bench.run().join(id.to_string()).metadata().unwrap();
    assert_eq!((run.uid(), run.mode() & 0o777), (0, 0o710));
}

fn assert_nothing_left(bench: &Bench, pid: i32) {
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the process is gone");
    for dir in [bench.state().join("machines"), bench.run()] {
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "{} is empty", dir.display());
    }
}

/// Kills what a failed test left behind.
struct Reaper<'a>(&'a Bench);

impl Drop for Reaper<'_> {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.0.run()).into_iter().flatten().flatten() {
            let pid = std::fs::read_to_string(entry.path().join("pid/qemu.pid")).ok();
            if let Some(pid) = pid.and_then(|pid| pid.trim().parse().ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_lives_stops_by_itself_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let _reaper = Reaper(&bench);
    let driver = bench.open().await;
    let probe = driver.probe().await.unwrap();
    tracing::info!(?probe, "probe");
    let mut hints = driver.watch();
    let (id, ssh) = bench.make(&driver, 1).await;
    ssh_answers(ssh).await;
    let first = present(&driver, id).await;
    assert_eq!(first.power, Power::Running);
    let pid = driver.process_id(id).await.unwrap().unwrap();
    assert_confined(&bench, pid, id);
    driver.start(id).await.unwrap();
    assert_eq!(present(&driver, id).await, first, "starting what runs changes nothing");
    let usage = driver.usage(id).await.unwrap();
    assert!(usage.cpu_us > 0 && usage.memory_bytes > 64 << 20 && usage.disk_bytes > 0, "{usage:?}");

    // The screen greets, the serial line lets root in with the seed's password, and two consoles share it.
    let mut screen = driver.console(id, Console::Vnc).await.unwrap();
    let mut greeting = [0; 12];
    screen.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    let mut other = driver.console(id, Console::Serial).await.unwrap();
    let mut console = driver.console(id, Console::Serial).await.unwrap();
    log_in(&mut *console).await;
    let said = converse(&mut *console, "hostname; df -m / | tail -1\n", "guest1").await;
    tracing::info!(said, "the guest says");
    converse(&mut *other, "echo sha''red\n", "shared").await;
    let begun = Instant::now();
    while driver.setup_status(id).await.unwrap() != SetupStatus::Done {
        assert!(begun.elapsed() < BOOT, "the guest never says that its set-up is done");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tracing::info!(took = ?begun.elapsed(), "the guest's set-up is done");

    // The guest powers itself off.
    console.write_all(b"poweroff\n").await.unwrap();
    let reason = stopped_by_itself(&driver, id, &mut hints, Duration::from_secs(60)).await;
    assert_eq!(reason, "the guest powered itself off");
    assert!(String::from_utf8_lossy(&driver.serial_log(id, 1 << 16).await.unwrap()).contains("login:"));
    assert!(matches!(driver.console(id, Console::Serial).await, Err(DriverError::Retry(_))));

    // Somebody kills it.
    driver.start(id).await.unwrap();
    assert_ne!(present(&driver, id).await.epoch, first.epoch);
    let pid = driver.process_id(id).await.unwrap().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let reason = stopped_by_itself(&driver, id, &mut hints, Duration::from_secs(2)).await;
    assert!(reason.contains("signal 9"), "{reason}");

    driver.start(id).await.unwrap();
    let pid = driver.process_id(id).await.unwrap().unwrap();
    driver.remove(id).await.unwrap();
    assert_eq!(driver.observe(id).await.unwrap(), Observed::Absent);
    assert_nothing_left(&bench, pid);
    driver.remove(id).await.unwrap();
    assert!(matches!(driver.start(id).await, Err(DriverError::Gone(_))));
    assert!(matches!(driver.stop(id, Stop::Force).await, Err(DriverError::Gone(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_outlives_its_driver_and_is_stopped_and_rebooted_by_the_next() {
    let Some(bench) = Bench::new() else { return };
    let _reaper = Reaper(&bench);
    let driver = bench.open().await;
    let (id, ssh) = bench.make(&driver, 2).await;
    ssh_answers(ssh).await;
    let before = present(&driver, id).await;
    let pid = driver.process_id(id).await.unwrap().unwrap();
    drop(driver);

    let begun = Instant::now();
    let driver = bench.open().await;
    tracing::info!(took = ?begun.elapsed(), "re-opened");
    assert_eq!(present(&driver, id).await, before, "the same machine in the same epoch");
    assert_eq!(driver.process_id(id).await.unwrap(), Some(pid));
    assert_eq!(driver.observe_all().await.unwrap().len(), 1);
    ssh_answers(ssh).await;

    let begun = Instant::now();
    driver.reboot(id, Stop::Force).await.unwrap();
    tracing::info!(took = ?begun.elapsed(), "reset");
    assert_eq!(driver.process_id(id).await.unwrap(), Some(pid), "the same process");
    ssh_answers(ssh).await;
    let begun = Instant::now();
    driver.reboot(id, Stop::Graceful { limit: BOOT }).await.unwrap();
    tracing::info!(took = ?begun.elapsed(), "rebooted");
    assert_eq!(present(&driver, id).await.power, Power::Running);
    ssh_answers(ssh).await;

    // A guest that just begins to boot ignores the button at first.
    driver.reboot(id, Stop::Force).await.unwrap();
    let begun = Instant::now();
    driver.stop(id, Stop::Graceful { limit: BOOT }).await.unwrap();
    tracing::info!(took = ?begun.elapsed(), "stopped gracefully while booting");
    assert!(begun.elapsed() < BOOT, "the guest itself shut down");
    let stopped = present(&driver, id).await;
    assert_eq!((stopped.power, stopped.reason.as_str()), (Power::Stopped, "stopped on request"));
    driver.stop(id, Stop::Graceful { limit: BOOT }).await.unwrap();
    assert!(driver.usage(id).await.unwrap().cpu_us > 0, "the counters of the last epoch stay");

    // Killed while no control plane watches.
    driver.start(id).await.unwrap();
    let pid = driver.process_id(id).await.unwrap().unwrap();
    drop(driver);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let driver = bench.open().await;
    let found = present(&driver, id).await;
    assert_eq!(found.power, Power::Stopped);
    assert!(found.reason.contains("without a shutdown"), "{}", found.reason);
    let _ =
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    driver.remove(id).await.unwrap();
    assert_nothing_left(&bench, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn debian_boots_from_its_disk_and_carries_out_the_customers_user_data() {
    let Some(bench) = Bench::new() else { return };
    let built = bench.images.join("debian-12-x64/disk.qcow2");
    assert!(built.exists(), "{} is missing: build the Debian image", built.display());
    // Below the state directory, as in an installation: the built one may lie where machines' users cannot pass.
    let disk = bench.image().disk.with_file_name("debian.qcow2");
    std::fs::copy(&built, &disk).unwrap();
    let _reaper = Reaper(&bench);
    let driver = bench.open().await;
    let mut spec = bench.spec(4);
    spec.cpu = 2;
    spec.memory_mib = 768;
    spec.disk_gib = 5;
    spec.image = Image { digest: format!("sha256:{}", "1".repeat(64)), disk, boot: Boot::Disk };
    spec.seed.user_data =
        Some("#cloud-config\nruncmd:\n  - echo çay of $(hostname) > /dev/ttyS0\n".as_bytes().to_vec());
    driver.ensure_image(&spec.image).await.unwrap();
    driver.ensure_disk(&spec).await.unwrap();
    let ssh = driver.ensure_machine(&spec).await.unwrap().ssh;
    driver.start(spec.id).await.unwrap();
    let log = bench.state().join("machines/4/serial.log");
    tracing::info!(log = %log.display(), "Debian boots");
    ssh_answers(ssh).await;
    let begun = Instant::now();
    loop {
        match driver.setup_status(spec.id).await.unwrap() {
            SetupStatus::Done => break,
            SetupStatus::Failed => {
                let mut console = driver.console(spec.id, Console::Serial).await.unwrap();
                log_in(&mut *console).await;
                let said =
                    converse(&mut *console, "cat /run/cloud-init/result.json; echo e''nd\n", "end").await;
                panic!("cloud-init says that it failed: {said}")
            }
            SetupStatus::Unknown | SetupStatus::Running => {}
        }
        assert!(begun.elapsed() < 2 * BOOT, "cloud-init never ends");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tracing::info!(took = ?begun.elapsed(), "cloud-init is done");
    let log = driver.serial_log(spec.id, 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&log).contains("çay of guest4"), "the user-data was carried out");
    let mut console = driver.console(spec.id, Console::Serial).await.unwrap();
    log_in(&mut *console).await;
    converse(&mut *console, "df -m --output=size / | tail -1 | tr -d ' ' | sed 's/^/size=/'\n", "size=4")
        .await;
    converse(
        &mut *console,
        "grep -c root /etc/ssh/sshd_config.d/*root*; sshd -T | grep -i permitrootlogin\n",
        "permitrootlogin yes",
    )
    .await;

    // Its agent holds it still for a snapshot, and sets its password.
    let taken = driver.take_snapshot(spec.id, SnapshotId(1), watch::Sender::new(0)).await.unwrap();
    assert_eq!((taken.consistency, taken.disk_gib), (Consistency::Filesystem, 5));
    driver.remove_snapshot(SnapshotId(1)).await.unwrap();
    let set = driver.set_password(spec.id, &Secret(conformance::HASH.into())).await.unwrap();
    assert_eq!(set, PasswordSet::Seen);
    converse(&mut *console, "exit\n", "login:").await;
    converse(&mut *console, "root\n", "assword:").await;
    converse(&mut *console, &format!("{}\n", conformance::PASSWORD), "# ").await;

    let begun = Instant::now();
    driver.stop(spec.id, Stop::Graceful { limit: BOOT }).await.unwrap();
    tracing::info!(took = ?begun.elapsed(), "Debian shut down");
    assert!(begun.elapsed() < BOOT);
    driver.remove(spec.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_in_qemus_words_and_leaves_no_process() {
    let Some(bench) = Bench::new() else { return };
    let _reaper = Reaper(&bench);
    let driver = bench.open().await;
    let spec = bench.spec(3);
    assert!(matches!(driver.start(spec.id).await, Err(DriverError::Gone(_))));
    driver.ensure_disk(&spec).await.unwrap();
    assert!(matches!(driver.start(spec.id).await, Err(DriverError::Gone(_))), "no settings yet");
    driver.ensure_machine(&spec).await.unwrap();
    let disk = bench.state().join("machines/3/disk.qcow2");
    let whole = std::fs::read(&disk).unwrap();
    std::fs::write(&disk, b"not a disk at all").unwrap();
    match driver.start(spec.id).await {
        Err(DriverError::Fatal(why)) => assert!(why.contains("qcow2"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(driver.process_id(spec.id).await.unwrap(), None);
    assert!(present(&driver, spec.id).await.reason.contains("the last start failed"));

    // A port that somebody else has taken meanwhile.
    std::fs::write(&disk, whole).unwrap();
    let ssh = driver.ensure_machine(&spec).await.unwrap().ssh;
    let thief = std::net::TcpListener::bind(ssh).unwrap();
    match driver.start(spec.id).await {
        Err(DriverError::Retry(why)) => assert!(why.contains("forwarding"), "{why}"),
        other => panic!("{other:?}"),
    }
    let other = driver.ensure_machine(&spec).await.unwrap().ssh;
    assert_ne!(other, ssh, "a machine that does not run gets a port that is free");
    assert_eq!(driver.ensure_machine(&spec).await.unwrap().ssh, other, "and keeps it");
    driver.start(spec.id).await.unwrap();
    assert_eq!(driver.ensure_machine(&spec).await.unwrap().ssh, other, "which is its own while it runs");
    drop(thief);

    // Secrets are forgotten, also before the running guest, and do not come back.
    let seed = bench.state().join("machines/3/seed.iso");
    let has_password =
        || std::fs::read(&seed).unwrap().windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes());
    assert!(has_password());
    driver.forget_secrets(spec.id).await.unwrap();
    assert!(!has_password());
    driver.ensure_machine(&spec).await.unwrap();
    assert!(!has_password());
    for file in ["machine.json", "state.json"] {
        let text = std::fs::read_to_string(bench.state().join("machines/3").join(file)).unwrap();
        assert!(!text.contains(PASSWORD), "{file}");
    }

    // The disk grows while the machine runs, and never shrinks.
    driver.ensure_disk(&MachineSpec { disk_gib: 2, ..spec.clone() }).await.unwrap();
    driver.ensure_disk(&spec).await.unwrap();
    let header = std::fs::read(&disk).unwrap();
    assert_eq!(header[24..32], (2_u64 << 30).to_be_bytes());

    // Removing cuts a polite stop short.
    let patient = tokio::spawn({
        let driver = Arc::clone(&driver);
        async move { driver.stop(ServerId(3), Stop::Graceful { limit: Duration::from_secs(300) }).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    driver.remove(spec.id).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    patient.await.unwrap().unwrap();
    assert!(driver.observe_all().await.unwrap().is_empty());
}
