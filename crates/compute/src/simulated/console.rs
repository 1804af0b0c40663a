//! What one sees of a simulated guest: a login prompt that echoes, an empty screen, a boot log.
//!
//! Promises: a console ends when its machine stops, as a real one does.

use super::World;
use crate::Console;
use bulut_model::ServerId;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes in flight on a console before the slower side waits.
const WINDOW: usize = 4096;

/// Width and height of the simulated screen, pixels.
const SCREEN: (u16, u16) = (64, 48);

/// Opens a console of the machine in `epoch`; it ends with that epoch.
pub(super) fn open(
    world: World,
    id: ServerId,
    epoch: u64,
    hostname: String,
    console: Console,
) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(WINDOW);
    tokio::spawn(async move {
        let mut changes = world.changes();
        let ended = changes.wait_for(|()| {
            world.read(|state| state.machines.get(&id.0).is_none_or(|it| !it.running || it.epoch != epoch))
        });
        let talk = async {
            match console {
                Console::Serial => login(ours, &hostname).await,
                Console::Vnc => screen(ours, &hostname).await,
            }
        };
        // Either end is an ordinary one: the machine stopped, or the reader went away.
        tokio::select! { _ = ended => {}, _ = talk => {} }
    });
    theirs
}

/// Prompts, echoes what is typed, and prompts again at each line.
async fn login(mut line: DuplexStream, hostname: &str) -> std::io::Result<()> {
    let prompt = format!("\r\n{hostname} login: ");
    line.write_all(prompt.as_bytes()).await?;
    let mut typed = [0; 256];
    loop {
        let count = line.read(&mut typed).await?;
        if count == 0 {
            return Ok(());
        }
        for &byte in &typed[..count] {
            match byte {
                b'\r' | b'\n' => line.write_all(prompt.as_bytes()).await?,
                _ => line.write_all(&[byte]).await?,
            }
        }
    }
}

/// Speaks enough of the remote framebuffer protocol 3.8 (RFC 6143) to show one black rectangle.
async fn screen(mut line: DuplexStream, name: &str) -> std::io::Result<()> {
    line.write_all(b"RFB 003.008\n").await?;
    line.read_exact(&mut [0; 12]).await?;
    line.write_all(&[1, 1]).await?; // one security type: none
    line.read_exact(&mut [0; 1]).await?;
    line.write_all(&[0; 4]).await?; // accepted
    line.read_exact(&mut [0; 1]).await?;
    let mut init = Vec::new();
    init.extend(SCREEN.0.to_be_bytes());
    init.extend(SCREEN.1.to_be_bytes());
    init.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]); // 32 bits, true colour
    init.extend(u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
    init.extend(name.as_bytes());
    line.write_all(&init).await?;
    let mut bytes_per_pixel = 4;
    loop {
        let kind = line.read_u8().await?;
        let rest = match kind {
            0 => 19,
            2 => 3,
            3 => 9,
            4 => 7,
            5 => 5,
            6 => 7,
            _ => return Ok(()),
        };
        let mut message = vec![0; rest];
        line.read_exact(&mut message).await?;
        match kind {
            0 => bytes_per_pixel = usize::from(message[3] / 8).clamp(1, 4),
            2 => skip(&mut line, usize::from(u16::from_be_bytes([message[1], message[2]])) * 4).await?,
            3 if message[0] == 0 => line.write_all(&black(bytes_per_pixel)).await?,
            6 => {
                let length = u32::from_be_bytes([message[3], message[4], message[5], message[6]]);
                skip(&mut line, length as usize).await?;
            }
            _ => {}
        }
    }
}

/// One update with the whole screen in black.
fn black(bytes_per_pixel: usize) -> Vec<u8> {
    let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
    update.extend(SCREEN.0.to_be_bytes());
    update.extend(SCREEN.1.to_be_bytes());
    update.extend([0; 4]);
    update.resize(update.len() + usize::from(SCREEN.0) * usize::from(SCREEN.1) * bytes_per_pixel, 0);
    update
}

async fn skip(line: &mut DuplexStream, count: usize) -> std::io::Result<()> {
    tokio::io::copy(&mut line.take(count as u64), &mut tokio::io::sink()).await.map(|_| ())
}

/// The last `limit` bytes of what the guest printed over its `boots`, with what it `said` in them.
pub(super) fn serial_log(hostname: &str, boots: u32, said: &[(u32, Box<str>)], limit: usize) -> Bytes {
    let one = |boot: u32| {
        let lines = said.iter().filter(|(of, _)| *of == boot);
        let lines: String = lines.map(|(_, line)| format!("{line}\r\n")).collect();
        format!("[    0.000000] Linux (simulated), boot {boot}\r\n{lines}\r\n{hostname} login: \r\n")
    };
    let mut log = String::new();
    for boot in (1..=boots).rev() {
        log.insert_str(0, &one(boot));
        if log.len() >= limit {
            break;
        }
    }
    let log = Bytes::from(log);
    log.slice(log.len().saturating_sub(limit)..)
}
