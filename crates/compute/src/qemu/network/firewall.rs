//! A server's own firewall as nftables rules: two chains of the host's table, one for what it sends and one for what it
//! receives, found by the name of its tap.
//!
//! Promises: what a rule of [`bulut_model::firewall`] says happens, to what is forwarded and to what the host itself says
//! or hears; a server without rules costs a look-up in a map. Must not know: how rules get into the kernel.

use super::rules::{TABLE, field, is, meta, network};
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use serde_json::{Value, json};
use std::net::IpAddr;

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

/// Commands that make the host's table with both maps, unless they are there.
pub(super) fn maps() -> Vec<Value> {
    let table = json!({ "add": { "table": { "family": "inet", "name": TABLE } } });
    let map = |side: &Side| {
        json!({ "add": { "map": {
            "family": "inet", "table": TABLE, "name": side.map, "type": "ifname", "map": "verdict",
        } } })
    };
    std::iter::once(table).chain(SIDES.iter().map(map)).collect()
}

/// The rule that sends what a guest says (or hears) through its own chain, from which it comes back unless it is dropped.
pub(super) fn through(direction: Direction) -> Value {
    let (key, side) = match direction {
        Direction::Out => ("iifname", &SIDES[0]),
        Direction::In => ("oifname", &SIDES[1]),
    };
    json!({ "vmap": { "key": meta(key), "data": format!("@{}", side.map) } })
}

/// Commands that replace the firewall of a tap; to be part of the transaction that replaces its other rules.
pub(super) fn replace(tap: &str, rules: &[FirewallRule]) -> Vec<Value> {
    let mut commands = maps();
    for side in &SIDES {
        let name = format!("{tap}{}", side.suffix);
        let chain = json!({ "chain": { "family": "inet", "table": TABLE, "name": name } });
        let element = |element: Value| json!({ "element": { "family": "inet", "table": TABLE, "name": side.map, "elem": element } });
        let leads = element(json!([[tap, { "jump": { "target": name } }]]));
        commands.extend([json!({ "add": chain }), json!({ "flush": chain }), json!({ "add": leads })]);
        let mut expressions =
            rules.iter().filter(|it| it.direction == side.direction).flat_map(expressions).peekable();
        if expressions.peek().is_none() {
            // Added first, since what is not there cannot be taken away.
            commands.extend([json!({ "delete": element(json!([tap])) }), json!({ "delete": chain })]);
        }
        commands.extend(expressions.map(|expr| {
            json!({ "add": { "rule": { "family": "inet", "table": TABLE, "chain": name, "expr": expr } } })
        }));
    }
    commands
}

/// A rule as nftables has it: one, or one for each of two families.
fn expressions(rule: &FirewallRule) -> Vec<Vec<Value>> {
    let protocols: &[(Option<&str>, bool, bool)] = match rule.protocol {
        Protocol::Any => &[(None, true, true)],
        Protocol::Tcp => &[(Some("tcp"), true, true)],
        Protocol::Udp => &[(Some("udp"), true, true)],
        Protocol::Icmp => &[(Some("icmp"), true, false), (Some("ipv6-icmp"), false, true)],
    };
    let wanted = |(_, v4, v6): &&(Option<&str>, bool, bool)| {
        rule.network.is_none_or(|network| if network.address().is_ipv4() { *v4 } else { *v6 })
    };
    protocols.iter().filter(wanted).map(|(protocol, ..)| expression(rule, *protocol)).collect()
}

fn expression(rule: &FirewallRule, protocol: Option<&str>) -> Vec<Value> {
    let mut tests = Vec::new();
    if let Some(remote) = rule.network {
        let (family, key) = match remote.address() {
            IpAddr::V4(_) => ("ipv4", "ip"),
            IpAddr::V6(_) => ("ipv6", "ip6"),
        };
        tests.push(is(meta("nfproto"), family));
        let side = match rule.direction {
            Direction::In => "saddr",
            Direction::Out => "daddr",
        };
        if remote.prefix() > 0 {
            tests.push(is(field(key, side), network((remote.address(), remote.prefix()))));
        }
    }
    if let Some(protocol) = protocol {
        tests.push(is(meta("l4proto"), protocol));
        if let Some(ports) = rule.ports {
            let wanted = json!({ "range": [ports.first(), ports.last()] });
            let wanted = if ports.first() == ports.last() { json!(ports.first()) } else { wanted };
            tests.push(is(field(protocol, "dport"), wanted));
        }
    }
    tests.push(match rule.action {
        // Back to whoever sent it through here: the other guest's chain has a word too.
        Action::Allow => json!({ "return": null }),
        Action::Deny => json!({ "drop": null }),
    });
    tests
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
        let text = json!(expressions(&rule(Protocol::Icmp, Some("::/0")))).to_string();
        assert!(text.contains("ipv6-icmp") && !text.contains("prefix"), "{text}");
    }

    #[test]
    fn without_rules_of_a_direction_nothing_leads_to_its_chain() {
        let text = json!(replace("bv7", &[rule(Protocol::Any, None)])).to_string();
        let deleted =
            |name: &str| text.contains(&format!(r#""delete":{{"chain":{{"family":"inet","name":"{name}""#));
        assert!(deleted("bv7-out") && !deleted("bv7-in"), "{text}");
    }
}
