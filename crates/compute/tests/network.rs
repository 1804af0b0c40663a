//! Routed networking against the real kernel, in network namespaces of its own: nothing of the host is touched.
//!
//! Needs root; without it each test says so and returns. A guest is played by writing frames into the tap's
//! descriptor, as the hypervisor does.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test stops where its ground gives way, and prints for whoever reads its output"
)]

use bulut_compute::qemu::network::{Counters, Routed, RoutedConfig, TapHandle, routed_possible};
use bulut_compute::{DriverError, Ipv4, Ipv6, Nic, Rates};
use bulut_model::ServerId;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x0a];
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x0b];
const EVERYONE: [u8; 6] = [0xff; 6];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 21);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x14);
const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x15);
const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 0x0a);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// How long a frame may be on its way on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Runs the body in a network namespace of its own, on a thread of its own; `false` where there is no root.
fn in_namespace<F>(body: impl FnOnce() -> F + Send + 'static) -> bool
where
    F: Future<Output = ()>,
{
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces need root");
        return false;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        sh("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
    true
}

fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn nic() -> Nic {
    Nic {
        mac: "52:54:00:00:00:0a".into(),
        ipv4: Some(Ipv4 { address: OWN, prefix: 26, gateway: GATEWAY }),
        ipv6: Some(Ipv6 { address: OWN6, prefix: 128, gateway: GATEWAY6 }),
        resolvers: vec![],
        more_ipv4: vec![],
        mtu: 1500,
        firewall: vec![],
        rates: Rates::default(),
    }
}

async fn routed() -> Routed {
    let nat_sources = vec![(Ipv4Addr::new(10, 77, 0, 0).into(), 26), (OWN6.into(), 64)];
    Routed::new(RoutedConfig { nat_sources }).await.unwrap()
}

/// All that an administrator could see: links, addresses, routes, neighbours, rules.
fn visible() -> String {
    [
        "ip -d link show type tun",
        "ip addr",
        "ip route",
        "ip -6 route",
        "ip neigh show nud permanent",
        "nft list ruleset inet",
        "nft list ruleset netdev",
    ]
    .map(|it| format!("# {it}\n{}", sh(it)))
    .concat()
}

fn ones_complement(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn ethernet(from: [u8; 6], to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn arp(operation: u16, sender: [u8; 6], sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, u8::try_from(operation).unwrap()];
    let body = [&head[..], &sender, &sender_ip.octets(), &[0; 6], &target_ip.octets()].concat();
    ethernet(MAC, EVERYONE, 0x0806, &body)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut head = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    head.extend(from.octets());
    head.extend(to.octets());
    let sum = ones_complement(&[&head]).to_be_bytes();
    head[10..12].copy_from_slice(&sum);
    ethernet(MAC, EVERYONE, 0x0800, &[&head, payload].concat())
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 255];
    ethernet(MAC, EVERYONE, 0x86dd, &[&head[..], &from.octets(), &to.octets(), payload].concat())
}

fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], body].concat();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let sum =
        ones_complement(&[&from.octets(), &to.octets(), &length, &[0, 0, 0, 58], &message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv6(from, to, 58, &message)
}

/// A neighbour solicitation (135) or advertisement (136) about `target`.
fn neighbour(kind: u8, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    icmpv6(from, NODES, kind, &[&[0x20, 0, 0, 0][..], &target.octets()].concat())
}

struct Guest(File);

impl Guest {
    fn of(tap: TapHandle) -> Self {
        assert!(tap.vnet_hdr);
        Self(File::from(tap.fd))
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&[&[0; 10], frame].concat()).unwrap();
    }

    /// The first frame that fits, of those that arrive within the time.
    fn receive(&mut self, within: Duration, fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let until = Instant::now() + within;
        let mut frame = vec![0; 4096];
        while Instant::now() < until {
            match self.0.read(&mut frame) {
                Ok(count) if fits(&frame[10..count]) => return Some(frame[10..count].to_vec()),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        None
    }
}

#[test]
fn routed_networking_is_possible_where_there_is_root() {
    let ran = in_namespace(|| async {
        let before = sh("nft list ruleset; ip link");
        assert_eq!(routed_possible(), Ok(()));
        assert_eq!(sh("nft list ruleset; ip link"), before, "the question left something behind");
    });
    assert_eq!(ran, routed_possible().is_ok());
}

#[test]
fn ensure_twice_is_once_and_remove_leaves_nothing() {
    in_namespace(|| async {
        let routed = routed().await;
        let bare = visible();
        assert_eq!(routed.list().await.unwrap(), []);
        routed.ensure(ServerId(7), &nic()).await.unwrap();
        let once = visible();
        for expected in ["bv7", "10.77.0.1/32", "fe80::1/64", "10.77.0.20 dev bv7", "fd77::14 dev bv7"] {
            assert!(once.contains(expected), "no {expected} in\n{once}");
        }
        assert!(!once.contains("tentative"), "{once}");
        routed.ensure(ServerId(7), &nic()).await.unwrap();
        assert_eq!(visible(), once);
        let again = self::routed().await;
        again.ensure(ServerId(7), &nic()).await.unwrap();
        assert_eq!(visible(), once, "another control plane changed something");
        assert_eq!(routed.list().await.unwrap(), [ServerId(7)]);
        sh("ip link del bv7");
        assert_eq!(routed.list().await.unwrap(), [ServerId(7)], "what is half removed is not listed");

        routed.remove(ServerId(7)).await.unwrap();
        assert_eq!(visible(), bare);
        routed.remove(ServerId(7)).await.unwrap();
        assert_eq!(routed.list().await.unwrap(), []);
        assert!(matches!(routed.counters(ServerId(7)).await, Err(DriverError::Gone(_))));
        assert!(matches!(routed.open_tap(ServerId(7)), Err(DriverError::Gone(_))));
        assert_eq!(visible(), bare, "looking made something");
    });
}

#[test]
fn drift_is_mended_and_a_changed_address_leaves_no_trace_of_the_old() {
    in_namespace(|| async {
        let routed = routed().await;
        let id = ServerId(7);
        routed.ensure(id, &nic()).await.unwrap();
        let right = visible();
        for harm in [
            "nft flush chain netdev bulut bv7",
            "nft flush chain netdev bulut bv7; nft delete chain netdev bulut bv7",
            "nft delete table netdev bulut",
            "ip addr flush dev bv7",
            "ip route flush dev bv7",
            "ip neigh flush nud permanent dev bv7; ip neigh del 10.77.0.20 dev bv7 2>/dev/null; true",
            "ip link set bv7 down",
            "ip link set bv7 mtu 1400",
            "ip addr add 10.99.0.1/24 dev bv7; ip route add 10.98.0.0/24 dev bv7",
            "ip neigh add 10.77.0.9 lladdr 52:54:00:00:00:09 nud permanent dev bv7",
            "ip neigh replace 10.77.0.20 lladdr 52:54:00:00:00:09 nud permanent dev bv7",
            "echo 0 > /proc/sys/net/ipv4/conf/bv7/proxy_arp; echo 1 > /proc/sys/net/ipv6/conf/bv7/disable_ipv6",
            "ip link del bv7",
        ] {
            sh(harm);
            routed.ensure(id, &nic()).await.unwrap();
            let mended = visible();
            let index = |text: &str| {
                text.lines()
                    .map(|it| it.split_once(": bv7").map_or(it, |it| it.1))
                    .filter(|it| !it.contains("link/ether"))
                    .map(|it| format!("{it}\n"))
                    .collect::<String>()
            };
            assert_eq!(index(&mended), index(&right), "after {harm}");
            assert_eq!(sh("cat /proc/sys/net/ipv4/conf/bv7/proxy_arp").trim(), "1", "after {harm}");
        }
        let mut moved = nic();
        moved.ipv4 = Some(Ipv4 { address: NEIGHBOUR, prefix: 26, gateway: Ipv4Addr::new(10, 77, 0, 2) });
        moved.ipv6 = None;
        routed.ensure(id, &moved).await.unwrap();
        let moved = visible();
        for old in ["10.77.0.20", "10.77.0.1/32", "fd77::14"] {
            assert!(!moved.contains(old), "{old} is still there:\n{moved}");
        }
    });
}

#[test]
fn a_foreign_link_of_that_name_is_neither_used_nor_removed() {
    in_namespace(|| async {
        let routed = routed().await;
        sh("ip link add bv9 type bridge");
        assert!(matches!(routed.ensure(ServerId(9), &nic()).await, Err(DriverError::Fatal(_))));
        assert!(matches!(routed.remove(ServerId(9)).await, Err(DriverError::Fatal(_))));
        assert!(sh("ip link").contains("bv9"));
        assert_eq!(routed.list().await.unwrap(), []);
    });
}

#[test]
fn every_forged_frame_is_dropped_and_counted_and_no_honest_one() {
    in_namespace(|| async {
        let routed = routed().await;
        let id = ServerId(7);
        routed.ensure(id, &nic()).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(id).unwrap());
        let nowhere = Ipv4Addr::UNSPECIFIED;
        let all = Ipv4Addr::BROADCAST;
        let question = udp(9, 9, b"x");
        let honest = [
            ("arp for the gateway", arp(1, MAC, OWN, GATEWAY)),
            ("arp for a neighbour", arp(1, MAC, OWN, NEIGHBOUR)),
            ("arp announcement", arp(1, MAC, OWN, OWN)),
            ("arp probe of its own address", arp(1, MAC, nowhere, OWN)),
            ("arp answer", arp(2, MAC, OWN, GATEWAY)),
            ("udp", ipv4(OWN, GATEWAY, 17, &question)),
            ("dhcp question", ipv4(nowhere, all, 17, &udp(68, 67, b"x"))),
            ("udp6", ipv6(OWN6, GATEWAY6, 17, &question)),
            ("udp6 link-local", ipv6(LINK, GATEWAY6, 17, &question)),
            ("solicitation of the gateway", neighbour(135, OWN6, GATEWAY6)),
            ("advertisement of its own", neighbour(136, OWN6, OWN6)),
            ("advertisement of its link-local", neighbour(136, LINK, LINK)),
            ("duplicate detection of its own", neighbour(135, Ipv6Addr::UNSPECIFIED, OWN6)),
            ("duplicate detection of its link-local", neighbour(135, Ipv6Addr::UNSPECIFIED, LINK)),
            ("router solicitation", icmpv6(LINK, NODES, 133, &[0; 4])),
            ("multicast report", icmpv6(Ipv6Addr::UNSPECIFIED, NODES, 143, &[0; 4])),
        ];
        for (what, frame) in &honest {
            guest.send(frame);
            assert_eq!(routed.counters(id).await.unwrap().forged_frames, 0, "{what}");
        }
        let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        let from = |mac: [u8; 6], mut frame: Vec<u8>| {
            frame[6..12].copy_from_slice(&mac);
            frame
        };
        // A hop-by-hop header that only pads, before the message that the rules must still find.
        let behind_header = |from: Ipv6Addr, kind: u8, body: &[u8]| {
            let plain = icmpv6(from, NODES, kind, body);
            ipv6(from, NODES, 0, &[&[58, 0, 1, 4, 0, 0, 0, 0][..], &plain[54..]].concat())
        };
        let forged = [
            ("foreign mac", from(OTHER_MAC, ipv4(OWN, GATEWAY, 17, &question))),
            ("foreign mac in arp only", arp(2, OTHER_MAC, OWN, GATEWAY)),
            ("arp answer for the gateway", arp(2, MAC, GATEWAY, NEIGHBOUR)),
            ("gratuitous arp for the gateway", arp(1, MAC, GATEWAY, GATEWAY)),
            ("arp answer for a neighbour", arp(2, MAC, NEIGHBOUR, GATEWAY)),
            ("arp request as a neighbour", arp(1, MAC, NEIGHBOUR, GATEWAY)),
            ("arp probe of a neighbour", arp(1, MAC, nowhere, NEIGHBOUR)),
            ("arp answer from nowhere", arp(2, MAC, nowhere, OWN)),
            ("neighbour's ipv4", ipv4(NEIGHBOUR, GATEWAY, 17, &question)),
            ("gateway's ipv4", ipv4(GATEWAY, NEIGHBOUR, 17, &question)),
            ("ipv4 from nowhere", ipv4(nowhere, all, 17, &question)),
            ("dhcp offer", ipv4(OWN, all, 17, &udp(67, 68, b"x"))),
            ("dhcp offer as the gateway", ipv4(GATEWAY, all, 17, &udp(67, 68, b"x"))),
            ("icmp redirect", ipv4(OWN, GATEWAY, 1, &[5, 0, 0xfa, 0xff, 0, 0, 0, 0])),
            ("neighbour's ipv6", ipv6(NEIGHBOUR6, GATEWAY6, 17, &question)),
            ("gateway's ipv6", ipv6(GATEWAY6, NODES, 17, &question)),
            ("router advertisement", icmpv6(LINK, NODES, 134, &[0; 12])),
            ("router advertisement as the gateway", icmpv6(GATEWAY6, NODES, 134, &[0; 12])),
            ("router advertisement behind a header", behind_header(LINK, 134, &[0; 12])),
            ("redirect", icmpv6(LINK, NODES, 137, &[0; 36])),
            ("advertisement of the gateway", neighbour(136, LINK, GATEWAY6)),
            ("advertisement of a neighbour", neighbour(136, OWN6, NEIGHBOUR6)),
            ("advertisement from nowhere", neighbour(136, Ipv6Addr::UNSPECIFIED, OWN6)),
            ("duplicate detection of a neighbour", neighbour(135, Ipv6Addr::UNSPECIFIED, NEIGHBOUR6)),
            ("duplicate detection of the gateway", neighbour(135, Ipv6Addr::UNSPECIFIED, GATEWAY6)),
            ("dhcpv6 server", ipv6(LINK, NODES, 17, &udp(547, 546, b"x"))),
            ("udp6 from nowhere", ipv6(Ipv6Addr::UNSPECIFIED, NODES, 17, &question)),
            ("vlan tag", tagged(ipv4(OWN, GATEWAY, 17, &question))),
            ("another protocol", ethernet(MAC, EVERYONE, 0x88cc, &[0; 46])),
        ];
        for (count, (what, frame)) in (1..).zip(&forged) {
            guest.send(frame);
            assert_eq!(routed.counters(id).await.unwrap().forged_frames, count, "{what}");
        }
        routed.ensure(id, &nic()).await.unwrap();
        let kept = routed.counters(id).await.unwrap().forged_frames;
        assert_eq!(kept, forged.len() as u64, "a second ensure changed the counter");
    });
}

#[test]
fn without_the_rules_the_same_forgery_gets_through() {
    in_namespace(|| async {
        let routed = routed().await;
        let (one, two) = (ServerId(1), ServerId(2));
        routed.ensure(one, &nic()).await.unwrap();
        let mut other = nic();
        other.mac = "52:54:00:00:00:0b".into();
        other.ipv4 = Some(Ipv4 { address: NEIGHBOUR, prefix: 26, gateway: GATEWAY });
        other.ipv6 = None;
        routed.ensure(two, &other).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(one).unwrap());
        let mut victim = Guest::of(routed.open_tap(two).unwrap());
        let gateway_mac = mac_of("bv1");
        let says = |source: Ipv4Addr, word: &str| {
            let mut frame = ipv4(source, NEIGHBOUR, 17, &udp(1234, 5678, word.as_bytes()));
            frame[..6].copy_from_slice(&gateway_mac);
            frame
        };
        // A tap that was just opened takes a moment until it carries.
        let until = Instant::now() + Duration::from_secs(10);
        let seen = loop {
            guest.send(&says(OWN, "first"));
            if let Some(frame) = victim.receive(Duration::from_millis(100), |frame| frame.ends_with(b"first"))
            {
                break frame;
            }
            assert!(Instant::now() < until, "honest traffic from guest to guest does not pass");
        };
        assert_eq!(seen[..6], OTHER_MAC, "the permanent neighbour is not used");
        let stranger = Ipv4Addr::new(10, 77, 0, 30);
        let hello = |frame: &[u8]| frame.ends_with(b"hello");
        guest.send(&says(stranger, "hello"));
        guest.send(&says(OWN, "hello"));
        let seen = victim.receive(PATIENCE, hello).expect("honest traffic from guest to guest passes");
        assert_eq!(seen[26..30], OWN.octets(), "the forged packet got through");
        assert_eq!(routed.counters(one).await.unwrap().forged_frames, 1);

        sh("nft flush chain netdev bulut bv1");
        sh("for it in all bv1; do echo 0 > /proc/sys/net/ipv4/conf/$it/rp_filter; done");
        guest.send(&says(stranger, "hello"));
        let seen =
            victim.receive(PATIENCE, hello).expect("without the rules it passes: else this proves nothing");
        assert_eq!(seen[26..30], stranger.octets());
    });
}

fn mac_of(tap: &str) -> Vec<u8> {
    let text = sh(&format!("ip -o link show {tap} | sed 's/.*ether //; s/ .*//'"));
    text.trim().split(':').map(|it| u8::from_str_radix(it, 16).unwrap()).collect()
}

#[test]
fn counters_are_the_guests_and_the_host_is_out_of_reach() {
    in_namespace(|| async {
        let routed = routed().await;
        let id = ServerId(7);
        // The host's own chatter over IPv6 would be counted too.
        let nic = Nic { ipv6: None, ..nic() };
        routed.ensure(id, &nic).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(id).unwrap());
        assert!(matches!(routed.open_tap(id), Err(DriverError::Retry(_))), "a tap was opened twice");

        let until = Instant::now() + Duration::from_secs(10);
        let answer = loop {
            guest.send(&arp(1, MAC, OWN, GATEWAY));
            let is_answer = |frame: &[u8]| frame[12..14] == [8, 6] && frame[21] == 2;
            if let Some(frame) = guest.receive(Duration::from_millis(100), is_answer) {
                break frame;
            }
            assert!(Instant::now() < until, "the gateway does not answer ARP");
        };
        assert_eq!(answer[28..32], GATEWAY.octets());
        let before = routed.counters(id).await.unwrap();
        // Neither is answered, so nothing waits for the guest.
        guest.send(&arp(1, MAC, OWN, OWN));
        guest.send(&arp(2, MAC, OWN, GATEWAY));
        let after = routed.counters(id).await.unwrap();
        assert_eq!(after.sent_bytes - before.sent_bytes, 84, "two ARP frames of 42 bytes were sent");

        let mut to_host = ipv4(OWN, GATEWAY, 17, &udp(9, 5353, b"hello"));
        to_host[..6].copy_from_slice(&mac_of("bv7"));
        let socket = UdpSocket::bind((GATEWAY, 5353)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        guest.send(&to_host);
        assert!(socket.recv(&mut [0; 64]).is_err(), "a guest reached a service of the host");
        sh("nft flush chain inet bulut input");
        guest.send(&to_host);
        assert_eq!(
            socket.recv(&mut [0; 64]).expect("without the rule it is reached: else this proves nothing"),
            5
        );

        let big = vec![0; 1000];
        let before: Counters = routed.counters(id).await.unwrap();
        for _ in 0..10 {
            socket.send_to(&big, (OWN, 9)).unwrap();
            // What waits in the tap's queue counts when the guest takes it.
            assert!(guest.receive(PATIENCE, |frame| frame.len() == 1042).is_some());
        }
        let after = routed.counters(id).await.unwrap();
        assert_eq!(after.received_bytes - before.received_bytes, 10 * (1000 + 8 + 20 + 14));
    });
}
