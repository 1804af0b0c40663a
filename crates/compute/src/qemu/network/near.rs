//! Guests of this host that speak with each other: their packets go from tap to tap, without a way through the host's stack.
//!
//! Promises: only between guests that have no firewall, since nobody follows the connections of such packets, and only as
//! long as nobody else on this host has rules for what is forwarded, which they would pass by; an address leads to the tap
//! of the server that got it last. Each table of taps has the maps from addresses to taps, since rules see the maps of their
//! own table only. Must not know: what the rules test before they hand a packet over.

use super::expressions::{Protocol, octets};
use super::host;
use super::nfnetlink::{Hooked, Kernel};
use super::rules;
use super::transaction::{Family, Kind, Transaction};
use crate::{DriverError, Nic};
use bulut_model::ServerId;
use netlink_packet_netfilter::nftables::DataAttribute;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The hooks that a forwarded packet passes: NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING.
const ON_THE_WAY: [u32; 3] = [0, 2, 4];

/// The map from the addresses of a protocol to taps.
pub(super) const fn map(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ipv4 => "near4",
        Protocol::Ipv6 => "near6",
    }
}

/// Which addresses lead to which taps.
#[derive(Debug, Default)]
pub(super) struct Near {
    /// The server that has an address, and the number of its tap.
    leads: BTreeMap<IpAddr, (ServerId, u32)>,
    servers: BTreeMap<ServerId, Vec<IpAddr>>,
    /// Whether somebody else has rules for what passes this host.
    shut: bool,
}

/// Other addresses of one server, on their way into the maps.
#[derive(Debug)]
pub(super) struct Step {
    id: ServerId,
    addresses: Vec<IpAddr>,
    tap: u32,
    stale: Vec<IpAddr>,
    missing: Vec<IpAddr>,
}

/// Whether a guest takes part. A packet is not looked at again on its way from tap to tap, so all of them have to be able to
/// take the same.
pub(super) fn takes_part(nic: &Nic, mtu: u16) -> bool {
    nic.firewall.is_empty() && nic.mtu == mtu
}

impl Near {
    /// What changes when a server gets this tap and these addresses; none if it takes no part.
    pub fn step(&self, id: ServerId, (tap, addresses): (u32, Vec<IpAddr>)) -> Step {
        let old = self.servers.get(&id).map(Vec::as_slice).unwrap_or_default();
        let is_so = |it: &IpAddr| self.leads.get(it).is_some_and(|lead| lead.1 == tap);
        // What the maps have for a new address, an older owner's, goes first.
        let missing: Vec<IpAddr> = addresses.iter().filter(|it| !is_so(it)).copied().collect();
        let gone = old.iter().filter(|it| !addresses.contains(it));
        let taken = missing.iter().filter(|it| self.leads.contains_key(it));
        let stale = gone.chain(taken).copied().collect();
        Step { id, addresses, tap, stale, missing }
    }

    /// Remembers a step that was carried out.
    pub fn went(&mut self, step: Step) {
        for stale in &step.stale {
            if let Some((owner, _)) = self.leads.remove(stale)
                && let Some(addresses) = self.servers.get_mut(&owner)
            {
                addresses.retain(|it| it != stale);
            }
        }
        self.leads.extend(step.addresses.iter().map(|it| (*it, (step.id, step.tap))));
        if step.addresses.is_empty() {
            self.servers.remove(&step.id);
        } else {
            self.servers.insert(step.id, step.addresses);
        }
    }

    /// Looks whether somebody else has rules for what passes this host; whether that is news.
    pub fn look_around(&mut self, kernel: &Kernel) -> Result<bool, DriverError> {
        let shut = others_have_rules(kernel)?;
        if shut != self.shut {
            let what = if shut {
                "through the host's stack, since others have rules there"
            } else {
                "from tap to tap"
            };
            tracing::info!("packets between guests now go {what}");
        }
        Ok(std::mem::replace(&mut self.shut, shut) != shut)
    }

    /// What the maps of each table have.
    pub fn elements(&self, protocol: Protocol) -> BTreeMap<Vec<u8>, u32> {
        let leads =
            self.leads.iter().filter(|(address, _)| !self.shut && Protocol::of(**address) == protocol);
        leads.map(|(address, (_, tap))| (octets(*address), *tap)).collect()
    }

    /// Carries a step out in all maps.
    pub fn go(&self, change: &mut Transaction, step: &Step) {
        if self.shut {
            return;
        }
        for protocol in [Protocol::Ipv4, Protocol::Ipv6] {
            let of = |all: &[IpAddr]| -> Vec<Vec<u8>> {
                all.iter().filter(|it| Protocol::of(**it) == protocol).map(|it| octets(*it)).collect()
            };
            let stale = of(&step.stale);
            let missing: Vec<_> = of(&step.missing).iter().map(|it| element(it, step.tap)).collect();
            for table in rules::tables() {
                change.take(&table, map(protocol), &stale);
                change.add(&table, map(protocol), &missing);
            }
        }
    }

    /// Makes the tables and their maps, whatever is there.
    pub fn replace(&self, change: &mut Transaction) {
        let maps = [(Protocol::Ipv4, Kind::IPV4), (Protocol::Ipv6, Kind::IPV6)].map(|(protocol, kind)| {
            let elements = self.elements(protocol);
            let elements: Vec<_> = elements.iter().map(|(it, tap)| element(it, *tap)).collect();
            (map(protocol), kind, elements)
        });
        for table in rules::tables() {
            change.table(&table);
            for (map, kind, elements) in &maps {
                change.map(&table, map, *kind, Kind::INTERFACE);
                change.empty(&table, map);
                change.add(&table, map, elements);
            }
        }
    }
}

fn element(address: &[u8], tap: u32) -> (Vec<u8>, DataAttribute) {
    (address.to_vec(), DataAttribute::Value(tap.to_ne_bytes().into()))
}

/// Whether anybody but us has a chain that forwarded packets pass.
fn others_have_rules(kernel: &Kernel) -> Result<bool, DriverError> {
    // The older tables of iptables are not among those of nf_tables.
    for names in ["ip_tables_names", "ip6_tables_names"] {
        let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}"));
        if names.is_ok_and(|it| !it.trim().is_empty()) {
            return Ok(true);
        }
    }
    let ours = host::table();
    for family in [Family::Inet, Family::Ipv4, Family::Ipv6] {
        let others = |it: &Hooked| family != ours.family || it.table != ours.name;
        if kernel.hooked(family)?.iter().any(|it| others(it) && ON_THE_WAY.contains(&it.hook)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn goes(near: &mut Near, id: i64, tap: u32, last: &[u8]) -> (usize, usize) {
        let step = near.step(ServerId(id), (tap, last.iter().map(|it| address(*it)).collect()));
        let changed = (step.stale.len(), step.missing.len());
        near.went(step);
        changed
    }

    fn leads(near: &Near) -> Vec<(u8, u32)> {
        near.elements(Protocol::Ipv4).into_iter().map(|(it, tap)| (it[3], tap)).collect()
    }

    #[test]
    fn an_address_leads_to_the_server_that_got_it_last() {
        let mut near = Near::default();
        assert_eq!(goes(&mut near, 1, 11, &[1, 9]), (0, 2));
        assert_eq!(goes(&mut near, 2, 12, &[2, 9]), (1, 2));
        assert_eq!(leads(&near), [(1, 11), (2, 12), (9, 12)]);
        // What the first has lost is not taken away with what it has.
        assert_eq!(goes(&mut near, 1, 0, &[]), (1, 0));
        assert_eq!(leads(&near), [(2, 12), (9, 12)]);
        assert_eq!(goes(&mut near, 2, 12, &[2, 9]), (0, 0), "nothing changed");
        assert_eq!(goes(&mut near, 2, 13, &[2, 9]), (2, 2), "the tap was made anew");
        assert_eq!(goes(&mut near, 2, 0, &[]), (2, 0));
        assert!(near.leads.is_empty() && near.servers.is_empty());
    }

    #[test]
    fn nothing_leads_anywhere_where_others_have_rules() {
        let mut near = Near::default();
        goes(&mut near, 1, 11, &[1]);
        near.shut = true;
        assert!(leads(&near).is_empty());
        let mut change = Transaction::default();
        near.go(&mut change, &near.step(ServerId(2), (12, vec![address(2)])));
        assert!(change.changes.is_empty());
    }
}
