//! Networking without root: QEMU's user-mode stack. The guest keeps its static address, netmask and gateway;
//! its ssh port is forwarded from loopback.
//!
//! Not to be had here: guests kept from the host's loopback (QEMU's stack takes the gateway's address for it),
//! guests that reach each other by their own addresses, inbound traffic but ssh. Bytes are counted by `lengths`.

use crate::{DriverError, Ipv4, Ipv6, Nic};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// The longest prefix with room for a guest, a gateway and the stack's own resolver.
const LONGEST_PREFIX: u8 = 29;

/// Whether this interface can be had in user mode.
///
/// # Errors
/// `Fatal` without an IPv4 address (the forwarded port needs one) or with a gateway that is the guest itself.
pub fn supported(nic: &Nic) -> Result<(), DriverError> {
    match nic.ipv4 {
        None => Err(DriverError::Fatal(
            "user networking forwards ssh over IPv4 only: the server needs an IPv4 address, or the node routed networking"
                .to_owned(),
        )),
        Some(Ipv4 { address, gateway, .. }) if address == gateway => {
            Err(DriverError::Fatal(format!("{address} cannot be both the server's address and its gateway")))
        }
        Some(_) => Ok(()),
    }
}

/// The value of `-netdev` for this interface, with id `n0`; ssh is reached at `127.0.0.1:ssh_port`.
///
/// An interface that is not [`supported`] gets a stack that its guest cannot use.
#[must_use]
pub fn netdev(nic: &Nic, ssh_port: u16) -> String {
    let mut options = "user,id=n0".to_owned();
    // Naming one family turns the other off, so both are named.
    let v6 = nic.ipv6.and_then(ipv6);
    options.push_str(if v6.is_some() { ",ipv4=on,ipv6=on" } else { ",ipv4=on,ipv6=off" });
    if let Some(v4) = nic.ipv4 {
        options.push_str(&ipv4(v4));
        options.push_str(&format!(",hostfwd=tcp:127.0.0.1:{ssh_port}-{}:22", v4.address));
    }
    options.extend(v6);
    options
}

/// The stack wants its gateway, its resolver and the first address it would lease inside one network, and the
/// first two apart. The guest's own resolvers are another matter: it reaches them through the stack.
fn ipv4(Ipv4 { address, prefix, gateway }: Ipv4) -> String {
    let (address_bits, gateway_bits) = (address.to_bits(), gateway.to_bits());
    let shared = u8::try_from((address_bits ^ gateway_bits).leading_zeros()).unwrap_or(0);
    let prefix = prefix.min(LONGEST_PREFIX).min(shared).max(1);
    let mask = u32::MAX << (32 - u32::from(prefix));
    let network = address_bits & mask;
    let broadcast = network | !mask;
    let free = |it: &u32| *it != address_bits && *it != gateway_bits;
    let resolver = (network + 1..broadcast).rev().find(free).unwrap_or(broadcast);
    format!(
        ",net={}/{prefix},host={gateway},dns={},dhcpstart={address}",
        Ipv4Addr::from_bits(network),
        Ipv4Addr::from_bits(resolver),
    )
}

/// The stack answers for the link-local address whose last 64 bits are those of its own address in the prefix:
/// so these are taken from the gateway. `None` if the guest has them itself.
fn ipv6(Ipv6 { address, gateway, .. }: Ipv6) -> Option<String> {
    const INTERFACE: u128 = u64::MAX as u128;
    let prefix = address.to_bits() & !INTERFACE;
    let host = prefix | (gateway.to_bits() & INTERFACE);
    let free = |it: &u128| *it != host && *it != address.to_bits();
    let resolver = (2..6).map(|it| prefix | it).find(free)?;
    (host != address.to_bits()).then(|| {
        format!(
            ",ipv6-prefix={},ipv6-prefixlen=64,ipv6-host={},ipv6-dns={}",
            Ipv6Addr::from_bits(prefix),
            Ipv6Addr::from_bits(host),
            Ipv6Addr::from_bits(resolver),
        )
    })
}

/// A TCP port on loopback that nobody listens on: the preferred one, else any. Another process may take it
/// before the hypervisor does; the start then fails and is tried again.
///
/// # Errors
/// `Retry` if the host has none to give.
pub fn free_port(preferred: u16) -> Result<u16, DriverError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, preferred))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| DriverError::Retry(format!("no free port on loopback: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rates;

    fn nic(address: &str, prefix: u8, gateway: &str) -> Nic {
        let ipv4 = Ipv4 { address: address.parse().unwrap(), prefix, gateway: gateway.parse().unwrap() };
        Nic {
            mac: "52:54:00:00:00:0a".into(),
            ipv4: Some(ipv4),
            ipv6: None,
            resolvers: vec![],
            mtu: 1500,
            more_ipv4: vec![],
            firewall: vec![],
            rates: Rates::default(),
        }
    }

    #[test]
    fn the_guest_keeps_its_address_and_gateway() {
        assert_eq!(
            netdev(&nic("10.77.0.20", 26, "10.77.0.1"), 2222),
            "user,id=n0,ipv4=on,ipv6=off,net=10.77.0.0/26,host=10.77.0.1,dns=10.77.0.62,dhcpstart=10.77.0.20,\
             hostfwd=tcp:127.0.0.1:2222-10.77.0.20:22"
        );
    }

    #[test]
    fn the_network_holds_guest_gateway_and_resolver_apart_whatever_the_prefix() {
        for prefix in 0..=32 {
            for (address, gateway) in
                [("10.0.0.6", "10.0.0.1"), ("10.0.0.2", "10.0.0.1"), ("10.0.3.9", "10.0.0.1")]
            {
                let text = netdev(&nic(address, prefix, gateway), 1);
                let value = |key: &str| {
                    let tail = text.split(&format!(",{key}=")).nth(1).unwrap();
                    tail.split(',').next().unwrap().to_owned()
                };
                let (network, length) =
                    value("net").split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                let mask = u32::MAX << (32 - length.parse::<u32>().unwrap());
                let network = network.parse::<Ipv4Addr>().unwrap().to_bits();
                let dns: Ipv4Addr = value("dns").parse().unwrap();
                for inside in [address.parse().unwrap(), gateway.parse().unwrap(), dns] {
                    assert_eq!(inside.to_bits() & mask, network, "{text}");
                }
                assert!(dns.to_string() != address && dns.to_string() != gateway, "{text}");
            }
        }
    }

    #[test]
    fn the_link_local_gateway_is_answered_for() {
        let mut nic = nic("10.77.0.20", 26, "10.77.0.1");
        nic.ipv6 = Some(Ipv6 {
            address: "fd77::14".parse().unwrap(),
            prefix: 128,
            gateway: "fe80::1".parse().unwrap(),
        });
        let text = netdev(&nic, 1);
        assert!(text.contains(",ipv4=on,ipv6=on,net="), "{text}");
        assert!(
            text.ends_with(",ipv6-prefix=fd77::,ipv6-prefixlen=64,ipv6-host=fd77::1,ipv6-dns=fd77::2"),
            "{text}"
        );
    }

    #[test]
    fn a_taken_port_gives_another_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = free_port(port).unwrap();
        assert_ne!(other, port);
        assert_ne!(other, 0);
    }

    #[test]
    fn without_ipv4_it_is_refused() {
        let mut nic = nic("10.77.0.20", 26, "10.77.0.1");
        assert!(supported(&nic).is_ok());
        nic.ipv4 = None;
        assert!(matches!(supported(&nic), Err(DriverError::Fatal(_))));
    }
}
