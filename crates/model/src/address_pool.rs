//! Address pools: what an operator may offer to the servers of a region, checked before anything is stored. Pure.
//!
//! An IPv4 pool has a row for each address, so its size is bounded. The addresses of an IPv6 pool are computed: a /128
//! from the server's id, or a /64 of its own from a number that is counted up in the pool.

use crate::address::{Ipv4Network, ServerIpv6, ipv6_for};
use crate::{Error, Result, ServerId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most addresses of an IPv4 pool: a /16. Each has a row.
pub const IPV4_MAX: u32 = 1 << 16;
/// Shortest prefix of an IPv6 pool; nobody is given more.
const IPV6_SHORTEST: u8 = 16;
/// Most DNS servers of a pool: guests' resolvers read no more.
pub const RESOLVERS_MAX: usize = 3;
/// The prefix that a server with a single IPv6 address configures.
pub const SINGLE: u8 = 128;
/// The prefix of a server that has a network of its own.
pub const ROUTED: u8 = 64;
/// An operator's prefix of this length or shorter gives each server a network of its own, unless told otherwise.
const ROUTED_BY_DEFAULT: u8 = 48;
/// The gateway that every guest uses on IPv6 unless told otherwise: the link-local address of the host's end.
pub const IPV6_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Why a gateway is kept from servers.
pub const GATEWAY: &str = "the gateway";

/// What an operator says of a new pool.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `203.0.113.0/24`, `203.0.113.10-203.0.113.99` or `2001:db8::/48`.
    pub addresses: String,
    /// A prefix length or a dotted mask; needed with a range, whose network it tells.
    pub netmask: Option<String>,
    /// The first address of an IPv4 network, and `fe80::1` for IPv6, if absent.
    pub gateway: Option<IpAddr>,
    /// DNS servers for the guests, of the pool's family.
    pub resolvers: Vec<IpAddr>,
    /// IPv6: the length of the prefix that each server gets, 64 or 128.
    pub per_server: Option<u8>,
    /// What is known of the host.
    pub host: Host,
}

/// What is known of the host that routes a pool: addresses that its servers must not get, nor the pool's gateway have.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Those of its own interfaces.
    pub own: Vec<IpAddr>,
    /// The next hops of its routes.
    pub routers: Vec<IpAddr>,
    /// Those of other machines that it has spoken with.
    pub neighbours: Vec<IpAddr>,
}

impl Host {
    /// Why an address is kept from servers, where it is.
    fn keeps(&self, address: Ipv4Addr) -> Option<&'static str> {
        let address = IpAddr::V4(address);
        if self.own.contains(&address) {
            return Some("an address of this host");
        }
        self.routers.contains(&address).then_some("this host's router")
    }

    /// The host gives itself the gateway's address, by which it would lose whoever has that.
    fn check_gateway(&self, gateway: IpAddr) -> Result<()> {
        // Those are of one link: the router's on the uplink is not that of the guests on theirs.
        if matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return Ok(());
        }
        let whose = if self.routers.contains(&gateway) {
            "this host's own router"
        } else if self.neighbours.contains(&gateway) {
            "another machine beside this host"
        } else {
            return Ok(());
        };
        let why = format!(
            "The gateway {gateway} is {whose}, but a pool's gateway becomes an address of this host, which could not \
             reach {gateway} any more: name a free address of the network."
        );
        Err(Error::invalid("gateway", why))
    }
}

/// A pool that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPool {
    /// The network's own address.
    pub network: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The gateway that guests use.
    pub gateway: IpAddr,
    /// DNS servers for guests.
    pub resolvers: Vec<IpAddr>,
    /// Length of the prefix that each server gets: 32 with IPv4.
    pub per_server: u8,
    /// The IPv4 addresses of the pool, from the first to the last one.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Those among them that no server gets, and why.
    pub kept: Vec<(Ipv4Addr, &'static str)>,
}

impl Wanted {
    /// The pool that this makes.
    ///
    /// Errors: `Invalid` naming `addresses`, `netmask`, `gateway`, `resolvers` or `per_server`.
    pub fn check(&self) -> Result<NewPool> {
        let text = self.addresses.trim();
        let mut pool = match text.split_once('-') {
            Some((from, to)) => self.range(from, to)?,
            None if text.contains(':') => self.prefix_v6(text)?,
            None => self.network_v4(text)?,
        };
        check_usable(pool.network, pool.prefix)?;
        self.host.check_gateway(pool.gateway)?;
        check_resolvers(&pool)?;
        pool.kept = pool.addresses().filter_map(|it| Some((it, self.why_kept(pool.gateway, it)?))).collect();
        Ok(pool)
    }

    fn why_kept(&self, gateway: IpAddr, address: Ipv4Addr) -> Option<&'static str> {
        if gateway == address { Some(GATEWAY) } else { self.host.keeps(address) }
    }

    fn network_v4(&self, text: &str) -> Result<NewPool> {
        let network = Ipv4Network::parse(text).map_err(|why| {
            let or = "write that, a range like 10.0.0.10-10.0.0.99, or an IPv6 prefix like 2001:db8::/48";
            Error::invalid("addresses", format!("{why}; {or}. A pool is a /16 at most."))
        })?;
        if self.netmask.is_some() {
            let why = "The netmask goes with a range; a network like 10.0.0.0/24 says its own.";
            return Err(Error::invalid("netmask", why));
        }
        let (first, last) = (network.first(), u32::from(network.network) | !u32::from(network.netmask()));
        self.pool_v4(network, first, Ipv4Addr::from(last - 1))
    }

    fn range(&self, from: &str, to: &str) -> Result<NewPool> {
        let read = |text: &str| {
            text.trim().parse::<Ipv4Addr>().map_err(|_| {
                let why = format!("'{text}' is not an IPv4 address: write a range like 10.0.0.10-10.0.0.99.");
                Error::invalid("addresses", why)
            })
        };
        let (from, to) = (read(from)?, read(to)?);
        let netmask = self.netmask.as_deref().ok_or_else(|| {
            let why = "A range needs the netmask of its network, such as 24 or 255.255.255.0.";
            Error::invalid("netmask", why)
        })?;
        let prefix = prefix_of(netmask)?;
        let mask = u32::MAX << (32 - u32::from(prefix));
        let network = Ipv4Network { network: Ipv4Addr::from(u32::from(from) & mask), prefix };
        let broadcast = Ipv4Addr::from(u32::from(from) | !mask);
        if from > to || !network.contains(to) || from == network.network || to == broadcast {
            return Err(Error::invalid(
                "addresses",
                format!(
                    "The range {from}-{to} must lie between the first and the last address of {}/{prefix}, {} and {}.",
                    network.network,
                    network.first(),
                    Ipv4Addr::from(u32::from(broadcast) - 1),
                ),
            ));
        }
        self.pool_v4(network, from, to)
    }

    fn pool_v4(&self, network: Ipv4Network, from: Ipv4Addr, to: Ipv4Addr) -> Result<NewPool> {
        if self.per_server.is_some() {
            let why = "The prefix of each server can be chosen for IPv6 only.";
            return Err(Error::invalid("per_server", why));
        }
        if u32::from(to) - u32::from(from) >= IPV4_MAX {
            let why = format!(
                "{}/{} has too many addresses: a pool may have {IPV4_MAX} at most, which is a /16. Add parts of it.",
                network.network, network.prefix
            );
            return Err(Error::invalid("addresses", why));
        }
        let gateway = match self.gateway {
            None => network.first(),
            Some(IpAddr::V4(gateway)) if is_host(network, gateway) => gateway,
            Some(gateway) => {
                let within = format!("{}/{}", network.network, network.prefix);
                let why = format!("The gateway {gateway} must be an address of the network {within}.");
                return Err(Error::invalid("gateway", why));
            }
        };
        Ok(NewPool {
            network: network.network.into(),
            prefix: network.prefix,
            gateway: gateway.into(),
            resolvers: self.resolvers.clone(),
            per_server: 32,
            range: Some((from, to)),
            kept: Vec::new(),
        })
    }

    fn prefix_v6(&self, text: &str) -> Result<NewPool> {
        let refuse = || {
            let why = format!(
                "'{text}' is not an IPv6 prefix: write it like 2001:db8::/48, with a length from {IPV6_SHORTEST} to 64 \
                 and zeros behind it."
            );
            Error::invalid("addresses", why)
        };
        let (address, length) = text.split_once('/').ok_or_else(refuse)?;
        let network: Ipv6Addr = address.parse().map_err(|_| refuse())?;
        let prefix: u8 = length.parse().map_err(|_| refuse())?;
        if !(IPV6_SHORTEST..=64).contains(&prefix) || u128::from(network) << prefix != 0 {
            return Err(refuse());
        }
        if self.netmask.is_some() {
            return Err(Error::invalid("netmask", "An IPv6 prefix says its own length."));
        }
        let by_default = if prefix <= ROUTED_BY_DEFAULT { ROUTED } else { SINGLE };
        let per_server = self.per_server.unwrap_or(by_default);
        if per_server != SINGLE && (per_server != ROUTED || prefix >= ROUTED) {
            let why = format!(
                "Each server of {text} gets {}.",
                if prefix < ROUTED { "a /64 or a /128: say 64 or 128" } else { "a /128: say 128" }
            );
            return Err(Error::invalid("per_server", why));
        }
        let gateway = self.gateway.unwrap_or(IPV6_GATEWAY.into());
        if !matches!(gateway, IpAddr::V6(gateway) if !gateway.is_multicast() && !gateway.is_unspecified()) {
            return Err(Error::invalid("gateway", format!("The gateway {gateway} must be an IPv6 address.")));
        }
        let (resolvers, network) = (self.resolvers.clone(), network.into());
        Ok(NewPool { network, prefix, gateway, resolvers, per_server, range: None, kept: Vec::new() })
    }
}

impl NewPool {
    /// Every IPv4 address of the pool.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let all = |(from, to): (Ipv4Addr, Ipv4Addr)| u32::from(from)..=u32::from(to);
        self.range.into_iter().flat_map(all).map(Ipv4Addr::from)
    }
}

fn is_host(network: Ipv4Network, address: Ipv4Addr) -> bool {
    let broadcast = u32::from(network.network) | !u32::from(network.netmask());
    network.contains(address) && address != network.network && u32::from(address) != broadcast
}

/// Reads `24`, `/24` or `255.255.255.0`.
fn prefix_of(netmask: &str) -> Result<u8> {
    let dotted = || {
        let mask = u32::from(netmask.trim().parse::<Ipv4Addr>().ok()?);
        (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask.leading_ones())
    };
    let length = netmask.trim().trim_start_matches('/').parse::<u32>().ok().or_else(dotted);
    let length =
        length.and_then(|length| u8::try_from(length).ok()).filter(|length| (8..=30).contains(length));
    length.ok_or_else(|| {
        let why =
            format!("The netmask '{netmask}' must be like 24 or 255.255.255.0, with a length from 8 to 30.");
        Error::invalid("netmask", why)
    })
}

/// Networks that no server can be reached in.
const UNUSABLE: [(IpAddr, u8, &str); 8] = [
    (IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)), 8, "this network"),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, "loopback"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16, "link-local"),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3, "multicast and reserved"),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 32, "special"),
    (IpAddr::V6(Ipv6Addr::new(0x0064, 0xff9b, 0, 0, 0, 0, 0, 0)), 32, "translation"),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10, "link-local"),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8, "multicast"),
];

fn check_usable(network: IpAddr, prefix: u8) -> Result<()> {
    match UNUSABLE.iter().find(|(other, length, _)| overlap((network, prefix), (*other, *length))) {
        None => Ok(()),
        Some((other, length, what)) => {
            let why = format!("{network}/{prefix} overlaps {other}/{length}, which is for {what} addresses.");
            Err(Error::invalid("addresses", why))
        }
    }
}

fn check_resolvers(pool: &NewPool) -> Result<()> {
    let family = if pool.network.is_ipv4() { "IPv4" } else { "IPv6" };
    let fits = |resolver: &IpAddr| resolver.is_ipv4() == pool.network.is_ipv4() && !resolver.is_unspecified();
    if (1..=RESOLVERS_MAX).contains(&pool.resolvers.len()) && pool.resolvers.iter().all(fits) {
        return Ok(());
    }
    let why =
        format!("The pool needs one to {RESOLVERS_MAX} resolvers with {family} addresses, for its guests.");
    Err(Error::invalid("resolvers", why))
}

/// Whether two networks, each an address with the length of its prefix, have addresses in common.
pub fn overlap((a, a_prefix): (IpAddr, u8), (b, b_prefix): (IpAddr, u8)) -> bool {
    let prefix = u32::from(a_prefix.min(b_prefix));
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros() >= prefix,
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros() >= prefix,
        _ => false,
    }
}

/// The numbers of the networks that servers of an IPv6 prefix get: from 1 until before this one. The first network is
/// left to the operator's own routers.
pub fn networks_end(prefix: u8) -> i64 {
    1 << ROUTED.saturating_sub(prefix).min(62)
}

/// The address of a server that has the network of this number for itself: its first one.
pub fn routed_address(network: Ipv6Addr, number: i64, gateway: Ipv6Addr) -> ServerIpv6 {
    let number = u128::from(number.unsigned_abs()) << 64;
    ServerIpv6 { address: Ipv6Addr::from(u128::from(network) | number | 1), prefix: ROUTED, gateway }
}

/// The address of a server that shares the first /64 of a prefix with others.
pub fn single_address(network: Ipv6Addr, server: ServerId, gateway: Ipv6Addr) -> ServerIpv6 {
    ServerIpv6 { address: ipv6_for(network, server), prefix: SINGLE, gateway }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(addresses: &str) -> Wanted {
        Wanted {
            addresses: addresses.into(),
            resolvers: vec!["9.9.9.9".parse().unwrap()],
            ..Wanted::default()
        }
    }

    fn v6(addresses: &str, per_server: Option<u8>) -> Wanted {
        let resolvers = vec!["2620:fe::fe".parse().unwrap()];
        Wanted { addresses: addresses.into(), resolvers, per_server, ..Wanted::default() }
    }

    fn refused(wanted: &Wanted) -> String {
        let error = wanted.check().unwrap_err();
        format!("{:?} {}", error.kind, error.public)
    }

    #[test]
    fn a_network_offers_all_its_hosts_and_its_first_one_is_the_gateway() {
        let pool = v4("203.0.113.64/26").check().unwrap();
        assert_eq!(pool.gateway.to_string(), "203.0.113.65");
        let addresses: Vec<String> = pool.addresses().map(|address| address.to_string()).collect();
        assert_eq!(addresses.len(), 62);
        assert_eq!((addresses[0].as_str(), addresses[61].as_str()), ("203.0.113.65", "203.0.113.126"));
    }

    #[test]
    fn a_range_is_a_part_of_its_network() {
        for netmask in ["24", "/24", "255.255.255.0"] {
            let gateway = Some("203.0.113.254".parse().unwrap());
            let wanted = Wanted { netmask: Some(netmask.into()), gateway, ..v4("203.0.113.10-203.0.113.19") };
            let pool = wanted.check().unwrap();
            assert_eq!((pool.network.to_string().as_str(), pool.prefix), ("203.0.113.0", 24));
            assert_eq!(pool.addresses().count(), 10);
        }
        let range =
            |addresses: &str, netmask: &str| Wanted { netmask: Some(netmask.into()), ..v4(addresses) };
        assert!(refused(&v4("203.0.113.10-203.0.113.19")).contains("netmask"));
        for (addresses, netmask) in [
            ("203.0.113.19-203.0.113.10", "24"),
            ("203.0.113.10-203.0.114.10", "24"),
            ("203.0.113.0-203.0.113.9", "24"),
            ("203.0.113.200-203.0.113.255", "24"),
        ] {
            assert!(refused(&range(addresses, netmask)).contains("must lie between"), "{addresses}");
        }
        for netmask in ["255.0.255.0", "31", "7", "x", ""] {
            assert!(refused(&range("203.0.113.10-203.0.113.19", netmask)).contains("netmask"), "{netmask}");
        }
    }

    #[test]
    fn a_pool_has_at_most_a_sixteens_addresses() {
        assert_eq!(v4("10.1.0.0/16").check().unwrap().addresses().count(), 65_534);
        assert!(refused(&v4("10.0.0.0/15")).contains("65536"));
        let range = |to: &str| Wanted { netmask: Some("8".into()), ..v4(&format!("10.0.0.1-{to}")) };
        assert_eq!(range("10.1.0.0").check().unwrap().addresses().count(), 65_536);
        assert!(refused(&range("10.1.0.1")).contains("/16"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let gateway =
            |address: &str, wanted: Wanted| Wanted { gateway: Some(address.parse().unwrap()), ..wanted };
        assert!(refused(&gateway("203.0.114.1", v4("203.0.113.0/24"))).contains("gateway"));
        assert!(refused(&gateway("203.0.113.255", v4("203.0.113.0/24"))).contains("gateway"));
        assert!(refused(&gateway("fe80::1", v4("203.0.113.0/24"))).contains("gateway"));
        assert!(refused(&gateway("10.0.0.1", v6("2001:db8::/64", None))).contains("gateway"));
        assert!(refused(&Wanted { resolvers: vec![], ..v4("203.0.113.0/24") }).contains("resolvers"));
        assert!(
            refused(&Wanted { resolvers: v4("").resolvers, ..v6("2001:db8::/64", None) }).contains("IPv6")
        );
        assert!(refused(&Wanted { per_server: Some(64), ..v4("203.0.113.0/24") }).contains("IPv6 only"));
        for odd in
            ["203.0.113.1/24", "203.0.113.0/31", "web", "", "2001:db8::1/48", "2001:db8::/65", "2001:db8::"]
        {
            assert!(refused(&Wanted { addresses: odd.into(), ..v4("") }).contains("addresses"), "{odd}");
        }
        for special in ["127.0.0.0/24", "224.0.0.0/24", "169.254.1.0/24", "255.1.0.0/24", "0.0.0.0/8"] {
            assert!(refused(&v4(special)).contains("addresses"), "{special}");
        }
        assert!(refused(&v6("fe80::/64", None)).contains("link-local"));
        assert!(refused(&v4("203.0.113.5/24")).contains("203.0.113.0/24; write that"));
    }

    #[test]
    fn what_the_host_and_its_router_have_is_kept_from_servers() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let host = Host {
            own: vec![ip("192.0.2.1"), ip("2001:db8::1"), ip("10.0.0.7")],
            routers: vec![ip("192.0.2.2"), ip("fe80::1"), ip("2001:db8::2")],
            neighbours: vec![ip("192.0.2.9")],
        };
        let on = |gateway: &str, wanted: Wanted| {
            let gateway = (!gateway.is_empty()).then(|| ip(gateway));
            Wanted { host: host.clone(), gateway, ..wanted }
        };
        let whole = v4("192.0.2.0/24");
        let kept = |(address, why): &(Ipv4Addr, &str)| format!("{address} {why}");
        let pool = on("192.0.2.254", whole.clone()).check().unwrap();
        let expected =
            ["192.0.2.1 an address of this host", "192.0.2.2 this host's router", "192.0.2.254 the gateway"];
        assert_eq!(pool.kept.iter().map(kept).collect::<Vec<_>>(), expected);
        let elsewhere = on("", v4("203.0.113.0/24")).check().unwrap();
        assert_eq!(elsewhere.kept.iter().map(kept).collect::<Vec<_>>(), ["203.0.113.1 the gateway"]);

        assert!(refused(&on("192.0.2.2", whole.clone())).contains("192.0.2.2 is this host's own router"));
        assert!(refused(&on("192.0.2.9", whole.clone())).contains("192.0.2.9 is another machine"));
        assert!(refused(&on("2001:db8::2", v6("2001:db8::/64", None))).contains("gateway"));
        // The host may be a gateway itself, and a link-local address is of one link.
        assert!(on("", whole).check().is_ok());
        assert!(on("", v6("2001:db8::/64", None)).check().is_ok());
    }

    #[test]
    fn a_long_prefix_gives_single_addresses_and_a_short_one_networks() {
        let per_server = |text: &str, wanted| v6(text, wanted).check().map(|pool| pool.per_server);
        assert_eq!(per_server("2001:db8::/64", None).unwrap(), 128);
        assert_eq!(per_server("2001:db8::/56", None).unwrap(), 128);
        assert_eq!(per_server("2001:db8::/56", Some(64)).unwrap(), 64);
        assert_eq!(per_server("2001:db8::/48", None).unwrap(), 64);
        assert_eq!(per_server("2001:db8::/48", Some(128)).unwrap(), 128);
        assert!(refused(&v6("2001:db8::/64", Some(64))).contains("/128"));
        assert!(refused(&v6("2001:db8::/48", Some(96))).contains("64 or 128"));
    }

    #[test]
    fn every_network_of_a_prefix_has_its_own_first_address() {
        let network: Ipv6Addr = "2001:db8:5:ff00::".parse().unwrap();
        assert_eq!(networks_end(56), 256);
        assert_eq!(networks_end(48), 65_536);
        let of = |number| routed_address(network, number, IPV6_GATEWAY).address.to_string();
        assert_eq!((of(1).as_str(), of(255).as_str()), ("2001:db8:5:ff01::1", "2001:db8:5:ffff::1"));
    }

    proptest! {
        #[test]
        fn networks_overlap_when_an_address_lies_in_both(a: u32, b: u32, p in 0_u8..=32, q in 0_u8..=32) {
            let cut = |bits: u32, prefix: u8| bits & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let (a, b) = (cut(a, p), cut(b, q));
            let expected = cut(a, p.min(q)) == cut(b, p.min(q));
            let network = |bits: u32, prefix| (IpAddr::from(Ipv4Addr::from(bits)), prefix);
            prop_assert_eq!(overlap(network(a, p), network(b, q)), expected);
            prop_assert_eq!(overlap(network(b, q), network(a, p)), expected);
        }
    }
}
