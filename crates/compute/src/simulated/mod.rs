//! The simulated node: a driver that behaves like a host of machines and runs none.
//!
//! Promises: the same laws as every driver (the conformance suite runs over it), latencies and faults on
//! demand, and a [`World`] that outlives the driver object, as guests outlive a control plane. One machine
//! costs a few hundred bytes. Must not know: processes, files of machines, the network of the host.

mod console;
mod disks;
mod faults;
mod world;

pub use disks::SimulatedSnapshot;
pub use faults::{Fail, FailWith, LatencyProfile, Moment, Verb};
pub use world::{SimulatedMachine, World};

use crate::{
    Abilities, Applied, Console, ConsoleStream, Driver, DriverError, Hint, Image, MachineSpec, Networking,
    Nic, Observed, PasswordSet, PoolNetwork, Probe, Secret, SetupStatus, Stop, Taken, Usage,
};
use async_trait::async_trait;
use bulut_model::{OperationId, ServerId, SnapshotId};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use world::State;

/// What the simulated node is and how it behaves.
#[derive(Debug, Clone)]
pub struct SimulatedConfig {
    /// Cores of the node.
    pub cpu: u32,
    /// Memory of the node, MiB.
    pub memory_mib: u64,
    /// Space for disks, GiB.
    pub disk_gib: u64,
    /// How long each verb takes.
    pub latency: LatencyProfile,
    /// Where the first machine's ssh would be; the machine `id` answers `id` ports further, wrapping at the end.
    pub ssh: SocketAddr,
    /// Whether a machine's whole specification is kept for [`World::machines`]: about a KiB each.
    pub keep_specs: bool,
}

impl Default for SimulatedConfig {
    /// A node of 64 cores, 256 GiB and 4 TiB that answers at once.
    fn default() -> Self {
        Self {
            cpu: 64,
            memory_mib: 256 * 1024,
            disk_gib: 4096,
            latency: LatencyProfile::default(),
            ssh: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 20_000),
            keep_specs: true,
        }
    }
}

/// A driver over a [`World`].
#[derive(Debug)]
pub struct Simulated {
    config: SimulatedConfig,
    abilities: Abilities,
    world: World,
}

impl Simulated {
    /// A driver over an empty world in memory.
    #[must_use]
    pub fn new(config: SimulatedConfig) -> Arc<Self> {
        Self::open(config, World::new())
    }

    /// A driver over a world that may hold machines already: a control plane that starts again.
    #[must_use]
    pub fn open(config: SimulatedConfig, world: World) -> Arc<Self> {
        let abilities =
            Abilities { networking: Networking::User, vnc: true, serial: true, agent: true, filters: true };
        Arc::new(Self { config, abilities, world })
    }

    /// The node behind this driver.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    fn ssh(&self, id: ServerId) -> SocketAddr {
        let first = self.config.ssh.port();
        let room = u64::from(u16::MAX - first) + 1;
        let offset = id.0.unsigned_abs() % room;
        SocketAddr::new(self.config.ssh.ip(), first + u16::try_from(offset).unwrap_or(0))
    }

    /// Reads the world as `verb`, with its latency and its faults.
    async fn look<T>(
        &self,
        verb: Verb,
        look: impl FnOnce(&State) -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let lost = self.world.enter(verb, &self.config.latency).await?;
        let answer = self.world.read(look)?;
        lost.map_or(Ok(answer), Err)
    }

    /// Changes the world as `verb`, with its latency and its faults.
    async fn act<T>(
        &self,
        verb: Verb,
        act: impl FnOnce(&mut State) -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let lost = self.world.enter(verb, &self.config.latency).await?;
        let answer = self.world.change(act)?;
        lost.map_or(Ok(answer), Err)
    }

    /// What a guest makes of the power button: nothing, if it is deaf, until the limit has passed.
    async fn press_power_button(&self, id: ServerId, how: Stop) {
        if let Stop::Graceful { limit } = how
            && self.world.read(|state| state.machines.get(&id.0).is_some_and(|it| it.running && it.deaf))
        {
            tokio::time::sleep(limit.min(Duration::from_secs(3600))).await;
        }
    }
}

#[async_trait]
impl Driver for Simulated {
    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn probe(&self) -> Result<Probe, DriverError> {
        let SimulatedConfig { cpu, memory_mib, disk_gib, .. } = self.config;
        self.look(Verb::Probe, |_| {
            Ok(Probe {
                engine: "simulated".to_owned(),
                acceleration: "simulated".to_owned(),
                reason: "the node is simulated: no machine really runs".to_owned(),
                cpu,
                memory_mib,
                disk_gib,
            })
        })
        .await
    }

    async fn ensure_image(&self, _image: &Image) -> Result<(), DriverError> {
        self.look(Verb::EnsureImage, |_| Ok(())).await
    }

    async fn ensure_disk(&self, spec: &MachineSpec) -> Result<(), DriverError> {
        self.act(Verb::EnsureDisk, |state| state.ensure_disk(spec)).await
    }

    async fn ensure_machine(&self, spec: &MachineSpec) -> Result<Applied, DriverError> {
        let keep = self.config.keep_specs;
        self.act(Verb::EnsureMachine, |state| state.ensure_machine(spec, keep)).await?;
        Ok(Applied { ssh: self.ssh(spec.id) })
    }

    async fn apply_network(&self, id: ServerId, nic: &Nic) -> Result<(), DriverError> {
        self.act(Verb::ApplyNetwork, |state| state.apply_network(id, nic)).await
    }

    async fn set_pools(&self, pools: &[PoolNetwork]) -> Result<(), DriverError> {
        self.act(Verb::SetPools, |state| {
            state.pools = pools.to_vec();
            Ok(())
        })
        .await
    }

    async fn start(&self, id: ServerId) -> Result<(), DriverError> {
        self.act(Verb::Start, |state| state.start(id)).await
    }

    async fn stop(&self, id: ServerId, how: Stop) -> Result<(), DriverError> {
        self.press_power_button(id, how).await;
        self.act(Verb::Stop, |state| state.stop(id, "stopped on request".into())).await
    }

    async fn reboot(&self, id: ServerId, how: Stop) -> Result<(), DriverError> {
        self.press_power_button(id, how).await;
        self.act(Verb::Reboot, |state| state.reboot(id, how)).await
    }

    async fn remove(&self, id: ServerId) -> Result<(), DriverError> {
        self.act(Verb::Remove, |state| {
            state.machines.remove(&id.0);
            Ok(())
        })
        .await
    }

    async fn observe(&self, id: ServerId) -> Result<Observed, DriverError> {
        self.look(Verb::Observe, |state| {
            state.machines.get(&id.0).map_or(Ok(Observed::Absent), |machine| machine.observed())
        })
        .await
    }

    async fn observe_all(&self) -> Result<Vec<(ServerId, Result<Observed, DriverError>)>, DriverError> {
        self.look(Verb::ObserveAll, |state| {
            Ok(state.machines.iter().map(|(id, machine)| (ServerId(*id), machine.observed())).collect())
        })
        .await
    }

    fn watch(&self) -> broadcast::Receiver<Hint> {
        self.world.watch()
    }

    async fn console(&self, id: ServerId, console: Console) -> Result<Box<dyn ConsoleStream>, DriverError> {
        let (epoch, hostname) = self
            .look(Verb::Console, |state| {
                let machine = state.get(id)?;
                if machine.running {
                    Ok((machine.epoch, machine.guest_hostname().to_owned()))
                } else {
                    Err(DriverError::Retry(format!("server {id} does not run, so it has no console")))
                }
            })
            .await?;
        Ok(Box::new(console::open(self.world.clone(), id, epoch, hostname, console)))
    }

    async fn serial_log(&self, id: ServerId, limit: usize) -> Result<Bytes, DriverError> {
        self.look(Verb::SerialLog, |state| {
            let machine = state.get(id)?;
            Ok(console::serial_log(machine.guest_hostname(), machine.boots, &machine.said, limit))
        })
        .await
    }

    async fn setup_status(&self, id: ServerId) -> Result<SetupStatus, DriverError> {
        self.look(Verb::SetupStatus, |state| {
            let machine = state.get(id)?;
            Ok(if machine.running { machine.setup } else { SetupStatus::Unknown })
        })
        .await
    }

    async fn forget_secrets(&self, id: ServerId) -> Result<(), DriverError> {
        self.act(Verb::ForgetSecrets, |state| {
            let machine = state.get_mut(id)?;
            machine.secrets = false;
            machine.change = None;
            if let Some(spec) = &mut machine.spec {
                spec.seed.root_password = None;
                spec.seed.password_change = None;
            }
            Ok(())
        })
        .await
    }

    async fn usage(&self, id: ServerId) -> Result<Usage, DriverError> {
        // What was told is written down: after a restart the counters go on from no less.
        self.act(Verb::Usage, |state| Ok(state.get(id)?.usage(id))).await
    }

    async fn take_snapshot(
        &self,
        id: ServerId,
        snapshot: SnapshotId,
        progress: watch::Sender<u8>,
    ) -> Result<Taken, DriverError> {
        let verb = Verb::TakeSnapshot;
        let world = &self.world;
        let quarter = world.latency(verb, world.count(verb), &self.config.latency) / 4;
        let fault = world.take_fault(verb);
        let strikes = |moment| match fault {
            Some(fault) if fault.at == moment => Err(fault.error(verb)),
            _ => Ok(()),
        };
        strikes(Moment::Before)?;
        let whole = match world.change(|state| state.begin_snapshot(id, snapshot))? {
            Some(taken) => taken,
            None => {
                for percent in [25, 50] {
                    world::pause(quarter).await;
                    progress.send_replace(percent);
                }
                world.released(verb).await;
                strikes(Moment::Halfway)?;
                world::pause(quarter).await;
                progress.send_replace(75);
                world::pause(quarter).await;
                world.change(|state| state.end_snapshot(id, snapshot))?
            }
        };
        progress.send_replace(100);
        strikes(Moment::After)?;
        Ok(whole)
    }

    async fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.act(Verb::RemoveSnapshot, |state| {
            state.snapshots.remove(&snapshot.0);
            Ok(())
        })
        .await
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotId>, DriverError> {
        self.look(Verb::Snapshots, |state| Ok(state.snapshots.keys().copied().map(SnapshotId).collect()))
            .await
    }

    async fn stage_disk(&self, spec: &MachineSpec, stage: OperationId) -> Result<(), DriverError> {
        self.act(Verb::StageDisk, |state| state.stage_disk(spec, stage)).await
    }

    async fn swap_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.act(Verb::SwapDisk, |state| state.swap_disk(id, stage)).await
    }

    async fn unstage_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.act(Verb::UnstageDisk, |state| state.unstage_disk(id, stage)).await
    }

    async fn drop_old_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.act(Verb::DropOldDisk, |state| {
            state.drop_old_disk(id, stage);
            Ok(())
        })
        .await
    }

    async fn set_password(&self, id: ServerId, hash: &Secret) -> Result<PasswordSet, DriverError> {
        self.act(Verb::SetPassword, |state| state.set_password(id, hash)).await
    }

    async fn set_hostname(&self, id: ServerId, hostname: &str) -> Result<bool, DriverError> {
        self.act(Verb::SetHostname, |state| state.set_hostname(id, hostname)).await
    }
}
