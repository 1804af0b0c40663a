//! Routed networking: what the rules cost each packet, and how long a server's network takes to make.
//!
//! Promises: all of it happens in a network namespace of its own; guests are played by writing frames into their taps.
//! Must not know: what the rules say.

use crate::figures::{amount, median, time};
use crate::output::{Goal, Line, say};
use anyhow::Context as _;
use bulut_compute::qemu::network::{Routed, RoutedConfig, TapHandle, routed_possible};
use bulut_compute::{Ipv4, Ipv6, Nic, Rates};
use bulut_model::ServerId;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Frames of one measurement, and how many pairs of them are made.
const FRAMES: u32 = 100_000;
const PAIRS: usize = 9;
/// Servers whose network is made while the host has none, and while it has this many.
const MADE: i64 = 15;
const CROWD: i64 = 500;
/// The virtio header before each frame on a tap, bytes.
const HEADER: usize = 10;

/// Measures; nothing without root.
pub async fn measure() -> anyhow::Result<Vec<Line>> {
    if let Err(why) = routed_possible() {
        say(&format!("no networks are measured: {why}"));
        return Ok(Vec::new());
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("no namespace")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut lines = passing().await?;
            lines.extend(making().await?);
            anyhow::Ok(lines)
        })
    });
    let done = tokio::task::spawn_blocking(move || thread.join()).await?;
    done.map_err(|_| anyhow::anyhow!("the benchmark of networks ended in the middle"))?
}

fn nic(id: i64) -> Nic {
    let [.., high, low] = id.to_be_bytes();
    Nic {
        mac: format!("52:54:00:00:{high:02x}:{low:02x}"),
        ipv4: Some(Ipv4 {
            address: Ipv4Addr::new(10, 77, high, low),
            prefix: 16,
            gateway: Ipv4Addr::new(10, 77, 255, 254),
        }),
        more_ipv4: Vec::new(),
        ipv6: Some(Ipv6 {
            address: Ipv6Addr::new(0xfd77, 0, 0, u16::from_be_bytes([high, low]), 0, 0, 0, 1),
            prefix: 64,
            gateway: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        }),
        resolvers: Vec::new(),
        mtu: 1500,
        firewall: Vec::new(),
        rates: Rates::default(),
    }
}

async fn routed() -> anyhow::Result<Routed> {
    let nat_sources = vec![(Ipv4Addr::new(10, 77, 0, 0).into(), 16)];
    Routed::new(RoutedConfig { nat_sources }).await.context("no routed networking")
}

fn nft(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("nft").args(arguments).output().context("nft")?;
    anyhow::ensure!(done.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// What the other measurement of a pair does without.
#[derive(Debug, Clone, Copy)]
enum Without {
    /// The chains of taps, which keep guests from forging.
    Taps,
    /// Any rule, and so without anybody who follows connections.
    Everything,
}

/// From one guest to another: frames in a second, with all rules and without some.
async fn passing() -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (without, beside) in [(Without::Taps, "no rules on taps"), (Without::Everything, "no rules at all")] {
        for (what, size) in [("packets of 64 bytes", 64), ("packets of 1500 bytes", 1514)] {
            say(&format!("{what} between two guests, beside {beside}, {PAIRS} pairs"));
            let (mut guarded, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..PAIRS {
                guarded.push(rate(None, size).await?);
                bare.push(rate(Some(without), size).await?);
                ratios.extend(guarded.last().zip(bare.last()).map(|(one, other)| one / other));
            }
            lines.push(Line {
                what: format!("{what} from guest to guest; peer: {beside}"),
                ours: amount_of(&guarded, size),
                peer: amount_of(&bare, size),
                figure: median(&ratios).map(|ratio| (ratio, "")),
                goal: Goal::AtLeast(0.95),
            });
        }
    }
    Ok(lines)
}

fn amount_of(rates: &[f64], size: usize) -> String {
    let rate = median(rates).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a few bytes")]
    let megabytes = rate * size as f64 / 1e6;
    format!("{}/s, {megabytes:.0} MB/s", amount(rate))
}

/// Frames that arrive at the other guest in a second of the sender's work. Everything is made anew, so that no measurement has an older one's
/// connections.
async fn rate(without: Option<Without>, size: usize) -> anyhow::Result<f64> {
    let routed = routed().await?;
    let (from, to) = (ServerId(1), ServerId(2));
    for id in [from, to] {
        routed.ensure(id, &nic(id.0)).await?;
    }
    let (sender, receiver) = (routed.open_tap(from)?, routed.open_tap(to)?);
    match without {
        None => {}
        Some(Without::Taps) => nft(&["delete", "table", "netdev", "bulut"])?,
        Some(Without::Everything) => nft(&["flush", "ruleset"])?,
    }
    let rate = pump(sender, receiver, size)?;
    for id in [from, to] {
        routed.remove(id).await?;
    }
    Ok(rate)
}

/// A datagram from one of the two guests to the other.
fn frame(from: u8, to: u8, size: usize) -> anyhow::Result<Vec<u8>> {
    let tap = format!("bv{from}");
    let link = Command::new("ip").args(["-o", "link", "show", &tap]).output().context("ip")?;
    let link = String::from_utf8(link.stdout)?;
    let gateway = link.split_once("link/ether ").and_then(|it| it.1.get(..17)).context("a tap has no MAC")?;
    let mut frame = vec![0; HEADER];
    for octet in gateway.split(':') {
        frame.push(u8::from_str_radix(octet, 16)?);
    }
    frame.extend([0x52, 0x54, 0, 0, 0, from, 8, 0]);
    let length = u16::try_from(size - 14)?;
    let mut head = vec![0x45, 0];
    head.extend(length.to_be_bytes());
    head.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 77, 0, from, 10, 77, 0, to]);
    let sum: u32 = head.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16))?;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(head);
    frame.extend([0x10, 0, 0x10, 0]);
    frame.extend((length - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(HEADER + size, 0x55);
    Ok(frame)
}

fn pump(sender: TapHandle, receiver: TapHandle, size: usize) -> anyhow::Result<f64> {
    let (answer, frame) = (frame(2, 1, size)?, frame(1, 2, size)?);
    let (mut out, mut inward) = (File::from(sender.fd), File::from(receiver.fd));
    let (arrived, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let reader = {
        let (arrived, done, size) = (Arc::clone(&arrived), Arc::clone(&done), frame.len());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            // Both have spoken, as in any conversation.
            let _ = inward.read(&mut buffer).and_then(|_| inward.write_all(&answer));
            while !done.load(Ordering::Relaxed) {
                if inward.read(&mut buffer).is_ok_and(|length| length == size) {
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    // A tap that was just opened takes a moment until it carries.
    while arrived.load(Ordering::Relaxed) == 0 {
        out.write_all(&frame)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let (before, begun) = (arrived.load(Ordering::Relaxed), worked()?);
    for _ in 0..FRAMES {
        out.write_all(&frame)?;
    }
    let (passed, seconds) =
        (arrived.load(Ordering::Relaxed) - before, worked()?.saturating_sub(begun).as_secs_f64());
    done.store(true, Ordering::Relaxed);
    while !reader.is_finished() {
        out.write_all(&frame)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
    Ok(passed as f64 / seconds)
}

/// How long this thread has worked. Whoever writes a frame into a tap carries it all the way to the other one, and what
/// else runs on the machine does not count.
fn worked() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("no schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// A server's network from nothing, on a host without others and on one with many.
async fn making() -> anyhow::Result<Vec<Line>> {
    let routed = routed().await?;
    say(&format!("networks of {MADE} servers, and again beside {CROWD} others"));
    let alone = made(&routed, 10_000).await?;
    for id in 1..=CROWD {
        routed.ensure(ServerId(id), &nic(id)).await?;
    }
    let crowded = made(&routed, 20_000).await?;
    let spans = |alone: f64| time(Duration::from_secs_f64(alone));
    let line = |what: &str, ours: f64, peer: String, figure, goal| Line {
        what: what.to_owned(),
        ours: spans(ours),
        peer,
        figure: Some(figure),
        goal,
    };
    Ok(vec![
        line("making a server's network", alone, String::new(), (alone * 1e3, " ms"), Goal::AtMost(20.0)),
        line(
            &format!("the same beside {CROWD} others"),
            crowded,
            spans(alone),
            (crowded / alone, ""),
            Goal::AtMost(1.2),
        ),
    ])
}

/// The median time to make a server's network, seconds.
async fn made(routed: &Routed, first: i64) -> anyhow::Result<f64> {
    let mut spans = Vec::new();
    for id in (first..).take(usize::try_from(MADE)?) {
        let begun = Instant::now();
        routed.ensure(ServerId(id), &nic(id)).await?;
        spans.push(begun.elapsed().as_secs_f64());
        routed.remove(ServerId(id)).await?;
    }
    median(&spans).context("nothing was made")
}
