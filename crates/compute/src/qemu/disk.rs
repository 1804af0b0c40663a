//! Disks: qcow2 overlays on immutable images.
//!
//! A disk appears under its name only when it is complete. Sizes are read from the qcow2 header, which costs no
//! process; everything that writes is `qemu-img`'s.

use super::layout::{self, Layout};
use crate::{DriverError, Image, MachineSpec};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// How long `qemu-img` may take: it only writes headers here.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// Makes a machine's disk from its image, at its size; a disk that is there is left as it is.
/// Returns the disk's virtual size, bytes.
///
/// # Errors
/// `Fatal` when the image is unusable or larger than the disk; `Retry` for whatever the host refuses.
pub async fn ensure(layout: &Layout, qemu_img: &Path, spec: &MachineSpec) -> Result<u64, DriverError> {
    let dir = layout.machine(spec.id);
    let disk = dir.join("disk.qcow2");
    if let Some(size) = virtual_size(&disk)? {
        return Ok(size);
    }
    let image_size = virtual_size(&spec.image.disk)?.ok_or_else(|| {
        DriverError::fatal(format!("the image {} has no disk on this node", spec.image.digest))
    })?;
    let size = spec.disk_gib.saturating_mul(GIB);
    if image_size > size {
        return Err(DriverError::fatal(format!(
            "the image needs a disk of {} GiB, the machine has {} GiB",
            image_size.div_ceil(GIB),
            spec.disk_gib
        )));
    }
    let backing = layout.seen_from_machine(&spec.image.disk);
    let new = dir.join("disk.qcow2.new");
    layout::remove_file(&new).map_err(DriverError::retry)?;
    let size_text = size.to_string();
    let arguments = [
        "create".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "-F".as_ref(),
        "qcow2".as_ref(),
        "-b".as_ref(),
        backing.as_os_str(),
        "disk.qcow2.new".as_ref(),
        size_text.as_ref(),
    ];
    tool(qemu_img, &dir, &arguments).await?;
    let finish = || {
        layout::mode(&new, 0o600)?;
        layout::give(&new, layout.owner(spec.id).map_err(io::Error::other)?)?;
        std::fs::rename(&new, &disk)
    };
    finish().map_err(|e| {
        DriverError::retry(format!("cannot put the disk of machine {} in place: {e}", spec.id))
    })?;
    Ok(size)
}

/// Grows the disk of a stopped machine, to `size` bytes.
///
/// # Errors
/// `Retry` with `qemu-img`'s own words.
pub async fn grow(qemu_img: &Path, dir: &Path, size: u64) -> Result<(), DriverError> {
    let size = size.to_string();
    let arguments = [
        "resize".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "disk.qcow2".as_ref(),
        size.as_ref(),
    ];
    tool(qemu_img, dir, &arguments).await
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

/// Runs `qemu-img` in a directory.
async fn tool(binary: &Path, dir: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(), DriverError> {
    let run = tokio::process::Command::new(binary)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TOOL_LIMIT, run)
        .await
        .map_err(|_| DriverError::retry("qemu-img did not finish in time"))?
        .map_err(|e| DriverError::retry(format!("cannot run {}: {e}", binary.display())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(DriverError::retry(format!("qemu-img: {}", String::from_utf8_lossy(&output.stderr).trim())))
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
