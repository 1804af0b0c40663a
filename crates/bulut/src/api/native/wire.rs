//! What goes over the wire in the native API.
//!
//! Must not know: where the values come from.

use bulut_compute::SetupStatus;
use bulut_model::server::{Phase, Power, Server};
use serde::Serialize;
use std::net::SocketAddr;

/// A server, with all that its owner may know.
#[derive(Debug, Serialize)]
pub struct ServerView {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it runs.
    pub power: Power,
    /// Slug.
    pub region: String,
    /// Slug.
    pub package: String,
    /// Slug.
    pub image: String,
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
    /// Traffic included in a month, TB.
    pub traffic_tb: u64,
    /// IPv4.
    pub ipv4: Option<Address>,
    /// IPv6.
    pub ipv6: Option<Address>,
    /// Where its ssh port is reached from the node: its own address, or a forwarded port on loopback.
    pub ssh: Option<Endpoint>,
    /// The node that runs it.
    pub node: Node,
    /// UTC.
    pub created_at: String,
    /// Operations that are under way.
    pub active_operations: Vec<i64>,
    /// Tags.
    pub tags: Vec<String>,
}

/// An address and how to reach the world from it.
#[derive(Debug, Serialize)]
pub struct Address {
    /// The address.
    pub address: String,
    /// Length of the prefix.
    pub prefix: u8,
    /// The gateway.
    pub gateway: String,
}

/// Where something listens.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// An address, without brackets.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

/// A node.
#[derive(Debug, Serialize)]
pub struct Node {
    /// Its id.
    pub id: i64,
}

/// A link to the page of a server's console.
#[derive(Serialize)]
pub struct ConsoleLink {
    /// Works once.
    pub url: String,
    /// Until when; UTC.
    pub expires_at: String,
}

/// How far the guest's own set-up is.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// `unknown`, `running`, `done` or `failed`.
    pub status: SetupStatus,
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        let address: SocketAddr = text.parse().ok()?;
        Some(Self { host: address.ip().to_string(), port: address.port() })
    }
}

impl From<Server> for ServerView {
    fn from(server: Server) -> Self {
        Self {
            id: server.id.0,
            phase: server.phase,
            power: server.power,
            cpu: server.cpu,
            memory_mib: server.memory_mib,
            disk_gib: server.disk_gib,
            traffic_tb: server.traffic_tb,
            ipv4: server.ipv4.map(|v4| Address {
                address: v4.address.to_string(),
                prefix: v4.prefix,
                gateway: v4.gateway.to_string(),
            }),
            ipv6: server.ipv6.map(|v6| Address {
                address: v6.address.to_string(),
                prefix: v6.prefix,
                gateway: v6.gateway.to_string(),
            }),
            ssh: server.ssh_endpoint.as_deref().and_then(Endpoint::parse),
            node: Node { id: server.node.0 },
            created_at: server.created_at.wire(),
            name: server.name,
            hostname: server.hostname,
            region: server.region_slug,
            package: server.package_slug,
            image: server.image_slug,
            active_operations: server.active_operations,
            tags: server.tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_a_port() {
        let endpoint = |host: &str, port| Some(Endpoint { host: host.into(), port });
        assert_eq!(Endpoint::parse("127.0.0.1:20022"), endpoint("127.0.0.1", 20022));
        assert_eq!(Endpoint::parse("[fd00::1]:22"), endpoint("fd00::1", 22));
        assert_eq!(Endpoint::parse("nowhere"), None);
    }
}
