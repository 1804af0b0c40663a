//! A server's firewall, as whoever speaks to it and whomever it speaks to sees it.

use crate::frames::{OWN, OWN6};
use crate::ground::{in_namespace, nic, routed};
use crate::stacks::{HERE, LONG, Place, SHORT, Stack, WORLD, WORLD6};
use bulut_compute::Nic;
use bulut_model::ServerId;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol, decide};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const ID: ServerId = ServerId(20);

/// `in deny tcp 22-30 10.0.0.0/8`, with `-` for all.
fn rule(text: &str) -> FirewallRule {
    let words: Vec<&str> = text.split(' ').collect();
    let [direction, action, protocol, ports, network] = words[..] else { panic!("{text}") };
    FirewallRule {
        direction: Direction::from_word(direction).unwrap(),
        action: Action::from_word(action).unwrap(),
        protocol: Protocol::from_word(protocol).unwrap(),
        ports: (ports != "-").then(|| ports.parse().unwrap()),
        network: (network != "-").then(|| network.parse().unwrap()),
    }
}

fn rules(texts: &[&str]) -> Vec<FirewallRule> {
    texts.iter().map(|text| rule(text)).collect()
}

/// Whether this gets through; it is waited for as long as it takes when it should.
fn passes(guest: &Place, world: &Place, probe: (Direction, Protocol, u16, bool), expected: bool) -> bool {
    let (direction, protocol, port, v4) = probe;
    let within = if expected { LONG } else { SHORT };
    let (from, to, address): (_, _, IpAddr) = match (direction, v4) {
        (Direction::In, true) => (world, guest, OWN.into()),
        (Direction::In, false) => (world, guest, OWN6.into()),
        (Direction::Out, true) => (guest, world, WORLD.into()),
        (Direction::Out, false) => (guest, world, WORLD6.into()),
    };
    let at = SocketAddr::new(address, port);
    match protocol {
        Protocol::Tcp => {
            let _ear = to.listens(port);
            from.connects(at, within).is_some()
        }
        Protocol::Udp => from.tells(to, at, within),
        Protocol::Icmp | Protocol::Any => from.pings(address, within),
    }
}

#[test]
fn the_first_rule_that_fits_decides_in_both_directions_and_families() {
    in_namespace(|| async {
        let routed = routed().await;
        let firewall = rules(&[
            "in allow tcp 2200-2210 192.0.2.0/24",
            "in deny tcp 2205-2300 -",
            "in deny udp - 2001:db8::/32",
            "in deny icmp - 0.0.0.0/0",
            "out deny tcp 2400 -",
            "out allow any - 192.0.2.0/24",
            "out deny udp 2500 ::/0",
            "out deny icmp - 2001:db8:1::2",
        ]);
        let nic = Nic { firewall: firewall.clone(), ..nic() };
        routed.ensure(ID, &nic).await.unwrap();
        let (world, guest) = (Place::world(), Stack::new(routed.open_tap(ID).unwrap(), &nic));
        let mut denied = 0;
        for (direction, protocol, port) in [
            (Direction::In, Protocol::Tcp, 2205),
            (Direction::In, Protocol::Tcp, 2300),
            (Direction::In, Protocol::Tcp, 2301),
            (Direction::In, Protocol::Udp, 2500),
            (Direction::In, Protocol::Icmp, 0),
            (Direction::Out, Protocol::Tcp, 2400),
            (Direction::Out, Protocol::Tcp, 2401),
            (Direction::Out, Protocol::Udp, 2500),
            (Direction::Out, Protocol::Icmp, 0),
        ] {
            for v4 in [true, false] {
                let remote = if v4 { WORLD.into() } else { WORLD6.into() };
                let expected = decide(&firewall, direction, protocol, Some(port), remote) == Action::Allow;
                denied += u32::from(!expected);
                let passed = passes(&guest.place, &world, (direction, protocol, port, v4), expected);
                assert_eq!(passed, expected, "{direction} {protocol} {port} with {remote}");
            }
        }
        assert_eq!(denied, 9, "another list of rules was tried than this test is about");
        assert_eq!(routed.counters(ID).await.unwrap().forged_frames, 0, "what is denied is no forgery");

        routed.ensure(ID, &Nic { firewall: vec![], ..nic }).await.unwrap();
        for (direction, port) in [(Direction::In, 2300), (Direction::Out, 2400)] {
            assert!(
                passes(&guest.place, &world, (direction, Protocol::Tcp, port, true), true),
                "{direction}"
            );
        }
    });
}

#[test]
fn answers_pass_and_what_was_begun_goes_on_while_all_else_is_denied() {
    in_namespace(|| async {
        let routed = routed().await;
        let open = nic();
        routed.ensure(ID, &open).await.unwrap();
        let (world, guest) = (Place::world(), Stack::new(routed.open_tap(ID).unwrap(), &open));
        let ear = guest.place.listens(22);
        let mut session = world.connects((OWN, 22).into(), LONG).unwrap();
        let (mut served, _) = ear.accept().unwrap();

        let firewall = rules(&["in deny any - -"]);
        routed.ensure(ID, &Nic { firewall, ..open.clone() }).await.unwrap();
        for v4 in [true, false] {
            assert!(passes(&guest.place, &world, (Direction::Out, Protocol::Tcp, 80, v4), true));
            assert!(passes(&guest.place, &world, (Direction::Out, Protocol::Icmp, 0, v4), true));
            assert!(!passes(&guest.place, &world, (Direction::In, Protocol::Tcp, 80, v4), false));
            assert!(!passes(&guest.place, &world, (Direction::In, Protocol::Icmp, 0, v4), false));
        }
        let from_host = std::net::TcpStream::connect_timeout(&(OWN, 22).into(), SHORT);
        assert!(from_host.is_err(), "the host is outside too");

        let firewall = rules(&["in deny any - -", "out deny any - -"]);
        routed.ensure(ID, &Nic { firewall, ..open }).await.unwrap();
        session.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        served.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        served.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello", "a session that was open is cut");
        assert!(!guest.place.pings(HERE.into(), SHORT), "the host hears what its guest may not say");
    });
}

#[test]
fn between_two_guests_both_have_a_word() {
    in_namespace(|| async {
        let routed = routed().await;
        let (one, mut two) = (nic(), nic());
        two.mac = "52:54:00:00:00:15".into();
        two.ipv4.as_mut().unwrap().address = crate::frames::NEIGHBOUR;
        two.ipv6.as_mut().unwrap().address = crate::frames::NEIGHBOUR6;
        let other = ServerId(21);
        routed.ensure(ID, &one).await.unwrap();
        routed.ensure(other, &two).await.unwrap();
        let first = Stack::new(routed.open_tap(ID).unwrap(), &one);
        let second = Stack::new(routed.open_tap(other).unwrap(), &two);
        let _ear = second.place.listens(80);
        for (out, inward, expected) in [
            (vec![], vec![], true),
            (rules(&["out deny tcp 80 -"]), vec![], false),
            (rules(&["out allow tcp 80 -"]), rules(&["in deny tcp 80 -"]), false),
            (
                rules(&["out allow tcp 80 -", "out deny any - -"]),
                rules(&["in allow tcp 80 -", "in deny any - -"]),
                true,
            ),
        ] {
            routed.ensure(ID, &Nic { firewall: out, ..one.clone() }).await.unwrap();
            routed.ensure(other, &Nic { firewall: inward.clone(), ..two.clone() }).await.unwrap();
            let within = if expected { LONG } else { SHORT };
            for address in [IpAddr::from(crate::frames::NEIGHBOUR), crate::frames::NEIGHBOUR6.into()] {
                let connected = first.place.connects((address, 80).into(), within).is_some();
                assert_eq!(connected, expected, "to {address} past {inward:?}");
            }
        }
    });
}
