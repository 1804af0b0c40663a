//! The trait itself and what its verbs answer.

use crate::{Abilities, DriverError, Image, MachineSpec, Nic, PoolNetwork, Secret};
use async_trait::async_trait;
use bulut_model::snapshot::Consistency;
use bulut_model::{OperationId, ServerId, SnapshotId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, watch};

/// What a node is and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The engine and its version, for a person: `QEMU 7.2.22`.
    pub engine: String,
    /// `kvm`, `tcg` or `simulated`.
    pub acceleration: String,
    /// Why it is that one, for the log and the doctor.
    pub reason: String,
    /// Cores of the node.
    pub cpu: u32,
    /// Memory of the node, MiB.
    pub memory_mib: u64,
    /// Space for disks on the node, GiB.
    pub disk_gib: u64,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Its processors are executing (or paused by the hypervisor for a moment).
    Running,
    /// There is no process.
    Stopped,
}

/// A machine that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Whether it runs.
    pub power: Power,
    /// When it does not run: the last known reason, for the log and the operator
    /// (`guest powered off`, `stopped on request`, `QEMU was killed by signal 9`…).
    pub reason: String,
    /// Differs at every start of the machine; counters begin anew with it.
    pub epoch: String,
}

/// What is known about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observed {
    /// The node knows nothing of it: no machine, no disk.
    Absent,
    /// It is there.
    Present(Present),
}

/// What [`Driver::ensure_machine`] settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where the guest's ssh port is reached from the node: its own address, or a forwarded port on loopback.
    pub ssh: SocketAddr,
}

/// How a machine is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Press the power button; when the guest has not gone within the limit, pull the plug.
    Graceful {
        /// How long the guest may take.
        limit: Duration,
    },
    /// Pull the plug now.
    Force,
}

/// A wake-up for the reconciler: look at this machine. Never a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to this machine.
    Machine(ServerId),
    /// Somebody else had changed this machine's network, and it was mended.
    NetworkMended(ServerId),
    /// Hints were lost: look at all of them.
    Resync,
}

/// Which console of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// The serial line: bytes of a terminal.
    Serial,
    /// The screen: the RFB protocol, no password.
    Vnc,
}

/// A console's bytes, both ways.
pub trait ConsoleStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConsoleStream for T {}

/// How far the guest's own first-boot set-up (cloud-init) is, as the guest itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupStatus {
    /// No agent answers (yet), so nothing is known.
    Unknown,
    /// Still at work.
    Running,
    /// Finished without errors.
    Done,
    /// Finished with errors.
    Failed,
}

/// Counters of a machine since its `epoch` began. They only grow within an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// As in [`Present::epoch`].
    pub epoch: String,
    /// Processor time used by the machine, microseconds.
    pub cpu_us: u64,
    /// Resident memory of the machine's process, bytes.
    pub memory_bytes: u64,
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Bytes that the guest sent.
    pub sent_bytes: u64,
    /// Frames dropped because they were forged.
    pub forged_frames: u64,
    /// Bytes that the machine's disk takes on the node.
    pub disk_bytes: u64,
}

/// What a guest itself says that it uses, as far as it says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestUsage {
    /// Memory that is neither free nor could be at once, bytes.
    pub memory_bytes: Option<u64>,
    /// What its file systems hold, bytes.
    pub disk_bytes: Option<u64>,
}

/// A snapshot that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How far its content can be trusted.
    pub consistency: Consistency,
    /// Size of the disk that it holds, GiB, rounded up.
    pub disk_gib: u64,
    /// Bytes that it takes on the node.
    pub size_bytes: u64,
}

/// What became of a password that the guest's agent was to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordSet {
    /// The guest's own `/etc/shadow` holds it now.
    Seen,
    /// Nobody in the guest answers; nothing has changed.
    NoAgent,
}

/// What runs machines. Every verb is idempotent: asking for what is so succeeds and changes nothing.
/// All of them may be called again after a crash in the middle of an earlier call, and finish its work.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// What this driver can do.
    fn abilities(&self) -> &Abilities;

    /// What the node is. Cheap.
    async fn probe(&self) -> Result<Probe, DriverError>;

    /// Checks that the image's files are there and readable by machines.
    async fn ensure_image(&self, image: &Image) -> Result<(), DriverError>;

    /// Makes the machine's disk from its snapshot, else its image, at its size. A disk that is there is kept (and grown,
    /// never shrunk). It shares nothing with the snapshot. `Fatal` when that is not whole on this node, or larger than
    /// the disk.
    async fn ensure_disk(&self, spec: &MachineSpec) -> Result<(), DriverError>;

    /// Makes all else that the machine needs to start: seed, network, limits. Does not start it.
    async fn ensure_machine(&self, spec: &MachineSpec) -> Result<Applied, DriverError>;

    /// Changes the network of a machine: addresses and routes, firewall, rates. One that runs has it when this answers, its
    /// firewall as a whole or not at all; its guest takes other addresses at its next boot. What is so is left alone, what
    /// drifted is mended, and the next [`Driver::ensure_machine`] has the last word. `Gone` when the machine was never made,
    /// `Fatal` for an interface that cannot be, or another MAC.
    async fn apply_network(&self, id: ServerId, nic: &Nic) -> Result<(), DriverError>;

    /// Says which networks machines have their addresses from: what leaves the node from private ones is masqueraded, and
    /// what is for an address that no machine has is refused, rather than sent back to where it came from. The whole list
    /// each time. Nothing changes where the driver does not route.
    async fn set_pools(&self, pools: &[PoolNetwork]) -> Result<(), DriverError>;

    /// Starts the machine; returns when the hypervisor says that it runs.
    /// `Gone` when [`Driver::ensure_machine`] was never done.
    async fn start(&self, id: ServerId) -> Result<(), DriverError>;

    /// Stops the machine; returns when its process has ended. `Gone` when there is no such machine.
    async fn stop(&self, id: ServerId, how: Stop) -> Result<(), DriverError>;

    /// Restarts the guest of a running machine; returns when the restart was seen.
    /// `Graceful` lets the guest shut down first, `Force` is the reset button. A stopped machine is started.
    async fn reboot(&self, id: ServerId, how: Stop) -> Result<(), DriverError>;

    /// Removes the machine and all that was made for it: process, disk, seed, tap, rules, limits, directories.
    /// Finishes half-made and half-removed ones. Absent is fine.
    async fn remove(&self, id: ServerId) -> Result<(), DriverError>;

    /// Looks at one machine.
    async fn observe(&self, id: ServerId) -> Result<Observed, DriverError>;

    /// Looks at all machines that the node knows, whatever the control plane thinks. One that cannot be looked at
    /// stands in the list with its own error: nothing is known of it, and it must not pass for absent.
    async fn observe_all(&self) -> Result<Vec<(ServerId, Result<Observed, DriverError>)>, DriverError>;

    /// Hints about machines that changed by themselves (a guest powered off, a process died).
    fn watch(&self) -> broadcast::Receiver<Hint>;

    /// Opens a console of a running machine. Several may be open at once on the serial line.
    async fn console(&self, id: ServerId, console: Console) -> Result<Box<dyn ConsoleStream>, DriverError>;

    /// The last bytes of the kept serial log, at most `limit`; also of a machine that does not run.
    async fn serial_log(&self, id: ServerId, limit: usize) -> Result<Bytes, DriverError>;

    /// How far the guest's own set-up is.
    async fn setup_status(&self, id: ServerId) -> Result<SetupStatus, DriverError>;

    /// Rewrites the seed without its secrets, once the guest has used them.
    async fn forget_secrets(&self, id: ServerId) -> Result<(), DriverError>;

    /// Counters of a machine; those of its last epoch when it does not run.
    async fn usage(&self, id: ServerId) -> Result<Usage, DriverError>;

    /// Keeps what is on the machine's disk now, as a disk of its own that shares nothing with the machine. A running
    /// guest's agent is asked to hold its file systems still for the moment that counts; the machine runs on. A
    /// snapshot that is whole is kept and its facts are told again; a half-made one is thrown away first. `progress`
    /// is told percents.
    ///
    /// `Gone` when there is no such machine (or no disk), `Fatal` when the node has no room for it, `Retry` when the
    /// machine was started, stopped or removed meanwhile.
    async fn take_snapshot(
        &self,
        id: ServerId,
        snapshot: SnapshotId,
        progress: watch::Sender<u8>,
    ) -> Result<Taken, DriverError>;

    /// Removes a snapshot, also a half-made one. Absent is fine.
    async fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), DriverError>;

    /// All snapshots that the node keeps, half-made ones too.
    async fn snapshots(&self) -> Result<Vec<SnapshotId>, DriverError>;

    /// Makes a disk beside the machine's own, from the specification's snapshot or image, at least as large as the
    /// specification says. The machine may run meanwhile. Done once per `stage`; later calls find it, also when it is
    /// the machine's own by now. `Gone` when the machine has no disk, `Fatal` when the snapshot is not whole on this
    /// node, or the node has no room.
    async fn stage_disk(&self, spec: &MachineSpec, stage: OperationId) -> Result<(), DriverError>;

    /// Puts the staged disk in the place of the machine's own, which is kept aside. Once done it stays done, also when
    /// the machine runs by then. `Retry` while the machine runs on its own disk; `Gone` when nothing was staged.
    async fn swap_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError>;

    /// Undoes [`Driver::stage_disk`] and [`Driver::swap_disk`], wherever they stopped: the disk from before is the
    /// machine's again and the staged one is gone. `Retry` while the machine runs on the staged disk. Where nothing is
    /// staged or kept aside (any more) nothing changes; an absent machine is fine.
    async fn unstage_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError>;

    /// Removes the disk that was kept aside. There is no way back after it. A staged disk that was not put in place
    /// stays; nothing kept aside and an absent machine are fine.
    async fn drop_old_disk(&self, id: ServerId, stage: OperationId) -> Result<(), DriverError>;

    /// Has the guest's agent set root's password, given as in `/etc/shadow` (`$6$…`), and reads it back there.
    /// `NoAgent` as well while the machine does not run, and when its agent may not or cannot do this. `Retry` when the
    /// agent answers, but the password is not what it should be afterwards. `Gone` when there is no such machine.
    async fn set_password(&self, id: ServerId, hash: &Secret) -> Result<PasswordSet, DriverError>;

    /// Has the guest's agent call the running guest by another name, now and at its next boots, and reads it back.
    /// `false` when the machine does not run, or nobody in the guest answers or may do this. `Retry` when the agent
    /// answers, but the name is not what it should be afterwards. `Gone` when there is no such machine.
    async fn set_hostname(&self, id: ServerId, hostname: &str) -> Result<bool, DriverError>;

    /// What the guest's agent says that the guest uses: nothing while the machine does not run, nobody answers at once, or
    /// the agent has something else to do. Takes a few seconds at most. `Gone` when there is no such machine.
    async fn guest_usage(&self, _id: ServerId) -> Result<GuestUsage, DriverError> {
        Ok(GuestUsage::default())
    }
}
