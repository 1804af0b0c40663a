//! The names of addresses and of the zones that they lie in.
//!
//! Reverse zones are cut at octets (IPv4) and at nibbles (IPv6). A network whose prefix lies between two cuts is made of
//! several zones, all of them wholly its own. A part of an IPv4 /24 is no zone by itself: its names stand in the zone of
//! the whole /24, and once more in a zone as in RFC 2317, which whoever has the /24 can delegate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a zone for a part of an IPv4 /24 is called; its parent's owner decides, who writes the same name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classless {
    /// `64/26.2.0.192.in-addr.arpa`, as in RFC 2317.
    Slash,
    /// `64-26.2.0.192.in-addr.arpa`.
    Dash,
    /// `64-127.2.0.192.in-addr.arpa`: the first and the last address.
    Range,
}

impl Classless {
    /// By its word in the settings.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "slash" => Some(Self::Slash),
            "dash" => Some(Self::Dash),
            "range" => Some(Self::Range),
            _ => None,
        }
    }
}

/// The name that belongs to an address: `4.3.2.10.in-addr.arpa`.
pub fn owner(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => v4_name(u32::from(address), 4),
        IpAddr::V6(address) => v6_name(u128::from(address), 32),
    }
}

/// The zones, cut at octets or nibbles, that hold the addresses of a network.
pub fn zones(network: IpAddr, prefix: u8) -> Vec<String> {
    match network {
        IpAddr::V4(network) => {
            // A zone any smaller would hold a single address.
            let octets = prefix.clamp(1, 24).div_ceil(8);
            let border = u32::from(octets) * 8;
            let first = u32::from(network) & mask_v4(prefix.min(24));
            let count = 1_u32 << (border - u32::from(prefix.clamp(1, 24)));
            (0..count).map(|n| v4_name(first | n << (32 - border), octets)).collect()
        }
        IpAddr::V6(network) => {
            let nibbles = prefix.clamp(1, 124).div_ceil(4);
            let border = u32::from(nibbles) * 4;
            let first = u128::from(network) & mask_v6(prefix.min(124));
            let count = 1_u128 << (border - u32::from(prefix.clamp(1, 124)));
            (0..count).map(|n| v6_name(first | n << (128 - border), nibbles)).collect()
        }
    }
}

/// The zone of its own that a part of an IPv4 /24 has as in RFC 2317; none for other networks.
pub fn classless_zone(network: Ipv4Addr, prefix: u8, how: Classless) -> Option<String> {
    if !(25..=31).contains(&prefix) {
        return None;
    }
    let first = u32::from(network) & mask_v4(prefix);
    let (from, to) = (first & 0xff, (first | !mask_v4(prefix)) & 0xff);
    let label = match how {
        Classless::Slash => format!("{from}/{prefix}"),
        Classless::Dash => format!("{from}-{prefix}"),
        Classless::Range => format!("{from}-{to}"),
    };
    Some(format!("{label}.{}", v4_name(first, 3)))
}

/// The name of an address in such a zone.
pub fn classless_owner(address: Ipv4Addr, zone: &str) -> String {
    format!("{}.{zone}", address.octets()[3])
}

const fn mask_v4(prefix: u8) -> u32 {
    match prefix {
        0 => 0,
        1..=31 => u32::MAX << (32 - prefix),
        _ => u32::MAX,
    }
}

const fn mask_v6(prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        1..=127 => u128::MAX << (128 - prefix),
        _ => u128::MAX,
    }
}

/// The name of the first `octets` octets.
fn v4_name(address: u32, octets: u8) -> String {
    let all = Ipv4Addr::from(address).octets();
    let labels: Vec<String> = all.iter().take(octets.into()).rev().map(u8::to_string).collect();
    format!("{}.in-addr.arpa", labels.join("."))
}

/// The name of the first `nibbles` nibbles.
fn v6_name(address: u128, nibbles: u8) -> String {
    let digits = format!("{:032x}", u128::from(Ipv6Addr::from(address)));
    let labels: Vec<String> =
        digits.chars().take(nibbles.into()).collect::<Vec<_>>().iter().rev().map(char::to_string).collect();
    format!("{}.ip6.arpa", labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(network: &str) -> Vec<String> {
        let (network, prefix) = network.split_once('/').unwrap();
        zones(network.parse().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn addresses_are_named_backwards() {
        assert_eq!(owner("192.0.2.65".parse().unwrap()), "65.2.0.192.in-addr.arpa");
        assert_eq!(
            owner("2001:db8::567:89ab".parse().unwrap()),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }

    #[test]
    fn zones_are_cut_at_octets_and_nibbles() {
        assert_eq!(of("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(of("10.86.0.0/16"), ["86.10.in-addr.arpa"]);
        assert_eq!(of("192.0.2.0/24"), ["2.0.192.in-addr.arpa"]);
        assert_eq!(of("10.86.112.0/22"), [112, 113, 114, 115].map(|n| format!("{n}.86.10.in-addr.arpa")));
        assert_eq!(of("10.64.0.0/9").len(), 128);
        assert_eq!(of("fd00:1:2:3::/64"), ["3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"]);
        assert_eq!(of("2001:db8::/31"), ["8.b.d.0.1.0.0.2.ip6.arpa", "9.b.d.0.1.0.0.2.ip6.arpa"]);
    }

    #[test]
    fn a_part_of_a_24_stands_in_the_whole_and_in_a_zone_of_its_own() {
        assert_eq!(of("192.0.2.64/26"), ["2.0.192.in-addr.arpa"]);
        let network = Ipv4Addr::new(192, 0, 2, 64);
        let zone = |how| classless_zone(network, 26, how).unwrap();
        assert_eq!(zone(Classless::Slash), "64/26.2.0.192.in-addr.arpa");
        assert_eq!(zone(Classless::Dash), "64-26.2.0.192.in-addr.arpa");
        assert_eq!(zone(Classless::Range), "64-127.2.0.192.in-addr.arpa");
        assert_eq!(
            classless_owner(Ipv4Addr::new(192, 0, 2, 70), "64/26.2.0.192.in-addr.arpa"),
            "70.64/26.2.0.192.in-addr.arpa"
        );
        assert_eq!(classless_zone(network, 24, Classless::Slash), None);
    }

    proptest! {
        #[test]
        fn every_address_of_a_network_lies_in_exactly_one_of_its_zones(address: u32, prefix in 1_u8..=32) {
            let network = Ipv4Addr::from(address & mask_v4(prefix));
            let name = owner(Ipv4Addr::from(address).into());
            let holding = zones(network.into(), prefix).into_iter().filter(|zone| name.ends_with(&format!(".{zone}")));
            prop_assert_eq!(holding.count(), 1);
        }

        #[test]
        fn every_ipv6_address_of_a_network_lies_in_exactly_one_of_its_zones(address: u128, prefix in 1_u8..=128) {
            let network = Ipv6Addr::from(address & mask_v6(prefix));
            let name = owner(Ipv6Addr::from(address).into());
            let holding = zones(network.into(), prefix).into_iter().filter(|zone| name.ends_with(&format!(".{zone}")));
            prop_assert_eq!(holding.count(), 1);
        }
    }
}
