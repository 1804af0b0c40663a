//! The simulated driver: the conformance suite over it, its faults, its memory of the world.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test stops where its ground gives way, and prints for whoever reads its output"
)]

use async_trait::async_trait;
use bulut_compute::conformance::{Meanwhile, Subject, check_cold, check_warm};
use bulut_compute::simulated::{Fail, FailWith, LatencyProfile, Simulated, SimulatedConfig, Verb, World};
use bulut_compute::{
    Boot, Console, Driver, DriverError, Hint, Image, MachineSpec, Nic, Observed, Power, Secret, Seed, Stop,
    Usage,
};
use bulut_model::ServerId;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        nic: Nic { mac: "52:54:00:00:00:0a".into(), ipv4: None, ipv6: None, resolvers: vec![], mtu: 1500 },
        snapshot: None,
        seed: Seed {
            instance_id: format!("i-{id}"),
            hostname: format!("web{id}"),
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
