//! The simulated driver: the conformance suite over it, its faults, its memory of the world.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test stops where its ground gives way, and prints for whoever reads its output"
)]

use async_trait::async_trait;
use bulut_compute::conformance::{HASH, Meanwhile, PASSWORD, Subject, check_cold, check_warm};
use bulut_compute::simulated::{Fail, FailWith, LatencyProfile, Simulated, SimulatedConfig, Verb, World};
use bulut_compute::{
    Boot, Console, Driver, DriverError, Hint, Image, MachineSpec, Nic, Observed, PasswordChange, PasswordSet,
    Power, Rates, Secret, Seed, SetupStatus, Stop, Usage,
};
use bulut_model::snapshot::Consistency;
use bulut_model::{OperationId, ServerId, SnapshotId};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

fn spec(id: ServerId) -> MachineSpec {
    MachineSpec {
        id,
        cpu: 1,
        memory_mib: 512,
        disk_gib: 10,
        image: Image {
            digest: format!("sha256:{:064x}", 1),
            disk: "/images/one.qcow2".into(),
            boot: Boot::Disk,
        },
        nic: Nic {
            mac: "52:54:00:00:00:0a".into(),
            ipv4: None,
            ipv6: None,
            resolvers: vec![],
            mtu: 1500,
            more_ipv4: vec![],
            firewall: vec![],
            rates: Rates::default(),
        },
        snapshot: None,
        seed: Seed {
            instance_id: format!("i-{id}"),
            hostname: format!("web{id}"),
            renamed: false,
            ssh_keys: vec![],
            root_password: Some(Secret("hunter22".into())),
            user_data: None,
            recipe: None,
            fresh_identity: false,
            password_change: None,
        },
    }
}

async fn started(driver: &Simulated, id: ServerId) {
    driver.ensure_disk(&spec(id)).await.unwrap();
    driver.ensure_machine(&spec(id)).await.unwrap();
    driver.start(id).await.unwrap();
}

struct Node {
    driver: Mutex<Arc<Simulated>>,
    directory: Option<PathBuf>,
}

impl Node {
    fn world(&self) -> World {
        self.driver.lock().unwrap().world().clone()
    }
}

#[async_trait]
impl Subject for Node {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.lock().unwrap().clone()
    }

    fn spec(&self, id: ServerId) -> MachineSpec {
        spec(id)
    }

    async fn reopen(&self, meanwhile: Meanwhile) -> Result<(), DriverError> {
        let mut world = self.world();
        if let Meanwhile::Kill(id) = meanwhile {
            world.crash_machine(id, "killed");
        }
        if let Some(directory) = &self.directory {
            world = World::persistent(directory)?;
        }
        *self.driver.lock().unwrap() = Simulated::open(SimulatedConfig::default(), world);
        Ok(())
    }

    async fn kill(&self, id: ServerId) {
        self.world().crash_machine(id, "killed");
    }

    async fn disk_gib(&self, id: ServerId) -> Option<u64> {
        self.world().machine(id)?.disk_gib
    }

    async fn guest_boot(&self, id: ServerId) -> Option<String> {
        Some(self.world().machine(id)?.boots.to_string())
    }

    async fn mark(&self, id: ServerId, mark: &str) {
        self.world().write_disk(id, mark);
    }

    async fn marked(&self, id: ServerId) -> Option<String> {
        self.world().read_disk(id).filter(|content| !content.starts_with("image "))
    }

    async fn guest_writes(&self, id: ServerId, text: &str) -> bool {
        self.world().write_disk(id, text);
        true
    }

    async fn guest_reads(&self, id: ServerId) -> Option<String> {
        self.world().read_disk(id)
    }

    async fn logs_in(&self, id: ServerId, password: &Secret) -> bool {
        match self.world().password_of(id) {
            Some(hash) => hash.0 == HASH && password.0 == PASSWORD,
            None => Some(password) == spec(id).seed.root_password.as_ref(),
        }
    }

    async fn spoil(&self, snapshot: SnapshotId) {
        self.world().spoil_snapshot(snapshot);
    }

    async fn snapshot_left(&self, snapshot: SnapshotId) -> Vec<String> {
        self.world().snapshot(snapshot).map(|it| format!("{it:?}")).into_iter().collect()
    }

    async fn left_behind(&self, id: ServerId) -> Vec<String> {
        self.world().machine(id).map(|it| format!("{it:?}")).into_iter().collect()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let node = Node { driver: Mutex::new(Simulated::new(SimulatedConfig::default())), directory: None };
    check_cold(&node, ServerId(1)).await.unwrap();
    check_warm(&node, ServerId(1000)).await.unwrap();
    assert!(node.world().is_empty());
}

#[tokio::test]
async fn the_laws_hold_for_a_world_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::persistent(directory.path()).unwrap();
    let driver = Mutex::new(Simulated::open(SimulatedConfig::default(), world));
    let node = Node { driver, directory: Some(directory.path().to_owned()) };
    check_cold(&node, ServerId(1)).await.unwrap();
    check_warm(&node, ServerId(1000)).await.unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["simulated.json"]);
}

#[tokio::test]
async fn a_suite_that_finds_nothing_proves_nothing() {
    let node = Node { driver: Mutex::new(Simulated::new(SimulatedConfig::default())), directory: None };
    node.world().fail(Verb::Start, FailWith { times: 3, ..FailWith::once(Fail::Fatal) });
    let broken = check_cold(&node, ServerId(1)).await.unwrap_err();
    assert_eq!(broken.law, "an_unknown_machine_is_absent_and_gone");
}

#[tokio::test]
async fn faults_come_in_order_as_often_as_asked_and_before_or_after_the_effect() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    let id = ServerId(1);
    world.fail(Verb::EnsureDisk, FailWith::times(Fail::Retry, 2));
    world.fail(Verb::EnsureDisk, FailWith::once(Fail::Unreachable).after_effect());
    for _ in 0..2 {
        assert!(matches!(driver.ensure_disk(&spec(id)).await, Err(DriverError::Retry(_))));
    }
    assert!(world.is_empty(), "a fault before the effect had one");
    assert!(matches!(driver.ensure_disk(&spec(id)).await, Err(DriverError::Unreachable(_))));
    assert_eq!(world.len(), 1, "only the answer is lost");
    driver.ensure_disk(&spec(id)).await.unwrap();
    assert_eq!(world.calls(Verb::EnsureDisk), 4);

    world.fail(Verb::Observe, FailWith::always(Fail::Unreachable));
    for _ in 0..10 {
        assert!(matches!(driver.observe(id).await, Err(DriverError::Unreachable(_))));
    }
    world.heal();
    assert!(matches!(driver.observe(id).await, Ok(Observed::Present(_))));
}

#[tokio::test]
async fn a_machine_that_cannot_be_looked_at_hides_no_other_and_is_not_absent() {
    let driver = Simulated::new(SimulatedConfig::default());
    for id in [1, 2] {
        started(&driver, ServerId(id)).await;
    }
    driver.world().set_reachable(ServerId(1), false);
    assert!(matches!(driver.observe(ServerId(1)).await, Err(DriverError::Unreachable(_))));
    let all = driver.observe_all().await.unwrap();
    assert!(
        matches!(&all[..], [(ServerId(1), Err(DriverError::Unreachable(_))), (ServerId(2), Ok(Observed::Present(it)))]
            if it.power == Power::Running),
        "{all:?}"
    );
    driver.world().set_reachable(ServerId(1), true);
    assert!(driver.observe_all().await.unwrap().iter().all(|(_, it)| it.is_ok()));
}

#[tokio::test]
async fn a_verb_hangs_until_released() {
    let driver = Simulated::new(SimulatedConfig::default());
    started(&driver, ServerId(1)).await;
    driver.world().hang(Verb::Stop);
    let stop = tokio::spawn({
        let driver = driver.clone();
        async move { driver.stop(ServerId(1), Stop::Force).await }
    });
    while driver.world().calls(Verb::Stop) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        matches!(driver.observe(ServerId(1)).await.unwrap(), Observed::Present(it) if it.power == Power::Running)
    );
    assert!(!stop.is_finished());
    driver.world().release(Verb::Stop);
    stop.await.unwrap().unwrap();
    assert!(
        matches!(driver.observe(ServerId(1)).await.unwrap(), Observed::Present(it) if it.power == Power::Stopped)
    );
}

#[tokio::test]
async fn latency_slowness_and_a_deaf_guest_take_their_time() {
    let span = Duration::from_millis(30);
    let latency = LatencyProfile::seeded(1).with(Verb::Probe, span, span);
    let driver = Simulated::new(SimulatedConfig { latency, ..SimulatedConfig::default() });
    let began = Instant::now();
    driver.probe().await.unwrap();
    assert!(began.elapsed() >= span);
    driver.world().slow(Verb::Probe, span);
    let began = Instant::now();
    driver.probe().await.unwrap();
    assert!(began.elapsed() >= 2 * span);

    started(&driver, ServerId(1)).await;
    driver.world().set_deaf(ServerId(1), true);
    let began = Instant::now();
    driver.stop(ServerId(1), Stop::Graceful { limit: span }).await.unwrap();
    assert!(began.elapsed() >= span);
}

#[tokio::test]
async fn a_guest_that_powers_off_is_hinted_and_its_console_ends() {
    let driver = Simulated::new(SimulatedConfig::default());
    let id = ServerId(1);
    started(&driver, id).await;
    let mut console = driver.console(id, Console::Serial).await.unwrap();
    console.write_all(b"root").await.unwrap();
    let mut seen = [0; 18];
    console.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"\r\nweb1 login: root", "{}", String::from_utf8_lossy(&seen));
    let mut hints = driver.watch();
    driver.world().guest_powers_off(id);
    assert_eq!(hints.recv().await, Ok(Hint::Machine(id)));
    let ended = tokio::time::timeout(Duration::from_secs(5), console.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the console outlived its machine");
    assert!(
        matches!(driver.observe(id).await, Ok(Observed::Present(it)) if it.reason == "guest powered off")
    );
}

#[tokio::test]
async fn exact_counters_can_be_set_for_the_bill() {
    let driver = Simulated::new(SimulatedConfig::default());
    let id = ServerId(1);
    started(&driver, id).await;
    driver.stop(id, Stop::Force).await.unwrap();
    let before = driver.usage(id).await.unwrap();
    driver.world().add_usage(id, &Usage { sent_bytes: 1 << 30, forged_frames: 3, ..Usage::default() });
    let after = driver.usage(id).await.unwrap();
    assert_eq!(after.sent_bytes - before.sent_bytes, 1 << 30);
    assert_eq!(after.forged_frames, 3);
}

#[tokio::test]
async fn secrets_leave_the_world_when_they_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::persistent(directory.path()).unwrap();
    let driver = Simulated::open(SimulatedConfig::default(), world);
    started(&driver, ServerId(1)).await;
    let file = directory.path().join("simulated.json");
    assert!(std::fs::read_to_string(&file).unwrap().contains("hunter22"));
    assert!(driver.world().machine(ServerId(1)).unwrap().secrets);
    driver.forget_secrets(ServerId(1)).await.unwrap();
    assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter22"));
    assert!(!driver.world().machine(ServerId(1)).unwrap().secrets);
}

#[tokio::test]
async fn a_hundred_thousand_machines_are_cheap() {
    let driver = Simulated::new(SimulatedConfig { keep_specs: false, ..SimulatedConfig::default() });
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let (before, began) = (resident(), Instant::now());
    for id in 0..100_000 {
        started(&driver, ServerId(id)).await;
    }
    let (took, each) = (began.elapsed(), resident().saturating_sub(before) / 100_000);
    assert_eq!(driver.observe_all().await.unwrap().len(), 100_000);
    println!("100000 machines in {took:?}, {each} bytes each");
    assert!(each < 1024, "a machine takes {each} bytes");
}

async fn take(driver: &Simulated, id: i64, snapshot: i64) -> Result<bulut_compute::Taken, DriverError> {
    driver.take_snapshot(ServerId(id), SnapshotId(snapshot), watch::Sender::new(0)).await
}

#[tokio::test]
async fn a_snapshot_hangs_half_way_and_what_a_dead_control_plane_left_is_redone() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::persistent(directory.path()).unwrap();
    let driver = Simulated::open(SimulatedConfig::default(), world.clone());
    started(&driver, ServerId(1)).await;
    world.write_disk(ServerId(1), "before");
    world.hang(Verb::TakeSnapshot);
    let (progress, mut seen) = watch::channel(0);
    let taking = tokio::spawn({
        let driver = driver.clone();
        async move { driver.take_snapshot(ServerId(1), SnapshotId(7), progress).await }
    });
    seen.wait_for(|percent| *percent == 50).await.unwrap();
    assert_eq!(driver.snapshots().await.unwrap(), [SnapshotId(7)], "a half-made one is listed");
    assert_eq!(world.snapshot(SnapshotId(7)).unwrap().taken, None);
    taking.abort();
    let _ = taking.await;

    let world = World::persistent(directory.path()).unwrap();
    let driver = Simulated::open(SimulatedConfig::default(), world.clone());
    assert_eq!(world.snapshot(SnapshotId(7)).unwrap().taken, None);
    world.write_disk(ServerId(1), "later");
    let taken = take(&driver, 1, 7).await.unwrap();
    assert_eq!((taken.consistency, taken.disk_gib), (Consistency::Filesystem, 10));
    world.write_disk(ServerId(1), "much later");
    assert_eq!(take(&driver, 1, 7).await.unwrap(), taken, "the facts are told again");
    assert_eq!(world.snapshot(SnapshotId(7)).unwrap().content, "later");
    let world = World::persistent(directory.path()).unwrap();
    assert_eq!(world.snapshot(SnapshotId(7)).unwrap().taken, Some(taken));
}

#[tokio::test]
async fn a_snapshot_fails_before_half_way_and_after() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    started(&driver, ServerId(1)).await;
    let whole = || world.snapshot(SnapshotId(7)).map(|it| it.taken.is_some());
    let fault = FailWith::once(Fail::Retry);
    for (fault, left) in [(fault, None), (fault.halfway(), Some(false)), (fault.after_effect(), Some(true))] {
        world.fail(Verb::TakeSnapshot, fault);
        assert!(matches!(take(&driver, 1, 7).await, Err(DriverError::Retry(_))));
        assert_eq!(whole(), left);
    }
    driver.remove_snapshot(SnapshotId(7)).await.unwrap();
    assert_eq!(whole(), None);
}

#[tokio::test]
async fn a_machine_that_stops_while_it_is_copied_spoils_the_snapshot() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    started(&driver, ServerId(1)).await;
    world.hang(Verb::TakeSnapshot);
    let (progress, mut seen) = watch::channel(0);
    let taking = tokio::spawn({
        let driver = driver.clone();
        async move { driver.take_snapshot(ServerId(1), SnapshotId(7), progress).await }
    });
    seen.wait_for(|percent| *percent == 50).await.unwrap();
    world.guest_powers_off(ServerId(1));
    world.release(Verb::TakeSnapshot);
    assert!(matches!(taking.await.unwrap(), Err(DriverError::Retry(_))));
    assert_eq!(world.snapshot(SnapshotId(7)).unwrap().taken, None);
    assert_eq!(take(&driver, 1, 7).await.unwrap().consistency, Consistency::Stopped);
}

#[tokio::test]
async fn the_agent_makes_the_difference() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    let id = ServerId(1);
    let hash = Secret("$6$salt$hash".into());
    started(&driver, id).await;
    world.set_agent(id, false);
    assert_eq!(driver.set_password(id, &hash).await.unwrap(), PasswordSet::NoAgent);
    assert_eq!(world.password_of(id), None);
    assert_eq!(take(&driver, 1, 1).await.unwrap().consistency, Consistency::Crash);
    world.set_agent(id, true);
    world.set_agents(false);
    assert_eq!(driver.set_password(id, &hash).await.unwrap(), PasswordSet::NoAgent);
    world.set_agents(true);
    assert_eq!(driver.set_password(id, &hash).await.unwrap(), PasswordSet::Seen);
    assert_eq!(world.password_of(id), Some(hash.clone()));
    driver.stop(id, Stop::Force).await.unwrap();
    assert_eq!(driver.set_password(id, &Secret("$6$other".into())).await.unwrap(), PasswordSet::NoAgent);
    assert_eq!(world.password_of(id), Some(hash));
}

#[tokio::test]
async fn a_password_change_in_the_seed_is_made_at_the_next_boot_once_and_said() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    let id = ServerId(1);
    started(&driver, id).await;
    let change = PasswordChange { hash: Secret("$6$new".into()), nonce: "n1".into() };
    let mut changed = spec(id);
    changed.seed.password_change = Some(change.clone());
    let said = async || {
        let log = driver.serial_log(id, 1 << 16).await.unwrap();
        String::from_utf8(log.to_vec()).unwrap().matches(&change.confirmation()).count()
    };
    driver.ensure_machine(&changed).await.unwrap();
    assert_eq!((world.password_of(id), said().await), (None, 0), "nothing happens before it boots");
    world.set_setup(id, SetupStatus::Failed);
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!((world.password_of(id), said().await), (None, 0), "a broken set-up does nothing");
    world.set_setup(id, SetupStatus::Done);
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!((world.password_of(id), said().await), (Some(change.hash.clone()), 1));
    driver.set_password(id, &Secret("$6$newer".into())).await.unwrap();
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!((world.password_of(id).unwrap().0.as_str(), said().await), ("$6$newer", 1), "it is used once");
    driver.forget_secrets(id).await.unwrap();
    assert_eq!(world.machine(id).unwrap().spec.unwrap().seed.password_change, None);
}

#[tokio::test]
async fn a_name_is_given_by_the_agent_or_taken_at_the_next_boot_once() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    let id = ServerId(1);
    assert!(matches!(driver.set_hostname(id, "new.example").await, Err(DriverError::Gone(_))));
    started(&driver, id).await;
    let called = || world.hostname_of(id).unwrap();
    assert_eq!(called(), "web1");
    assert!(driver.set_hostname(id, "new.example").await.unwrap());
    assert_eq!(called(), "new.example");

    let mut renamed = spec(id);
    renamed.seed.hostname = "newer.example".into();
    world.set_agent(id, false);
    assert!(!driver.set_hostname(id, "newer.example").await.unwrap());
    driver.ensure_machine(&renamed).await.unwrap();
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!(called(), "new.example", "an instance that is known takes no name");
    renamed.seed.renamed = true;
    driver.ensure_machine(&renamed).await.unwrap();
    assert_eq!(called(), "new.example");
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!(called(), "newer.example");

    world.set_agent(id, true);
    assert!(driver.set_hostname(id, "by-hand.example").await.unwrap());
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!(called(), "newer.example", "the seed says another name than it had last");
    driver.stop(id, Stop::Force).await.unwrap();
    assert!(!driver.set_hostname(id, "x.example").await.unwrap(), "nobody is there to do it");
}

#[tokio::test]
async fn a_restored_disk_brings_its_password_back_and_a_new_instance_its_own() {
    let driver = Simulated::new(SimulatedConfig::default());
    let world = driver.world();
    let (id, copy) = (ServerId(1), ServerId(2));
    started(&driver, id).await;
    let old = Secret("$6$old".into());
    driver.set_password(id, &old).await.unwrap();
    take(&driver, 1, 7).await.unwrap();
    driver.set_password(id, &Secret("$6$new".into())).await.unwrap();
    driver.stop(id, Stop::Force).await.unwrap();
    let mut restored = spec(id);
    restored.snapshot = Some(SnapshotId(7));
    driver.stage_disk(&restored, OperationId(3)).await.unwrap();
    assert_eq!(world.machine(id).unwrap().stages, [OperationId(3)]);
    driver.swap_disk(id, OperationId(3)).await.unwrap();
    driver.start(id).await.unwrap();
    assert_eq!(world.password_of(id), Some(old.clone()));
    driver.drop_old_disk(id, OperationId(3)).await.unwrap();
    assert!(world.machine(id).unwrap().stages.is_empty());

    let mut other = spec(copy);
    other.snapshot = Some(SnapshotId(7));
    driver.ensure_disk(&other).await.unwrap();
    driver.ensure_machine(&other).await.unwrap();
    driver.start(copy).await.unwrap();
    assert_eq!(world.password_of(copy), None, "the new instance's seed has set it");
}
