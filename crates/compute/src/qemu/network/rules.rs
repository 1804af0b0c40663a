//! The rules themselves, as nftables' JSON: what a guest may say, and where it may go.
//!
//! Promises: a chain at the ingress of each tap drops and counts everything that the guest has no right to say: a MAC,
//! an ARP, an IPv4 or IPv6 source that is not its own; router advertisements and redirects; a DHCP server's
//! words; neighbour advertisements for others. What no rule allows is forged. One table for the host keeps guests
//! from the host itself and from link-local (metadata) addresses, and masquerades the private pools.
//! Must not know: how rules get into the kernel.
//!
//! All taps share one table, and their chains have no sets: before any change, `nft` asks the kernel once per table
//! and for every set, so that hundreds of either would make each change take hundreds of milliseconds.

use super::firewall;
use super::tap::PREFIX;
use crate::Ipv6;
use bulut_model::firewall::{Direction, FirewallRule};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table for the whole host, and the one of the taps, in different families.
pub(super) const TABLE: &str = "bulut";

/// The gateway that every tap has for IPv6.
pub(super) const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Who a guest is, for the rules.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub tap: &'a str,
    pub mac: &'a str,
    /// Its own and further ones.
    pub ipv4: Vec<Ipv4Addr>,
    pub ipv6: Option<Ipv6>,
    /// The device that slows what it sends, if it is to be slowed.
    pub slowed_by: Option<&'a str>,
}

/// What becomes of a frame that all tests of a rule fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It passes at once: what neighbours need to find each other.
    Passes,
    /// It passes, as fast as the guest may be.
    Goes,
    /// It is dropped and counted.
    Forged,
}

pub(super) fn field(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

pub(super) fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn test(op: &str, left: Value, right: impl Into<Value>) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right.into() } })
}

pub(super) fn is(left: Value, right: impl Into<Value>) -> Value {
    test("==", left, right)
}

fn any_of(items: Vec<Value>) -> Value {
    json!({ "set": items })
}

pub(super) fn network((address, prefix): (IpAddr, u8)) -> Value {
    json!({ "prefix": { "addr": address.to_string(), "len": prefix } })
}

fn accept() -> Value {
    json!({ "accept": null })
}

fn drop() -> Value {
    json!({ "drop": null })
}

/// The target address of a neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4): bytes 8 to 23.
/// By position, since older nftables have no name for it.
fn neighbour_target() -> Value {
    json!({ "payload": { "base": "th", "offset": 64, "len": 128 } })
}

/// The network of that target, by its first `prefix` bits.
fn neighbour_target_network(prefix: u8) -> Value {
    json!({ "payload": { "base": "th", "offset": 64, "len": prefix } })
}

/// The first ten bits of that target, which are `1111111010` for a link-local address.
fn neighbour_target_scope() -> Value {
    json!({ "payload": { "base": "th", "offset": 64, "len": 10 } })
}

const LINK_LOCAL_SCOPE: u32 = 0x3fa;

fn number(address: Ipv6Addr) -> String {
    format!("{:#034x}", address.to_bits())
}

/// Commands that take away the chain of a tap, there or not.
fn without_chain(tap: &str) -> Vec<Value> {
    let chain = json!({ "chain": { "family": "netdev", "table": TABLE, "name": tap } });
    vec![taps_table(), json!({ "add": chain }), json!({ "flush": chain }), json!({ "delete": chain })]
}

/// The command that makes the table of the taps, unless it is there.
fn taps_table() -> Value {
    json!({ "add": { "table": { "family": "netdev", "name": TABLE } } })
}

/// The counter of a tap's dropped frames, which has the tap's name, as its chain does.
fn counter(tap: &str) -> Value {
    json!({ "counter": { "family": "netdev", "table": TABLE, "name": tap } })
}

/// Commands that replace the rules of a tap at once and leave its counter as it was.
///
/// `fresh`: what an earlier tap of that name counted is forgotten.
pub(super) fn guard(who: &Identity<'_>, firewall: &[FirewallRule], fresh: bool) -> Vec<Value> {
    let mut commands = without_chain(who.tap);
    let counter = counter(who.tap);
    commands.push(json!({ "add": counter }));
    if fresh {
        commands.extend([json!({ "delete": counter }), json!({ "add": counter })]);
    }
    commands.push(json!({ "add": { "chain": {
        "family": "netdev", "table": TABLE, "name": who.tap,
        "type": "filter", "hook": "ingress", "dev": who.tap, "prio": 0, "policy": "accept",
    } } }));
    let mut rule = |expr: Vec<Value>| {
        commands.push(json!({ "add": { "rule": {
            "family": "netdev", "table": TABLE, "chain": who.tap, "expr": expr,
        } } }));
    };
    let ends = |mut tests: Vec<Value>, fate: Fate| {
        match (fate, who.slowed_by) {
            (Fate::Forged, _) => tests.extend([json!({ "counter": who.tap }), drop()]),
            (Fate::Goes, Some(device)) => tests.push(json!({ "fwd": { "dev": device } })),
            (Fate::Goes, None) | (Fate::Passes, _) => tests.push(accept()),
        }
        tests
    };
    let forged = |tests: Vec<Value>| ends(tests, Fate::Forged);
    for tests in most(who) {
        rule(ends(tests, Fate::Goes));
    }
    rule(forged(vec![test("!=", field("ether", "saddr"), who.mac)]));
    for kind in [0x8100, 0x88a8] {
        rule(forged(vec![is(ether_kind(), kind)]));
    }
    for tests in arp(who) {
        rule(ends(tests, Fate::Passes));
    }
    for (protocol, key, value) in [
        ("udp", "sport", Value::from(67)),
        ("udp", "sport", Value::from(547)),
        ("icmp", "type", "redirect".into()),
        ("icmp", "type", "router-advertisement".into()),
        ("icmpv6", "type", "nd-router-advert".into()),
        ("icmpv6", "type", "nd-redirect".into()),
    ] {
        rule(forged(vec![is(field(protocol, key), value)]));
    }
    for (tests, fate) in ipv4(who).into_iter().chain(ipv6(who)) {
        rule(ends(tests, fate));
    }
    rule(forged(vec![]));
    commands.extend(firewall::replace(who.tap, firewall));
    commands
}

/// The kind of a frame as it came. By position: the kernel sets a tag aside, and tests of the protocol see what it was
/// around.
fn ether_kind() -> Value {
    json!({ "payload": { "base": "ll", "offset": 96, "len": 16 } })
}

/// What most frames are, so that they need not go through all that follows: TCP, and UDP that is no DHCP server's, from the
/// guest's own MAC and addresses. MAC and kind of a frame lie beside each other and are one test.
fn most(who: &Identity<'_>) -> Vec<Vec<Value>> {
    let mut own: Vec<_> =
        who.ipv4.iter().map(|it| (0x0800, is(field("ip", "saddr"), it.to_string()), 67)).collect();
    if let Some(v6) = who.ipv6
        && network_of(v6.gateway, v6.prefix) != network_of(v6.address, v6.prefix)
    {
        own.push((0x86dd, is(field("ip6", "saddr"), own_network(v6)), 547));
    }
    let sender = json!({ "payload": { "base": "ll", "offset": 48, "len": 64 } });
    let mac = who.mac.replace(':', "");
    let of = |(kind, from, server): (u32, Value, u32)| {
        let from = vec![is(sender.clone(), format!("0x{mac}{kind:04x}")), from];
        let no_server = test("!=", field("udp", "sport"), server);
        [[from.clone(), vec![is(meta("l4proto"), "tcp")]].concat(), [from, vec![no_server]].concat()]
    };
    own.into_iter().flat_map(of).collect()
}

/// The IPv6 address of a guest, or the network that it has for itself.
fn own_network(Ipv6 { address, prefix, .. }: Ipv6) -> Value {
    if prefix < 128 {
        network((network_of(address, prefix).into(), prefix))
    } else {
        address.to_string().into()
    }
}

/// The ARP that a guest may send: requests and answers in its own name, and asking whether its own address is taken.
fn arp(who: &Identity<'_>) -> Vec<Vec<Value>> {
    let says = |operation: &str, sender: &str| {
        vec![
            is(field("arp", "operation"), operation),
            is(field("arp", "saddr ether"), who.mac),
            is(field("arp", "saddr ip"), sender),
        ]
    };
    let of = |address: &Ipv4Addr| {
        let own = address.to_string();
        let probe = [says("request", "0.0.0.0"), vec![is(field("arp", "daddr ip"), own.clone())]].concat();
        [says("request", &own), says("reply", &own), probe]
    };
    who.ipv4.iter().flat_map(of).collect()
}

/// The IPv4 that a guest may send: from its own addresses, and a DHCP client's question, which nobody answers.
fn ipv4(who: &Identity<'_>) -> Vec<(Vec<Value>, Fate)> {
    let question = vec![
        is(field("ip", "saddr"), "0.0.0.0"),
        is(field("udp", "sport"), 68),
        is(field("udp", "dport"), 67),
    ];
    let own = who.ipv4.iter().map(|address| vec![is(field("ip", "saddr"), address.to_string())]);
    std::iter::once((question, Fate::Passes)).chain(own.map(|tests| (tests, Fate::Goes))).collect()
}

/// The IPv6 that a guest may send, in order. A machine without an IPv6 address still has link-local ones, which lead
/// nowhere but to the tap's other end; one that has a network for itself speaks as any address in it.
fn ipv6(who: &Identity<'_>) -> Vec<(Vec<Value>, Fate)> {
    let kind = |name: &str| is(field("icmpv6", "type"), name);
    let from = |source: Value| is(field("ip6", "saddr"), source);
    let mut gateways = vec![LINK_GATEWAY];
    let mut own = vec![network((Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10))];
    if let Some(v6) = who.ipv6 {
        own.push(own_network(v6));
        let gateway = v6.gateway;
        if gateway != LINK_GATEWAY {
            gateways.push(gateway);
        }
    }
    let mut rules = Vec::new();
    for gateway in &gateways {
        rules.push((vec![from(gateway.to_string().into())], Fate::Forged));
        for talk in ["nd-neighbor-advert", "nd-neighbor-solicit"] {
            let about = is(neighbour_target(), number(*gateway));
            // Asking for the gateway is fine; claiming it, or asking from nowhere whether it is taken, is not.
            let claim = if talk == "nd-neighbor-advert" { vec![] } else { vec![from("::".into())] };
            rules.push(([claim, vec![kind(talk), about]].concat(), Fate::Forged));
        }
    }
    let mut targets = vec![is(neighbour_target_scope(), LINK_LOCAL_SCOPE)];
    if let Some(Ipv6 { address, prefix, .. }) = who.ipv6 {
        targets.push(if prefix < 128 {
            let bits = address.to_bits() >> (128 - u32::from(prefix));
            is(neighbour_target_network(prefix), format!("{bits:#x}"))
        } else {
            is(neighbour_target(), number(address))
        });
    }
    for target in targets {
        for source in &own {
            rules
                .push((vec![from(source.clone()), kind("nd-neighbor-advert"), target.clone()], Fate::Passes));
        }
        rules.push((vec![from("::".into()), kind("nd-neighbor-solicit"), target], Fate::Passes));
    }
    rules.push((vec![kind("nd-neighbor-advert")], Fate::Forged));
    for joins in ["mld-listener-report", "mld2-listener-report", "nd-router-solicit"] {
        rules.push((vec![from("::".into()), kind(joins)], Fate::Passes));
    }
    rules.extend(own.into_iter().map(|source| (vec![from(source)], Fate::Goes)));
    rules
}

/// Commands that take away the rules and the counter of a tap, there or not.
pub(super) fn unguard(tap: &str) -> Vec<Value> {
    let mut commands = without_chain(tap);
    commands.extend([json!({ "add": counter(tap) }), json!({ "delete": counter(tap) })]);
    commands.extend(firewall::replace(tap, &[]));
    commands
}

/// The network that an address lies in.
pub(super) fn network_of(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !host)
}

/// The chains of the host's table that are not a server's: name, kind, hook, priority.
pub(super) const HOST_CHAINS: [(&str, &str, &str, i32); 4] = [
    ("forward", "filter", "forward", 0),
    ("input", "filter", "input", 0),
    ("output", "filter", "output", 0),
    ("postrouting", "nat", "postrouting", 100),
];

/// Commands that replace the host's own rules at once: what guests may reach, and which networks are masqueraded. The
/// servers' firewalls, which stand in the same table, stay.
pub(super) fn host(nat_sources: &[(IpAddr, u8)]) -> Vec<Value> {
    let mut commands = vec![taps_table()];
    commands.extend(firewall::maps());
    for (name, kind, hook, priority) in HOST_CHAINS {
        commands.push(json!({ "add": { "chain": {
            "family": "inet", "table": TABLE, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        } } }));
        let chain = json!({ "chain": { "family": "inet", "table": TABLE, "name": name } });
        commands.push(json!({ "flush": chain }));
    }
    let mut rule = |chain: &str, expr: Vec<Value>| {
        commands.push(json!({ "add": { "rule": {
            "family": "inet", "table": TABLE, "chain": chain, "expr": expr,
        } } }));
    };
    let taps = format!("{PREFIX}*");
    let from_guest = || is(meta("iifname"), taps.clone());
    let known = || test("in", json!({ "ct": { "key": "state" } }), vec!["established", "related"]);
    let neighbourly = || {
        let kinds = ["nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit"];
        is(field("icmpv6", "type"), any_of(kinds.map(Value::from).to_vec()))
    };
    rule("forward", vec![known(), accept()]);
    rule(
        "forward",
        vec![from_guest(), is(field("ip", "daddr"), network(([169, 254, 0, 0].into(), 16))), drop()],
    );
    rule("forward", vec![firewall::through(Direction::Out)]);
    rule("forward", vec![firewall::through(Direction::In)]);
    rule("input", vec![from_guest(), known(), accept()]);
    rule("input", vec![from_guest(), neighbourly(), accept()]);
    rule("input", vec![firewall::through(Direction::Out)]);
    rule("input", vec![from_guest(), is(field("icmp", "type"), "echo-request"), accept()]);
    rule("input", vec![from_guest(), is(field("icmpv6", "type"), "echo-request"), accept()]);
    rule("input", vec![from_guest(), drop()]);
    let to_guest = || is(meta("oifname"), taps.clone());
    rule("output", vec![to_guest(), known(), accept()]);
    rule("output", vec![to_guest(), neighbourly(), accept()]);
    rule("output", vec![firewall::through(Direction::In)]);
    for (protocol, is_v4) in [("ip", true), ("ip6", false)] {
        let pools: Vec<Value> =
            nat_sources.iter().filter(|it| it.0.is_ipv4() == is_v4).map(|it| network(*it)).collect();
        if pools.is_empty() {
            continue;
        }
        let to_pool = |op| test(op, field(protocol, "daddr"), any_of(pools.clone()));
        let outward = || test("!=", meta("oifname"), taps.clone());
        // An address of a private pool that no machine has must not wander out by the default route.
        let refuse = json!({ "reject": { "type": "icmpx", "expr": "host-unreachable" } });
        rule("forward", vec![from_guest(), outward(), to_pool("=="), refuse]);
        let from_pool = is(field(protocol, "saddr"), any_of(pools.clone()));
        rule("postrouting", vec![from_pool, to_pool("!="), json!({ "masquerade": null })]);
    }
    commands
}
