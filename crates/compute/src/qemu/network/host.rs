//! The rules that hold for all guests: one table for the host keeps them from the host itself and from link-local (metadata)
//! addresses, sends their packets through their firewalls, and masquerades the private pools.
//!
//! Promises: what is replaced leaves the servers' firewalls, which stand in the same table, as they are. Must not know: how
//! rules get into the kernel.

use super::expressions::{
    Field, Header, Protocol, Term, accept, drop, is, is_known, is_not, lies, masquerade, refuse,
};
use super::firewall;
use super::nfnetlink::Kernel;
use super::tap::PREFIX;
use super::transaction::{Family, Place, Table, Transaction};
use crate::{DriverError, PoolNetwork};
use bulut_model::firewall::Direction;
use netlink_packet_netfilter::nftables::{InetHookNumber, MetaKey};
use std::collections::BTreeMap;
use std::net::IpAddr;

const ACCEPT: u32 = 1; // NF_ACCEPT

const PROTOCOL: Field = Field::Meta(MetaKey::Nfproto);
const TRANSPORT: Field = Field::Meta(MetaKey::L4Proto);
const ICMP_TYPE: Field = Field::Bytes(Header::Transport, 0, 1);
const ICMP: (u8, u8) = (1, 8); // and the type of an echo request
const ICMPV6: (u8, u8) = (58, 128);
/// What neighbours need to find each other: router solicitation, neighbour solicitation and advertisement.
const NEIGHBOURLY: [u8; 3] = [133, 135, 136];

/// The chains of the host's table that are not a server's: name, kind, hook, priority.
pub(super) const CHAINS: [(&str, &str, InetHookNumber, i32); 4] = [
    ("forward", "filter", InetHookNumber::Forward, 0),
    ("input", "filter", InetHookNumber::LocalIn, 0),
    ("output", "filter", InetHookNumber::LocalOut, 0),
    ("postrouting", "nat", InetHookNumber::PostRouting, 100),
];

/// The host's table.
pub(super) fn table() -> Table {
    Table { family: Family::Inet, name: "bulut".to_owned() }
}

/// Where a chain gets its packets from, and what becomes of those that no rule ends: hook, priority, policy.
type Shape = (u32, i32, u32);

/// The shapes of all chains in the host's table that get packets from the kernel, by name.
pub(super) type Shapes = BTreeMap<String, Shape>;

/// The shapes as they should be.
pub(super) fn right_shapes() -> Shapes {
    CHAINS.map(|(name, _, hook, priority)| (name.to_owned(), (hook.into(), priority, ACCEPT))).into()
}

/// The shapes as they are.
///
/// # Errors
/// `Retry` if the kernel cannot be asked.
pub(super) fn shapes(kernel: &Kernel) -> Result<Shapes, DriverError> {
    let table = table();
    let ours = kernel.hooked(table.family)?.into_iter().filter(|it| it.table == table.name);
    Ok(ours.map(|it| (it.chain, (it.hook, it.priority, it.policy))).collect())
}

/// Makes or replaces the host's own rules: what guests may reach, and which networks are masqueraded. `seen`: the shapes as
/// they are; what has no place in our table, or not that one, goes.
pub(super) fn replace(change: &mut Transaction, pools: &[PoolNetwork], seen: &Shapes) {
    let table = table();
    change.table(&table);
    firewall::maps(change, &table);
    let right = right_shapes();
    let place = |it: &Shape| (it.0, it.1);
    for (name, _) in seen.iter().filter(|(name, shape)| right.get(*name).map(place) != Some(place(shape))) {
        change.flush(&table, name);
        change.delete_chain(&table, name);
    }
    for (name, kind, hook, priority) in CHAINS {
        change.chain(&table, name, Place::Host(kind, hook, priority));
        change.flush(&table, name);
    }
    let mut rule = |chain: &str, terms: &[Term]| change.rule(&table, chain, terms.iter().cloned());
    let from_guest = || is(Field::Meta(MetaKey::Iifname), PREFIX);
    let to_guest = || is(Field::Meta(MetaKey::Oifname), PREFIX);
    let icmp = |(transport, kind): (u8, u8)| [is(TRANSPORT, [transport]), is(ICMP_TYPE, [kind])].concat();
    rule("forward", &[is_known(), accept()]);
    rule("forward", &[from_guest(), to(([169, 254, 0, 0].into(), 16)), drop()]);
    rule("forward", &[firewall::through(Direction::Out)]);
    rule("forward", &[firewall::through(Direction::In)]);
    rule("input", &[from_guest(), is_known(), accept()]);
    for kind in NEIGHBOURLY {
        rule("input", &[from_guest(), icmp((ICMPV6.0, kind)), accept()]);
    }
    rule("input", &[firewall::through(Direction::Out)]);
    for echo in [ICMP, ICMPV6] {
        rule("input", &[from_guest(), icmp(echo), accept()]);
    }
    rule("input", &[from_guest(), drop()]);
    rule("output", &[to_guest(), is_known(), accept()]);
    for kind in NEIGHBOURLY {
        rule("output", &[to_guest(), icmp((ICMPV6.0, kind)), accept()]);
    }
    rule("output", &[firewall::through(Direction::In)]);
    // An address that no machine has must not wander out by the default route: of a private pool it means nothing there, and
    // of a public one it would come back, again and again. What a guest says to an address of a public pool may be for a
    // neighbour of the host.
    let outward = || is_not(Field::Meta(MetaKey::Oifname), PREFIX);
    for pool in pools {
        let whose = if pool.private { from_guest() } else { is_not(Field::Meta(MetaKey::Iifname), PREFIX) };
        rule("forward", &[whose, outward(), to((pool.address, pool.prefix)), refuse()]);
    }
    let private = || pools.iter().filter(|it| it.private).map(|it| (it.address, it.prefix));
    // What stays inside keeps its address.
    for network in private() {
        rule("postrouting", &[to(network), accept()]);
    }
    for network in private() {
        rule("postrouting", &[from(network), masquerade()]);
    }
}

/// The packet is of the network's protocol, and from there.
fn from(network: (IpAddr, u8)) -> Term {
    let protocol = Protocol::of(network.0);
    [is(PROTOCOL, [protocol as u8]), lies(Header::Packet, protocol.source().0, network)].concat()
}

/// The packet is of the network's protocol, and goes there.
fn to(network: (IpAddr, u8)) -> Term {
    let protocol = Protocol::of(network.0);
    [is(PROTOCOL, [protocol as u8]), lies(Header::Packet, protocol.destination().0, network)].concat()
}
