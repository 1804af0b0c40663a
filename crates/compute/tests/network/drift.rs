//! What somebody else does to our rules and links is seen, told apart from what others do to theirs, and mended.

use crate::frames::{GATEWAY, NEIGHBOUR, OWN, OWN6, ipv4, udp};
use crate::ground::{
    Guest, in_namespace, in_namespace_with_threads, mac_of, nic, private, routed, sh, tidy, visible,
};
use bulut_compute::qemu::network::{Mended, Routed};
use bulut_compute::{Ipv4, Nic, Rates};
use bulut_model::ServerId;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use std::net::Ipv4Addr;
use std::sync::Arc;

const ID: ServerId = ServerId(20);

fn guarded() -> Nic {
    let rule = |direction| FirewallRule {
        direction,
        action: Action::Deny,
        protocol: Protocol::Tcp,
        ports: Some("25".parse().unwrap()),
        network: None,
    };
    Nic {
        firewall: vec![rule(Direction::In), rule(Direction::Out)],
        rates: Rates { up_bps: 1_000_000_000, down_bps: 0 },
        ..nic()
    }
}

async fn is_mended(routed: &Routed, nic: &Nic, thorough: bool) -> bool {
    !routed.keep(ID, nic, thorough).await.unwrap().is_empty()
}

#[test]
fn harm_to_our_rules_is_seen_and_mended_and_what_others_do_is_not_ours() {
    in_namespace(|| async {
        let routed = routed().await;
        let nic = guarded();
        routed.ensure(ID, &nic).await.unwrap();
        routed
            .ensure(
                ServerId(21),
                &Nic { mac: "52:54:00:00:00:15".into(), ipv4: None, ipv6: None, ..nic.clone() },
            )
            .await
            .unwrap();
        assert!(!is_mended(&routed, &nic, true).await, "nothing was changed");
        let right = visible();
        for (harm, host_only) in [
            ("nft flush chain netdev bulut4 bv20", false),
            ("nft delete chain netdev bulut4 bv20", false),
            ("nft delete table netdev bulut4", false),
            ("nft flush chain inet bulut bv20-in", false),
            ("nft insert rule inet bulut bv20-out accept", false),
            ("nft delete element inet bulut senders '{ \"bv20\" }'", false),
            ("nft flush map inet bulut receivers", false),
            ("nft flush ruleset", false),
            ("nft flush chain inet bulut input", true),
            ("nft insert rule inet bulut postrouting accept", true),
            ("nft 'add chain inet bulut forward { policy drop; }'", true),
            ("nft 'add chain inet bulut evil { type filter hook forward priority 10; policy drop; }'", true),
            (
                "nft 'add chain inet bulut evil { type filter hook input priority 1; }; add rule inet bulut evil drop'",
                true,
            ),
        ] {
            sh(harm);
            assert_eq!(is_mended(&routed, &nic, false).await, !host_only, "{harm}");
            let other = Nic { mac: "52:54:00:00:00:15".into(), ipv4: None, ipv6: None, ..nic.clone() };
            routed.keep(ServerId(21), &other, false).await.unwrap();
            assert_eq!(tidy(&visible()), tidy(&right), "after {harm}");
            assert!(!is_mended(&routed, &nic, true).await, "{harm}: mended twice");
        }
        for theirs in [
            "nft add table inet theirs; nft add chain inet theirs input; nft add rule inet theirs input accept",
            "nft delete table inet theirs",
        ] {
            sh(theirs);
            assert!(!is_mended(&routed, &nic, false).await, "{theirs}");
        }
    });
}

#[test]
fn harm_to_links_is_seen_by_a_thorough_look() {
    in_namespace(|| async {
        let routed = routed().await;
        let nic = guarded();
        routed.ensure(ID, &nic).await.unwrap();
        for (harm, what) in [
            ("ip route flush dev bv20", Mended::Routes),
            ("ip addr flush dev bv20", Mended::Addresses),
            ("ip link set bv20 down", Mended::Link),
            ("ip neigh replace 10.77.0.20 lladdr 52:54:00:00:00:09 nud permanent dev bv20", Mended::Routes),
            ("echo 0 > /proc/sys/net/ipv4/conf/bv20/rp_filter", Mended::Switches),
            ("echo 0 > /proc/sys/net/ipv4/ip_forward", Mended::Forwarding),
            ("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding", Mended::Forwarding),
            ("ip link del bu20", Mended::Speed),
            ("ip link del bv20", Mended::Tap),
        ] {
            sh(harm);
            let seen = routed.keep(ID, &nic, false).await.unwrap();
            assert!(seen.iter().all(|it| *it == Mended::Rules), "{harm}: {seen:?} seen without looking");
            let mended = routed.keep(ID, &nic, true).await.unwrap();
            assert!(mended.contains(&what), "{harm}: {mended:?}");
            assert!(!is_mended(&routed, &nic, true).await, "{harm}: mended twice");
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                assert_eq!(sh(&format!("cat /proc/sys/net/{switch}")).trim(), "1", "after {harm}");
            }
        }
    });
}

/// All machines are looked after by the same control plane, and at the same time.
#[test]
fn many_are_looked_after_at_once() {
    in_namespace_with_threads(|| async {
        let routed = Arc::new(routed().await);
        let ids: Vec<ServerId> = (1..=60).map(ServerId).collect();
        let nic_of = |id: ServerId| {
            let last = u8::try_from(id.0).unwrap();
            let own = nic();
            Nic {
                mac: format!("52:54:00:00:01:{last:02x}"),
                ipv4: own.ipv4.map(|it| Ipv4 { address: Ipv4Addr::new(10, 77, 0, last), ..it }),
                ipv6: None,
                ..own
            }
        };
        for id in &ids {
            routed.ensure(*id, &nic_of(*id)).await.unwrap();
        }
        for _ in 0..3 {
            sh("ip route flush dev bv7");
            let looks: Vec<_> = ids
                .iter()
                .map(|id| {
                    let (routed, id, nic) = (Arc::clone(&routed), *id, nic_of(*id));
                    tokio::spawn(async move { !routed.keep(id, &nic, true).await.unwrap().is_empty() })
                })
                .collect();
            let mut mended = Vec::new();
            for (id, look) in ids.iter().zip(looks) {
                mended.extend(look.await.unwrap().then_some(*id));
            }
            assert_eq!(mended, [ServerId(7)], "only one was harmed");
            assert!(sh("ip route").contains("10.77.0.7 dev bv7"));
        }
    });
}

/// The device that slows a guest was made anew, and frames find it.
#[test]
fn a_guest_speaks_again_when_the_device_that_slows_it_was_lost() {
    in_namespace(|| async {
        let routed = routed().await;
        let nic = guarded();
        routed.ensure(ID, &nic).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(ID).unwrap());
        let received =
            || sh("grep -E '^Ip: [0-9]' /proc/net/snmp | cut -d' ' -f4").trim().parse::<u64>().unwrap();
        let mut arrives = |from: Ipv4Addr| {
            let before = received();
            let mut frame = ipv4(from, GATEWAY, 17, &udp(9, 9, b"word"));
            frame[..6].copy_from_slice(&mac_of("bv20"));
            guest.send(&frame);
            let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while received() == before && std::time::Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            received() > before
        };
        assert!(arrives(OWN));
        sh("ip link del bu20");
        assert!(!arrives(OWN), "what was to be slowed passes without its device");
        routed.keep(ID, &nic, true).await.unwrap();
        assert!(arrives(OWN));
        assert!(!arrives(NEIGHBOUR), "a forged frame passes");
    });
}

#[test]
fn a_private_network_that_is_added_later_is_translated() {
    in_namespace(|| async {
        let routed = routed().await;
        routed.ensure(ID, &guarded()).await.unwrap();
        let before = visible();
        let later = private(Ipv4Addr::new(10, 99, 0, 0).into(), 24);
        let first = private(Ipv4Addr::new(10, 77, 0, 0).into(), 26);
        routed.set_pools(&[first, later]).await.unwrap();
        let rules = sh("nft list chain inet bulut postrouting");
        assert!(rules.contains("10.99.0.0/24") && !rules.contains("fd77::"), "{rules}");
        assert!(!is_mended(&routed, &guarded(), true).await, "a server's rules were lost");
        let wrong = private(Ipv4Addr::new(10, 99, 0, 0).into(), 33);
        assert!(routed.set_pools(&[wrong]).await.is_err());
        routed.set_pools(&[first, private(OWN6.into(), 64)]).await.unwrap();
        assert_eq!(tidy(&visible()), tidy(&before));
    });
}
