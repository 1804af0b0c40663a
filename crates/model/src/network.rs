//! Networks of either family in CIDR form, for lists of who may do something. Pure.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 network; a single address is one with the longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The bits of an address, and how many there are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

impl Network {
    /// The network's own address: all bits behind the prefix are zero.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix: up to 32 or 128.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in the network. An IPv4 address that arrives in IPv6 form (`::ffff:10.0.0.1`, as on a
    /// socket that takes both) is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, length) = bits(self.address);
        let (other, other_length) = bits(address.to_canonical());
        let differing = u32::from(length - self.prefix);
        length == other_length && (own ^ other).checked_shr(differing).unwrap_or(0) == 0
    }
}

/// Why a text is no network: a sentence that says what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `10.0.0.0/8`, `fd00::/8`, `192.0.2.7` or `::1`.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let refuse = || {
            NotANetwork(format!(
                "'{text}' is not an address or network: write it like 192.0.2.7, 10.0.0.0/8 or fd00::/8, \
                 with zeros behind the prefix"
            ))
        };
        let (address, prefix) =
            text.trim().split_once('/').map_or((text.trim(), None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let (own, length) = bits(address);
        let prefix = prefix.map_or(Ok(length), |prefix| prefix.parse::<u8>().map_err(|_| refuse()))?;
        if prefix > length {
            return Err(refuse());
        }
        let host = own & !u128::MAX.checked_shl(u32::from(length - prefix)).unwrap_or(0);
        if host != 0 { Err(refuse()) } else { Ok(Self { address, prefix }) }
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Most networks in a list.
pub const NETWORKS_MAX: usize = 100;

/// Reads a list of networks, each once; `any` stands for all addresses of both families.
///
/// Errors: `Invalid` for `field`.
pub fn parse_all<T: AsRef<str>>(field: &str, texts: &[T]) -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    for text in texts.iter().map(|text| text.as_ref().trim()).filter(|text| !text.is_empty()) {
        let all = ["0.0.0.0/0", "::/0"];
        let read = if text.eq_ignore_ascii_case("any") { &all[..] } else { &[text] };
        for network in read {
            let network = network.parse().map_err(|why: NotANetwork| {
                Error::invalid(field, format!("In {field}, {why}; or say any."))
            })?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
    }
    if networks.len() > NETWORKS_MAX {
        return Err(Error::invalid(field, format!("The {field} must be at most {NETWORKS_MAX} networks.")));
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_is_everything_and_what_comes_twice_counts_once() {
        let all = parse_all("addresses", &["ANY", " 10.0.0.0/8 ", "", "10.0.0.0/8"]).unwrap();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["0.0.0.0/0", "::/0", "10.0.0.0/8"]);
        assert!(parse_all("addresses", &["10.0.0.1/8"]).unwrap_err().public.contains("addresses"));
        let many: Vec<String> = (0..101).map(|n| format!("10.0.0.{n}")).collect();
        assert!(parse_all("addresses", &many).is_err());
        assert!(parse_all("addresses", &many[1..]).is_ok());
    }

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_the_addresses_that_share_its_prefix() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.1.2.64/26", "10.1.2.127") && !holds("10.1.2.64/26", "10.1.2.128"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::"));
        assert!(holds("::1", "::1") && !holds("::1", "::2"));
    }

    #[test]
    fn the_widest_networks_hold_all_of_their_family_and_nothing_of_the_other() {
        assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "ffff::") && !holds("::/0", "10.0.0.1"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1") && !holds("::/0", "::ffff:10.0.0.1"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "fd00::/8", "::/0", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "fd00::1/64", "x", "10.0.0.0/-1", "10.0.0.0/"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
