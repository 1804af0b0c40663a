//! Snapshots: a machine's disk as it was at one moment, in a file that stands for itself. Part of [`Machine`]'s task,
//! which alone knows what the machine is doing meanwhile; `backup` is the part that copies under a running guest.
//!
//! ```text
//!  nothing ── directory, empty disk ──▶ half-made ── copied, checked, on the disk, snapshot.json ──▶ whole
//!     ▲                                    │ thrown away by the next taking, and by its own failure      │
//!     └────────────────────────────────────┴───────────────────── remove ────────────────────────────────┘
//! ```
//! A snapshot is whole when `snapshot.json` is there, which is written last; removing begins with it.

use super::copies::Making;
use super::disk::{self, GIB};
use super::layout::{self, Layout};
use super::machine::Machine;
use super::make::DISK as OWN_DISK;
use super::record;
use crate::DriverError;
use crate::driver::Taken;
use bulut_model::snapshot::Consistency;
use bulut_model::{ServerId, SnapshotId};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name of a snapshot's disk in its directory.
pub const DISK: &str = "disk.qcow2";
/// The name of its facts there.
const FACTS: &str = "snapshot.json";
/// What a copy leaves free on the node beyond its own need, bytes: disks of other machines grow meanwhile.
const MARGIN: u64 = 256 << 20;

/// A whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The machine that it was taken of, whose group may read it.
    pub machine: ServerId,
    /// Its facts.
    pub taken: Taken,
}

/// A whole snapshot; `None` when there is none, or half of one.
///
/// # Errors
/// `Unreachable` when it cannot be looked at.
pub fn find(layout: &Layout, id: SnapshotId) -> Result<Option<Kept>, DriverError> {
    record::read(&layout.snapshot(id).join(FACTS))
}

/// A whole snapshot, which must be there.
///
/// # Errors
/// `Fatal` when it is not, `Unreachable` when it cannot be looked at.
pub fn get(layout: &Layout, id: SnapshotId) -> Result<Kept, DriverError> {
    find(layout, id)?.ok_or_else(|| DriverError::fatal(format!("this node has no whole snapshot {id}")))
}

/// Removes a snapshot, also half of one. Blocks for as long as the file system takes to free a large file.
///
/// # Errors
/// `Retry` as the file system says.
pub fn remove(layout: &Layout, id: SnapshotId) -> Result<(), DriverError> {
    let dir = layout.snapshot(id);
    // The facts first: half of a snapshot must not look like a whole one.
    let removed = layout::remove_file(&dir.join(FACTS)).and_then(|()| layout::remove_dir(&dir));
    removed.map_err(|e| DriverError::retry(format!("cannot remove snapshot {id}: {e}")))
}

/// Checks that a disk's header names no other file: its process might have been taken over when it wrote that.
///
/// # Errors
/// `Fatal` when it does, `Retry` when it cannot be read.
pub fn check_standalone(path: &Path) -> Result<(), DriverError> {
    let mut header = [0; 80];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.map_err(|e| DriverError::retry(format!("cannot read {}: {e}", path.display())))?;
    if stands_for_itself(&header) {
        return Ok(());
    }
    Err(DriverError::fatal(format!("{} is not a disk that stands for itself", path.display())))
}

/// By the qcow2 header: version 3, no backing file, no external data file (incompatible feature bit 2).
fn stands_for_itself(header: &[u8; 80]) -> bool {
    let version_3 = header[..8] == *b"QFI\xfb\0\0\0\x03";
    version_3 && header[8..16] == [0; 8] && header[79] & 0b100 == 0
}

/// Checks that the file system of a directory has room for a copy of this many bytes.
///
/// # Errors
/// `Fatal` when it has not, `Retry` when it does not tell.
pub fn check_room(dir: &Path, needs: u64, what: &str) -> Result<(), DriverError> {
    let found = nix::sys::statvfs::statvfs(dir)
        .map_err(|e| DriverError::retry(format!("cannot look at {}: {e}", dir.display())))?;
    let has = found.blocks_available().saturating_mul(found.fragment_size());
    if has_room(has, needs) {
        return Ok(());
    }
    tracing::warn!(has, needs, dir = %dir.display(), "the node has no room for a copy");
    Err(DriverError::fatal(format!("the node has no room for {what}")))
}

fn has_room(has: u64, needs: u64) -> bool {
    has >= needs.saturating_add(needs / 16).saturating_add(MARGIN)
}

impl Machine {
    /// Takes a snapshot, or tells the facts of one that is whole.
    pub async fn take_snapshot(
        &mut self,
        id: SnapshotId,
        progress: &watch::Sender<u8>,
    ) -> Result<Taken, DriverError> {
        if let Some(kept) = find(&self.node.layout, id)? {
            progress.send_replace(100);
            return Ok(kept.taken);
        }
        let size = disk::virtual_size(&self.dir.join(OWN_DISK))?
            .ok_or_else(|| DriverError::Gone(format!("machine {} has no disk", self.id)))?;
        let copying = self.node.copies.begin(Making::Snapshot(id));
        match self.make_snapshot(id, size, progress, &copying.cut).await {
            Ok(taken) => {
                progress.send_replace(100);
                tracing::info!(server.id = self.id.0, snapshot.id = id.0, ?taken, "the snapshot is whole");
                Ok(taken)
            }
            Err(error) => {
                tracing::warn!(server.id = self.id.0, snapshot.id = id.0, %error, "the snapshot was not taken");
                if let Err(error) = remove(&self.node.layout, id) {
                    tracing::warn!(snapshot.id = id.0, %error, "half of a snapshot is left");
                }
                Err(error)
            }
        }
    }

    async fn make_snapshot(
        &mut self,
        id: SnapshotId,
        size: u64,
        progress: &watch::Sender<u8>,
        cut: &CancellationToken,
    ) -> Result<Taken, DriverError> {
        let layout = self.node.layout.clone();
        let owner = layout.owner(self.id)?;
        remove(&layout, id)?;
        check_room(&layout.snapshots(), self.copied_size().await, "this snapshot")?;
        layout.make_snapshot(id, owner)?;
        let dir = layout.snapshot(id);
        disk::create(&self.node.tool(dir.clone(), None), &dir, DISK, size, owner).await?;
        let file = dir.join(DISK);
        let target = layout.seen_from_machine(&file);
        let consistency = if self.running.is_some() {
            self.back_up(&target, progress, cut).await?
        } else {
            let tool = self.node.tool(self.dir.clone(), owner);
            let order =
                disk::convert(&["-f".as_ref(), "qcow2".as_ref(), OWN_DISK.as_ref(), target.as_os_str()]);
            self.meanwhile(cut, tool.copy(&order, progress)).await?;
            Consistency::Stopped
        };
        check_standalone(&file)?;
        let kept = {
            let taken = Taken { consistency, disk_gib: size.div_ceil(GIB), size_bytes: 0 };
            Kept { machine: self.id, taken }
        };
        self.meanwhile(cut, disk::sync(file)).await?;
        // Not to be cut short: it must not go on behind the back of whoever removes what is half-made.
        finish(layout, id, kept).await
    }

    /// Bytes that a copy of the disk will take. What cannot be measured is guessed, high.
    async fn copied_size(&self) -> u64 {
        let owner = self.node.layout.owner(self.id).ok().flatten();
        let tool = self.node.tool(self.dir.clone(), owner);
        let measure = ["measure", "-U", "-f", "qcow2", "-O", "qcow2", "--output=json", OWN_DISK];
        match tool.run(&measure.map(AsRef::as_ref)).await {
            Ok(said) => required(&said).unwrap_or(u64::MAX),
            Err(error) => {
                tracing::info!(server.id = self.id.0, %error, "the disk cannot be measured; guessing");
                let image = record::machine(&self.node.layout, self.id).ok().flatten();
                let below = image.map_or(0, |record| disk::taken(&record.spec.image.disk));
                disk::taken(&self.dir.join(OWN_DISK)).saturating_add(below.saturating_mul(4))
            }
        }
    }
}

/// What `qemu-img measure` says that the copy will take, bytes.
fn required(said: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(said).ok()?.get("required")?.as_u64()
}

/// Takes the copied disk from its machine and writes the facts.
async fn finish(layout: Layout, id: SnapshotId, mut kept: Kept) -> Result<Taken, DriverError> {
    let seal = move || -> io::Result<Taken> {
        let (dir, group) = (layout.snapshot(id), layout.owner(kept.machine).map_err(io::Error::other)?);
        let file = dir.join(DISK);
        if let Some(layout::Owner(group)) = group {
            nix::unistd::chown(&file, Some(Uid::from_raw(0)), Some(Gid::from_raw(group)))?;
        }
        layout::mode(&file, 0o440)?;
        kept.taken.size_bytes = disk::taken(&file);
        let facts = serde_json::to_vec_pretty(&kept)?;
        layout::write_whole(&dir.join(FACTS), &facts, 0o600, None)?;
        layout::sync_dir(&dir)?;
        layout::sync_dir(&layout.snapshots())?;
        Ok(kept.taken)
    };
    let sealed = tokio::task::spawn_blocking(seal).await.map_err(DriverError::retry)?;
    sealed.map_err(|e| DriverError::retry(format!("cannot finish snapshot {id}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        Layout::make(&dir.path().join("s"), &dir.path().join("r"), None).unwrap()
    }

    fn header() -> [u8; 80] {
        let mut header = [0; 80];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        header
    }

    #[test]
    fn a_disk_that_names_another_file_does_not_stand_for_itself() {
        assert!(stands_for_itself(&header()));
        let mut backed = header();
        backed[15] = 104;
        assert!(!stands_for_itself(&backed));
        let mut external = header();
        external[79] = 0b100;
        assert!(!stands_for_itself(&external));
        let mut dirty = header();
        dirty[79] = 0b1;
        assert!(stands_for_itself(&dirty));
        let mut old = header();
        old[7] = 2;
        assert!(!stands_for_itself(&old), "its features stand elsewhere");
    }

    #[test]
    fn a_copy_needs_its_size_and_a_margin() {
        assert!(has_room((16 << 30) + (1 << 30) + MARGIN, 16 << 30));
        assert!(!has_room((16 << 30) + (1 << 30) + MARGIN - 1, 16 << 30));
        assert!(!has_room(u64::MAX - 1, u64::MAX));
        match check_room(Path::new("/"), u64::MAX, "this snapshot") {
            Err(DriverError::Fatal(why)) => assert_eq!(why, "the node has no room for this snapshot"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_snapshot_is_whole_once_its_facts_are_written_and_gone_after_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let id = SnapshotId(7);
        assert_eq!(find(&layout, id).unwrap(), None);
        layout.make_snapshot(id, None).unwrap();
        fs::write(layout.snapshot(id).join(DISK), vec![1; 100_000]).unwrap();
        assert_eq!(find(&layout, id).unwrap(), None, "half-made");
        assert!(matches!(get(&layout, id), Err(DriverError::Fatal(_))));
        assert_eq!(layout.list_snapshots().unwrap(), [id]);
        let taken = Taken { consistency: Consistency::Crash, disk_gib: 3, size_bytes: 0 };
        let kept = Kept { machine: ServerId(4), taken };
        let told = finish(layout.clone(), id, kept).await.unwrap();
        assert!(told.size_bytes >= 100_000);
        assert_eq!(find(&layout, id).unwrap(), Some(Kept { machine: ServerId(4), taken: told }));
        layout.make_snapshot(id, None).unwrap();
        assert_eq!(find(&layout, id).unwrap(), None, "a new taking begins with nothing");
        for _ in 0..2 {
            remove(&layout, id).unwrap();
        }
        assert!(layout.list_snapshots().unwrap().is_empty());
    }

    #[test]
    fn the_measure_is_read() {
        assert_eq!(required("{\"bitmaps\": 0, \"required\": 5, \"fully-allocated\": 9}"), Some(5));
        assert_eq!(required("no"), None);
    }
}
