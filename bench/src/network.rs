//! Routed networking: what the rules cost each packet, and how long a server's network takes to make.
//!
//! Promises: all of it happens in a network namespace of its own; guests are played by writing frames into their taps.
//! Must not know: what the rules say.

use crate::figures::{amount, median, time};
use crate::output::{Goal, Line, say};
use anyhow::Context as _;
use bulut_compute::qemu::network::{Routed, RoutedConfig, TapHandle, routed_possible};
use bulut_compute::{Ipv4, Ipv6, Nic, PoolNetwork, Rates};
use bulut_model::ServerId;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

/// Frames of one measurement come in bursts, which a tap's queue holds; and how many pairs of measurements are made.
const BURSTS: u64 = 400;
const BURST: u64 = 250;
const PAIRS: usize = 9;
/// How long a frame may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers whose network is made while the host has none, and while it has this many.
const MADE: i64 = 101;
const CROWD: i64 = 500;
/// How long making one may take, milliseconds; a fifth more beside others.
const LIMIT: f64 = 20.0;
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
            world()?;
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
    let pools = vec![PoolNetwork { address: Ipv4Addr::new(10, 77, 0, 0).into(), prefix: 16, private: true }];
    Routed::new(RoutedConfig { pools, ..RoutedConfig::default() }).await.context("no routed networking")
}

fn nft(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("nft").args(arguments).output().context("nft")?;
    anyhow::ensure!(done.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Who hears what the guest says.
#[derive(Debug, Clone, Copy)]
enum Hearer {
    /// Another guest of the host.
    Guest,
    /// A host outside, at the other end of a wire. It hears the guest by the host's address.
    World,
}

/// What the other measurement of a pair does without.
#[derive(Debug, Clone, Copy)]
enum Without {
    /// The chains of taps, which keep guests from forging.
    Taps,
    /// Any rule, and so without anybody who follows connections or translates addresses.
    Everything,
}

/// Frames in a second from a guest, with all rules and without some.
async fn passing() -> anyhow::Result<Vec<Line>> {
    let goal = Goal::AtLeast(0.95);
    let measured = [
        ("from guest to guest", "no rules at all", Hearer::Guest, Without::Everything, goal),
        ("from guest to the world", "no rules on taps", Hearer::World, Without::Taps, goal),
        ("from guest to the world", "no rules, no NAT", Hearer::World, Without::Everything, Goal::None),
    ];
    let mut lines = Vec::new();
    for (way, beside, hearer, without, goal) in measured {
        for (what, size) in [("packets of 64 bytes", 64), ("packets of 1500 bytes", 1514)] {
            say(&format!("{what} {way}, beside {beside}, {PAIRS} pairs"));
            let (mut guarded, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..PAIRS {
                guarded.push(rate(hearer, None, size).await?);
                bare.push(rate(hearer, Some(without), size).await?);
                ratios.extend(guarded.last().zip(bare.last()).map(|(one, other)| one / other));
            }
            lines.push(Line {
                what: format!("{what} {way}; peer: {beside}"),
                ours: amount_of(&guarded, size),
                peer: amount_of(&bare, size),
                figure: median(&ratios).map(|ratio| (ratio, "")),
                goal,
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

/// Frames that arrive in a second of work. Everything is made anew, so that no measurement has an older one's connections.
async fn rate(hearer: Hearer, without: Option<Without>, size: usize) -> anyhow::Result<f64> {
    let routed = routed().await?;
    let (from, to) = (ServerId(1), ServerId(2));
    for id in [from, to] {
        routed.ensure(id, &nic(id.0)).await?;
    }
    let (sender, receiver) = (routed.open_tap(from)?, routed.open_tap(to)?);
    match without {
        None => {}
        Some(Without::Taps) => {
            for id in [from, to] {
                nft(&["flush", "chain", "netdev", &format!("bulut{id}"), &format!("bv{id}")])?;
            }
        }
        Some(Without::Everything) => nft(&["flush", "ruleset"])?,
    }
    let rate = pump(sender, receiver, hearer, size)?;
    for id in [from, to] {
        routed.remove(id).await?;
    }
    Ok(rate)
}

/// The wire to the world, and its far end.
const WIRE: [&str; 2] = ["wire", "world"];
const WORLD: [u8; 4] = [192, 0, 2, 2];

/// Makes the wire.
fn world() -> anyhow::Result<()> {
    let [wire, world] = WIRE;
    for line in [
        &["link", "add", wire, "type", "veth", "peer", "name", world][..],
        &["addr", "add", "192.0.2.1/24", "dev", wire],
        &["link", "set", world, "up"],
        &["link", "set", wire, "up"],
        &["neigh", "add", "192.0.2.2", "lladdr", "52:54:00:00:99:02", "nud", "permanent", "dev", wire],
    ] {
        let done = Command::new("ip").args(line).output().context("ip")?;
        anyhow::ensure!(done.status.success(), "ip {line:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

/// A datagram of a guest.
fn frame(from: u8, to: [u8; 4], size: usize) -> anyhow::Result<Vec<u8>> {
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
    head.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 77, 0, from]);
    head.extend(to);
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

/// One guest's end of a tap, and what arrives there.
struct End {
    tap: File,
    buffer: Vec<u8>,
}

impl End {
    fn of(tap: TapHandle) -> anyhow::Result<Self> {
        let tap = File::from(tap.fd);
        fcntl(&tap, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { tap, buffer: vec![0; 4096] })
    }

    /// Takes all that waits, and counts what has this length.
    fn take(&mut self, length: usize) -> u64 {
        let mut count = 0;
        while let Ok(read) = self.tap.read(&mut self.buffer) {
            count += u64::from(read == length);
        }
        count
    }
}

/// How many frames the hearer has heard since it was asked last.
fn heard(hearer: Hearer, receiver: &mut End, length: usize, before: &mut u64) -> anyhow::Result<u64> {
    match hearer {
        Hearer::Guest => Ok(receiver.take(length)),
        Hearer::World => {
            let devices = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            let mut each = devices.lines().filter_map(|line| line.split_once(':'));
            let (_, world) = each.find(|it| it.0.trim() == WIRE[1]).context("the wire is gone")?;
            // Bytes, then packets received.
            let counted: u64 = world.split_whitespace().nth(1).context("no count")?.parse()?;
            Ok(counted - std::mem::replace(before, counted))
        }
    }
}

/// One thread carries each frame all the way: it writes as the guest that speaks, and reads as the one that hears. With two,
/// the figure would be that of how often one of them has to be woken.
fn pump(sender: TapHandle, receiver: TapHandle, hearer: Hearer, size: usize) -> anyhow::Result<f64> {
    let (mut sender, mut receiver) = (End::of(sender)?, End::of(receiver)?);
    let frame = match hearer {
        Hearer::Guest => frame(1, [10, 77, 0, 2], size)?,
        Hearer::World => frame(1, WORLD, size)?,
    };
    let answer = self::frame(2, [10, 77, 0, 1], size)?;
    let mut before = 0;
    heard(hearer, &mut receiver, frame.len(), &mut before)?;
    // A tap that was just opened takes a moment until it carries. Both have spoken, as in any conversation.
    let until = Instant::now() + PATIENCE;
    let mut arrived = 0;
    while arrived < 3 {
        anyhow::ensure!(Instant::now() < until, "no frame arrives");
        sender.tap.write_all(&frame)?;
        receiver.tap.write_all(&answer)?;
        std::thread::sleep(Duration::from_millis(1));
        sender.take(0);
        arrived += heard(hearer, &mut receiver, frame.len(), &mut before)?;
    }
    let (mut passed, begun) = (0, worked()?);
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            sender.tap.write_all(&frame)?;
        }
        passed += heard(hearer, &mut receiver, frame.len(), &mut before)?;
    }
    let seconds = worked()?.saturating_sub(begun).as_secs_f64();
    anyhow::ensure!(passed >= (BURSTS * BURST) * 99 / 100, "only {passed} frames arrived");
    #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
    Ok(passed as f64 / seconds)
}

/// How long this thread has worked: what else runs on the machine does not count.
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
    let line = |what: String, ours: f64, peer: String, figure, goal| Line {
        what,
        ours: spans(ours),
        peer,
        figure: Some(figure),
        goal,
    };
    let making = "making a server's network";
    let beside = format!("{making} beside {CROWD} others");
    Ok(vec![
        line(making.to_owned(), alone, String::new(), (alone * 1e3, " ms"), Goal::AtMost(LIMIT)),
        line(beside.clone(), crowded, String::new(), (crowded * 1e3, " ms"), Goal::AtMost(1.2 * LIMIT)),
        line(format!("{beside}; peer: alone"), crowded, spans(alone), (crowded / alone, ""), Goal::None),
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
