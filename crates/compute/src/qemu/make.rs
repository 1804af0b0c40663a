//! Making and unmaking a machine: disk, seed, network, record. Part of [`Machine`]'s task.

use super::disk::{self, GIB};
use super::layout;
use super::machine::Machine;
use super::network;
use super::node::Network;
use super::qmp;
use super::record::{self, MachineRecord};
use super::seed::Files;
use crate::DriverError;
use crate::driver::{Applied, Stop};
use crate::spec::{MachineSpec, Nic};
use serde_json::json;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The name of a machine's own disk.
pub(super) const DISK: &str = "disk.qcow2";
/// Where sshd listens in every guest.
const SSH_PORT: u16 = 22;

impl Machine {
    /// Makes the disk, or grows it.
    pub async fn ensure_disk(&mut self, spec: &MachineSpec) -> Result<(), DriverError> {
        self.node.layout.make_machine(self.id)?;
        let wanted = spec.disk_gib.saturating_mul(GIB);
        let has = match disk::virtual_size(&self.dir.join(DISK))? {
            Some(size) => size,
            None => {
                let needed = disk::origin_size(&self.node.layout, spec)?;
                if needed > wanted {
                    let what = if spec.snapshot.is_some() { "snapshot" } else { "image" };
                    return Err(DriverError::fatal(format!(
                        "the {what} needs a disk of {} GiB, the machine has {} GiB",
                        needed.div_ceil(GIB),
                        spec.disk_gib
                    )));
                }
                self.make_disk(spec, DISK, wanted, &CancellationToken::new()).await?;
                wanted
            }
        };
        if has < wanted {
            self.grow(wanted).await?;
        }
        self.announce();
        Ok(())
    }

    /// Makes a disk of this name in the machine's directory while the machine lives on.
    pub async fn make_disk(
        &mut self,
        spec: &MachineSpec,
        name: &str,
        size: u64,
        cut: &CancellationToken,
    ) -> Result<(), DriverError> {
        let node = Arc::clone(&self.node);
        self.meanwhile(cut, disk::make(&node, spec, name, size)).await?;
        disk::put(&self.dir, name)
    }

    async fn grow(&self, bytes: u64) -> Result<(), DriverError> {
        tracing::info!(server.id = self.id.0, bytes, "the disk grows");
        let Some(running) = &self.running else {
            // The guest's process has written the disk, so its user opens it.
            let owner = self.node.layout.owner(self.id)?;
            return disk::grow(&self.node.tool(self.dir.clone(), owner), bytes).await;
        };
        let Some((monitor, _)) = &running.monitor else { return Err(qmp::QmpError::Closed.into()) };
        let arguments = json!({ "node-name": "root-q", "size": bytes });
        monitor.execute_within("block_resize", arguments, qmp::COMMAND_LIMIT).await?;
        Ok(())
    }

    /// Makes seed, network and record.
    pub async fn ensure_machine(&mut self, spec: MachineSpec) -> Result<Applied, DriverError> {
        self.node.layout.make_machine(self.id)?;
        let old = record::machine(&self.node.layout, self.id)?;
        self.node.join(self.id, &spec.nic).await?;
        let ssh_port = match self.node.network {
            Network::Routed(_) => None,
            Network::User => Some(self.port(old.as_ref().and_then(|old| old.ssh_port))?),
        };
        let ssh = match (ssh_port, spec.nic.ipv4, spec.nic.ipv6) {
            (Some(port), _, _) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            (None, Some(v4), _) => SocketAddr::new(IpAddr::V4(v4.address), SSH_PORT),
            (None, None, Some(v6)) => SocketAddr::new(IpAddr::V6(v6.address), SSH_PORT),
            (None, None, None) => return Err(DriverError::fatal("the machine has no address")),
        };
        let mut spec = spec;
        let forgotten = old.as_ref().and_then(|old| old.forgotten.clone());
        let forgotten = forgotten.filter(|instance| *instance == spec.seed.instance_id);
        if forgotten.is_some() {
            spec.seed.root_password = None;
        }
        let files = Files::new(&spec.seed, &spec.nic)?;
        spec.seed.root_password = None;
        spec.seed.password_change = None;
        let record = MachineRecord { spec, ssh_port, forgotten, seed_sum: files.sum() };
        let unchanged = old.as_ref().is_some_and(|old| old.seed_sum == record.seed_sum);
        if !unchanged || !self.dir.join("seed.iso").exists() {
            // A guest that restarts by itself keeps its process, which has the old file open.
            self.write_seed(files, self.running.is_some()).await?;
        }
        record::write_machine(&self.node.layout, self.id, &record)?;
        self.announce();
        Ok(Applied { ssh })
    }

    /// Changes the network of the machine, and what its seed says of it.
    pub async fn apply_network(&mut self, nic: Nic) -> Result<(), DriverError> {
        let Some(mut record) = record::machine(&self.node.layout, self.id)? else {
            return Err(DriverError::Gone(format!("there is no machine {}", self.id)));
        };
        if nic.mac != record.spec.nic.mac {
            return Err(DriverError::fatal("a machine keeps the MAC that it was made with"));
        }
        self.node.join(self.id, &nic).await?;
        if nic == record.spec.nic {
            return Ok(());
        }
        let before = Files::new(&record.spec.seed, &record.spec.nic)?.sum();
        record.spec.nic = nic;
        let files = Files::new(&record.spec.seed, &record.spec.nic)?;
        // The record has no secrets. A seed that still holds some is left alone: it is written anew when they are forgotten,
        // and before each start by the control plane.
        if record.seed_sum == before && files.sum() != before {
            record.seed_sum = files.sum();
            self.write_seed(files, self.running.is_some()).await?;
        }
        record::write_machine(&self.node.layout, self.id, &record)
    }

    /// The machine's forwarded port: the one it had, unless it does not run and somebody else has taken that.
    fn port(&self, had: Option<u16>) -> Result<u16, DriverError> {
        let taken = match had {
            Some(port) if self.running.is_none() => network::user::free_port(port)? != port,
            _ => false,
        };
        if taken {
            tracing::warn!(server.id = self.id.0, port = had, "the machine's port is taken; it gets another");
            self.node.release_port(self.id);
        }
        self.node.port(self.id, had.filter(|_| !taken))
    }

    /// Writes the seed without root's password. A running machine's view of it changes at once, so that the
    /// password is neither on the node's disk nor before the guest any more.
    pub async fn forget(&mut self) -> Result<(), DriverError> {
        let record = record::machine(&self.node.layout, self.id)?;
        let Some(mut record) = record else {
            return Err(DriverError::Gone(format!("there is no machine {}", self.id)));
        };
        // The record never had a password.
        let files = Files::new(&record.spec.seed, &record.spec.nic)?;
        let instance = record.spec.seed.instance_id.clone();
        if record.seed_sum == files.sum() && record.forgotten.as_ref() == Some(&instance) {
            return Ok(());
        }
        record.seed_sum = files.sum();
        record.forgotten = Some(instance);
        self.write_seed(files, self.running.is_some()).await?;
        record::write_machine(&self.node.layout, self.id, &record)
    }

    /// Writes the seed: as a new file, or over the old one when QEMU has that open.
    async fn write_seed(&self, files: Files, in_use: bool) -> Result<(), DriverError> {
        let path = self.dir.join("seed.iso");
        let owner = self.node.layout.owner(self.id)?;
        let written = tokio::task::spawn_blocking(move || {
            let image = files.image()?;
            let done = if in_use && overwrite(&path, &image).map_err(DriverError::retry)? {
                Ok(())
            } else {
                layout::write_whole(&path, &image, if owner.is_some() { 0o640 } else { 0o600 }, owner)
            };
            done.map_err(|e| DriverError::retry(format!("cannot write {}: {e}", path.display())))
        });
        written.await.map_err(DriverError::retry)?
    }

    /// Removes all there is, also what is half-made.
    pub async fn remove(&mut self) -> Result<(), DriverError> {
        if self.running.is_some() {
            self.state.ending = true;
            self.write_state();
            self.stop(Stop::Force).await?;
        }
        if let Network::Routed(routed) = &self.node.network {
            routed.remove(self.id).await?;
        }
        self.clear_away().await;
        // The directory goes last: as long as it is there, the machine is, and removing it can be tried again.
        layout::remove_dir(&self.dir).map_err(|e| {
            DriverError::retry(format!("cannot remove the directory of machine {}: {e}", self.id))
        })?;
        self.node.release_port(self.id);
        self.state = record::StateRecord::default();
        self.announce();
        tracing::info!(server.id = self.id.0, "the machine is removed");
        Ok(())
    }
}

/// Writes over a file without changing its size, for a process that has it open. False when it does not fit.
fn overwrite(path: &Path, data: &[u8]) -> io::Result<bool> {
    let length = match fs::metadata(path) {
        Ok(meta) => usize::try_from(meta.len()).unwrap_or(usize::MAX),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if data.len() > length {
        return Ok(false);
    }
    let mut padded = data.to_vec();
    padded.resize(length, 0);
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(&padded)?;
    file.sync_data()?;
    Ok(true)
}
