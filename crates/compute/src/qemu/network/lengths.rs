//! Bytes of a machine with user networking. QEMU has no counters for that stack, but it can write frames down
//! (`filter-dump`): here their lengths and one byte of each, a file for each direction in the form of libpcap. What was
//! read of a file is added up, remembered beside it, and its space given back.
//!
//! Promises: the files go on growing while nobody reads them, so that a control plane that was away has missed nothing;
//! what was read is remembered before its space is given back. Must not know: machines' lives; files begin anew with each
//! of QEMU's processes.

use crate::qemu::layout::{self, Owner};
use nix::fcntl::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What the guest received, in QEMU's words what the network transmits to it.
const RECEIVED: &str = "received.pcap";
/// What the guest sent.
const SENT: &str = "sent.pcap";
/// How far both were read.
const READ: &str = "traffic.json";
/// The file's own header (libpcap's file format, version 2.4).
const FILE_HEADER: u64 = 24;
/// A frame's header: two of time, bytes kept, and the frame's length, four bytes each in the host's order.
const FRAME_HEADER: usize = 16;
/// Bytes kept of each frame; QEMU takes no less.
const KEPT: usize = 1;
const RECORD: usize = FRAME_HEADER + KEPT;
/// Records that are read of a file in one go, and goes in one look: a file can lie about its length.
const BATCH: usize = 4096;
const BATCHES: usize = 4096;
/// Space is given back in pieces of this many bytes.
const BLOCK: u64 = 4096;

/// How far a file was read, and what it came to, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    offset: u64,
    bytes: u64,
}

/// Both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Read {
    received: Counted,
    sent: Counted,
}

/// One at a time reads, remembers and gives back; it takes milliseconds.
static READING: Mutex<()> = Mutex::new(());

/// The values of two `-object` for a machine whose network backend is `n0`; their files lie in the directory that QEMU is
/// started in.
pub fn objects() -> [String; 2] {
    [("received", "tx", RECEIVED), ("sent", "rx", SENT)].map(|(id, queue, file)| {
        format!("filter-dump,id={id},netdev=n0,queue={queue},file={file},maxlen={KEPT}")
    })
}

/// Begins anew, for a process that is about to start: its files are there, empty, and the machine's own.
///
/// # Errors
/// Of the file system.
pub fn prepare(dir: &Path, owner: Option<Owner>) -> io::Result<()> {
    let _reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
    match fs::remove_file(dir.join(READ)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for name in [RECEIVED, SENT] {
        let path = dir.join(name);
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        layout::give(&path, owner)?;
    }
    Ok(())
}

/// What the guest received and sent since its process began, bytes; `None` where nothing was written down, as by a
/// process that an older version started.
///
/// # Errors
/// Of the file system.
pub fn read(dir: &Path) -> io::Result<Option<(u64, u64)>> {
    let _reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
    let before: Read = match fs::read(dir.join(READ)) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::NotFound => Read::default(),
        Err(error) => return Err(error),
    };
    let mut now = before;
    let mut files = Vec::new();
    for (name, counted) in [(RECEIVED, &mut now.received), (SENT, &mut now.sent)] {
        let mut file = match OpenOptions::new().read(true).write(true).open(dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        count(&mut file, counted)?;
        files.push((file, counted.offset));
    }
    if now != before {
        remember(dir, &now)?;
        for (file, offset) in files {
            give_back(&file, offset);
        }
    }
    Ok(Some((now.received.bytes, now.sent.bytes)))
}

/// Goes on where the last look ended, up to the last frame that is whole.
fn count(file: &mut File, counted: &mut Counted) -> io::Result<()> {
    let mut offset = counted.offset.max(FILE_HEADER);
    file.seek(SeekFrom::Start(offset))?;
    let mut buffer = vec![0; RECORD * BATCH];
    for _ in 0..BATCHES {
        let length = fill(file, &mut buffer)?;
        for record in buffer[..length].chunks_exact(RECORD) {
            let number = |at: usize| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&record[at..at + 4]);
                u32::from_ne_bytes(bytes)
            };
            if number(8) as usize != KEPT {
                // Nothing that QEMU writes: whoever took it over has spoilt it.
                tracing::warn!("a list of frames is damaged; what is left of it is not counted");
                offset = file.metadata()?.len();
                *counted = Counted { offset, ..*counted };
                return Ok(());
            }
            counted.bytes = counted.bytes.saturating_add(number(12).into());
            offset += RECORD as u64;
        }
        counted.offset = offset;
        if length < buffer.len() {
            break;
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; answers how much.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn remember(dir: &Path, read: &Read) -> io::Result<()> {
    let (path, new) = (dir.join(READ), dir.join(format!("{READ}.new")));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(read)?)?;
    file.sync_data()?;
    fs::rename(new, path)
}

/// Where the file system cannot, the file keeps its size until its machine is started again.
fn give_back(file: &File, offset: u64) {
    let whole = (offset / BLOCK * BLOCK).cast_signed();
    if whole > 0 {
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(why) = fallocate(file, how, 0, whole) {
            tracing::debug!(%why, "the space of a list of frames is not given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn frame(length: u32) -> Vec<u8> {
        let numbers = [1_u32, 2, KEPT as u32, length];
        let mut record: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        record.push(0x33);
        record
    }

    fn append(dir: &Path, name: &str, bytes: &[u8]) {
        OpenOptions::new().append(true).open(dir.join(name)).unwrap().write_all(bytes).unwrap();
    }

    fn begun() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), None).unwrap();
        for name in [RECEIVED, SENT] {
            append(dir.path(), name, &[0; FILE_HEADER as usize]);
        }
        dir
    }

    #[test]
    fn frames_are_counted_once_however_they_are_cut() {
        let dir = begun();
        assert_eq!(read(dir.path()).unwrap(), Some((0, 0)));
        append(dir.path(), SENT, &[frame(60), frame(1514)].concat());
        append(dir.path(), RECEIVED, &frame(90)[..7]);
        assert_eq!(read(dir.path()).unwrap(), Some((0, 1574)));
        assert_eq!(read(dir.path()).unwrap(), Some((0, 1574)), "and a second look adds nothing");
        append(dir.path(), RECEIVED, &frame(90)[7..]);
        assert_eq!(read(dir.path()).unwrap(), Some((90, 1574)));
    }

    #[test]
    fn what_was_read_takes_no_space_and_is_remembered() {
        let dir = begun();
        let many: Vec<u8> = frame(1500).repeat(3 * BATCH);
        append(dir.path(), RECEIVED, &many);
        let counted = 1500 * 3 * BATCH as u64;
        assert_eq!(read(dir.path()).unwrap(), Some((counted, 0)));
        let size = fs::metadata(dir.path().join(RECEIVED)).unwrap();
        assert!(size.len() > 200_000 && size.blocks() * 512 <= 2 * BLOCK, "{} blocks", size.blocks());
        append(dir.path(), RECEIVED, &frame(1));
        assert_eq!(read(dir.path()).unwrap(), Some((counted + 1, 0)));
        prepare(dir.path(), None).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some((0, 0)), "another process begins anew");
    }

    #[test]
    fn what_is_no_list_ends_and_harms_nothing() {
        let dir = begun();
        append(dir.path(), SENT, &[frame(60), vec![0; 1000]].concat());
        assert_eq!(read(dir.path()).unwrap(), Some((0, 60)));
        assert_eq!(read(dir.path()).unwrap(), Some((0, 60)));
        let other = tempfile::tempdir().unwrap();
        assert_eq!(read(other.path()).unwrap(), None, "where nothing is written down, nothing is known");
    }
}
