//! Disks: qcow2 overlays on immutable images, and copies of snapshots that stand for themselves.
//!
//! A disk appears under its name only when it is complete. Sizes are read from the qcow2 header, which costs no
//! process; everything that writes is `qemu-img`'s.

use super::layout::{self, Layout, Owner};
use super::node::Node;
use super::snapshot;
use super::tool::Tool;
use crate::{DriverError, Image, MachineSpec};
use bulut_model::SnapshotId;
use serde_json::json;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// The size of what a machine's disk starts from, bytes: its snapshot, else its image.
///
/// # Errors
/// `Fatal` when that is not there, or not whole.
pub fn origin_size(layout: &Layout, spec: &MachineSpec) -> Result<u64, DriverError> {
    let (file, what) = match spec.snapshot {
        Some(id) => {
            snapshot::get(layout, id)?;
            (layout.snapshot(id).join(snapshot::DISK), format!("snapshot {id}"))
        }
        None => (spec.image.disk.clone(), format!("image {}", spec.image.digest)),
    };
    virtual_size(&file)?.ok_or_else(|| DriverError::fatal(format!("the {what} has no disk on this node")))
}

/// Makes a disk of `size` bytes for a machine, from its snapshot or image, below the name [`part`] of the one that it
/// gets by [`put`]. The size must not be less than what it starts from.
///
/// # Errors
/// `Fatal` when the node has no room, `Retry` for whatever the host refuses.
pub async fn make(node: &Node, spec: &MachineSpec, name: &str, size: u64) -> Result<(), DriverError> {
    let dir = node.layout.machine(spec.id);
    let owner = node.layout.owner(spec.id)?;
    let part = part(name);
    layout::remove_file(&dir.join(&part)).map_err(DriverError::retry)?;
    match spec.snapshot {
        Some(id) => copy(node, spec, id, &part, size).await?,
        None => overlay(node, spec, &part, size).await?,
    }
    let file = dir.join(&part);
    let given = layout::mode(&file, 0o600).and_then(|()| layout::give(&file, owner));
    given.map_err(|e| DriverError::retry(format!("cannot give {} away: {e}", file.display())))?;
    sync(file).await
}

/// The name of a disk that is not complete yet.
pub fn part(name: &str) -> String {
    format!("{name}.part")
}

/// Gives a complete disk its name.
///
/// # Errors
/// `Retry` as the file system says.
pub fn put(dir: &Path, name: &str) -> Result<(), DriverError> {
    let put = std::fs::rename(dir.join(part(name)), dir.join(name)).and_then(|()| layout::sync_dir(dir));
    put.map_err(|e| DriverError::retry(format!("cannot put {name} in place in {}: {e}", dir.display())))
}

/// Waits until a file's content is on the node's disk, which may take as long as the copy did.
///
/// # Errors
/// `Retry` as the file system says.
pub async fn sync(file: PathBuf) -> Result<(), DriverError> {
    let synced = tokio::task::spawn_blocking(move || std::fs::File::open(&file)?.sync_all());
    let synced = synced.await.map_err(DriverError::retry)?;
    synced.map_err(|e| DriverError::retry(format!("a disk cannot be written out: {e}")))
}

/// An overlay on the image.
async fn overlay(node: &Node, spec: &MachineSpec, part: &str, size: u64) -> Result<(), DriverError> {
    let backing = node.layout.seen_from_machine(&spec.image.disk);
    let size = size.to_string();
    let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"].map(OsStr::new);
    let rest = [backing.as_os_str(), part.as_ref(), size.as_ref()];
    let tool = node.tool(node.layout.machine(spec.id), None);
    tool.run(&[&create[..], &rest[..]].concat()).await.map(drop)
}

/// A copy of a snapshot that shares nothing with it.
async fn copy(
    node: &Node,
    spec: &MachineSpec,
    id: SnapshotId,
    part: &str,
    size: u64,
) -> Result<(), DriverError> {
    let dir = node.layout.machine(spec.id);
    let kept = snapshot::get(&node.layout, id)?;
    let file = node.layout.snapshot(id).join(snapshot::DISK);
    snapshot::check_standalone(&file)?;
    snapshot::check_room(&dir, taken(&file), "a disk made from this snapshot")?;
    create(&node.tool(dir.clone(), None), &dir, part, size, node.layout.owner(spec.id)?).await?;
    let mut tool = node.tool(dir, node.layout.owner(spec.id)?);
    // The snapshot can be read by the group of the machine that it was taken of, and by nobody else.
    tool.groups.extend(node.layout.owner(kept.machine)?.map(|Owner(id)| id));
    let source = node.layout.seen_from_machine(&file);
    let source = json!({
        "driver": "qcow2",
        // Whatever its header says: a snapshot has nothing below it.
        "backing": null,
        "file": { "driver": "file", "filename": source.to_string_lossy() },
    });
    let source = format!("json:{source}");
    tool.copy(&convert(&[source.as_ref(), part.as_ref()]), &watch::Sender::new(0)).await
}

/// Makes an empty disk that stands for itself, and gives it to whoever is to write it.
///
/// # Errors
/// `Retry` for whatever the host refuses.
pub async fn create(
    tool: &Tool,
    dir: &Path,
    name: &str,
    size: u64,
    owner: Option<Owner>,
) -> Result<(), DriverError> {
    let size = size.to_string();
    tool.run(&["create", "-q", "-f", "qcow2", name, &size].map(OsStr::new)).await?;
    let file = dir.join(name);
    let given = layout::mode(&file, 0o600).and_then(|()| layout::give(&file, owner));
    given.map_err(|e| DriverError::retry(format!("cannot give {} away: {e}", file.display())))
}

/// The arguments of a copy onto an empty disk that is there.
pub fn convert<'a>(rest: &[&'a OsStr]) -> Vec<&'a OsStr> {
    // No lock is taken on the source: nobody else writes it, and a copy that is being killed must not keep its
    // machine from starting.
    let mut all = ["convert", "-p", "-U", "-n", "--target-is-zero", "-O", "qcow2"].map(OsStr::new).to_vec();
    all.extend(rest);
    all
}

/// Grows the disk of a stopped machine, to `size` bytes.
///
/// # Errors
/// `Retry` with `qemu-img`'s own words.
pub async fn grow(tool: &Tool, size: u64) -> Result<(), DriverError> {
    let size = size.to_string();
    tool.run(&["resize", "-q", "-f", "qcow2", "disk.qcow2", &size].map(OsStr::new)).await.map(drop)
}

/// The virtual size that a qcow2 file's header states, bytes; `None` when there is no such file.
///
/// # Errors
/// `Fatal` when it is something else than qcow2, `Retry` when it cannot be read.
pub fn virtual_size(path: &Path) -> Result<Option<u64>, DriverError> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DriverError::retry(format!("cannot read {}: {e}", path.display()))),
    };
    let mut header = [0_u8; 32];
    let read = file.read_exact(&mut header);
    if read.is_err() || header[..4] != *b"QFI\xfb" {
        return Err(DriverError::fatal(format!("{} is not a qcow2 disk", path.display())));
    }
    let [.., a, b, c, d, e, f, g, h] = header;
    Ok(Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
}

/// Checks that an image's files are there and that machines may read them. Below the state directory the
/// permissions are put right; elsewhere they are the operator's.
///
/// # Errors
/// `Fatal` with the file and what is wrong with it.
pub fn check_image(layout: &Layout, image: &Image, foreign_user: bool) -> Result<(), DriverError> {
    virtual_size(&image.disk)?.ok_or_else(|| {
        DriverError::fatal(format!("the image's disk {} is not there", image.disk.display()))
    })?;
    let mut files = vec![&image.disk];
    if let crate::Boot::Direct { kernel, initrd, .. } = &image.boot {
        files.extend([kernel, initrd]);
    }
    for file in files {
        check_readable(layout, file, foreign_user)
            .map_err(|e| DriverError::fatal(format!("machines cannot read {}: {e}", file.display())))?;
    }
    Ok(())
}

fn check_readable(layout: &Layout, file: &Path, foreign_user: bool) -> io::Result<()> {
    let file = file.canonicalize()?;
    std::fs::File::open(&file)?;
    if !foreign_user {
        return Ok(());
    }
    let ours = file.starts_with(layout.state_dir());
    for dir in file.ancestors().skip(1) {
        if ours && dir == layout.state_dir() {
            break;
        }
        let permissions = dir.metadata()?.permissions().mode();
        if permissions & 0o001 == 0 {
            if !ours {
                return Err(io::Error::other(format!(
                    "{} lets nobody else through (chmod o+x)",
                    dir.display()
                )));
            }
            layout::mode(dir, 0o711)?;
        }
    }
    if file.metadata()?.permissions().mode() & 0o004 == 0 {
        if !ours {
            return Err(io::Error::other("it is readable by its owner only (chmod o+r)"));
        }
        layout::mode(&file, 0o444)?;
    }
    Ok(())
}

/// Bytes that a file takes on the node; 0 when it is not there.
pub fn taken(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_stands_in_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        assert!(virtual_size(&path).unwrap().is_none());
        let mut header = vec![0_u8; 104];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[24..32].copy_from_slice(&(5 * GIB).to_be_bytes());
        std::fs::write(&path, header).unwrap();
        assert_eq!(virtual_size(&path).unwrap(), Some(5 * GIB));
        std::fs::write(&path, b"MZ").unwrap();
        assert!(matches!(virtual_size(&path), Err(DriverError::Fatal(_))));
    }
}
