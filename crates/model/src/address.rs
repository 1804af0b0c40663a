//! Addresses: networks, the addresses they hold, and the MAC address that goes with a server.

use crate::ServerId;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv4 network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv4Network {
    /// The network's own address: all host bits are zero.
    pub network: Ipv4Addr,
    /// Length of the prefix, 8 to 30.
    pub prefix: u8,
}

impl Ipv4Network {
    /// Reads `10.0.0.0/24`.
    ///
    /// Errors: a sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("'{text}' is not an IPv4 network: write it like 10.0.0.0/24, with a prefix from 8 to 30")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(refuse)?;
        let network: Ipv4Addr = address.parse().map_err(|_| refuse())?;
        let prefix: u8 = prefix.parse().map_err(|_| refuse())?;
        let this = Self { network, prefix };
        if !(8..=30).contains(&prefix) {
            return Err(refuse());
        }
        let begins = Ipv4Addr::from(u32::from(network) & this.mask_bits());
        if begins != network {
            return Err(format!("'{text}' is an address within a network, which is {begins}/{prefix}"));
        }
        Ok(this)
    }

    fn mask_bits(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// The netmask in dotted form: `255.255.255.0`.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask_bits())
    }

    /// The first usable address, which is the gateway unless the operator says otherwise.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    /// Whether `address` lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask_bits() == u32::from(self.network)
    }

    /// Every address that a server may have: all but the network's own and the broadcast address.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.network) + 1;
        let last = u32::from(self.network) | !self.mask_bits();
        (first..last).map(Ipv4Addr::from)
    }
}

/// The netmask in dotted form for a prefix length from 0 to 32.
pub fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

/// The address of a server in an IPv6 /64: the prefix with the server's id as interface identifier,
/// shifted by 16 so that small ids do not collide with routers and services numbered by hand.
/// Unique by construction, since ids are never reused.
pub fn ipv6_for(prefix: Ipv6Addr, server: ServerId) -> Ipv6Addr {
    let host = u64::try_from(server.0).unwrap_or(0) << 16;
    Ipv6Addr::from((u128::from(prefix) & !u128::from(u64::MAX)) | u128::from(host))
}

/// The MAC address of a server: QEMU's locally used prefix and the low 24 bits of the id, after a byte that
/// tells installations on one wire apart.
pub fn mac_for(installation: u8, server: ServerId) -> String {
    let [.., a, b, c] = server.0.to_be_bytes();
    // Locally administered, unicast: 0x52.
    format!("52:54:{installation:02x}:{a:02x}:{b:02x}:{c:02x}")
}

/// The addresses of a server, as it configures them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIpv4 {
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The network's gateway.
    pub gateway: Ipv4Addr,
}

/// The IPv6 address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIpv6 {
    /// Its address.
    pub address: Ipv6Addr,
    /// Length of the prefix that it configures.
    pub prefix: u8,
    /// The gateway, reached on-link.
    pub gateway: Ipv6Addr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_network_has_its_hosts_and_mask() {
        let net = Ipv4Network::parse("10.1.2.64/26").unwrap();
        assert_eq!(net.netmask().to_string(), "255.255.255.192");
        assert_eq!(net.first().to_string(), "10.1.2.65");
        assert_eq!(net.hosts().count(), 62);
        assert!(net.hosts().all(|a| net.contains(a)));
        for bad in ["10.1.2.1/26", "10.1.2.0", "10.1.2.0/31", "10.1.2.0/x", "::/64"] {
            assert!(Ipv4Network::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(netmask(0).to_string(), "0.0.0.0");
        assert_eq!(netmask(32).to_string(), "255.255.255.255");
    }

    #[test]
    fn no_two_servers_share_a_mac_or_an_ipv6_address() {
        let prefix: Ipv6Addr = "fd00:1:2:3::".parse().unwrap();
        let mut seen = HashSet::new();
        for id in 1..5_000 {
            assert!(seen.insert(mac_for(0, ServerId(id))));
            assert!(seen.insert(ipv6_for(prefix, ServerId(id)).to_string()));
        }
        assert_eq!(ipv6_for(prefix, ServerId(1)).to_string(), "fd00:1:2:3::1:0");
    }
}
