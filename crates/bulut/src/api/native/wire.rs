//! What goes over the wire in the native API.
//!
//! Must not know: where the values come from.

mod invoices;

pub use invoices::{InvoiceExplained, InvoiceView};

use crate::domain::addresses::{self, Held};
use crate::domain::firewalls;
use crate::domain::names::Called;
use crate::domain::traffic;
use bulut_compute::SetupStatus;
use bulut_model::Timestamp;
use bulut_model::api_key::ApiKey;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use bulut_model::payment::Payment;
use bulut_model::pool::{Pool, Resources};
use bulut_model::rate::Rates;
use bulut_model::run_mode::RunMode;
use bulut_model::server::{Phase, Power, Server};
use bulut_store::dunning::AccountEvent;
use serde::Serialize;
use std::net::SocketAddr;

/// A payment that was credited.
#[derive(Debug, Serialize)]
pub struct PaymentView {
    /// Its id.
    pub id: i64,
    /// To which account.
    pub account_id: i64,
    /// How much, a decimal.
    pub amount: String,
    /// The balance right after it, a decimal.
    pub balance: String,
    /// What it is called where it came from.
    pub reference: String,
    /// UTC.
    pub created_at: String,
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id.0,
            account_id: payment.account.0,
            amount: payment.amount.decimal(),
            balance: payment.balance.decimal(),
            reference: payment.reference,
            created_at: payment.created_at.wire(),
        }
    }
}

/// Something that happened to the caller's account.
#[derive(Debug, Serialize)]
pub struct AccountEventView {
    /// Its id.
    pub id: i64,
    /// What: `balance_low`, `suspended`, `deletion_announced`, `deletion_taken_back`, `deleted` or `resumed`.
    pub kind: String,
    /// The same for a person.
    pub message: String,
    /// UTC.
    pub created_at: String,
}

impl From<AccountEvent> for AccountEventView {
    fn from(event: AccountEvent) -> Self {
        let created_at = event.created_at.wire();
        Self { id: event.id, kind: event.kind, message: event.message, created_at }
    }
}

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
    /// IPv4 addresses that it has besides.
    pub further_ipv4: Vec<String>,
    /// How fast it is now.
    pub rates: RatesView,
    /// What it is held to because it has used all the traffic that its package includes; none otherwise.
    pub traffic_limit: Option<TrafficLimit>,
    /// Frames that were dropped because the machine had no right to send them, of all its life.
    pub forged_frames: u64,
    /// Where its ssh port is reached from the node: its own address, or a forwarded port on loopback.
    pub ssh: Option<Endpoint>,
    /// Whether it draws on its account's resource pool, and so costs nothing by the hour.
    pub in_pool: bool,
    /// `normal`: it stays on. `safe`: it is powered off when it has been idle for long.
    pub run_mode: RunMode,
    /// When that happens if it goes on idling, UTC; none for one that stays on, or was not looked at yet.
    pub powers_off_at: Option<String>,
    /// The node that runs it.
    pub node: Node,
    /// UTC.
    pub created_at: String,
    /// Operations that are under way.
    pub active_operations: Vec<i64>,
    /// Tags.
    pub tags: Vec<String>,
}

/// What a server is held to until its month is over, or it gets a larger package.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TrafficLimit {
    /// `slow`: it is slowed down. `stop`: it was stopped and cannot be started.
    pub action: &'static str,
    /// Since when the house has done that, UTC; none where it did not have to.
    pub since: Option<String>,
    /// When the month is over, UTC.
    pub until: String,
}

impl From<traffic::Held> for TrafficLimit {
    fn from(held: traffic::Held) -> Self {
        let (since, until) = (held.since.map(Timestamp::wire), held.until.wire());
        Self { action: held.action.as_str(), since, until }
    }
}

/// Bits per second in each direction; none where nothing holds them back.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RatesView {
    /// What the server receives.
    pub down_bps: Option<u64>,
    /// What the server sends.
    pub up_bps: Option<u64>,
}

impl From<Rates> for RatesView {
    fn from(rates: Rates) -> Self {
        let held = |bps: u64| (bps > 0).then_some(bps);
        Self { down_bps: held(rates.down_bps), up_bps: held(rates.up_bps) }
    }
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

/// An API key.
#[derive(Debug, Serialize)]
pub struct ApiKeyView {
    /// Its id.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// How the key begins.
    pub prefix: String,
    /// From where it may be used; from nowhere while there are none.
    pub addresses: Vec<String>,
    /// UTC.
    pub created_at: String,
    /// UTC; none for one that does not end.
    pub expires_at: Option<String>,
    /// UTC, within a minute; none for one that was never used.
    pub last_used_at: Option<String>,
    /// UTC; none for one that holds.
    pub revoked_at: Option<String>,
}

/// An API key that was made just now.
#[derive(Serialize)]
pub struct ApiKeyMade {
    /// What is known of it from now on.
    #[serde(flatten)]
    pub view: ApiKeyView,
    /// The key itself, which is never told again.
    #[serde(rename = "key")]
    pub secret: String,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.0,
            name: key.name,
            prefix: key.prefix,
            addresses: key.networks.iter().map(ToString::to_string).collect(),
            created_at: key.created_at.wire(),
            expires_at: key.expires_at.map(|at| at.wire()),
            last_used_at: key.last_used_at.map(|at| at.wire()),
            revoked_at: key.revoked_at.map(|at| at.wire()),
        }
    }
}

/// A resource pool.
#[derive(Debug, Serialize)]
pub struct PoolView {
    /// All there is.
    pub total: ResourcesView,
    /// What servers have.
    pub used: ResourcesView,
}

/// Processors, memory and disk.
#[derive(Debug, Serialize)]
pub struct ResourcesView {
    /// Virtual CPUs.
    pub cpu: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
}

impl From<Resources> for ResourcesView {
    fn from(of: Resources) -> Self {
        Self { cpu: of.cpu, memory_mib: of.memory_mib, disk_gib: of.disk_gib }
    }
}

impl From<Pool> for PoolView {
    fn from(pool: Pool) -> Self {
        Self { total: pool.total.into(), used: pool.used.into() }
    }
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

/// What a server is called.
#[derive(Debug, Serialize)]
pub struct HostnameView {
    /// What its guest is called.
    pub hostname: String,
    /// What its addresses lead to; none when they lead to nothing.
    pub reverse_name: Option<String>,
    /// What they would lead to if its owner had said nothing.
    pub default_name: Option<String>,
    /// What others would find wrong with that, in a sentence: the name does not lead to the server.
    pub warning: Option<String>,
}

impl From<Called> for HostnameView {
    fn from(called: Called) -> Self {
        let Called { hostname, reverse_name, default_name, warning } = called;
        Self { hostname, reverse_name, default_name, warning }
    }
}

/// That a server is about to be called otherwise.
#[derive(Debug, Serialize)]
pub struct HostnameOrdered {
    /// The event that changes it.
    pub event_id: i64,
    /// The new name.
    pub hostname: String,
    /// What others would find wrong with it, in a sentence.
    pub warning: Option<String>,
}

/// A server's firewall.
#[derive(Debug, Serialize)]
pub struct FirewallView {
    /// The rules in their order; the first that fits decides.
    pub rules: Vec<RuleView>,
    /// What becomes of what no rule fits.
    pub otherwise: Action,
}

impl FirewallView {
    /// Of these rules.
    pub fn of(rules: &[FirewallRule]) -> Self {
        Self { rules: (1..).zip(rules).map(RuleView::of).collect(), otherwise: Action::Allow }
    }
}

/// A rule of a firewall.
#[derive(Debug, Serialize)]
pub struct RuleView {
    /// Its place, counted from 1.
    pub number: usize,
    /// All of it in words, as the calls that set rules take it.
    pub rule: String,
    /// Who begins: `in` or `out`.
    pub direction: Direction,
    /// `allow` or `deny`.
    pub action: Action,
    /// `tcp`, `udp`, `icmp` or `any`.
    pub protocol: Protocol,
    /// `80` or `8000-8100`; none for all.
    pub ports: Option<String>,
    /// Where the other side is; none for anywhere.
    pub network: Option<String>,
}

impl RuleView {
    fn of((number, rule): (usize, &FirewallRule)) -> Self {
        Self {
            number,
            rule: rule.to_string(),
            direction: rule.direction,
            action: rule.action,
            protocol: rule.protocol,
            ports: rule.ports.map(|ports| ports.to_string()),
            network: rule.network.map(|network| network.to_string()),
        }
    }
}

/// That a server is about to have another firewall.
#[derive(Debug, Serialize)]
pub struct FirewallOrdered {
    /// The event that changes it.
    pub event_id: i64,
    /// What it will be.
    #[serde(flatten)]
    pub firewall: FirewallView,
}

impl From<firewalls::Ordered> for FirewallOrdered {
    fn from(ordered: firewalls::Ordered) -> Self {
        Self { event_id: ordered.operation.0, firewall: FirewallView::of(&ordered.rules) }
    }
}

/// All addresses of a server.
#[derive(Debug, Serialize)]
pub struct AddressesView {
    /// Those that it was made with, then the further ones.
    pub addresses: Vec<AddressView>,
}

/// An address of a server.
#[derive(Debug, Serialize)]
pub struct AddressView {
    /// The address, the prefix and the gateway.
    #[serde(flatten)]
    pub address: Address,
    /// The server was not made with it, and can give it back.
    pub further: bool,
}

impl From<Vec<Held>> for AddressesView {
    fn from(held: Vec<Held>) -> Self {
        let view = |held: Held| AddressView {
            address: Address {
                address: held.address.to_string(),
                prefix: held.prefix,
                gateway: held.gateway.to_string(),
            },
            further: held.is_further,
        };
        Self { addresses: held.into_iter().map(view).collect() }
    }
}

/// That a server is about to have an address more or less.
#[derive(Debug, Serialize)]
pub struct AddressOrdered {
    /// The event that changes it.
    pub event_id: i64,
    /// The address.
    pub address: String,
}

impl From<addresses::Ordered> for AddressOrdered {
    fn from(ordered: addresses::Ordered) -> Self {
        Self { event_id: ordered.operation.0, address: ordered.address.to_string() }
    }
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
            further_ipv4: Vec::new(),
            rates: RatesView::default(),
            traffic_limit: None,
            forged_frames: 0,
            ssh: server.ssh_endpoint.as_deref().and_then(Endpoint::parse),
            in_pool: server.in_pool,
            run_mode: server.run_mode,
            powers_off_at: None,
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
