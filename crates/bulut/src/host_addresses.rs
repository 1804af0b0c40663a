//! What addresses this host has, and what is known of the machines around it, as the kernel tells it.
//!
//! Taps of servers are not the host's surroundings: their addresses come from pools. Must not know: what is made of it.

use bulut_model::address_pool::Host;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the names of servers' taps begin with.
const TAP: &str = "bv";
/// The flag of a route that has a next hop, and of a neighbour whose address is known (linux/route.h, linux/if_arp.h).
const IS_GATEWAY: u32 = 0x2;
const IS_COMPLETE: u32 = 0x2;

/// Looks at this process's network namespace.
///
/// Errors: the kernel's.
pub fn look() -> io::Result<Host> {
    let mut host = Host::default();
    for interface in getifaddrs()? {
        if interface.interface_name.starts_with(TAP) || !interface.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        host.own.extend(v4.or(v6).filter(|address| !address.is_loopback()));
    }
    host.routers = routers_v4(&table("route")?);
    host.routers.extend(routers_v6(&table("ipv6_route")?));
    host.neighbours = neighbours(&table("arp")?);
    Ok(host)
}

/// A table of /proc/net; empty where the kernel does without that family.
fn table(name: &str) -> io::Result<String> {
    match std::fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// The next hops in a text like /proc/net/route: device, destination, next hop, flags. Addresses stand there as numbers
/// in the host's byte order.
fn routers_v4(table: &str) -> Vec<IpAddr> {
    let router = |line: &str| {
        let mut fields =
            line.split_ascii_whitespace().skip(2).map(|field| u32::from_str_radix(field, 16).ok());
        let (hop, flags) = (fields.next()??, fields.next()??);
        (flags & IS_GATEWAY != 0).then(|| Ipv4Addr::from(hop.to_ne_bytes()).into())
    };
    table.lines().filter_map(router).collect()
}

/// The next hops in a text like /proc/net/ipv6_route: destination, source, next hop, metric, two counters, flags.
fn routers_v6(table: &str) -> Vec<IpAddr> {
    let router = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let hop = u128::from_str_radix(fields.get(4)?, 16).ok()?;
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        (flags & IS_GATEWAY != 0).then(|| Ipv6Addr::from(hop).into())
    };
    table.lines().filter_map(router).collect()
}

/// The machines in a text like /proc/net/arp: address, type, flags, hardware address, mask, device.
fn neighbours(table: &str) -> Vec<IpAddr> {
    let neighbour = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(2)?.strip_prefix("0x")?, 16).ok()?;
        let is_there = flags & IS_COMPLETE != 0 && !fields.get(5)?.starts_with(TAP);
        is_there.then(|| fields[0].parse().ok()).flatten()
    };
    table.lines().filter_map(neighbour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn next_hops_are_read_of_the_kernels_routes() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t020200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(texts(&routers_v4(v4)), ["192.0.2.2"]);
        let none = "00000000000000000000000000000000";
        let v6 = format!(
            "{none} 00 {none} 00 20010db8ffff00000000000000000002 00000400 00000001 00000000 00000003     eth0\n\
             20010db8ffff00000000000000000000 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth0\n"
        );
        assert_eq!(texts(&routers_v6(&v6)), ["2001:db8:ffff::2"]);
    }

    #[test]
    fn machines_around_are_those_that_answered_and_no_guests() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.7        0x1         0x2         02:00:00:00:00:07     *        eth0\n\
                     192.0.2.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     203.0.113.2      0x1         0x6         52:54:00:00:00:01     *        bv1\n";
        assert_eq!(texts(&neighbours(table)), ["192.0.2.7"]);
    }

    #[test]
    fn this_hosts_loopback_is_not_told() {
        assert!(look().unwrap().own.iter().all(|address| !address.is_loopback()));
    }
}
