//! Frames as guests send them, honest and forged.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x14];
pub const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x15];
pub const EVERYONE: [u8; 6] = [0xff; 6];
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 21);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x14);
pub const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x15);
pub const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 0x14);
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

pub fn ones_complement(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

pub fn ethernet(from: [u8; 6], to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

pub fn arp(operation: u16, sender: [u8; 6], sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, u8::try_from(operation).unwrap()];
    let body = [&head[..], &sender, &sender_ip.octets(), &[0; 6], &target_ip.octets()].concat();
    ethernet(MAC, EVERYONE, 0x0806, &body)
}

pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut head = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    head.extend(from.octets());
    head.extend(to.octets());
    let sum = ones_complement(&[&head]).to_be_bytes();
    head[10..12].copy_from_slice(&sum);
    ethernet(MAC, EVERYONE, 0x0800, &[&head, payload].concat())
}

pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 255];
    ethernet(MAC, EVERYONE, 0x86dd, &[&head[..], &from.octets(), &to.octets(), payload].concat())
}

pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], body].concat();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let sum =
        ones_complement(&[&from.octets(), &to.octets(), &length, &[0, 0, 0, 58], &message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv6(from, to, 58, &message)
}

/// A neighbour solicitation (135) or advertisement (136) about `target`.
pub fn neighbour(kind: u8, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    icmpv6(from, NODES, kind, &[&[0x20, 0, 0, 0][..], &target.octets()].concat())
}

/// A frame and what it is.
pub type Named = (&'static str, Vec<u8>);

/// What a guest may send.
pub fn honest() -> Vec<Named> {
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let all = Ipv4Addr::BROADCAST;
    let question = udp(9, 9, b"x");
    vec![
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
    ]
}

/// What it may not.
pub fn forged() -> Vec<Named> {
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let all = Ipv4Addr::BROADCAST;
    let question = udp(9, 9, b"x");
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
    vec![
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
    ]
}
