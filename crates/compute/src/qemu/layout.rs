//! Where a machine's files lie, and who may touch them.
//!
//! ```text
//! <state_dir>/            0711   so that machines can reach images below it
//!   machines/             0711
//!     <id>/               0710   root : machine's group
//!       disk.qcow2        0600   machine's own; an overlay on an image, or a disk for itself
//!       disk.<operation>.{new,before}.qcow2   0600   machine's own: staged, kept aside
//!       seed.iso          0640   root : machine's group
//!       serial.log[.1]    0600   machine's own; written by QEMU, rotated by us
//!       qemu.out[.1]      0600   QEMU's stdout and stderr
//!       {received,sent}.pcap  0600   machine's own: lengths of its frames, with user networking
//!       traffic.json      0600   how far those were read, and what they came to
//!       machine.json      0600   what the machine should be, without root's password
//!       state.json        0600   what was last done to it and seen of it
//!   snapshots/            0711
//!     <id>/               0710   root : group of the machine that it was taken of
//!       disk.qcow2        0600   that machine's own while it is taken; then 0440 root : that group
//!       snapshot.json     0600   its facts, written last: without them the snapshot is half-made
//! <run_dir>/<id>/         0700   machine's own while QEMU makes its sockets, then 0710 root : machine's group
//!   {qmp,mon,qga,vnc,serial}.sock
//!   pid/qemu.pid          the directory stays the machine's own: QEMU removes the file when it ends cleanly
//! ```
//! A QEMU that a guest has taken over can write its own disks and log, and nothing else: it cannot put a link to
//! somebody else's file or socket where the control plane, as root, would follow it. Without root everything
//! belongs to the one user there is, and the modes are 0700 and 0600.

use crate::DriverError;
use bulut_model::{ServerId, SnapshotId};
use nix::unistd::{Gid, Uid};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A socket's path may have this many bytes.
const SOCKET_PATH_LIMIT: usize = 107;

/// The directories of one driver.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Canonical.
    state_dir: PathBuf,
    run_dir: PathBuf,
    /// Machine `id` is user and group `uid_base + id`; `None` when we are not root.
    uid_base: Option<u32>,
}

/// Whom a machine's process runs as; user and group have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub u32);

impl Layout {
    /// Makes the directories that all machines share.
    ///
    /// # Errors
    /// `Fatal` when they cannot be made, or when the run directory's path is too long for sockets.
    pub fn make(state_dir: &Path, run_dir: &Path, uid_base: Option<u32>) -> Result<Self, DriverError> {
        let longest = run_dir.join(i64::MAX.to_string()).join("serial.sock");
        if longest.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(DriverError::fatal(format!(
                "the run directory {} is too long: a socket in it would exceed {SOCKET_PATH_LIMIT} bytes",
                run_dir.display()
            )));
        }
        let make = |path: &Path| -> io::Result<PathBuf> {
            fs::create_dir_all(path)?;
            path.canonicalize()
        };
        let explain =
            |what: &Path, e: io::Error| DriverError::fatal(format!("cannot prepare {}: {e}", what.display()));
        let state_dir = make(state_dir).map_err(|e| explain(state_dir, e))?;
        let run_dir = make(run_dir).map_err(|e| explain(run_dir, e))?;
        let layout = Self { state_dir, run_dir, uid_base };
        let (machines, snapshots) = (layout.machines(), layout.snapshots());
        for dir in [&machines, &snapshots] {
            make(dir).map_err(|e| explain(dir, e))?;
        }
        for dir in [&layout.state_dir, &machines, &snapshots, &layout.run_dir] {
            mode(dir, if uid_base.is_some() { 0o711 } else { 0o700 }).map_err(|e| explain(dir, e))?;
        }
        Ok(layout)
    }

    /// The directory above everything.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The directory above the machines.
    pub fn machines(&self) -> PathBuf {
        self.state_dir.join("machines")
    }

    /// A machine's directory: the machine exists as long as this does.
    pub fn machine(&self, id: ServerId) -> PathBuf {
        self.machines().join(id.to_string())
    }

    /// The directory above the snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.state_dir.join("snapshots")
    }

    /// A snapshot's directory.
    pub fn snapshot(&self, id: SnapshotId) -> PathBuf {
        self.snapshots().join(id.to_string())
    }

    /// The directory of a machine's sockets.
    pub fn run(&self, id: ServerId) -> PathBuf {
        self.run_dir.join(id.to_string())
    }

    /// The file in which QEMU writes its process id.
    pub fn pidfile(&self, id: ServerId) -> PathBuf {
        self.run(id).join("pid/qemu.pid")
    }

    /// Whom the machine runs as; `None` when that is whoever we are.
    ///
    /// # Errors
    /// `Fatal` when the id does not fit in the range of user ids.
    pub fn owner(&self, id: ServerId) -> Result<Option<Owner>, DriverError> {
        let Some(base) = self.uid_base else { return Ok(None) };
        let uid = u32::try_from(id.0).ok().and_then(|id| base.checked_add(id)).filter(|uid| *uid < u32::MAX);
        uid.map(|uid| Some(Owner(uid)))
            .ok_or_else(|| DriverError::fatal(format!("there is no user id for machine {id} above {base}")))
    }

    /// The ids of all machines that have a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<ServerId>> {
        Ok(numbers(&self.machines())?.into_iter().map(ServerId).collect())
    }

    /// The ids of all snapshots that have a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list_snapshots(&self) -> io::Result<Vec<SnapshotId>> {
        Ok(numbers(&self.snapshots())?.into_iter().map(SnapshotId).collect())
    }

    /// Makes a machine's directory.
    ///
    /// # Errors
    /// As the file system says.
    pub fn make_machine(&self, id: ServerId) -> Result<(), DriverError> {
        let owner = self.owner(id)?;
        let dir = self.machine(id);
        let made = (|| {
            fs::create_dir_all(&dir)?;
            group(&dir, owner)?;
            mode(&dir, if owner.is_some() { 0o710 } else { 0o700 })
        })();
        made.map_err(|e| DriverError::retry(format!("cannot make the directory of machine {id}: {e}")))
    }

    /// Makes an empty directory for a snapshot of a machine, which may pass through it, and read and write what is
    /// given to it there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn make_snapshot(&self, id: SnapshotId, owner: Option<Owner>) -> Result<(), DriverError> {
        let dir = self.snapshot(id);
        let made = (|| {
            remove_dir(&dir)?;
            fs::create_dir(&dir)?;
            group(&dir, owner)?;
            mode(&dir, if owner.is_some() { 0o710 } else { 0o700 })
        })();
        made.map_err(|e| DriverError::retry(format!("cannot make the directory of snapshot {id}: {e}")))
    }

    /// Makes an empty run directory in which QEMU may make its sockets.
    ///
    /// # Errors
    /// As the file system says.
    pub fn make_run(&self, id: ServerId) -> Result<(), DriverError> {
        let owner = self.owner(id)?;
        let dir = self.run(id);
        let made = (|| {
            remove_dir(&dir)?;
            fs::create_dir_all(dir.join("pid"))?;
            for dir in [&dir, &dir.join("pid")] {
                mode(dir, 0o700)?;
                give(dir, owner)?;
            }
            Ok(())
        })();
        made.map_err(|e: io::Error| {
            DriverError::retry(format!("cannot make the run directory of machine {id}: {e}"))
        })
    }

    /// Takes the run directory away from QEMU once its sockets are there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn seal_run(&self, id: ServerId) -> Result<(), DriverError> {
        let Some(owner) = self.owner(id)? else { return Ok(()) };
        let dir = self.run(id);
        let sealed = (|| {
            nix::unistd::chown(&dir, Some(Uid::from_raw(0)), Some(Gid::from_raw(owner.0)))?;
            mode(&dir, 0o710)
        })();
        sealed.map_err(|e| DriverError::retry(format!("cannot seal the run directory of machine {id}: {e}")))
    }

    /// A path as seen from a machine's directory: relative when it lies below the state directory, so that
    /// a parent directory that machines may not enter is never walked through; absolute otherwise.
    pub fn seen_from_machine(&self, path: &Path) -> PathBuf {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match canonical.strip_prefix(&self.state_dir) {
            Ok(below) => Path::new("../..").join(below),
            Err(_) => canonical,
        }
    }
}

/// The numbers among the names in a directory, in order.
fn numbers(dir: &Path) -> io::Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Gives a path to a machine's user and group.
///
/// # Errors
/// As the file system says.
pub fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    let Some(Owner(id)) = owner else { return Ok(()) };
    Ok(nix::unistd::chown(path, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?)
}

/// Gives a path to a machine's group only.
///
/// # Errors
/// As the file system says.
pub fn group(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    let Some(Owner(id)) = owner else { return Ok(()) };
    Ok(nix::unistd::chown(path, None, Some(Gid::from_raw(id)))?)
}

/// Sets a path's permissions.
///
/// # Errors
/// As the file system says.
pub fn mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Writes a file whole or not at all, with the given permissions.
///
/// # Errors
/// As the file system says.
pub fn write_whole(path: &Path, data: &[u8], permissions: u32, readers: Option<Owner>) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(data)?;
    group(&new, readers)?;
    mode(&new, permissions)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

/// Waits until what was done to the names in a directory is on the disk.
///
/// # Errors
/// As the file system says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Removes a directory and all below it; one that is not there is fine.
///
/// # Errors
/// As the file system says.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// As the file system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_the_state_is_named_relative_to_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::make(&dir.path().join("state"), &dir.path().join("run"), None).unwrap();
        let image = layout.state_dir().join("images/x.qcow2");
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        fs::write(&image, b"").unwrap();
        assert_eq!(layout.seen_from_machine(&image), Path::new("../../images/x.qcow2"));
        assert_eq!(layout.seen_from_machine(Path::new("/etc/passwd")), Path::new("/etc/passwd"));
    }

    #[test]
    fn only_numbers_are_machines() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::make(&dir.path().join("state"), &dir.path().join("run"), None).unwrap();
        layout.make_machine(ServerId(12)).unwrap();
        layout.make_machine(ServerId(3)).unwrap();
        fs::create_dir(layout.machines().join("lost+found")).unwrap();
        assert_eq!(layout.list().unwrap(), [ServerId(3), ServerId(12)]);
    }

    #[test]
    fn a_run_directory_too_long_for_sockets_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(100));
        assert!(matches!(Layout::make(dir.path(), &long, None), Err(DriverError::Fatal(_))));
    }

    #[test]
    fn every_machine_has_a_user_of_its_own() {
        let layout = Layout { state_dir: "/s".into(), run_dir: "/r".into(), uid_base: Some(1000) };
        assert_eq!(layout.owner(ServerId(7)).unwrap(), Some(Owner(1007)));
        assert!(layout.owner(ServerId(i64::MAX)).is_err());
        assert!(layout.owner(ServerId(-1)).is_err());
    }
}
