//! Zones: which names there are, and which zones hold them. Pure: settings, pools and servers in, text out.
//!
//! Promises: every address of a server that has a name leads to it, from the zone that is nearest to it and from the
//! zone of a part of a /24 besides; a name of the provider's zone leads to the addresses of the one server that has it.
//! Must not know: where any of it is stored or served.

use crate::config::Dns;
use bulut_dns::{Content, Data, Record, reverse};
use bulut_model::ServerId;
use bulut_store::addresses::Pool;
use bulut_store::names::Named;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// What a server is called in the provider's zone where its owner has said nothing.
pub fn default_name(zone: &str, server: ServerId) -> String {
    format!("server-{server}.{zone}")
}

/// The records of all servers: what their addresses lead to, and the names of the provider's zone.
pub fn records(settings: &Dns, servers: &[Named]) -> Vec<Record> {
    let zone = settings.zone();
    let mut records = Vec::new();
    for server in servers {
        let default = zone.as_deref().map(|zone| default_name(zone, server.server));
        let ipv4 = ipv4_of(server).map(IpAddr::V4);
        let addresses: Vec<IpAddr> = ipv4.chain(server.ipv6.map(IpAddr::V6)).collect();
        if let Some(target) = server.reverse_name.as_ref().or(default.as_ref()) {
            let back = |address: &IpAddr| Record {
                owner: reverse::owner(*address),
                data: Data::Ptr(target.clone()),
            };
            records.extend(addresses.iter().map(back));
        }
        let own =
            server.reverse_name.as_ref().filter(|_| server.claimed).map(|name| name.to_ascii_lowercase());
        // What was taken in a zone that is the provider's no more leads nowhere by us.
        let own = own.filter(|name| zone.as_deref().is_some_and(|zone| lies_in(name, zone)));
        for name in default.iter().chain(own.iter()) {
            records.extend(addresses.iter().map(|address| forth(name, *address)));
        }
    }
    records
}

/// All IPv4 addresses of a server, its own one first.
fn ipv4_of(server: &Named) -> impl Iterator<Item = Ipv4Addr> {
    server.ipv4.into_iter().chain(server.further.iter().copied())
}

fn forth(name: &str, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => Data::A(address),
        IpAddr::V6(address) => Data::Aaaa(address),
    };
    Record { owner: name.to_owned(), data }
}

/// All zones with what they hold, by their names.
pub fn contents(settings: &Dns, pools: &[Pool], servers: &[Named]) -> Vec<Content> {
    let mut zones: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for pool in pools {
        for zone in reverse::zones(pool.network, pool.prefix) {
            zones.entry(zone).or_default();
        }
    }
    let nameservers = settings.nameservers();
    if let Some(zone) = settings.zone() {
        let of_servers = nameservers
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(|address| forth(name, *address)));
        let of_servers = of_servers.filter(|record| lies_in(&record.owner, &zone));
        zones.entry(zone.clone()).or_default().extend(of_servers);
    }
    for record in records(settings, servers) {
        // An address of a pool that is gone, or a name of a zone that is no longer ours, is nobody's to ask us for.
        if let Some(zone) = nearest(&zones, &record.owner) {
            zones.entry(zone).or_default().push(record);
        }
    }
    for pool in pools {
        classless(settings, pool, servers, &mut zones);
    }
    let (primary, contact) = (nameservers.first().map(|(name, _)| name.clone()), settings.contact());
    let content = |(origin, records)| Content {
        origin,
        primary: primary.clone().unwrap_or_default(),
        contact: contact.clone(),
        nameservers: nameservers.iter().map(|(name, _)| name.clone()).collect(),
        records,
    };
    zones.into_iter().map(content).collect()
}

/// The names of a part of a /24 once more, in a zone that can be delegated.
fn classless(settings: &Dns, pool: &Pool, servers: &[Named], zones: &mut BTreeMap<String, Vec<Record>>) {
    let IpAddr::V4(network) = pool.network else { return };
    let Some(zone) = reverse::classless_zone(network, pool.prefix, settings.classless()) else { return };
    let network = u32::from(network) >> (32 - u32::from(pool.prefix));
    let default = settings.zone();
    let mut records = Vec::new();
    for server in servers {
        let default = || default.as_deref().map(|zone| default_name(zone, server.server));
        let Some(target) = server.reverse_name.clone().or_else(default) else { continue };
        let ours = ipv4_of(server).filter(|it| u32::from(*it) >> (32 - u32::from(pool.prefix)) == network);
        records.extend(ours.map(|address| Record {
            owner: reverse::classless_owner(address, &zone),
            data: Data::Ptr(target.clone()),
        }));
    }
    zones.insert(zone, records);
}

fn lies_in(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The zone with the longest name that `name` lies in.
fn nearest(zones: &BTreeMap<String, Vec<Record>>, name: &str) -> Option<String> {
    let mut within = name;
    loop {
        if zones.contains_key(within) {
            return Some(within.to_owned());
        }
        (_, within) = within.split_once('.')?;
    }
}

/// A digest that changes with what a zone holds, in whatever order.
pub fn digest(content: &Content) -> String {
    let mut records: Vec<String> = content.records.iter().map(|record| format!("{record:?}")).collect();
    records.sort_unstable();
    let mut digest = Sha256::new();
    digest.update(format!("{:?}", (&content.primary, &content.contact, &content.nameservers)));
    for record in records {
        digest.update(record);
        digest.update([0]);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
