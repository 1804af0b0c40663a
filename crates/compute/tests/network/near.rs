//! Guests of one host that speak with each other: their packets go from tap to tap, as long as nobody has a rule for them.

use crate::frames::{GATEWAY, LINK, MAC, NEIGHBOUR, NEIGHBOUR6, OTHER_MAC, OWN, OWN6, ipv4, ipv6, udp};
use crate::ground::{Guest, PATIENCE, in_namespace, mac_of, nic, routed, sh, tidy, visible};
use bulut_compute::qemu::network::Routed;
use bulut_compute::{Ipv4, Ipv6, Nic};
use bulut_model::ServerId;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const ONE: ServerId = ServerId(1);
/// Its tap is in another table than that of the first.
const TWO: ServerId = ServerId(18);
const SHORT: Duration = Duration::from_millis(300);

fn other() -> Nic {
    let own = nic();
    Nic {
        mac: "52:54:00:00:00:15".into(),
        ipv4: Some(Ipv4 { address: NEIGHBOUR, prefix: 26, gateway: GATEWAY }),
        ipv6: own.ipv6.map(|it| Ipv6 { address: NEIGHBOUR6, ..it }),
        ..own
    }
}

/// A rule against what nobody here sends.
fn idle_rule() -> FirewallRule {
    let (direction, action) = (Direction::In, Action::Deny);
    FirewallRule {
        direction,
        action,
        protocol: Protocol::Tcp,
        ports: Some("25".parse().unwrap()),
        network: None,
    }
}

struct Ground {
    routed: Routed,
    one: Guest,
    two: Guest,
}

impl Ground {
    async fn new() -> Self {
        let routed = routed().await;
        routed.ensure(ONE, &nic()).await.unwrap();
        routed.ensure(TWO, &other()).await.unwrap();
        let (one, two) = (Guest::of(routed.open_tap(ONE).unwrap()), Guest::of(routed.open_tap(TWO).unwrap()));
        let mut ground = Self { routed, one, two };
        // A tap that was just opened takes a moment until it carries.
        let until = Instant::now() + PATIENCE;
        while ground.passes("warm", &[]).is_none() {
            assert!(Instant::now() < until, "nothing passes from guest to guest");
        }
        ground
    }

    /// What the second guest receives of what the first says, with these bytes of the packet changed.
    fn passes(&mut self, word: &str, changes: &[(usize, u8)]) -> Option<Vec<u8>> {
        let mut frame = to_gateway("bv1", ipv4(OWN, NEIGHBOUR, 17, &udp(1234, 5678, word.as_bytes())));
        for (at, value) in changes {
            frame[14 + at] = *value;
        }
        check(&mut frame);
        self.one.send(&frame);
        self.two.receive(SHORT, |frame| frame.ends_with(word.as_bytes()))
    }

    /// Whether it passes, and whether the host's stack has seen it.
    fn goes(&mut self, word: &str) -> (bool, bool) {
        let before = forwarded();
        (self.passes(word, &[]).is_some(), forwarded() > before)
    }
}

fn to_gateway(tap: &str, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac_of(tap));
    frame
}

/// The right checksum of a changed IPv4 header.
fn check(frame: &mut [u8]) {
    let end = 14 + usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let sum = crate::frames::ones_complement(&[&frame[14..end]]).to_be_bytes();
    frame[24..26].copy_from_slice(&sum);
}

/// How many packets of IPv4 the host's stack has forwarded.
fn forwarded() -> u64 {
    sh("grep -E '^Ip: [0-9]' /proc/net/snmp | cut -d' ' -f7").trim().parse().unwrap()
}

const PASSED_BY: (bool, bool) = (true, false);
const PASSED_THROUGH: (bool, bool) = (true, true);

#[test]
fn packets_go_from_tap_to_tap_as_a_router_sends_them_on() {
    in_namespace(|| async {
        let mut ground = Ground::new().await;
        let before = forwarded();
        let seen = ground.passes("hello", &[]).unwrap();
        assert_eq!(forwarded(), before, "the host's stack saw it");
        assert_eq!(seen[..6], OTHER_MAC, "it is not for the guest's own card");
        assert_eq!(seen[6..12], mac_of("bv18")[..], "it does not come from the gateway");
        assert_eq!(seen[22], 63, "its time to live did not run");
        let mut whole = seen.clone();
        check(&mut whole);
        assert_eq!(seen, whole, "its checksum is wrong");

        let word =
            ipv6(OWN6, NEIGHBOUR6, 17, &[&udp(1, 2, b"")[..4], &[0, 12, 0xab, 0xcd], b"six!"].concat());
        ground.one.send(&to_gateway("bv1", word));
        let seen = ground.two.receive(PATIENCE, |frame| frame.ends_with(b"six!")).expect("IPv6 passes");
        assert_eq!((&seen[..6], seen[21]), (&OTHER_MAC[..], 254));
        let passed = sh("grep -E '^Ip6OutForwDatagrams' /proc/net/snmp6 | awk '{print $2}'");
        assert_eq!(passed.trim(), "0", "the host's stack saw IPv6");

        // Counted as ever.
        let counted = ground.routed.counters(ONE).await.unwrap();
        assert!(counted.sent_bytes > 0 && counted.forged_frames == 0, "{counted:?}");
    });
}

#[test]
fn what_a_router_has_to_look_into_goes_through_the_hosts_stack() {
    in_namespace(|| async {
        let mut ground = Ground::new().await;
        assert_eq!(ground.passes("end", &[(8, 1)]), None, "a packet at its end was sent on");
        let late =
            ground.one.receive(PATIENCE, |frame| frame.len() > 34 && frame[23] == 1 && frame[34] == 11);
        assert!(late.is_some(), "the guest was not told that its packet came to its end");

        let before = forwarded();
        let mut frame = ipv4(OWN, NEIGHBOUR, 17, &[&[1, 1, 1, 0][..], &udp(1, 2, b"options")].concat());
        frame[14] = 0x46; // one word of options, which say nothing
        check(&mut frame);
        ground.one.send(&to_gateway("bv1", frame));
        assert!(ground.two.receive(PATIENCE, |frame| frame.ends_with(b"options")).is_some());
        assert_eq!(forwarded(), before + 1, "options were sent on unread");
    });
}

#[test]
fn nobody_passes_by_a_firewall_and_forgery_stays_forgery() {
    in_namespace(|| async {
        let mut ground = Ground::new().await;
        assert_eq!(ground.goes("open"), PASSED_BY);
        let guarded = |nic: Nic| Nic { firewall: vec![idle_rule()], ..nic };
        ground.routed.ensure(TWO, &guarded(other())).await.unwrap();
        assert_eq!(ground.goes("the receiver has a rule"), PASSED_THROUGH);
        ground.routed.ensure(TWO, &other()).await.unwrap();
        assert_eq!(ground.goes("open again"), PASSED_BY);
        ground.routed.ensure(ONE, &guarded(nic())).await.unwrap();
        assert_eq!(ground.goes("the sender has a rule"), PASSED_THROUGH);
        let deny = FirewallRule { protocol: Protocol::Any, ports: None, ..idle_rule() };
        ground.routed.ensure(ONE, &nic()).await.unwrap();
        ground.routed.ensure(TWO, &Nic { firewall: vec![deny], ..other() }).await.unwrap();
        assert_eq!(ground.passes("denied", &[]), None);

        ground.routed.ensure(TWO, &other()).await.unwrap();
        let stranger = Ipv4Addr::new(10, 77, 0, 30);
        for (frame, what) in [
            (ipv4(stranger, NEIGHBOUR, 17, &udp(1, 2, b"forged")), "a stranger's address"),
            (ipv4(OWN, NEIGHBOUR, 17, &udp(67, 68, b"forged")), "a DHCP server's port"),
            (ipv6(LINK, NEIGHBOUR6, 17, &udp(547, 546, b"forged")), "a DHCPv6 server's port"),
        ] {
            let before = ground.routed.counters(ONE).await.unwrap().forged_frames;
            ground.one.send(&to_gateway("bv1", frame.clone()));
            assert!(ground.two.receive(SHORT, |frame| frame.ends_with(b"forged")).is_none(), "{what} passed");
            assert_eq!(ground.routed.counters(ONE).await.unwrap().forged_frames, before + 1, "{what}");
            assert_eq!(frame[6..12], MAC);
        }
    });
}

#[test]
fn nobody_passes_by_the_rules_of_the_hosts_owner() {
    in_namespace(|| async {
        let mut ground = Ground::new().await;
        assert_eq!(ground.goes("open"), PASSED_BY);
        let right = visible();
        sh(
            "nft add table ip theirs; nft 'add chain ip theirs passing { type filter hook forward priority 5; }'",
        );
        ground.routed.keep(TWO, &other(), false).await.unwrap();
        assert_eq!(ground.goes("they have no rule yet"), PASSED_THROUGH);
        sh("nft add rule ip theirs passing udp dport 5678 drop");
        assert_eq!(ground.passes("they drop it", &[]), None);
        // A guest that comes now passes by nobody either.
        ground.routed.ensure(TWO, &other()).await.unwrap();
        assert_eq!(ground.passes("they still drop it", &[]), None);
        sh("nft delete table ip theirs");
        ground.routed.keep(TWO, &other(), false).await.unwrap();
        assert_eq!(ground.goes("open again"), PASSED_BY);
        assert_eq!(tidy(&visible()), tidy(&right));
    });
}

#[test]
fn an_address_leads_to_whom_it_belongs_and_harm_to_the_maps_is_mended() {
    in_namespace(|| async {
        let mut ground = Ground::new().await;
        let right = visible();
        for harm in [
            "nft flush map netdev bulut1 near4",
            "nft add element netdev bulut1 near4 '{ 10.77.0.30 : \"lo\" }'",
            "nft delete element netdev bulut2 near6 '{ fd77::15 }'",
        ] {
            sh(harm);
            ground.routed.keep(TWO, &other(), false).await.unwrap();
            assert_eq!(tidy(&visible()), tidy(&right), "after {harm}");
        }
        assert_eq!(ground.goes("mended"), PASSED_BY);

        // Another server gets the address.
        ground.routed.remove(TWO).await.unwrap();
        assert!(!sh("nft list ruleset netdev").contains("10.77.0.21"), "an address leads to who is gone");
        let third = ServerId(35);
        ground.routed.ensure(third, &other()).await.unwrap();
        ground.two = Guest::of(ground.routed.open_tap(third).unwrap());
        let until = Instant::now() + PATIENCE;
        while ground.passes("moved", &[]).is_none() {
            assert!(Instant::now() < until, "nothing passes to the new owner");
        }
        assert_eq!(ground.goes("moved for good"), PASSED_BY);
    });
}
