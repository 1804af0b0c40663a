//! What the driver writes down about a machine, so that a restarted control plane knows as much as the old one.
//!
//! `machine.json` says what the machine should be (never root's password), `state.json` what was last done and
//! seen. Both are written whole or not at all.

use super::layout::{self, Layout};
use crate::driver::Usage;
use crate::{DriverError, MachineSpec};
use bulut_model::ServerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What a machine should be, as the last [`ensure_machine`](crate::Driver::ensure_machine) said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The specification, without root's passwords.
    pub spec: MachineSpec,
    /// User-mode networking only: the port on loopback that leads to the guest's ssh.
    pub ssh_port: Option<u16>,
    /// The instance whose secrets the seed holds no more; a seed for the same instance never gets them back.
    #[serde(default)]
    pub forgotten: Option<String>,
    /// Checksum of what the seed says, so that a seed that says the same is left alone.
    #[serde(default)]
    pub seed_sum: u64,
}

/// The process that runs a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Process id.
    pub pid: i32,
    /// When it started, clock ticks since the host's boot.
    pub start_ticks: u64,
    /// The host's boot in which it runs.
    pub boot: String,
    /// Bytes that the tap had already counted when this epoch began: what the guest had received.
    #[serde(default)]
    pub received_before: u64,
    /// As `received_before`, for what the guest had sent.
    #[serde(default)]
    pub sent_before: u64,
    /// As `received_before`, for forged frames.
    #[serde(default)]
    pub forged_before: u64,
}

impl Live {
    /// What tells this start of the machine from every other.
    pub fn epoch(&self) -> String {
        format!("{}-{}-{}", self.boot.get(..8).unwrap_or(&self.boot), self.pid, self.start_ticks)
    }
}

/// What was last done to a machine and seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// The process, as long as nobody saw it end.
    pub live: Option<Live>,
    /// Set before we end the process: whoever finds it gone knows that it was us.
    pub ending: bool,
    /// Set before the guest's agent is asked to hold its file systems still, until it has let them go again.
    #[serde(default)]
    pub frozen: bool,
    /// The epoch that runs or ran last; empty before the first start.
    pub epoch: String,
    /// Why it does not run.
    pub reason: String,
    /// The counters when it ended.
    pub usage: Usage,
}

/// Reads `machine.json`; `None` when there is none.
///
/// # Errors
/// `Unreachable` when it cannot be read, `Fatal` when it is broken.
pub fn machine(layout: &Layout, id: ServerId) -> Result<Option<MachineRecord>, DriverError> {
    read(&layout.machine(id).join("machine.json"))
}

/// Writes `machine.json` when it differs from what is there.
///
/// # Errors
/// `Retry` as the file system says.
pub fn write_machine(layout: &Layout, id: ServerId, record: &MachineRecord) -> Result<(), DriverError> {
    write(&layout.machine(id).join("machine.json"), record)
}

/// Reads `state.json`; the default when there is none.
///
/// # Errors
/// `Unreachable` when it cannot be read, `Fatal` when it is broken.
pub fn state(layout: &Layout, id: ServerId) -> Result<StateRecord, DriverError> {
    Ok(read(&layout.machine(id).join("state.json"))?.unwrap_or_default())
}

/// Writes `state.json`.
///
/// # Errors
/// `Retry` as the file system says.
pub fn write_state(layout: &Layout, id: ServerId, record: &StateRecord) -> Result<(), DriverError> {
    write(&layout.machine(id).join("state.json"), record)
}

/// Reads a record; `None` when there is none.
///
/// # Errors
/// `Unreachable` when it cannot be read, `Fatal` when it is broken.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DriverError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DriverError::Unreachable(format!("cannot read {}: {e}", path.display()))),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| DriverError::fatal(format!("{} is broken: {e}", path.display())))
}

/// Writes a record when it differs from what is there.
///
/// # Errors
/// `Retry` as the file system says.
pub fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), DriverError> {
    let explain =
        |e: &dyn std::fmt::Display| DriverError::retry(format!("cannot write {}: {e}", path.display()));
    let text = serde_json::to_vec_pretty(record).map_err(|e| explain(&e))?;
    if std::fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    layout::write_whole(path, &text, 0o600, None).map_err(|e| explain(&e))
}
