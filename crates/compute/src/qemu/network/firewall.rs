//! A server's own firewall as nftables rules: two chains of the host's table, one for what it sends and one for what it
//! receives, found by the name of its tap.
//!
//! Promises: what a rule of [`bulut_model::firewall`] says happens, to what is forwarded and to what the host itself says
//! or hears; a server without rules costs a look-up in a map. Must not know: how rules get into the kernel.

use super::expressions::{self as parts, Field, Header, Term, back, drop, follow, is, is_between, lies};
use super::host;
use super::nfnetlink::Kernel;
use super::transaction::{Kind, Place, Table, Transaction};
use crate::DriverError;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use netlink_packet_netfilter::nftables::MetaKey;

/// How long the name of an interface is for a map, bytes.
const INTERFACE_NAME: usize = 16;

/// One of a server's two chains: how its name ends, and the map in which the tap's name leads to it.
struct Side {
    direction: Direction,
    suffix: &'static str,
    map: &'static str,
}

/// By the interface that a packet comes from, and by the one that it leaves through.
const SIDES: [Side; 2] = [
    Side { direction: Direction::Out, suffix: "-out", map: "senders" },
    Side { direction: Direction::In, suffix: "-in", map: "receivers" },
];

/// The maps' names, and in the same order the names of a tap's chains, there or not.
pub(super) const MAPS: [&str; 2] = [SIDES[0].map, SIDES[1].map];

/// See [`MAPS`].
pub(super) fn chains(tap: &str) -> [String; 2] {
    SIDES.map(|side| format!("{tap}{}", side.suffix))
}

/// Whether there are rules of each side, in the same order.
pub(super) fn sides(rules: &[FirewallRule]) -> [bool; 2] {
    SIDES.map(|side| rules.iter().any(|rule| rule.direction == side.direction))
}

/// Makes both maps.
pub(super) fn maps(change: &mut Transaction, table: &Table) {
    for side in &SIDES {
        change.map(table, side.map, Kind::INTERFACE_NAME, Kind::VERDICT);
    }
}

/// The part of a rule that sends what a guest says (or hears) through its own chain, from which it comes back unless it is
/// dropped.
pub(super) fn through(direction: Direction) -> Term {
    match direction {
        Direction::Out => follow(SIDES[0].map, Field::Meta(MetaKey::Iifname)),
        Direction::In => follow(SIDES[1].map, Field::Meta(MetaKey::Oifname)),
    }
}

/// Which of a tap's chains there are.
pub(super) fn present(kernel: &Kernel, tap: &str) -> Result<[bool; 2], DriverError> {
    let table = host::table();
    let [senders, receivers] = chains(tap);
    Ok([kernel.has_chain(&table, &senders)?, kernel.has_chain(&table, &receivers)?])
}

/// Replaces the firewall of a tap; to be part of the transaction that replaces its other rules. `present`: which of its chains
/// there are.
pub(super) fn replace(change: &mut Transaction, tap: &str, rules: &[FirewallRule], present: [bool; 2]) {
    let table = host::table();
    let mut key = tap.as_bytes().to_vec();
    key.resize(INTERFACE_NAME, 0);
    for ((side, name), present) in SIDES.iter().zip(chains(tap)).zip(present) {
        let mut expressions =
            rules.iter().filter(|it| it.direction == side.direction).flat_map(expressions).peekable();
        let wanted = expressions.peek().is_some();
        if !present && !wanted {
            continue;
        }
        change.chain(&table, &name, Place::Nowhere);
        change.flush(&table, &name);
        change.add(&table, side.map, &[(key.clone(), parts::through(&name))]);
        for expression in expressions {
            change.rule(&table, &name, [expression]);
        }
        if !wanted {
            // Added first, since what is not there cannot be taken away.
            change.take(&table, side.map, std::slice::from_ref(&key));
            change.delete_chain(&table, &name);
        }
    }
}

/// A rule as nftables has it: one, or one for each of two families.
fn expressions(rule: &FirewallRule) -> Vec<Term> {
    let protocols: &[(Option<u8>, bool, bool)] = match rule.protocol {
        Protocol::Any => &[(None, true, true)],
        Protocol::Tcp => &[(Some(6), true, true)],
        Protocol::Udp => &[(Some(17), true, true)],
        Protocol::Icmp => &[(Some(1), true, false), (Some(58), false, true)],
    };
    let wanted = |(_, v4, v6): &&(Option<u8>, bool, bool)| {
        rule.network.is_none_or(|network| if network.address().is_ipv4() { *v4 } else { *v6 })
    };
    protocols.iter().filter(wanted).map(|(protocol, ..)| expression(rule, *protocol)).collect()
}

fn expression(rule: &FirewallRule, protocol: Option<u8>) -> Term {
    let mut terms = Vec::new();
    if let Some(remote) = rule.network {
        let family = parts::Protocol::of(remote.address());
        let (offset, _) = match rule.direction {
            Direction::In => family.source(),
            Direction::Out => family.destination(),
        };
        terms.push(is(Field::Meta(MetaKey::Nfproto), [family as u8]));
        terms.push(lies(Header::Packet, offset, (remote.address(), remote.prefix())));
    }
    if let Some(protocol) = protocol {
        terms.push(is(Field::Meta(MetaKey::L4Proto), [protocol]));
        if let Some(ports) = rule.ports {
            let (first, last) = (ports.first().to_be_bytes(), ports.last().to_be_bytes());
            terms.push(is_between(Field::Bytes(Header::Transport, 2, 2), first, last));
        }
    }
    terms.push(match rule.action {
        // Back to whoever sent it through here: the other guest's chain has a word too.
        Action::Allow => back(),
        Action::Deny => drop(),
    });
    terms.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: Protocol, network: Option<&str>) -> FirewallRule {
        let network = network.map(|it| it.parse().unwrap());
        FirewallRule { direction: Direction::In, action: Action::Deny, protocol, ports: None, network }
    }

    #[test]
    fn icmp_is_of_the_family_that_the_network_is_of() {
        let count = |network| expressions(&rule(Protocol::Icmp, network)).len();
        assert_eq!([count(None), count(Some("10.0.0.0/8")), count(Some("fd00::/8"))], [2, 1, 1]);
    }

    #[test]
    fn a_firewall_without_rules_on_a_tap_without_chains_changes_nothing() {
        let mut change = Transaction::default();
        replace(&mut change, "bv7", &[], [false; 2]);
        assert!(change.changes.is_empty());
        replace(&mut change, "bv7", &[rule(Protocol::Any, None)], [false; 2]);
        assert!(!change.changes.is_empty());
    }
}
