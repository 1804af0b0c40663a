//! QEMU on this host, driven directly: one process per machine, spoken to by QMP over a unix socket.
//!
//! Promises: guests outlive the control plane, whatever ends it, and are found again by pid file, start time and
//! monitor; each runs as a user of its own, without privileges, in a sandbox and under limits; whoever removes a
//! machine leaves nothing of it. Must not know: who owns a machine and what it costs.
//!
//! Where to read on: `machine` is the task that each machine has and `registry` the way to it; `power`, `make`,
//! `snapshot`, `backup` and `stage` are its verbs;
//! `node` is what all machines share; `layout` is the map of files and permissions; `command` is QEMU's
//! command line.

mod accel;
mod agent;
mod backup;
mod cgroup;
mod command;
pub mod config;
mod copies;
mod disk;
mod hostname;
mod layout;
mod machine;
mod make;
pub mod network;
mod node;
mod power;
mod process;
mod qmp;
mod record;
mod registry;
mod seed;
mod serial;
mod snapshot;
mod stage;
mod tool;

pub use config::{Acceleration, QemuConfig};
pub use network::RoutedConfig;

use crate::driver::{
    Applied, Console, ConsoleStream, Driver, Hint, Observed, Probe, SetupStatus, Stop, Usage,
};
use crate::spec::Networking;
use crate::{
    Abilities, DriverError, GuestUsage, Image, MachineSpec, Nic, PasswordSet, PoolNetwork, Secret, Taken,
};
use agent::Agent;
use async_trait::async_trait;
use bulut_model::{OperationId, ServerId, SnapshotId};
use bytes::Bytes;
use copies::Making;
use node::{Network, Node};
use registry::{Done, Registry, Verb};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, watch};

/// How long a guest's agent may take to say what the guest uses.
const GUEST_USAGE_LIMIT: Duration = Duration::from_secs(5);

/// Runs machines as QEMU processes of this host. Dropping it lets go of them; they run on.
pub struct QemuDriver {
    abilities: Abilities,
    node: Arc<Node>,
    registry: Arc<Registry>,
}

impl QemuDriver {
    /// Prepares the host and takes up every machine that it already has.
    ///
    /// # Errors
    /// `Fatal` when the configuration or the host will not do, `Retry` when another driver works on the same
    /// directories, `Unreachable` when they cannot be read.
    pub async fn open(config: QemuConfig) -> Result<Arc<Self>, DriverError> {
        let node = Arc::new(Node::open(config).await?);
        let networking = match node.network {
            Network::Routed(_) => Networking::Routed,
            Network::User => Networking::User,
        };
        let filters = networking == Networking::Routed;
        let abilities = Abilities { networking, vnc: true, serial: true, agent: true, filters };
        let registry = Arc::new(Registry::default());
        let ids = list(&node)?;
        for id in &ids {
            // Before any new machine asks for a port, those that have one keep theirs.
            if let Ok(Some(machine)) = record::machine(&node.layout, *id)
                && let Some(port) = machine.ssh_port
            {
                node.port(*id, Some(port))?;
            }
        }
        let handles: Vec<_> = ids.iter().map(|id| registry.handle(&node, *id)).collect();
        for (id, handle) in ids.iter().zip(handles) {
            if let Err(error) = handle.status().await {
                tracing::error!(server.id = id.0, %error, "the machine's state is unknown");
            }
        }
        Ok(Arc::new(Self { abilities, node, registry }))
    }

    /// The process id of a running machine, for operators and tests.
    ///
    /// # Errors
    /// `Unreachable` when the node cannot be looked at.
    pub async fn process_id(&self, id: ServerId) -> Result<Option<i32>, DriverError> {
        match self.registry.find(id) {
            Some(handle) => Ok(handle.status().await?.live.map(|live| live.pid)),
            None => Ok(None),
        }
    }

    async fn ask(&self, id: ServerId, verb: Verb) -> registry::Answer {
        self.registry.ask(&self.node, id, verb).await
    }

    /// What is known about a machine; `None` when it is absent.
    async fn look(&self, id: ServerId) -> Result<Option<machine::Status>, DriverError> {
        let dir = self.node.layout.machine(id);
        let there = dir
            .try_exists()
            .map_err(|e| DriverError::Unreachable(format!("cannot look at {}: {e}", dir.display())))?;
        let handle = match self.registry.find(id) {
            Some(handle) => handle,
            None if there => self.registry.handle(&self.node, id),
            None => return Ok(None),
        };
        let status = handle.status().await?;
        Ok((status.observed.clone()? != Observed::Absent).then_some(status))
    }

    async fn get(&self, id: ServerId) -> Result<machine::Status, DriverError> {
        self.look(id).await?.ok_or_else(|| DriverError::Gone(format!("there is no machine {id}")))
    }
}

fn list(node: &Node) -> Result<Vec<ServerId>, DriverError> {
    node.layout.list().map_err(|e| DriverError::Unreachable(format!("cannot list the machines: {e}")))
}

#[async_trait]
impl Driver for QemuDriver {
    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn probe(&self) -> Result<Probe, DriverError> {
        self.node.probe()
    }

    async fn ensure_image(&self, image: &Image) -> Result<(), DriverError> {
        let foreign_user = nix::unistd::geteuid().is_root();
        disk::check_image(&self.node.layout, image, foreign_user)
    }

    async fn ensure_disk(&self, spec: &MachineSpec) -> Result<(), DriverError> {
        self.ask(spec.id, Verb::Disk(Box::new(spec.clone()))).await.map(drop)
    }

    async fn ensure_machine(&self, spec: &MachineSpec) -> Result<Applied, DriverError> {
        match self.ask(spec.id, Verb::Machine(Box::new(spec.clone()))).await? {
            Done::Applied(applied) => Ok(applied),
            Done::So | Done::Taken(_) => Err(DriverError::retry("the machine's task gave no answer")),
        }
    }

    async fn apply_network(&self, id: ServerId, nic: &Nic) -> Result<(), DriverError> {
        self.ask(id, Verb::Network(Box::new(nic.clone()))).await.map(drop)
    }

    async fn set_pools(&self, pools: &[PoolNetwork]) -> Result<(), DriverError> {
        match &self.node.network {
            Network::Routed(routed) => routed.set_pools(pools).await,
            Network::User => Ok(()),
        }
    }

    async fn start(&self, id: ServerId) -> Result<(), DriverError> {
        self.ask(id, Verb::Start).await.map(drop)
    }

    async fn stop(&self, id: ServerId, how: Stop) -> Result<(), DriverError> {
        self.ask(id, Verb::Stop(how)).await.map(drop)
    }

    async fn reboot(&self, id: ServerId, how: Stop) -> Result<(), DriverError> {
        self.ask(id, Verb::Reboot(how)).await.map(drop)
    }

    async fn remove(&self, id: ServerId) -> Result<(), DriverError> {
        self.ask(id, Verb::Remove).await.map(drop)
    }

    async fn observe(&self, id: ServerId) -> Result<Observed, DriverError> {
        match self.look(id).await? {
            Some(status) => status.observed,
            None => Ok(Observed::Absent),
        }
    }

    async fn observe_all(&self) -> Result<Vec<(ServerId, Result<Observed, DriverError>)>, DriverError> {
        let mut all = Vec::new();
        for id in list(&self.node)? {
            match self.observe(id).await {
                Ok(Observed::Absent) => {}
                observed => all.push((id, observed)),
            }
        }
        Ok(all)
    }

    fn watch(&self) -> broadcast::Receiver<Hint> {
        self.node.hints.subscribe()
    }

    async fn console(&self, id: ServerId, console: Console) -> Result<Box<dyn ConsoleStream>, DriverError> {
        let status = self.get(id).await?;
        if status.live.is_none() {
            return Err(DriverError::retry(format!("machine {id} does not run")));
        }
        match console {
            Console::Serial => {
                let stream = status.serial.and_then(|serial| serial.console());
                let stream =
                    stream.ok_or_else(|| DriverError::retry("the serial line is away for the moment"))?;
                Ok(Box::new(stream))
            }
            Console::Vnc => {
                let socket = self.node.layout.run(id).join("vnc.sock");
                let stream = UnixStream::connect(&socket).await.map_err(|e| {
                    DriverError::retry(format!("the screen of machine {id} does not answer: {e}"))
                })?;
                Ok(Box::new(stream))
            }
        }
    }

    async fn serial_log(&self, id: ServerId, limit: usize) -> Result<Bytes, DriverError> {
        self.get(id).await?;
        let log = self.node.layout.machine(id).join("serial.log");
        let read = tokio::task::spawn_blocking(move || serial::read_log(&log, limit));
        read.await
            .map_err(DriverError::retry)?
            .map_err(|e| DriverError::Unreachable(format!("cannot read the serial log of machine {id}: {e}")))
    }

    async fn setup_status(&self, id: ServerId) -> Result<SetupStatus, DriverError> {
        let status = self.get(id).await?;
        let Some(handle) = self.registry.find(id) else { return Ok(SetupStatus::Unknown) };
        if status.live.is_none() {
            return Ok(SetupStatus::Unknown);
        }
        let _one_at_a_time = handle.agent.lock().await;
        match Agent::greet(&self.node.layout.run(id).join("qga.sock")).await {
            Some(mut agent) => Ok(agent.setup_status().await),
            None => Ok(SetupStatus::Unknown),
        }
    }

    async fn forget_secrets(&self, id: ServerId) -> Result<(), DriverError> {
        self.ask(id, Verb::Forget).await.map(drop)
    }

    async fn usage(&self, id: ServerId) -> Result<Usage, DriverError> {
        let status = self.get(id).await?;
        match &status.live {
            Some(live) => Ok(self.node.usage(id, live, &status.usage).await),
            None => Ok(status.usage),
        }
    }

    async fn take_snapshot(
        &self,
        id: ServerId,
        snapshot: SnapshotId,
        progress: watch::Sender<u8>,
    ) -> Result<Taken, DriverError> {
        match self.ask(id, Verb::Snapshot(snapshot, progress)).await? {
            Done::Taken(taken) => Ok(taken),
            Done::So | Done::Applied(_) => Err(DriverError::retry("the machine's task gave no answer")),
        }
    }

    async fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.node.copies.cut_short(Making::Snapshot(snapshot)).await;
        let node = Arc::clone(&self.node);
        let removed = tokio::task::spawn_blocking(move || snapshot::remove(&node.layout, snapshot));
        removed.await.map_err(DriverError::retry)?
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotId>, DriverError> {
        let list = self.node.layout.list_snapshots();
        list.map_err(|e| DriverError::Unreachable(format!("cannot list the snapshots: {e}")))
    }

    async fn stage_disk(&self, spec: &MachineSpec, stage: OperationId) -> Result<(), DriverError> {
        self.ask(spec.id, Verb::Stage(Box::new(spec.clone()), stage)).await.map(drop)
    }

    async fn swap_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.ask(id, Verb::Swap(stage)).await.map(drop)
    }

    async fn unstage_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.node.copies.cut_short(Making::Stage(id, stage)).await;
        self.ask(id, Verb::Unstage(stage)).await.map(drop)
    }

    async fn drop_old_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        self.ask(id, Verb::DropOld(stage)).await.map(drop)
    }

    async fn set_password(&self, id: ServerId, hash: &Secret) -> Result<PasswordSet, DriverError> {
        let status = self.get(id).await?;
        let Some(handle) = self.registry.find(id).filter(|_| status.live.is_some()) else {
            return Ok(PasswordSet::NoAgent);
        };
        let _one_at_a_time = handle.agent.lock().await;
        match Agent::greet(&self.node.layout.run(id).join("qga.sock")).await {
            Some(mut agent) => agent.set_root_password(&hash.0).await,
            None => Ok(PasswordSet::NoAgent),
        }
    }

    async fn guest_usage(&self, id: ServerId) -> Result<GuestUsage, DriverError> {
        let status = self.get(id).await?;
        let Some(handle) = self.registry.find(id).filter(|_| status.live.is_some()) else {
            return Ok(GuestUsage::default());
        };
        // Whoever holds the agent does something that matters.
        let Ok(_one_at_a_time) = handle.agent.try_lock() else { return Ok(GuestUsage::default()) };
        let socket = self.node.layout.run(id).join("qga.sock");
        let told = async { Some(Agent::greet(&socket).await?.usage().await) };
        let told = tokio::time::timeout(GUEST_USAGE_LIMIT, told).await;
        Ok(told.ok().flatten().unwrap_or_default())
    }

    async fn set_hostname(&self, id: ServerId, hostname: &str) -> Result<bool, DriverError> {
        let status = self.get(id).await?;
        let Some(handle) = self.registry.find(id).filter(|_| status.live.is_some()) else { return Ok(false) };
        let _one_at_a_time = handle.agent.lock().await;
        match Agent::greet(&self.node.layout.run(id).join("qga.sock")).await {
            Some(mut agent) => agent.set_hostname(hostname).await,
            None => Ok(false),
        }
    }
}

impl Drop for QemuDriver {
    /// Long work ends, so that the next driver of these directories need not wait for it.
    fn drop(&mut self) {
        self.node.closing.cancel();
    }
}
