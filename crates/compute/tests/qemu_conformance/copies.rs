//! Long copies, and what becomes of them when something ends in the middle: the one who waits, the guest, the machine,
//! the control plane. And guests that are held still: never for longer than their control plane is away.

use super::bench::{Bench, config, output};
use bulut_compute::conformance::Subject;
use bulut_compute::qemu::QemuDriver;
use bulut_compute::{
    Driver, DriverError, MachineSpec, Networking, Observed, PasswordSet, Power, Secret, SetupStatus, Stop,
    Taken,
};
use bulut_model::snapshot::Consistency;
use bulut_model::{OperationId, ServerId, SnapshotId};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const ID: ServerId = ServerId(2);
const COPY: ServerId = ServerId(3);
const SNAPSHOT: SnapshotId = SnapshotId(7);
const STAGE: OperationId = OperationId(9);
/// How long anything may take that waits for no guest, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// The directory of the bench on which [`a_control_plane_that_is_killed`] works.
const BENCH: &str = "BULUT_TEST_BENCH";

/// No test by itself: the control plane that other tests start, to kill it.
#[tokio::test]
#[ignore = "started by other tests"]
async fn a_control_plane_that_is_killed() {
    let directory = PathBuf::from(std::env::var_os(BENCH).expect("started by another test"));
    let driver = QemuDriver::open(config(&directory)).await.unwrap();
    driver.take_snapshot(ID, SNAPSHOT, watch::Sender::new(0)).await.unwrap();
}

/// Starts that control plane on the bench, whose own driver is let go.
fn other_control_plane(bench: &Bench) -> tokio::process::Child {
    bench.close();
    tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "copies::a_control_plane_that_is_killed", "--ignored"])
        .env(BENCH, bench.path(""))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until `seen` says so.
async fn until(what: &str, seen: impl AsyncFnMut() -> bool) {
    within(SOON, what, seen).await;
}

async fn within(limit: Duration, what: &str, mut seen: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !seen().await {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A machine with a mark and much else on its disk, so that copying it takes a moment.
async fn laden(bench: &Bench) {
    let spec = bench.spec(ID);
    bench.driver().ensure_disk(&spec).await.unwrap();
    bench.driver().ensure_machine(&spec).await.unwrap();
    bench.mark(ID, "laden").await;
    let disk = bench.disk(ID);
    output("qemu-io", &["-f", "qcow2", "-c", "write -q -P 85 200M 400M", disk.to_str().unwrap()]);
}

/// Begins to take the snapshot, in a task of its own.
fn taking(bench: &Bench) -> (JoinHandle<Result<Taken, DriverError>>, watch::Receiver<u8>) {
    let (progress, seen) = watch::channel(0);
    let driver = bench.driver();
    (tokio::spawn(async move { driver.take_snapshot(ID, SNAPSHOT, progress).await }), seen)
}

async fn take(bench: &Bench) -> Taken {
    bench.driver().take_snapshot(ID, SNAPSHOT, watch::Sender::new(0)).await.unwrap()
}

/// Says something to the machine's monitor for people.
async fn people(bench: &Bench, command: &str) -> String {
    let socket = bench.path("r").join(ID.to_string()).join("mon.sock");
    let talk = async {
        let mut monitor = UnixStream::connect(socket).await.unwrap();
        monitor.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        let mut buffer = [0; 4096];
        while said.matches("(qemu) ").count() < 2 {
            let read = monitor.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the monitor ended: {said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        said
    };
    tokio::time::timeout(SOON, talk).await.expect("the monitor answers")
}

/// Waits until QEMU copies, and makes that take minutes.
async fn slow(bench: &Bench) {
    until("QEMU copies", async || people(bench, "info block-jobs").await.contains("device snap:")).await;
    let said = people(bench, "block_job_set_speed snap 1M").await;
    let jobs = people(bench, "info block-jobs").await;
    assert!(jobs.contains("speed limit 1048576"), "it was too fast: {said}, {jobs}");
}

/// QEMU has no job and no node of a copy.
async fn assert_swept(bench: &Bench) {
    assert!(people(bench, "info block-jobs").await.contains("No active jobs"));
    let nodes = people(bench, "info block -n").await;
    assert!(nodes.contains("root-q") && !nodes.contains("snap-q"), "{nodes}");
}

async fn assert_runs(bench: &Bench, epoch: &str) {
    match bench.driver().observe(ID).await.unwrap() {
        Observed::Present(it) => assert_eq!((it.power, it.epoch.as_str()), (Power::Running, epoch), "{it:?}"),
        Observed::Absent => panic!("the machine is absent"),
    }
}

async fn start(bench: &Bench) -> String {
    bench.driver().start(ID).await.unwrap();
    match bench.driver().observe(ID).await.unwrap() {
        Observed::Present(it) => it.epoch,
        Observed::Absent => panic!("the machine is absent"),
    }
}

/// The answer to a copy that was cut short.
async fn cut_short<T: std::fmt::Debug>(copy: JoinHandle<Result<T, DriverError>>) {
    let answer = tokio::time::timeout(SOON, copy).await.expect("it ends").unwrap();
    assert!(matches!(answer, Err(DriverError::Retry(_))), "{answer:?}");
}

fn half_made(bench: &Bench) -> bool {
    let dir = bench.path("s/snapshots").join(SNAPSHOT.to_string());
    dir.join("disk.qcow2").exists() && !dir.join("snapshot.json").exists()
}

#[tokio::test]
async fn a_copy_under_a_running_machine_is_cut_off_and_made_anew() {
    let bench = Bench::new(Networking::User).await;
    laden(&bench).await;
    let epoch = start(&bench).await;
    let none: [SnapshotId; 0] = [];

    // Whoever waited is gone, and the driver with it.
    let (copy, _) = taking(&bench);
    slow(&bench).await;
    copy.abort();
    let _ = copy.await;
    bench.close();
    bench.open().await.unwrap();
    assert_swept(&bench).await;
    assert_eq!(bench.driver().snapshots().await.unwrap(), none);
    assert_runs(&bench, &epoch).await;

    // The control plane is killed: the next one ends its job and makes the copy anew.
    let mut other = other_control_plane(&bench);
    slow(&bench).await;
    other.start_kill().unwrap();
    other.wait().await.unwrap();
    assert!(people(&bench, "info block-jobs").await.contains("device snap:"), "QEMU copies on by itself");
    assert!(half_made(&bench));
    bench.open().await.unwrap();
    assert_runs(&bench, &epoch).await;
    assert_swept(&bench).await;
    assert_eq!(bench.driver().snapshots().await.unwrap(), [SNAPSHOT], "half of one is listed");
    let taken = take(&bench).await;
    // It runs; whether its agent answers by now is a matter of how fast it boots.
    assert_ne!(taken.consistency, Consistency::Stopped);
    assert_eq!(taken.disk_gib, 1);
    assert!(taken.size_bytes > 400 << 20, "{taken:?}");
    assert_swept(&bench).await;
    let spec = MachineSpec { snapshot: Some(SNAPSHOT), ..bench.spec(COPY) };
    bench.driver().ensure_disk(&spec).await.unwrap();
    assert_eq!(bench.marked(COPY).await.as_deref(), Some("laden"));
    bench.driver().remove_snapshot(SNAPSHOT).await.unwrap();

    // It is not wanted any more; meanwhile the machine can be looked at.
    let (copy, _) = taking(&bench);
    slow(&bench).await;
    let begun = Instant::now();
    assert_runs(&bench, &epoch).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "looking took {:?}", begun.elapsed());
    bench.driver().remove_snapshot(SNAPSHOT).await.unwrap();
    cut_short(copy).await;
    assert_swept(&bench).await;
    assert_runs(&bench, &epoch).await;
    assert_eq!(bench.driver().snapshots().await.unwrap(), none);

    // The plug is pulled.
    let (copy, _) = taking(&bench);
    slow(&bench).await;
    tokio::time::timeout(SOON, bench.driver().stop(ID, Stop::Force)).await.expect("at once").unwrap();
    cut_short(copy).await;
    assert_eq!(bench.driver().snapshots().await.unwrap(), none);

    // QEMU dies.
    let epoch = start(&bench).await;
    let (copy, _) = taking(&bench);
    slow(&bench).await;
    assert_runs(&bench, &epoch).await;
    bench.kill(ID).await;
    cut_short(copy).await;
    assert_eq!(bench.driver().snapshots().await.unwrap(), none);
    assert_eq!(take(&bench).await.consistency, Consistency::Stopped);
    bench.driver().remove(ID).await.unwrap();
    assert_eq!(bench.left_behind(ID).await, Vec::<String>::new());
}

/// Processes that work in a machine's directory and are no QEMU: copies.
fn copying(bench: &Bench, id: ServerId) -> usize {
    let dir = bench.path("s/machines").join(id.to_string()).canonicalize().unwrap_or_default();
    let of = |entry: std::fs::DirEntry| std::fs::read_link(entry.path().join("cwd")).ok();
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(of);
    all.filter(|cwd| *cwd == dir).count()
}

fn files(bench: &Bench, id: ServerId) -> Vec<String> {
    let dir = std::fs::read_dir(bench.path("s/machines").join(id.to_string())).unwrap();
    dir.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_copy_of_a_stopped_machine_is_cut_off_and_leaves_no_process() {
    let bench = Bench::new(Networking::User).await;
    laden(&bench).await;
    let stall = bench.path("stall");

    // Not wanted any more.
    std::fs::write(&stall, "").unwrap();
    let (copy, mut seen) = taking(&bench);
    tokio::time::timeout(SOON, seen.wait_for(|percent| *percent == 7)).await.expect("progress").unwrap();
    assert_eq!(copying(&bench, ID), 1);
    assert!(matches!(bench.driver().observe(ID).await, Ok(Observed::Present(_))));
    bench.driver().remove_snapshot(SNAPSHOT).await.unwrap();
    cut_short(copy).await;
    until("the copy has ended", async || copying(&bench, ID) == 0).await;

    // The control plane is killed, and takes the copy with it.
    let mut other = other_control_plane(&bench);
    until("the other control plane copies", async || half_made(&bench) && copying(&bench, ID) == 1).await;
    other.start_kill().unwrap();
    other.wait().await.unwrap();
    until("the copy has ended", async || copying(&bench, ID) == 0).await;
    assert!(half_made(&bench));
    std::fs::remove_file(&stall).unwrap();
    bench.open().await.unwrap();
    assert_eq!(take(&bench).await.consistency, Consistency::Stopped);

    // A disk that is being staged is undone, or goes with its machine.
    let spec = MachineSpec { snapshot: Some(SNAPSHOT), ..bench.spec(ID) };
    let staging = || {
        let (driver, spec) = (bench.driver(), spec.clone());
        tokio::spawn(async move { driver.stage_disk(&spec, STAGE).await })
    };
    std::fs::write(&stall, "").unwrap();
    let stage = staging();
    until("the disk is being copied", async || copying(&bench, ID) == 1).await;
    let begun = Instant::now();
    bench.driver().unstage_disk(ID, STAGE).await.unwrap();
    assert!(begun.elapsed() < SOON);
    cut_short(stage).await;
    until("the copy has ended", async || copying(&bench, ID) == 0).await;
    assert!(!files(&bench, ID).iter().any(|name| name.contains(".9.")), "{:?}", files(&bench, ID));
    let stage = staging();
    until("the disk is being copied", async || copying(&bench, ID) == 1).await;
    tokio::time::timeout(SOON, bench.driver().remove(ID)).await.expect("at once").unwrap();
    cut_short(stage).await;
    assert_eq!(bench.left_behind(ID).await, Vec::<String>::new());
}

/// What only root can see: whose the files are.
#[tokio::test]
async fn a_disk_that_names_other_files_shows_nothing_of_them() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: machines have users of their own only under root");
        return;
    }
    let bench = Bench::new(Networking::User).await;
    laden(&bench).await;
    let secret = bench.path("secret");
    std::fs::write(&secret, vec![b'S'; 1 << 20]).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let rebase = |disk: &Path, to: &str| {
        output("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", to, disk.to_str().unwrap()]);
    };

    // As a QEMU that its guest has taken over could have written it.
    let disk = bench.disk(ID);
    rebase(&disk, secret.to_str().unwrap());
    match bench.driver().take_snapshot(ID, SNAPSHOT, watch::Sender::new(0)).await {
        Err(DriverError::Retry(why)) => assert!(why.contains("Permission denied"), "{why}"),
        other => panic!("{other:?}"),
    }
    let larger = MachineSpec { disk_gib: 2, ..bench.spec(ID) };
    assert!(bench.driver().ensure_disk(&larger).await.is_err(), "nor is it opened to be grown");
    output("qemu-img", &["rebase", "-u", "-f", "qcow2", "-b", "", disk.to_str().unwrap()]);

    // Whose a snapshot is, and what is made of it.
    take(&bench).await;
    let dir = bench.path("s/snapshots/7");
    let of = |path: &Path| {
        let meta = path.metadata().unwrap();
        (meta.uid(), meta.gid() - 1_900_000_000, meta.mode() & 0o777)
    };
    assert_eq!(of(&dir), (0, 2, 0o710));
    assert_eq!(of(&dir.join("disk.qcow2")), (0, 2, 0o440));
    let spec = MachineSpec { snapshot: Some(SNAPSHOT), ..bench.spec(COPY) };
    bench.driver().ensure_disk(&spec).await.unwrap();
    assert_eq!(of(&bench.disk(COPY)), (1_900_000_003, 3, 0o600));
    bench.driver().remove(COPY).await.unwrap();
    rebase(&dir.join("disk.qcow2"), secret.to_str().unwrap());
    assert!(matches!(bench.driver().ensure_disk(&spec).await, Err(DriverError::Fatal(_))));
    assert!(!bench.disk(COPY).exists());
}

/// A node whose state directory is a small file system of its own.
#[test]
fn a_node_without_room_says_so_and_keeps_nothing() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    let body = async {
        let bench = Bench::new(Networking::User).await;
        bench.close();
        let state = bench.path("s");
        let image = bench.path("i");
        std::fs::rename(&state, &image).unwrap();
        std::fs::create_dir(&state).unwrap();
        output("mount", &["-t", "tmpfs", "-o", "size=300m,mode=711", "none", state.to_str().unwrap()]);
        output("cp", &["-r", image.join("images").to_str().unwrap(), state.to_str().unwrap()]);
        bench.open().await.unwrap();
        bench.driver().ensure_disk(&bench.spec(ID)).await.unwrap();
        match bench.driver().take_snapshot(ID, SNAPSHOT, watch::Sender::new(0)).await {
            Err(DriverError::Fatal(why)) => assert_eq!(why, "the node has no room for this snapshot"),
            other => panic!("{other:?}"),
        }
        assert!(bench.driver().snapshots().await.unwrap().is_empty());
        bench.close();
        output("umount", &["-l", state.to_str().unwrap()]);
    };
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        output("mount", &["--make-rprivate", "/"]);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test]
async fn a_machine_that_takes_its_pid_file_away_is_still_found() {
    let bench = Bench::new(Networking::User).await;
    let spec = bench.spec(ID);
    bench.driver().ensure_disk(&spec).await.unwrap();
    bench.driver().ensure_machine(&spec).await.unwrap();
    let epoch = start(&bench).await;
    bench.close();
    std::fs::remove_file(bench.path("r/2/pid/qemu.pid")).unwrap();
    bench.open().await.unwrap();
    assert_runs(&bench, &epoch).await;
    bench.driver().remove(ID).await.unwrap();
    assert_eq!(bench.left_behind(ID).await, Vec::<String>::new());
}

/// Asks the guest's agent behind the driver's back, as long as no driver talks to it.
async fn agent(bench: &Bench, command: &str) -> serde_json::Value {
    let socket = bench.path("r").join(ID.to_string()).join("qga.sock");
    let talk = async {
        let mut agent = UnixStream::connect(socket).await.unwrap();
        let sync = "{\"execute\": \"guest-sync\", \"arguments\": {\"id\": 4711}}";
        agent.write_all(format!("{sync}\n{{\"execute\": \"{command}\"}}\n").as_bytes()).await.unwrap();
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let read = agent.read(&mut buffer).await.unwrap();
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let answers = said.split_once("4711}\n").map_or("", |(_, answers)| answers);
            if let Ok(answer) = serde_json::from_str::<serde_json::Value>(answers) {
                return answer["return"].clone();
            }
        }
    };
    tokio::time::timeout(SOON, talk).await.expect("the agent answers")
}

async fn guest_is_up(bench: &Bench) {
    within(bench.patience(), "the guest is up", async || bench.guest_boot(ID).await.is_some()).await;
    let agent = async || bench.driver().setup_status(ID).await.unwrap() != SetupStatus::Unknown;
    within(bench.patience(), "the agent is up", agent).await;
}

#[tokio::test]
async fn a_guest_is_never_left_frozen() {
    let bench = Bench::new(Networking::User).await;
    laden(&bench).await;
    let epoch = start(&bench).await;
    guest_is_up(&bench).await;
    let state = bench.path("s/machines/2/state.json");
    let marked = || std::fs::read_to_string(&state).unwrap().contains("\"frozen\": true");

    // A control plane died after the guest's agent had frozen it.
    bench.close();
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(text.contains("\"frozen\": false"), "{text}");
    std::fs::write(&state, text.replace("\"frozen\": false", "\"frozen\": true")).unwrap();
    assert!(agent(&bench, "guest-fsfreeze-freeze").await.as_u64() > Some(0));
    assert_eq!(agent(&bench, "guest-fsfreeze-status").await, "frozen");
    bench.open().await.unwrap();
    assert_runs(&bench, &epoch).await;
    assert!(!marked());
    assert!(bench.guest_writes(ID, "thawed").await);

    // A control plane is killed at the moment when it is about to.
    let mut other = other_control_plane(&bench);
    until("the other control plane freezes the guest", async || marked()).await;
    other.start_kill().unwrap();
    other.wait().await.unwrap();
    println!("it left the guest {}", agent(&bench, "guest-fsfreeze-status").await);
    assert!(marked());
    bench.open().await.unwrap();
    assert!(!marked());
    assert_swept(&bench).await;
    bench.close();
    assert_eq!(agent(&bench, "guest-fsfreeze-status").await, "thawed");
    bench.open().await.unwrap();
    assert!(bench.guest_writes(ID, "again").await);

    // A copy that is cut off has let go of the guest long before.
    let ssh = bench.driver().ensure_machine(&bench.spec(ID)).await.unwrap().ssh;
    let (copy, _) = taking(&bench);
    slow(&bench).await;
    let said = bench.ask_at(ssh, "echo meanwhile > /root/law && sync && cat /root/law").await;
    assert_eq!(said.as_deref(), Some("meanwhile"));
    assert!(people(&bench, "info block-jobs").await.contains("device snap:"), "it copies on");
    bench.driver().remove_snapshot(SNAPSHOT).await.unwrap();
    cut_short(copy).await;
    assert_eq!(take(&bench).await.consistency, Consistency::Filesystem);
    bench.driver().remove_snapshot(SNAPSHOT).await.unwrap();

    // Without an agent nobody is asked, and nobody claims to have been.
    bench.ask(ID, "killall qemu-ga; mv $(command -v qemu-ga) /gone").await.expect("it is taken away");
    assert_eq!(take(&bench).await.consistency, Consistency::Crash);
    let hash = Secret(bulut_compute::conformance::HASH.into());
    assert_eq!(bench.driver().set_password(ID, &hash).await.unwrap(), PasswordSet::NoAgent);
    bench.driver().remove(ID).await.unwrap();
}
