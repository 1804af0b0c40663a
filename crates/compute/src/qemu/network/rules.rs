//! The rules of taps: what a guest may say.
//!
//! Promises: a chain at the ingress of each tap drops and counts everything that the guest has no right to say: a MAC, an
//! ARP, an IPv4 or IPv6 source that is not its own; router advertisements and redirects; a DHCP server's words; neighbour
//! advertisements for others; tags. What no rule allows is forged. Must not know: how rules get into the kernel.
//!
//! The chains are spread over a few tables: the kernel looks through a whole table before it carries out a change of it, and
//! whoever lists rules asks for each table by itself.

use super::expressions::{
    Field, Header, Protocol, Term, accept, count, drop, hand_over, is, is_above, is_between, is_not,
    is_too_often, leave_by, lies,
};
use super::near;
use super::transaction::{Family, Place, Table, Transaction};
use crate::{Ipv4, Ipv6};
use bulut_model::ServerId;
use netlink_packet_netfilter::nftables::MetaKey;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many tables there are for taps.
const TABLES: i64 = 16;

/// The gateway that every tap has for IPv6.
pub(super) const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// The ports that DHCP servers speak from.
const DHCP: u16 = 67;
const DHCPV6: u16 = 547;

/// Fields of the frame's headers.
const SENDER_AND_KIND: Field = Field::Bytes(Header::Frame, 6, 8);
const PROTOCOL: Field = Field::Bytes(Header::Packet, 9, 1);
const SOURCE: Field = Field::Bytes(Header::Packet, 12, 4);
const SOURCE6: Field = Field::Bytes(Header::Packet, 8, 16);
/// Version and length of an IPv4 header; one of 20 bytes has no options.
const HEAD: Field = Field::Bytes(Header::Packet, 0, 1);
const WITHOUT_OPTIONS: u8 = 0x45;
const TIME_TO_LIVE: Field = Field::Bytes(Header::Packet, 8, 1);
const HOP_LIMIT: Field = Field::Bytes(Header::Packet, 7, 1);
/// The protocol behind all of IPv6's extension headers.
const TRANSPORT: Field = Field::Meta(MetaKey::L4Proto);
const SOURCE_PORT: Field = Field::Bytes(Header::Transport, 0, 2);
const PORTS: Field = Field::Bytes(Header::Transport, 0, 4);
const ICMP_TYPE: Field = Field::Bytes(Header::Transport, 0, 1);
/// The target of a neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4).
const TARGET: (Header, u32) = (Header::Transport, 8);
const WHOLE_TARGET: Field = Field::Bytes(Header::Transport, 8, 16);

/// What only routers say: redirect and router advertisement of ICMP, router advertisement and redirect of ICMPv6.
const ICMP_ROUTERS: [u8; 2] = [5, 9];
const ICMPV6_ROUTERS: [u8; 2] = [134, 137];
const ROUTER_SOLICITATION: u8 = 133;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// How many frames in a second, and at once, may make the host look for a neighbour or remember one: its table of them is one
/// for all taps and for its own network. What finds neighbours, and what comes from a link-local address; guests have no need
/// of more than a few.
const NEIGHBOURS: (u64, u32) = (20, 40);
/// Reports of who listens to which group, versions 1 and 2.
const REPORTS: [u8; 2] = [131, 143];

/// Who a guest is, for the rules.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub tap: &'a str,
    pub mac: [u8; 6],
    /// Its own address, and the network that it is in.
    pub ipv4: Option<Ipv4>,
    pub more_ipv4: &'a [Ipv4Addr],
    pub ipv6: Option<Ipv6>,
    /// The number of the device that slows what it sends, if it is to be slowed.
    pub slowed_by: Option<u32>,
    /// Whether its packets go to the guests beside it without a way through the host's stack.
    pub near: bool,
}

/// What becomes of a frame that all tests of a rule fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It passes at once: what neighbours need to find each other.
    Passes,
    /// It passes, as fast as the guest may be.
    Goes,
    /// It is handed to the guest beside it that it is for, if it is for one.
    Near(Protocol),
    /// It is dropped and counted.
    Forged,
}

/// The table of a server's tap.
pub(super) fn table(id: ServerId) -> Table {
    nth_table(id.0.rem_euclid(TABLES))
}

fn nth_table(nth: i64) -> Table {
    Table { family: Family::Netdev, name: format!("bulut{nth}") }
}

/// The one table that all taps had in earlier versions. A chain in it would hold a guest to what it was then.
pub(super) fn former_table() -> Table {
    Table { family: Family::Netdev, name: "bulut".to_owned() }
}

/// The tables of all taps.
pub(super) fn tables() -> impl Iterator<Item = Table> {
    (0..TABLES).map(nth_table)
}

/// What there is of a tap's rules already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    pub chain: bool,
    pub counter: bool,
}

/// Replaces the rules of a tap and leaves its counter as it was.
///
/// `fresh`: what an earlier tap of that name counted is forgotten.
pub(super) fn guard(
    change: &mut Transaction,
    table: &Table,
    who: &Identity<'_>,
    present: Present,
    fresh: bool,
) {
    let counted = present.counter && !fresh;
    unguard(change, table, who.tap, Present { counter: present.counter && fresh, ..present });
    if !counted {
        change.counter(table, who.tap);
    }
    change.chain(table, who.tap, Place::Ingress(who.tap));
    for (tests, fate) in all(who) {
        let end = match (fate, who.slowed_by) {
            (Fate::Forged, _) => [count(who.tap), drop()].concat(),
            (Fate::Near(protocol), _) => hand_over(near::map(protocol), protocol),
            (Fate::Goes, Some(device)) => leave_by(device),
            (Fate::Goes, None) | (Fate::Passes, _) => accept(),
        };
        change.rule(table, who.tap, [tests, end]);
    }
}

/// Takes away the rules and the counter of a tap, as far as they are there.
pub(super) fn unguard(change: &mut Transaction, table: &Table, tap: &str, present: Present) {
    if present.chain {
        change.flush(table, tap);
        change.delete_chain(table, tap);
    }
    if present.counter {
        change.delete_counter(table, tap);
    }
}

/// All rules of a tap, in order.
fn all(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let mut rules = most_ipv4(who);
    rules.extend(most_ipv6(who));
    rules.extend(arp(who));
    rules.extend(ipv4(who));
    rules.extend(ipv6(who));
    rules.push((Term::new(), Fate::Forged));
    rules
}

impl Identity<'_> {
    /// The frame is of this kind, and from the guest's own MAC: they lie beside each other and are one test. A tagged frame is
    /// of the tag's kind.
    fn sends(&self, kind: u16) -> Term {
        is(SENDER_AND_KIND, [&self.mac[..], &kind.to_be_bytes()].concat())
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.ipv4
            .into_iter()
            .flat_map(|own| std::iter::once(own.address).chain(self.more_ipv4.iter().copied()))
    }
}

/// What most frames are, so that they need not go through all that follows: IPv4 from the guest's own MAC and addresses that
/// is neither ICMP nor from a DHCP server's port. What is for a guest beside it is tried first.
fn most_ipv4(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let Some(own) = who.ipv4 else { return Vec::new() };
    let of = |address: Ipv4Addr| {
        let honest = [
            who.sends(IPV4),
            is(SOURCE, address.octets()),
            is_not(PROTOCOL, [ICMP]),
            is_not(SOURCE_PORT, DHCP.to_be_bytes()),
        ]
        .concat();
        let beside = lies(Header::Packet, Protocol::Ipv4.destination().0, (own.gateway.into(), own.prefix));
        // What the host would have to look into, or to answer itself, goes the usual way.
        let plain = [is(HEAD, [WITHOUT_OPTIONS]), is_above(TIME_TO_LIVE, [1])].concat();
        let near = who.near.then(|| ([beside, honest.clone(), plain].concat(), Fate::Near(Protocol::Ipv4)));
        near.into_iter().chain([(honest, Fate::Goes)])
    };
    who.addresses().flat_map(of).collect()
}

/// The same for IPv6.
fn most_ipv6(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let Some(own) = who.ipv6 else { return Vec::new() };
    if network_of(own.gateway, own.prefix) == network_of(own.address, own.prefix) {
        return Vec::new();
    }
    let honest = [
        who.sends(IPV6),
        from_own(own),
        is_not(TRANSPORT, [ICMPV6]),
        is_not(SOURCE_PORT, DHCPV6.to_be_bytes()),
    ]
    .concat();
    // No provider has more than a /32, so what is for elsewhere is told by its beginning.
    let (offset, _) = Protocol::Ipv6.destination();
    let beside = lies(Header::Packet, offset, (own.address.into(), 32));
    let near = [beside, honest.clone(), is_above(HOP_LIMIT, [1])].concat();
    let near = who.near.then_some((near, Fate::Near(Protocol::Ipv6)));
    near.into_iter().chain([(honest, Fate::Goes)]).collect()
}

/// The source is the IPv6 address of a guest, or lies in the network that it has for itself.
fn from_own(own: Ipv6) -> Term {
    lies(Header::Packet, Protocol::Ipv6.source().0, (own.address.into(), own.prefix))
}

/// The ARP that a guest may send: requests and answers in its own name, and asking whether its own address is taken.
/// Layout: RFC 826, for Ethernet and IPv4.
fn arp(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let says = |operation: u8, sender: Ipv4Addr| {
        [
            who.sends(ARP),
            is(Field::Bytes(Header::Packet, 0, 8), [0, 1, 8, 0, 6, 4, 0, operation]),
            is(Field::Bytes(Header::Packet, 8, 10), [&who.mac[..], &sender.octets()].concat()),
        ]
        .concat()
    };
    let of = |address: Ipv4Addr| {
        let about = is(Field::Bytes(Header::Packet, 24, 4), address.octets());
        let probe = [says(1, Ipv4Addr::UNSPECIFIED), about].concat();
        [says(1, address), says(2, address), probe].map(|tests| (tests, Fate::Passes))
    };
    who.addresses().flat_map(of).collect()
}

/// The IPv4 that a guest may send: from its own addresses but as a router or a DHCP server, and a DHCP client's question,
/// which nobody answers.
fn ipv4(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let rule = |tests: &[Term], fate| ([&[who.sends(IPV4)], tests].concat().concat(), fate);
    let mut rules = vec![rule(&[is(PROTOCOL, [UDP]), is(SOURCE_PORT, DHCP.to_be_bytes())], Fate::Forged)];
    for kind in ICMP_ROUTERS {
        rules.push(rule(&[is(PROTOCOL, [ICMP]), is(ICMP_TYPE, [kind])], Fate::Forged));
    }
    let question = [is(SOURCE, [0; 4]), is(PROTOCOL, [UDP]), is(PORTS, [0, 68, 0, 67])];
    rules.push(rule(&question, Fate::Passes));
    rules.extend(who.addresses().map(|it| rule(&[is(SOURCE, it.octets())], Fate::Goes)));
    rules
}

/// The IPv6 that a guest may send, in order. A machine without an IPv6 address still has link-local ones, which lead
/// nowhere but to the tap's other end; one that has a network for itself speaks as any address in it.
fn ipv6(who: &Identity<'_>) -> Vec<(Term, Fate)> {
    let kind = |kind: u8| [is(TRANSPORT, [ICMPV6]), is(ICMP_TYPE, [kind])].concat();
    let from = |source: Ipv6Addr| is(SOURCE6, source.octets());
    let rule = |tests: &[Term], fate| ([&[who.sends(IPV6)], tests].concat().concat(), fate);
    let link = (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
    let mut gateways = vec![LINK_GATEWAY];
    let mut own = vec![lies(Header::Packet, Protocol::Ipv6.source().0, link)];
    let mut targets = vec![lies(TARGET.0, TARGET.1, link)];
    if let Some(v6) = who.ipv6 {
        own.push(from_own(v6));
        targets.push(lies(TARGET.0, TARGET.1, (v6.address.into(), v6.prefix)));
        gateways.extend((v6.gateway != LINK_GATEWAY).then_some(v6.gateway));
    }
    let (rate, burst) = NEIGHBOURS;
    let found = [is(TRANSPORT, [ICMPV6]), is_between(ICMP_TYPE, [ROUTER_SOLICITATION], [ADVERTISEMENT])];
    let mut rules = vec![
        rule(&[found.concat(), is_too_often(rate, burst)], Fate::Forged),
        rule(&[own[0].clone(), is_too_often(rate, burst)], Fate::Forged),
        rule(&[is(TRANSPORT, [UDP]), is(SOURCE_PORT, DHCPV6.to_be_bytes())], Fate::Forged),
    ];
    rules.extend(ICMPV6_ROUTERS.map(|it| rule(&[kind(it)], Fate::Forged)));
    let nowhere = from(Ipv6Addr::UNSPECIFIED);
    for gateway in gateways {
        let about = is(WHOLE_TARGET, gateway.octets());
        // Asking for the gateway is fine; claiming it, or asking from nowhere whether it is taken, is not.
        rules.extend([
            rule(&[from(gateway)], Fate::Forged),
            rule(&[kind(ADVERTISEMENT), about.clone()], Fate::Forged),
            rule(&[nowhere.clone(), kind(SOLICITATION), about], Fate::Forged),
        ]);
    }
    for target in targets {
        for source in &own {
            rules.push(rule(&[source.clone(), kind(ADVERTISEMENT), target.clone()], Fate::Passes));
        }
        rules.push(rule(&[nowhere.clone(), kind(SOLICITATION), target], Fate::Passes));
    }
    rules.push(rule(&[kind(ADVERTISEMENT)], Fate::Forged));
    for joins in REPORTS.into_iter().chain([ROUTER_SOLICITATION]) {
        rules.push(rule(&[nowhere.clone(), kind(joins)], Fate::Passes));
    }
    rules.extend(own.into_iter().map(|source| rule(&[source], Fate::Goes)));
    rules
}

/// The network that an address lies in.
pub(super) fn network_of(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !host)
}
