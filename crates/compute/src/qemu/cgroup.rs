//! Limits on machines' processes by control groups: version 2 where its controllers are, else version 1.
//!
//! A host without either still runs machines; it is said once in the log. A machine's group is `bulut/<id>` below
//! the hierarchy's root, so that it belongs to no service that may be stopped together with the control plane.

use bulut_model::ServerId;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a machine's process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory of the whole process, MiB.
    pub memory_mib: u64,
}

/// One tick of the processor quota, microseconds.
const PERIOD_US: u64 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    /// One hierarchy.
    Two { root: PathBuf },
    /// A hierarchy for each controller.
    One { cpu: PathBuf, memory: PathBuf, pids: PathBuf },
}

/// The node's control groups.
#[derive(Debug)]
pub struct Cgroups {
    version: Version,
    /// The group above the machines' groups; there is one as long as there are machines' groups in it.
    parent: String,
    /// Held while the group above is made or removed.
    parent_lock: Mutex<()>,
}

impl Cgroups {
    /// Finds out what the host has; `None`, and a warning, when that is not enough. `scope` keeps apart several
    /// drivers of one host.
    pub fn find(scope: &Path) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let parent = format!("bulut-{:08x}", checksum(scope));
        let found =
            version(&mounts, |root| fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default());
        let Some(version) = found else {
            tracing::warn!(
                "this host has no cgroup controllers cpu, memory and pids: machines run without limits"
            );
            return None;
        };
        let cgroups = Self { version, parent, parent_lock: Mutex::default() };
        if let Err(error) = cgroups.make_parent() {
            tracing::warn!(%error, "cgroups cannot be used: machines run without limits");
            return None;
        }
        Some(cgroups)
    }

    /// `v2` or `v1`.
    pub fn name(&self) -> &'static str {
        match self.version {
            Version::Two { .. } => "v2",
            Version::One { .. } => "v1",
        }
    }

    fn make_parent(&self) -> io::Result<()> {
        for root in self.roots() {
            let parent = root.join(&self.parent);
            if let Version::Two { .. } = self.version {
                fs::write(root.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
            }
            fs::create_dir_all(&parent)?;
            if let Version::Two { .. } = self.version {
                fs::write(parent.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
            }
        }
        Ok(())
    }

    fn roots(&self) -> Vec<&Path> {
        match &self.version {
            Version::Two { root } => vec![root],
            Version::One { cpu, memory, pids } => {
                let mut roots = vec![cpu.as_path(), memory, pids];
                roots.dedup();
                roots
            }
        }
    }

    fn dirs(&self, id: ServerId) -> Vec<PathBuf> {
        self.roots().into_iter().map(|root| root.join(&self.parent).join(id.to_string())).collect()
    }

    /// Makes a machine's group with its limits; the answer is the files through which its process joins.
    ///
    /// # Errors
    /// As the file system says.
    pub fn ensure(&self, id: ServerId, limits: Limits) -> io::Result<Vec<PathBuf>> {
        let dirs = self.dirs(id);
        {
            let _guard = self.parent_lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.make_parent()?;
            for dir in &dirs {
                fs::create_dir_all(dir)?;
            }
        }
        for (file, value) in self.settings(id, limits) {
            fs::write(&file, &value)
                .map_err(|e| io::Error::new(e.kind(), format!("{} = {value}: {e}", file.display())))?;
        }
        Ok(dirs.into_iter().map(|dir| dir.join("cgroup.procs")).collect())
    }

    fn settings(&self, id: ServerId, limits: Limits) -> Vec<(PathBuf, String)> {
        let name = id.to_string();
        let cpu = u64::from(limits.cpu.max(1));
        // A fifth of a processor more than the guest has, for the emulator's own threads.
        let quota = cpu * PERIOD_US + PERIOD_US / 5;
        let bytes = limits.memory_mib << 20;
        let tasks = 256 + 2 * cpu;
        match &self.version {
            Version::Two { root } => {
                let dir = root.join(&self.parent).join(name);
                vec![
                    (dir.join("cpu.weight"), (100 * cpu).min(10_000).to_string()),
                    (dir.join("cpu.max"), format!("{quota} {PERIOD_US}")),
                    (dir.join("memory.max"), bytes.to_string()),
                    (dir.join("pids.max"), tasks.to_string()),
                ]
            }
            Version::One { cpu: cpus, memory, pids } => {
                let dir = |root: &PathBuf| root.join(&self.parent).join(&name);
                vec![
                    (dir(cpus).join("cpu.shares"), (1024 * cpu).min(262_144).to_string()),
                    (dir(cpus).join("cpu.cfs_period_us"), PERIOD_US.to_string()),
                    (dir(cpus).join("cpu.cfs_quota_us"), quota.to_string()),
                    (dir(memory).join("memory.limit_in_bytes"), bytes.to_string()),
                    (dir(pids).join("pids.max"), tasks.to_string()),
                ]
            }
        }
    }

    /// Removes a machine's group once its process has ended.
    ///
    /// # Errors
    /// When it is still busy after a second.
    pub async fn remove(&self, id: ServerId) -> io::Result<()> {
        for dir in self.dirs(id) {
            for attempt in 0.. {
                match fs::remove_dir(&dir) {
                    Ok(()) => break,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                    // The kernel lets go of an ended process a moment after it can be seen to have ended.
                    Err(_) if attempt < 20 => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(e) => return Err(e),
                }
            }
        }
        self.remove_parent();
        Ok(())
    }

    /// Removes the group above, unless other machines' groups are in it: the kernel refuses then.
    fn remove_parent(&self) {
        let _guard = self.parent_lock.lock().unwrap_or_else(PoisonError::into_inner);
        for root in self.roots() {
            let _ = fs::remove_dir(root.join(&self.parent));
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.remove_parent();
    }
}

/// Which version to use, from the mount table.
fn version(mounts: &str, controllers: impl Fn(&Path) -> String) -> Option<Version> {
    let rows: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let of_kind = |kind: &'static str| rows.iter().filter(move |row| row.get(2) == Some(&kind));
    for row in of_kind("cgroup2") {
        let root = Path::new(row.get(1)?);
        let there = controllers(root);
        let has = |name: &str| there.split_ascii_whitespace().any(|c| c == name);
        if has("cpu") && has("memory") && has("pids") {
            return Some(Version::Two { root: root.to_owned() });
        }
    }
    let with = |name: &str| {
        of_kind("cgroup")
            .find(|row| row.get(3).is_some_and(|options| options.split(',').any(|o| o == name)))
            .and_then(|row| row.get(1))
            .map(PathBuf::from)
    };
    Some(Version::One { cpu: with("cpu")?, memory: with("memory")?, pids: with("pids")? })
}

/// A short name for a path: FNV-1a, the same at every start.
fn checksum(path: &Path) -> u32 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
        cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn version_2_is_taken_only_with_its_controllers() {
        let two = version(HYBRID, |_| "cpuset cpu io memory pids".into()).unwrap();
        assert_eq!(two, Version::Two { root: "/sys/fs/cgroup/unified".into() });
        let one = version(HYBRID, |_| "hugetlb".into()).unwrap();
        assert!(matches!(one, Version::One { cpu, .. } if cpu == Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(version("tmpfs / tmpfs rw 0 0\n", |_| String::new()), None);
    }

    #[test]
    fn limits_are_the_guests_and_a_little_more() {
        let limits = Limits { cpu: 2, memory_mib: 512 };
        let two = Cgroups {
            version: Version::Two { root: "/c".into() },
            parent: "no-such-group".into(),
            parent_lock: Mutex::default(),
        };
        let settings = two.settings(ServerId(7), limits);
        assert!(settings.contains(&("/c/no-such-group/7/cpu.max".into(), "220000 100000".into())));
        assert!(settings.contains(&("/c/no-such-group/7/memory.max".into(), (512_u64 << 20).to_string())));
    }
}
