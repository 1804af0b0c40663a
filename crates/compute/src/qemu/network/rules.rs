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

use super::tap::PREFIX;
use crate::{Ipv4, Ipv6};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr};

/// The table for the whole host, and the one of the taps, in different families.
pub(super) const TABLE: &str = "bulut";

/// The gateway that every tap has for IPv6.
pub(super) const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Who a guest is, for the rules.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub tap: &'a str,
    pub mac: &'a str,
    pub ipv4: Option<Ipv4>,
    pub ipv6: Option<Ipv6>,
}

fn field(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn test(op: &str, left: Value, right: impl Into<Value>) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right.into() } })
}

fn is(left: Value, right: impl Into<Value>) -> Value {
    test("==", left, right)
}

fn any_of(items: Vec<Value>) -> Value {
    json!({ "set": items })
}

fn network((address, prefix): (IpAddr, u8)) -> Value {
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
pub(super) fn guard(who: &Identity<'_>, fresh: bool) -> Vec<Value> {
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
    let forged = |mut tests: Vec<Value>| {
        tests.extend([json!({ "counter": who.tap }), drop()]);
        tests
    };
    rule(forged(vec![test("!=", field("ether", "saddr"), who.mac)]));
    // By position: the kernel sets a tag aside, and tests of the protocol see what it was around.
    let tag = json!({ "payload": { "base": "ll", "offset": 96, "len": 16 } });
    for kind in [0x8100, 0x88a8] {
        rule(forged(vec![is(tag.clone(), kind)]));
    }
    for tests in arp(who) {
        rule(tests);
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
    for tests in ipv4(who) {
        rule(tests);
    }
    for (tests, good) in ipv6(who) {
        rule(if good { [tests, vec![accept()]].concat() } else { forged(tests) });
    }
    rule(forged(vec![]));
    commands
}

/// The ARP that a guest may send: requests and answers in its own name, and asking whether its own address is taken.
fn arp(who: &Identity<'_>) -> Vec<Vec<Value>> {
    let Some(Ipv4 { address, .. }) = who.ipv4 else { return vec![] };
    let own = address.to_string();
    let says = |operation: &str, sender: &str| {
        vec![
            is(field("arp", "operation"), operation),
            is(field("arp", "saddr ether"), who.mac),
            is(field("arp", "saddr ip"), sender),
        ]
    };
    vec![
        [says("request", &own), vec![accept()]].concat(),
        [says("reply", &own), vec![accept()]].concat(),
        [says("request", "0.0.0.0"), vec![is(field("arp", "daddr ip"), own.clone()), accept()]].concat(),
    ]
}

/// The IPv4 that a guest may send: from its own address, and a DHCP client's question, which nobody answers.
fn ipv4(who: &Identity<'_>) -> Vec<Vec<Value>> {
    let mut rules = vec![vec![
        is(field("ip", "saddr"), "0.0.0.0"),
        is(field("udp", "sport"), 68),
        is(field("udp", "dport"), 67),
        accept(),
    ]];
    if let Some(Ipv4 { address, .. }) = who.ipv4 {
        rules.push(vec![is(field("ip", "saddr"), address.to_string()), accept()]);
    }
    rules
}

/// The IPv6 that a guest may send, in order; `true` marks what is good. A machine without an IPv6 address still
/// has link-local ones, which lead nowhere but to the tap's other end.
fn ipv6(who: &Identity<'_>) -> Vec<(Vec<Value>, bool)> {
    let kind = |name: &str| is(field("icmpv6", "type"), name);
    let from = |source: Value| is(field("ip6", "saddr"), source);
    let mut gateways = vec![LINK_GATEWAY];
    let mut own = vec![network((Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10))];
    if let Some(Ipv6 { address, gateway, .. }) = who.ipv6 {
        own.push(address.to_string().into());
        if gateway != LINK_GATEWAY {
            gateways.push(gateway);
        }
    }
    let mut rules = Vec::new();
    for gateway in &gateways {
        rules.push((vec![from(gateway.to_string().into())], false));
        for talk in ["nd-neighbor-advert", "nd-neighbor-solicit"] {
            let about = is(neighbour_target(), number(*gateway));
            // Asking for the gateway is fine; claiming it, or asking from nowhere whether it is taken, is not.
            let claim = if talk == "nd-neighbor-advert" { vec![] } else { vec![from("::".into())] };
            rules.push(([claim, vec![kind(talk), about]].concat(), false));
        }
    }
    let mut targets = vec![is(neighbour_target_scope(), LINK_LOCAL_SCOPE)];
    if let Some(Ipv6 { address, .. }) = who.ipv6 {
        targets.push(is(neighbour_target(), number(address)));
    }
    for target in targets {
        for source in &own {
            rules.push((vec![from(source.clone()), kind("nd-neighbor-advert"), target.clone()], true));
        }
        rules.push((vec![from("::".into()), kind("nd-neighbor-solicit"), target], true));
    }
    rules.push((vec![kind("nd-neighbor-advert")], false));
    for joins in ["mld-listener-report", "mld2-listener-report", "nd-router-solicit"] {
        rules.push((vec![from("::".into()), kind(joins)], true));
    }
    rules.extend(own.into_iter().map(|source| (vec![from(source)], true)));
    rules
}

/// Commands that take away the rules and the counter of a tap, there or not.
pub(super) fn unguard(tap: &str) -> Vec<Value> {
    let mut commands = without_chain(tap);
    commands.extend([json!({ "add": counter(tap) }), json!({ "delete": counter(tap) })]);
    commands
}

/// Commands that replace the host's table: what guests may reach, and which networks are masqueraded.
pub(super) fn host(nat_sources: &[(IpAddr, u8)]) -> Vec<Value> {
    let table = json!({ "table": { "family": "inet", "name": TABLE } });
    let mut commands =
        vec![taps_table(), json!({ "add": table }), json!({ "delete": table }), json!({ "add": table })];
    for (name, kind, hook, priority) in [
        ("forward", "filter", "forward", 0),
        ("input", "filter", "input", 0),
        ("postrouting", "nat", "postrouting", 100),
    ] {
        commands.push(json!({ "add": { "chain": {
            "family": "inet", "table": TABLE, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        } } }));
    }
    let mut rule = |chain: &str, expr: Vec<Value>| {
        commands.push(json!({ "add": { "rule": {
            "family": "inet", "table": TABLE, "chain": chain, "expr": expr,
        } } }));
    };
    let taps = format!("{PREFIX}*");
    let from_guest = || is(meta("iifname"), taps.clone());
    let known = || test("in", json!({ "ct": { "key": "state" } }), vec!["established", "related"]);
    rule("forward", vec![known(), accept()]);
    rule(
        "forward",
        vec![from_guest(), is(field("ip", "daddr"), network(([169, 254, 0, 0].into(), 16))), drop()],
    );
    rule("input", vec![from_guest(), known(), accept()]);
    rule("input", vec![from_guest(), is(field("icmp", "type"), "echo-request"), accept()]);
    let neighbourly = ["echo-request", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit"];
    let neighbourly = any_of(neighbourly.map(Value::from).to_vec());
    rule("input", vec![from_guest(), is(field("icmpv6", "type"), neighbourly), accept()]);
    rule("input", vec![from_guest(), drop()]);
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
