//! One tap: made, mended, removed; what its guest may say, what is counted of it, and where it may not go.

use crate::frames::{
    GATEWAY, GATEWAY6, MAC, NEIGHBOUR, NODES, OTHER_MAC, OWN, OWN6, arp, forged, honest, icmpv6, ipv4,
    neighbour, udp,
};
use crate::ground::{Guest, PATIENCE, in_namespace, mac_of, nic, routed, sh, tidy, visible};
use bulut_compute::qemu::network::{Counters, routed_possible};
use bulut_compute::{DriverError, Ipv4, Nic, Rates};
use bulut_model::ServerId;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

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
            "nft flush chain netdev bulut7 bv7",
            "nft flush chain netdev bulut7 bv7; nft delete chain netdev bulut7 bv7",
            "nft delete table netdev bulut7",
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
            assert_eq!(tidy(&index(&mended)), tidy(&index(&right)), "after {harm}");
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
        let slow = Rates { up_bps: 100_000_000, down_bps: 100_000_000 };
        for nic in [nic(), Nic { rates: slow, ..nic() }] {
            routed.ensure(id, &nic).await.unwrap();
            let mut guest = Guest::of(routed.open_tap(id).unwrap());
            for (what, frame) in &honest() {
                guest.send(frame);
                assert_eq!(routed.counters(id).await.unwrap().forged_frames, 0, "{what}");
            }
            let forged = forged();
            for (count, (what, frame)) in (1..).zip(&forged) {
                guest.send(frame);
                assert_eq!(routed.counters(id).await.unwrap().forged_frames, count, "{what}");
            }
            routed.ensure(id, &nic).await.unwrap();
            let kept = routed.counters(id).await.unwrap().forged_frames;
            assert_eq!(kept, forged.len() as u64, "a second ensure changed the counter");
            drop(guest);
            routed.remove(id).await.unwrap();
        }
    });
}

#[test]
fn without_the_rules_the_same_forgery_gets_through() {
    in_namespace(|| async {
        let routed = routed().await;
        let (one, two) = (ServerId(1), ServerId(2));
        routed.ensure(one, &nic()).await.unwrap();
        let mut other = nic();
        other.mac = "52:54:00:00:00:15".into();
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

        sh("nft flush chain netdev bulut1 bv1");
        sh("for it in all bv1; do echo 0 > /proc/sys/net/ipv4/conf/$it/rp_filter; done");
        guest.send(&says(stranger, "hello"));
        let seen =
            victim.receive(PATIENCE, hello).expect("without the rules it passes: else this proves nothing");
        assert_eq!(seen[26..30], stranger.octets());
    });
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

/// Where the kernel keeps a chain without its tap, one of an earlier version would hold the next guest of that number to who
/// its first one was.
#[test]
fn rules_of_an_earlier_version_go() {
    in_namespace(|| async {
        let routed = routed().await;
        let id = ServerId(7);
        let former = "nft 'add table netdev bulut; add counter netdev bulut bv7; \
                      add chain netdev bulut bv7 { type filter hook ingress device bv7 priority 0; }; \
                      add rule netdev bulut bv7 counter name bv7 drop'";
        for removed in [false, true] {
            routed.ensure(id, &nic()).await.unwrap();
            sh(former);
            assert!(sh("nft list table netdev bulut").contains("bv7"));
            if removed {
                routed.remove(id).await.unwrap();
            } else {
                routed.ensure(id, &nic()).await.unwrap();
            }
            let left = sh("nft list table netdev bulut");
            assert!(!left.contains("bv7"), "{left}");
        }
    });
}

/// The host has one table of neighbours for all taps and for its own networks; a full one would cut it off from its router.
#[test]
fn a_guest_cannot_fill_the_hosts_table_of_neighbours() {
    in_namespace(|| async {
        let routed = routed().await;
        let id = ServerId(7);
        routed.ensure(id, &nic()).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(id).unwrap());
        let known = || sh("ip -6 neigh show dev bv7 | wc -l").trim().parse::<u64>().unwrap();
        // A question that brings its sender's MAC, which the host remembers for its answer.
        let about_gateway = |last: u16| {
            let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xaaaa, last);
            let question = [&[0; 4][..], &GATEWAY6.octets(), &[1, 1], &MAC].concat();
            icmpv6(from, NODES, 135, &question)
        };
        let until = Instant::now() + Duration::from_secs(10);
        while known() < 2 {
            assert!(Instant::now() < until, "one neighbour is not remembered: this proves nothing");
            guest.send(&about_gateway(1));
            std::thread::sleep(Duration::from_millis(60));
        }
        for last in 1..=500 {
            guest.send(&about_gateway(last));
        }
        let (known, forged) = (known(), routed.counters(id).await.unwrap().forged_frames);
        assert!(known < 150, "{known} neighbours");
        assert!(forged > 350, "{forged} frames of 500 were too many");
        // Who stops is heard again.
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let before = routed.counters(id).await.unwrap().forged_frames;
            guest.send(&neighbour(135, OWN6, GATEWAY6));
            if routed.counters(id).await.unwrap().forged_frames == before {
                break;
            }
            assert!(Instant::now() < until, "a guest is not heard any more");
        }
    });
}
