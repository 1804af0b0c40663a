//! More than one address: further IPv4 addresses, and an IPv6 network that is the guest's own.

use crate::frames::{GATEWAY, GATEWAY6, LINK, MAC, OWN, arp, ipv4, ipv6, neighbour, udp};
use crate::ground::{Guest, in_namespace, nic, routed, sh};
use crate::stacks::{HERE, LONG, Place, Stack, WORLD, WORLD6};
use bulut_compute::{Ipv6, Nic, PoolNetwork};
use bulut_model::ServerId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use tokio::net::TcpSocket;

const ID: ServerId = ServerId(20);
const FIRST: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 5, 0, 0, 0, 1);
const ANOTHER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 5, 0xab, 0, 0, 0xcd);
const PUBLIC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 5);
const MORE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Who connects when `address` of the guest does, as the world sees it.
fn seen_from(guest: &Place, world: &Place, address: IpAddr) -> IpAddr {
    let ear = world.listens(80);
    let to: IpAddr = if address.is_ipv4() { WORLD.into() } else { WORLD6.into() };
    let connects = async move {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind((address, 0).into()).unwrap();
        tokio::time::timeout(LONG, socket.connect((to, 80).into())).await.unwrap().unwrap()
    };
    let stream = guest.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { connects.await.into_std() }).unwrap()
    });
    let (_, from) = ear.accept().unwrap();
    drop(stream);
    from.ip().to_canonical()
}

/// With a further address, and a network for itself.
fn wide() -> Nic {
    Nic { more_ipv4: vec![MORE], ipv6: Some(Ipv6 { address: FIRST, prefix: 64, gateway: GATEWAY6 }), ..nic() }
}

#[test]
fn every_address_of_a_guest_is_reached_and_speaks() {
    in_namespace(|| async {
        let routed = routed().await;
        let nic = wide();
        routed.ensure(ID, &nic).await.unwrap();
        let visible = sh("ip -6 route; ip route");
        assert!(visible.contains("fd77:0:0:5::/64 via fd77:0:0:5::1 dev bv20"), "{visible}");
        routed.ensure(ID, &nic).await.unwrap();
        assert_eq!(sh("ip -6 route; ip route"), visible);
        let (world, guest) = (Place::world(), Stack::new(routed.open_tap(ID).unwrap(), &nic));
        guest.place.sh(&format!("ip addr add {ANOTHER}/64 dev eth0 nodad"));
        let _ear = guest.place.listens(22);
        for address in [IpAddr::from(OWN), MORE.into(), FIRST.into(), ANOTHER.into()] {
            assert!(world.connects((address, 22).into(), LONG).is_some(), "{address} is not reached");
        }
        // Outside of the masqueraded pools it is seen as it is.
        assert_eq!(seen_from(&guest.place, &world, MORE.into()), IpAddr::from(MORE));
        assert_eq!(seen_from(&guest.place, &world, ANOTHER.into()), IpAddr::from(ANOTHER));
        let neighbours = sh("ip -6 neigh show dev bv20");
        assert!(!neighbours.contains("cd "), "the host looks for each address by itself:\n{neighbours}");
        assert_eq!(routed.counters(ID).await.unwrap().forged_frames, 0);

        routed.ensure(ID, &crate::ground::nic()).await.unwrap();
        let left = sh("ip route; ip -6 route; nft list ruleset");
        for old in ["198.51.100.7", "fd77:0:0:5"] {
            assert!(!left.contains(old), "{old} is still there:\n{left}");
        }
    });
}

#[test]
fn next_to_its_own_addresses_a_guest_is_nobody() {
    in_namespace(|| async {
        let routed = routed().await;
        let nic = wide();
        routed.ensure(ID, &nic).await.unwrap();
        let mut guest = Guest::of(routed.open_tap(ID).unwrap());
        let beside = Ipv4Addr::from_bits(MORE.to_bits() + 1);
        let beyond = Ipv6Addr::new(0xfd77, 0, 0, 6, 0xab, 0, 0, 0xcd);
        let nowhere = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let word = udp(9, 9, b"x");
        let frames = |v4: Ipv4Addr, v6: Ipv6Addr| {
            [
                ("arp request", arp(1, MAC, v4, GATEWAY)),
                ("arp answer", arp(2, MAC, v4, GATEWAY)),
                ("arp probe", arp(1, MAC, nowhere.0, v4)),
                ("ipv4", ipv4(v4, GATEWAY, 17, &word)),
                ("ipv6", ipv6(v6, GATEWAY6, 17, &word)),
                ("advertisement", neighbour(136, v6, v6)),
                ("advertisement in the name of the link", neighbour(136, LINK, v6)),
                ("duplicate detection", neighbour(135, nowhere.1, v6)),
            ]
        };
        for (what, frame) in frames(MORE, ANOTHER) {
            guest.send(&frame);
            assert_eq!(routed.counters(ID).await.unwrap().forged_frames, 0, "{what} of its own");
        }
        for (count, (what, frame)) in (1..).zip(frames(beside, beyond)) {
            guest.send(&frame);
            assert_eq!(routed.counters(ID).await.unwrap().forged_frames, count, "{what} of another");
        }
    });
}

/// Whoever routes a pool to the host gets what the host does not want by its default route: without care each packet would
/// go round until its time to live has run out.
#[test]
fn what_is_for_nobody_is_refused_and_not_sent_back() {
    in_namespace(|| async {
        let routed = routed().await;
        let world = Place::world();
        sh(&format!("ip route add default via {WORLD}; ip -6 route add default via {WORLD6}"));
        world.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        world.sh(&format!(
            "ip route add 198.51.100.0/24 via {HERE}; ip -6 route add 2001:db8:7::/48 via 2001:db8:1::1"
        ));
        let own = Nic {
            more_ipv4: vec![MORE],
            ipv6: Some(Ipv6 { address: PUBLIC, prefix: 128, gateway: GATEWAY6 }),
            ..nic()
        };
        routed.ensure(ID, &own).await.unwrap();
        let guest = Stack::new(routed.open_tap(ID).unwrap(), &own);
        let nobody: [(IpAddr, IpAddr); 2] = [
            (MORE.into(), "198.51.100.77".parse().unwrap()),
            (PUBLIC.into(), "2001:db8:7::77".parse().unwrap()),
        ];
        let comes_in = |(from, to): (IpAddr, IpAddr)| {
            let count = || sh("grep wire: /proc/net/dev | awk '{print $3}'").trim().parse::<u64>().unwrap();
            let before = count();
            guest.place.run(move || {
                UdpSocket::bind((from, 0)).unwrap().send_to(b"anybody?", (to, 9)).unwrap();
            });
            // What goes round does so within a few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(200));
            count() - before
        };
        for known in [IpAddr::from(WORLD), WORLD6.into()] {
            assert!(guest.place.pings(known, LONG), "{known} is not reached");
        }
        for way in nobody {
            assert!(comes_in(way) > 10, "{way:?} goes round nowhere: this proves nothing");
        }
        let public =
            |address: &str, prefix| PoolNetwork { address: address.parse().unwrap(), prefix, private: false };
        routed.set_pools(&[public("198.51.100.0", 24), public("2001:db8:7::", 48)]).await.unwrap();
        for way in nobody {
            assert!((1..=3).contains(&comes_in(way)), "{way:?} goes round");
        }
        // Who has an address is reached as before.
        let _ear = guest.place.listens(22);
        for address in [IpAddr::from(MORE), PUBLIC.into()] {
            assert!(world.connects((address, 22).into(), LONG).is_some(), "{address} is not reached");
        }
    });
}
