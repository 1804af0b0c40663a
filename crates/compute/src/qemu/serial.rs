//! The serial line: held by the driver while a machine runs, shared out to any number of consoles, and logged.
//!
//! QEMU serves one client on the line, so one task holds it and fans out. The log is QEMU's own, since guests speak
//! while no control plane is there to listen; it is kept short by copying it away and cutting it off, which works
//! because QEMU appends.

use bytes::Bytes;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};

/// A log longer than this is rotated, bytes; one old one is kept.
pub const LOG_LIMIT: u64 = 1 << 20;

/// What a console may fall behind before it loses output, bytes.
const CONSOLE_BUFFER: usize = 64 * 1024;

/// The held line. Clones share it; it ends with QEMU.
#[derive(Debug, Clone)]
pub struct Serial {
    /// Weak, so that consoles see the end of the line when its task ends.
    output: broadcast::WeakSender<Bytes>,
    input: mpsc::Sender<Bytes>,
}

impl Serial {
    /// Takes the line of a machine that just started or was found running.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub async fn attach(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (output, _) = broadcast::channel(256);
        let (input, inbox) = mpsc::channel(64);
        let serial = Self { output: output.downgrade(), input };
        tokio::spawn(hold(stream, output, inbox));
        Ok(serial)
    }

    /// Whether the line is still there.
    pub fn is_held(&self) -> bool {
        !self.input.is_closed()
    }

    /// A new console on the line; `None` when the line has ended.
    pub fn console(&self) -> Option<DuplexStream> {
        let listener = self.output.upgrade()?.subscribe();
        let (ours, theirs) = tokio::io::duplex(CONSOLE_BUFFER);
        tokio::spawn(serve(ours, listener, self.input.clone()));
        Some(theirs)
    }
}

/// Holds the socket until QEMU closes it or nobody is left who could write to it.
async fn hold(mut stream: UnixStream, output: broadcast::Sender<Bytes>, mut inbox: mpsc::Receiver<Bytes>) {
    let mut buffer = vec![0; 4096];
    let (mut read, mut write) = stream.split();
    loop {
        tokio::select! {
            got = read.read(&mut buffer) => match got {
                Ok(0) | Err(_) => break,
                // Nobody listening is no fault.
                Ok(n) => { let _ = output.send(Bytes::copy_from_slice(&buffer[..n])); }
            },
            typed = inbox.recv() => {
                let Some(typed) = typed else { break };
                if write.write_all(&typed).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// Serves one console until either side ends.
async fn serve(console: DuplexStream, mut listener: broadcast::Receiver<Bytes>, input: mpsc::Sender<Bytes>) {
    let (mut read, mut write) = tokio::io::split(console);
    let typing = async {
        let mut buffer = vec![0; 1024];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if input.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                break;
            }
        }
    };
    let showing = async {
        loop {
            match listener.recv().await {
                Ok(bytes) => {
                    if write.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                // A console that does not keep up loses output; the line and the others go on.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    };
    tokio::select! {
        () = typing => {}
        () = showing => {}
    }
}

/// Moves a log that has grown past `limit` bytes to its `.1` and begins anew. The writer must append.
///
/// # Errors
/// As the file system says.
pub fn rotate(log: &Path, limit: u64) -> io::Result<bool> {
    match fs::metadata(log) {
        Ok(meta) if meta.len() > limit => {}
        Ok(_) => return Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    }
    let mut new = old_name(log).into_os_string();
    new.push(".new");
    // Only the tail is kept, so that a guest which floods its console cannot fill the disk through the copy either.
    fs::write(&new, tail(log, usize::try_from(limit).unwrap_or(usize::MAX))?)?;
    fs::rename(&new, old_name(log))?;
    // What arrives between the copy and this is lost: a few bytes of a log against a pipe to a process of ours.
    fs::OpenOptions::new().write(true).open(log)?.set_len(0)?;
    Ok(true)
}

fn old_name(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The last `limit` bytes of a log and of the one before it.
///
/// # Errors
/// As the file system says; a log that is not there is empty.
pub fn read_log(log: &Path, limit: usize) -> io::Result<Bytes> {
    let newest = tail(log, limit)?;
    let mut all = if newest.len() < limit { tail(&old_name(log), limit - newest.len())? } else { Vec::new() };
    all.extend_from_slice(&newest);
    Ok(all.into())
}

fn tail(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    let wanted = u64::try_from(limit).unwrap_or(u64::MAX).min(length);
    file.seek(SeekFrom::Start(length - wanted))?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;
    use tokio::net::UnixListener;

    #[test]
    fn a_long_log_is_cut_while_its_writer_goes_on_and_the_tail_spans_both() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serial.log");
        let mut writer = fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
        writer.write_all(b"0123456789").unwrap();
        assert!(!rotate(&log, 10).unwrap());
        writer.write_all(b"AB").unwrap();
        assert!(rotate(&log, 10).unwrap());
        writer.write_all(b"CD").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"CD");
        assert_eq!(read_log(&log, 5).unwrap(), "9ABCD");
        assert_eq!(read_log(&log, 2).unwrap(), "CD");
        assert_eq!(read_log(&log, 1000).unwrap(), "23456789ABCD");
        assert_eq!(read_log(&dir.path().join("absent"), 10).unwrap(), "");
    }

    #[tokio::test]
    async fn several_consoles_share_the_line_and_see_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let serial = Serial::attach(&path).await.unwrap();
        let (mut guest, _) = listener.accept().await.unwrap();
        let (mut one, mut two) = (serial.console().unwrap(), serial.console().unwrap());
        guest.write_all(b"login: ").await.unwrap();
        for console in [&mut one, &mut two] {
            let mut seen = [0; 7];
            console.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"login: ");
        }
        one.write_all(b"root\n").await.unwrap();
        let mut typed = [0; 5];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"root\n");
        drop(guest);
        let end = tokio::time::timeout(Duration::from_secs(5), two.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap(), 0);
        tokio::time::timeout(Duration::from_secs(5), one.read(&mut [0; 1])).await.unwrap().unwrap();
        assert!(serial.console().is_none());
    }
}
