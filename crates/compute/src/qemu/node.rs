//! What all machines of this host share: directories, the emulator, the accelerator, network, limits, ports.

use super::accel::{self, Choice};
use super::cgroup::Cgroups;
use super::config::{Acceleration, DEFAULT_UID_BASE, QemuConfig};
use super::copies::Copies;
use super::layout::{Layout, Owner};
use super::network::{self, Routed, lengths};
use super::record::Live;
use super::tool::Tool;
use super::{disk, process};
use crate::driver::{Hint, Probe, Usage};
use crate::spec::Networking;
use crate::{DriverError, Nic};
use bulut_model::ServerId;
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Forwarded ssh ports are looked for from here on, in user mode.
const FIRST_PORT: u16 = 22_000;
/// How many ports there are to prefer.
const PORTS: i64 = 20_000;

/// How machines are joined to the network.
#[derive(Debug)]
pub enum Network {
    /// A tap for each.
    Routed(Box<Routed>),
    /// QEMU's own stack.
    User,
}

/// The host as the machines' tasks see it.
#[derive(Debug)]
pub struct Node {
    /// As the operator configured it.
    pub config: QemuConfig,
    /// Where files lie.
    pub layout: Layout,
    /// The emulator, absolute.
    pub binary: PathBuf,
    /// The image tool, absolute.
    pub qemu_img: PathBuf,
    /// `QEMU 7.2.22`.
    pub version: String,
    /// The accelerator.
    pub choice: Choice,
    /// Groups that machines' processes need besides their own.
    pub groups: Vec<u32>,
    /// How machines are joined to the network.
    pub network: Network,
    /// Limits, where the host has them.
    pub cgroups: Option<Cgroups>,
    /// Where changes are announced.
    pub hints: broadcast::Sender<Hint>,
    /// Long copies under way.
    pub copies: Arc<Copies>,
    /// Cancelled when the driver is dropped: long work ends then.
    pub closing: CancellationToken,
    ports: Mutex<BTreeMap<ServerId, u16>>,
    /// Held as long as this driver or one of its machines' tasks lives: two drivers would fight over the monitors.
    _lock: Flock<File>,
}

impl Node {
    /// Prepares the host.
    ///
    /// # Errors
    /// `Fatal` when the configuration or the host will not do, `Retry` when another driver has the directories.
    pub async fn open(config: QemuConfig) -> Result<Self, DriverError> {
        let uid_base = uid_base(&config)?;
        let layout = Layout::make(&config.state_dir, &config.run_dir, uid_base)?;
        let lock = lock(&layout.state_dir().join("qemu.lock")).await?;
        let binary = resolve(&config.binary)?;
        let qemu_img = resolve(&config.qemu_img)?;
        let version = version(&binary).await?;
        let (choice, groups) = acceleration(&config, &binary, uid_base.is_some()).await?;
        let network = join(&config).await?;
        let cgroups = uid_base.and_then(|_| Cgroups::find(&config.run_dir));
        tracing::info!(
            engine = version,
            acceleration = choice.name(),
            reason = choice.reason,
            networking = ?match network { Network::Routed(_) => Networking::Routed, Network::User => Networking::User },
            limits = cgroups.as_ref().map_or("none", Cgroups::name),
            "the QEMU driver is open"
        );
        Ok(Self {
            config,
            layout,
            binary,
            qemu_img,
            version,
            choice,
            groups,
            network,
            cgroups,
            hints: broadcast::channel(1024).0,
            copies: Arc::default(),
            closing: CancellationToken::new(),
            ports: Mutex::default(),
            _lock: lock,
        })
    }

    /// What the node is.
    ///
    /// # Errors
    /// `Unreachable` when the host does not tell.
    pub fn probe(&self) -> Result<Probe, DriverError> {
        let cpu = match self.config.cpu {
            Some(cpu) => cpu,
            None => {
                std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
            }
        };
        let memory_mib = match self.config.memory_mib {
            Some(memory) => memory,
            None => {
                memory_mib().ok_or_else(|| DriverError::Unreachable("/proc/meminfo cannot be read".into()))?
            }
        };
        let disk_gib = match self.config.disk_gib {
            Some(disk) => disk,
            None => {
                let dir = self.layout.state_dir();
                let found = nix::sys::statvfs::statvfs(dir).map_err(|e| {
                    DriverError::Unreachable(format!("cannot look at {}: {e}", dir.display()))
                })?;
                (found.blocks() * found.fragment_size()) >> 30
            }
        };
        Ok(Probe {
            engine: self.version.clone(),
            acceleration: self.choice.name().to_owned(),
            reason: self.choice.reason.clone(),
            cpu,
            memory_mib,
            disk_gib,
        })
    }

    /// Makes or mends a machine's way to the network.
    ///
    /// # Errors
    /// See [`Routed::ensure`].
    pub async fn join(&self, id: ServerId, nic: &Nic) -> Result<(), DriverError> {
        match &self.network {
            Network::Routed(routed) => routed.ensure(id, nic).await,
            Network::User => network::user::supported(nic),
        }
    }

    /// The forwarded port of a machine: the one it has, else one that no other machine has and nobody listens on.
    ///
    /// # Errors
    /// `Retry` when the host has none to give.
    pub fn port(&self, id: ServerId, has: Option<u16>) -> Result<u16, DriverError> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = has.or_else(|| ports.get(&id).copied()) {
            ports.insert(id, port);
            return Ok(port);
        }
        let mut wish = FIRST_PORT + u16::try_from(id.0.rem_euclid(PORTS)).unwrap_or(0);
        for _ in 0..PORTS {
            let port = network::user::free_port(wish)?;
            if !ports.values().any(|taken| *taken == port) {
                ports.insert(id, port);
                return Ok(port);
            }
            wish = port.checked_add(1).unwrap_or(FIRST_PORT);
        }
        Err(DriverError::retry("there is no port left to forward to a machine"))
    }

    /// `qemu-img` in a machine's directory; `None` runs it as whoever we are, for what no guest could have written.
    pub fn tool(&self, dir: PathBuf, owner: Option<Owner>) -> Tool {
        Tool { program: self.qemu_img.clone(), dir, owner, groups: Vec::new() }
    }

    /// Gives a machine's port back.
    pub fn release_port(&self, id: ServerId) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Counters of a running machine. What cannot be read is what it was at the last look into the same epoch, and no
    /// counter goes back, whatever becomes of the tap.
    pub async fn usage(&self, id: ServerId, live: &Live, last: &Usage) -> Usage {
        let epoch = live.epoch();
        let last = if last.epoch == epoch { last.clone() } else { Usage { epoch, ..Usage::default() } };
        let mut usage = last.clone();
        if let Some(stat) = process::stat(live.pid).filter(|stat| stat.start_ticks == live.start_ticks) {
            usage.cpu_us = stat.cpu_us;
            usage.memory_bytes = stat.memory_bytes;
        }
        let dir = self.layout.machine(id);
        match &self.network {
            Network::Routed(routed) => {
                if let Ok(counters) = routed.counters(id).await {
                    let since = |now: u64, before: u64, last: u64| now.saturating_sub(before).max(last);
                    usage.received_bytes =
                        since(counters.received_bytes, live.received_before, last.received_bytes);
                    usage.sent_bytes = since(counters.sent_bytes, live.sent_before, last.sent_bytes);
                    usage.forged_frames =
                        since(counters.forged_frames, live.forged_before, last.forged_frames);
                }
            }
            Network::User => {
                let of = dir.clone();
                let read = tokio::task::spawn_blocking(move || lengths::read(&of)).await;
                match read.map_err(std::io::Error::other).flatten() {
                    Ok(None) => {}
                    Ok(Some((received, sent))) => {
                        usage.received_bytes = received.max(last.received_bytes);
                        usage.sent_bytes = sent.max(last.sent_bytes);
                    }
                    Err(error) => {
                        tracing::warn!(server.id = id.0, %error, "the machine's traffic was not read");
                    }
                }
            }
        }
        usage.disk_bytes = disk::taken(&dir.join("disk.qcow2"));
        usage
    }
}

/// The first user id of machines; `None` when we are not root.
fn uid_base(config: &QemuConfig) -> Result<Option<u32>, DriverError> {
    if !nix::unistd::geteuid().is_root() {
        if config.machine_uid_base.is_some() {
            tracing::warn!(
                "machines get users of their own only when the driver is root; the setting is ignored"
            );
        }
        return Ok(None);
    }
    let base = config.machine_uid_base.unwrap_or(DEFAULT_UID_BASE);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !mapped(&map, base) {
        return Err(DriverError::fatal(format!(
            "user {base} does not exist in this container's range of users: choose another machine_uid_base"
        )));
    }
    Ok(Some(base))
}

/// Whether a user id exists in a user namespace, by its map.
fn mapped(map: &str, uid: u32) -> bool {
    map.is_empty()
        || map.lines().any(|line| {
            let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
            matches!(numbers[..], [inside, _, count] if (inside..inside + count).contains(&u64::from(uid)))
        })
}

/// Takes the lock, or waits a moment for a driver that is just going.
async fn lock(path: &Path) -> Result<Flock<File>, DriverError> {
    let open = || fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    for _ in 0..50 {
        let file = open().map_err(|e| DriverError::fatal(format!("cannot open {}: {e}", path.display())))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(DriverError::retry(format!("another process holds {}", path.display())))
}

/// The program's absolute path: machines' processes start with neither our directory nor our search path.
fn resolve(program: &Path) -> Result<PathBuf, DriverError> {
    let missing = || DriverError::fatal(format!("{} is not installed", program.display()));
    if program.components().count() > 1 {
        return program.canonicalize().map_err(|_| missing());
    }
    let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&search)
        .map(|dir| dir.join(program))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0))
        .ok_or_else(missing)
}

/// `QEMU 7.2.22`.
async fn version(binary: &Path) -> Result<String, DriverError> {
    let run = tokio::process::Command::new(binary).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), run)
        .await
        .map_err(|_| DriverError::retry(format!("{} does not tell its version", binary.display())))?
        .map_err(|e| DriverError::fatal(format!("cannot run {}: {e}", binary.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_once("version ").and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    Ok(number.map_or_else(|| "QEMU".into(), |number| format!("QEMU {number}")))
}

/// The accelerator, and the groups that it needs.
async fn acceleration(
    config: &QemuConfig,
    binary: &Path,
    drops: bool,
) -> Result<(Choice, Vec<u32>), DriverError> {
    let choice = accel::choose(config, binary).await;
    if !choice.kvm {
        return Ok((choice, Vec::new()));
    }
    let meta = fs::metadata(accel::DEVICE).map_err(|e| {
        DriverError::fatal(format!("KVM was asked for, but there is no {}: {e}", accel::DEVICE))
    })?;
    let permissions = meta.permissions().mode();
    if !drops || permissions & 0o006 == 0o006 {
        return Ok((choice, Vec::new()));
    }
    if permissions & 0o060 == 0o060 && meta.gid() != 0 {
        return Ok((choice, vec![meta.gid()]));
    }
    let why = format!("{} is for root alone; give it to a group (chgrp kvm, chmod 660)", accel::DEVICE);
    match config.acceleration {
        Acceleration::Auto => Ok((Choice { kvm: false, reason: why }, Vec::new())),
        Acceleration::Kvm | Acceleration::Tcg => Err(DriverError::fatal(why)),
    }
}

/// Prepares the network, routed where that is possible unless told otherwise.
async fn join(config: &QemuConfig) -> Result<Network, DriverError> {
    let routed = match config.networking {
        Some(Networking::Routed) => true,
        Some(Networking::User) => false,
        None => {
            let possible =
                tokio::task::spawn_blocking(network::routed_possible).await.map_err(DriverError::retry)?;
            if let Err(why) = &possible {
                tracing::info!(why, "machines are joined to the network in user mode");
            }
            possible.is_ok()
        }
    };
    if routed {
        Ok(Network::Routed(Box::new(Routed::new(config.routed.clone()).await?)))
    } else {
        Ok(Network::User)
    }
}

fn memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_must_exist_in_the_namespace() {
        let host = "         0          0 4294967295\n";
        assert!(mapped(host, DEFAULT_UID_BASE));
        assert!(!mapped("0 100000 65536\n", DEFAULT_UID_BASE));
        assert!(mapped("0 100000 65536\n", 60_000));
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(resolve(Path::new("sh")).unwrap().is_absolute());
        assert!(resolve(Path::new("/bin/sh")).is_ok());
        assert!(matches!(resolve(Path::new("no-such-program")), Err(DriverError::Fatal(_))));
    }
}
