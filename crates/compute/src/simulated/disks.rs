//! What stands on the simulated disks: of machines, beside them, and in snapshots.
//!
//! Promises: contents that tests write and read, so that a copy can be told from what it was taken of; a snapshot
//! shares nothing with its machine. What a real guest keeps on its disk is kept there too: root's password comes back
//! with a restored disk.
//!
//! ```text
//! nothing -- stage --> staged -- swap --> swapped, the disk from before aside -- drop --> nothing
//!    ^---------------- unstage, from either of them
//! ```

use super::World;
use super::world::{Machine, State, gone};
use crate::{DriverError, MachineSpec, PasswordSet, Secret, SetupStatus, Taken};
use bulut_model::snapshot::Consistency;
use bulut_model::{OperationId, ServerId, SnapshotId};
use serde::{Deserialize, Serialize};
use std::mem;

/// A disk and what stands on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Disk {
    pub gib: u64,
    pub content: Box<str>,
    /// Root's password as the guest's `/etc/shadow` has it; `None` while a seed set it last.
    password: Option<Box<str>>,
    /// The instance whose seed the guest used last.
    instance: Box<str>,
    /// The nonce of the last change of the password that came by a seed.
    changed: Option<Box<str>>,
    /// What the guest is called.
    #[serde(default)]
    hostname: Box<str>,
    /// The last name that it was given after its first boot.
    #[serde(default)]
    renamed: Option<Box<str>>,
}

impl Disk {
    /// Bytes that it is said to take: a quarter of its size.
    pub fn size_bytes(&self) -> u64 {
        self.gib << 28
    }
}

/// Where a disk beside a machine's own is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Stage {
    /// This one waits to be the machine's own.
    Staged(Disk),
    /// It is the machine's own; this is the one from before.
    Swapped(Disk),
}

/// A snapshot, whole or half-made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snap {
    disk: Disk,
    consistency: Consistency,
    /// The epoch in which its machine ran when it was begun.
    epoch: Option<u64>,
    /// Set once it is whole.
    taken: Option<Taken>,
}

/// A snapshot as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedSnapshot {
    /// Our id.
    pub id: SnapshotId,
    /// What stands on it.
    pub content: String,
    /// Its facts; `None` while it is half-made.
    pub taken: Option<Taken>,
}

impl Machine {
    /// What the guest does with its seed when it boots, unless its set-up is broken or still at work.
    pub fn take_seed(&mut self) {
        if self.setup != SetupStatus::Done {
            return;
        }
        let Some(disk) = &mut self.disk else { return };
        if disk.instance != self.instance {
            disk.instance = self.instance.clone();
            disk.password = None;
            disk.hostname = self.hostname.clone();
        }
        if self.renamed && disk.renamed.as_ref() != Some(&self.hostname) {
            disk.hostname = self.hostname.clone();
            disk.renamed = Some(self.hostname.clone());
        }
        let news = self.change.as_deref().filter(|it| disk.changed.as_deref() != Some(&*it.nonce));
        if let Some(change) = news {
            disk.password = Some(change.hash.0.as_str().into());
            disk.changed = Some(change.nonce.as_str().into());
            self.said.push((self.boots, change.confirmation().into()));
        }
    }

    /// What the guest calls itself.
    pub fn guest_hostname(&self) -> &str {
        self.disk.as_ref().map_or("", |disk| &disk.hostname)
    }
}

impl State {
    pub fn ensure_disk(&mut self, spec: &MachineSpec) -> Result<(), DriverError> {
        if let Some(disk) = self.machines.get_mut(&spec.id.0).and_then(|machine| machine.disk.as_mut()) {
            disk.gib = disk.gib.max(spec.disk_gib);
            return Ok(());
        }
        let disk = self.fresh(spec)?;
        if disk.gib > spec.disk_gib {
            return Err(DriverError::Fatal(format!(
                "the snapshot needs a disk of {} GiB, the machine has {} GiB",
                disk.gib, spec.disk_gib
            )));
        }
        self.machines.entry(spec.id.0).or_default().disk = Some(disk);
        Ok(())
    }

    /// A disk from the specification's snapshot or image, as large as that or the specification says.
    fn fresh(&self, spec: &MachineSpec) -> Result<Disk, DriverError> {
        let Some(id) = spec.snapshot else {
            return Ok(Disk {
                gib: spec.disk_gib,
                content: format!("image {}", spec.image.digest).into(),
                password: None,
                instance: Box::default(),
                changed: None,
                hostname: Box::default(),
                renamed: None,
            });
        };
        let snapshot = self.snapshots.get(&id.0).filter(|it| it.taken.is_some());
        let disk = &snapshot
            .ok_or_else(|| DriverError::Fatal(format!("this node has no whole snapshot {id}")))?
            .disk;
        Ok(Disk { gib: disk.gib.max(spec.disk_gib), ..disk.clone() })
    }

    /// Begins a snapshot with what is on the disk now; `Some` when there is a whole one already.
    pub fn begin_snapshot(
        &mut self,
        id: ServerId,
        snapshot: SnapshotId,
    ) -> Result<Option<Taken>, DriverError> {
        if let Some(taken) = self.snapshots.get(&snapshot.0).and_then(|it| it.taken) {
            return Ok(Some(taken));
        }
        let machine = self.get(id)?;
        let disk = machine.disk.clone().ok_or_else(|| gone(id))?;
        let consistency = match machine.running {
            false => Consistency::Stopped,
            true if self.mute || machine.mute => Consistency::Crash,
            true => Consistency::Filesystem,
        };
        let epoch = machine.running.then_some(machine.epoch);
        self.snapshots.insert(snapshot.0, Snap { disk, consistency, epoch, taken: None });
        Ok(None)
    }

    /// Ends what [`State::begin_snapshot`] began, unless the machine was not left alone meanwhile.
    pub fn end_snapshot(&mut self, id: ServerId, snapshot: SnapshotId) -> Result<Taken, DriverError> {
        let now = self.machines.get(&id.0).map(|it| it.running.then_some(it.epoch));
        let snap = self.snapshots.get_mut(&snapshot.0).filter(|it| now == Some(it.epoch));
        let snap =
            snap.ok_or_else(|| DriverError::Retry(format!("server {id} changed while its disk was copied")))?;
        let taken = Taken {
            consistency: snap.consistency,
            disk_gib: snap.disk.gib,
            size_bytes: snap.disk.size_bytes(),
        };
        snap.taken = Some(taken);
        Ok(taken)
    }

    pub fn stage_disk(&mut self, spec: &MachineSpec, stage: OperationId) -> Result<(), DriverError> {
        let machine = self.machines.get(&spec.id.0).filter(|it| it.disk.is_some());
        let machine = machine.ok_or_else(|| gone(spec.id))?;
        if !machine.stages.contains_key(&stage.0) {
            let disk = self.fresh(spec)?;
            self.get_mut(spec.id)?.stages.insert(stage.0, Stage::Staged(disk));
        }
        Ok(())
    }

    pub fn swap_disk(&mut self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        let machine = self.get_mut(id)?;
        let own = machine.disk.as_mut().ok_or_else(|| gone(id))?;
        let beside = machine.stages.get_mut(&stage.0);
        let beside = beside
            .ok_or_else(|| DriverError::Gone(format!("no disk is staged by {stage} for server {id}")))?;
        if let Stage::Staged(staged) = beside {
            if machine.running {
                return Err(running(id));
            }
            let before = mem::replace(own, staged.clone());
            *beside = Stage::Swapped(before);
        }
        Ok(())
    }

    pub fn unstage_disk(&mut self, id: ServerId, stage: OperationId) -> Result<(), DriverError> {
        let Some(machine) = self.machines.get_mut(&id.0) else { return Ok(()) };
        if machine.running && matches!(machine.stages.get(&stage.0), Some(Stage::Swapped(_))) {
            return Err(running(id));
        }
        if let Some(Stage::Swapped(before)) = machine.stages.remove(&stage.0) {
            machine.disk = Some(before);
        }
        Ok(())
    }

    pub fn drop_old_disk(&mut self, id: ServerId, stage: OperationId) {
        let Some(machine) = self.machines.get_mut(&id.0) else { return };
        if matches!(machine.stages.get(&stage.0), Some(Stage::Swapped(_))) {
            machine.stages.remove(&stage.0);
        }
    }

    pub fn set_password(&mut self, id: ServerId, hash: &Secret) -> Result<PasswordSet, DriverError> {
        let mute = self.mute;
        let machine = self.get_mut(id)?;
        match &mut machine.disk {
            Some(disk) if machine.running && !machine.mute && !mute => {
                disk.password = Some(hash.0.as_str().into());
                Ok(PasswordSet::Seen)
            }
            _ => Ok(PasswordSet::NoAgent),
        }
    }
}

impl State {
    pub fn set_hostname(&mut self, id: ServerId, hostname: &str) -> Result<bool, DriverError> {
        let mute = self.mute;
        let machine = self.get_mut(id)?;
        match &mut machine.disk {
            Some(disk) if machine.running && !machine.mute && !mute => {
                disk.hostname = hostname.into();
                disk.renamed = Some(hostname.into());
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn running(id: ServerId) -> DriverError {
    DriverError::Retry(format!("server {id} runs on the disk that is to be exchanged"))
}

impl World {
    /// What stands on the machine's disk: `image sha256:…` at first, or what stood on the snapshot that it came from.
    #[must_use]
    pub fn read_disk(&self, id: ServerId) -> Option<String> {
        self.read(|state| Some(state.machines.get(&id.0)?.disk.as_ref()?.content.to_string()))
    }

    /// The guest writes: from now on this stands on the machine's disk. Nothing happens if it has none.
    pub fn write_disk(&self, id: ServerId, content: &str) {
        self.alter(id, |machine| {
            if let Some(disk) = &mut machine.disk {
                disk.content = content.into();
            }
        });
    }

    /// Root's password as `/etc/shadow` in the guest has it, once an agent or a change by the seed has set it; `None`
    /// while it is the one of the instance's seed.
    #[must_use]
    pub fn password_of(&self, id: ServerId) -> Option<Secret> {
        let password = |state: &State| state.machines.get(&id.0)?.disk.as_ref()?.password.clone();
        self.read(password).map(|hash| Secret(hash.into()))
    }

    /// What the machine's guest calls itself.
    #[must_use]
    pub fn hostname_of(&self, id: ServerId) -> Option<String> {
        self.read(|state| Some(state.machines.get(&id.0)?.guest_hostname().to_owned()))
    }

    /// From now on the machine's guest has (no) agent; it has one at first.
    pub fn set_agent(&self, id: ServerId, there: bool) {
        self.alter(id, |machine| machine.mute = !there);
    }

    /// From now on guests have (no) agents, as far as their machines say so; they have at first.
    pub fn set_agents(&self, there: bool) {
        let set = self.change(|state| {
            state.mute = !there;
            Ok(())
        });
        if let Err(error) = set {
            tracing::warn!(%error, "the simulated world could not be saved");
        }
    }

    /// Makes a whole snapshot half-made, as a crash in the middle of it leaves it. Nothing happens if it is not there.
    pub fn spoil_snapshot(&self, id: SnapshotId) {
        let spoiled = self.change(|state| {
            if let Some(snap) = state.snapshots.get_mut(&id.0) {
                snap.taken = None;
                snap.disk.content = "half a copy".into();
            }
            Ok(())
        });
        if let Err(error) = spoiled {
            tracing::warn!(snapshot.id = id.0, %error, "the simulated world could not be saved");
        }
    }

    /// All snapshots, by id, half-made ones too.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SimulatedSnapshot> {
        let seen = |(id, snap): (&i64, &Snap)| SimulatedSnapshot {
            id: SnapshotId(*id),
            content: snap.disk.content.to_string(),
            taken: snap.taken,
        };
        self.read(|state| state.snapshots.iter().map(seen).collect())
    }

    /// One snapshot.
    #[must_use]
    pub fn snapshot(&self, id: SnapshotId) -> Option<SimulatedSnapshot> {
        self.snapshots().into_iter().find(|it| it.id == id)
    }
}
