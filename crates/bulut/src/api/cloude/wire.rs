//! What goes over the wire in this dialect, with the fields, types and order of the document
//! (cloude-api-v1, the response examples of each call).
//!
//! Must not know: where the values come from.

mod invoices;
pub mod kinds;
mod ledger;
mod snapshots;
mod tags;
mod traffic;

pub use invoices::{InvoiceLineView, InvoiceView};
pub use ledger::TransactionView;
pub use snapshots::{PasswordChanged, SnapshotOrdered, SnapshotView};
pub use tags::TagView;
pub use traffic::UsageView;

use bulut_model::address::{ServerIpv4, ServerIpv6, netmask};
use bulut_model::catalog::{Image, Package, Region};
use bulut_model::operation::Operation;
use bulut_model::server::Server;
use bulut_model::ssh_key::SshKey;
use bulut_model::{Micros, OperationId, ServerId};
use serde::{Serialize, Serializer};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema, ToSchema};

/// Tokens ("Get a token", "Refresh token").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tokens, examples(json!({
    "token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6NzksImVtYWlsIjoiYSJ9.1wo85F1bp8rTP1dlQoUsOg",
    "refreshtoken": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6NzksImVtYWlsIjoiYSJ9.1wo85F1bp8rTP1dlQoUsOg",
    "refresh": false,
})))]
pub struct TokensAnswer {
    /// Access token, for 45 minutes.
    pub token: String,
    /// Refresh token, for one day and one use.
    pub refreshtoken: String,
    /// Whether these tokens came by a refresh.
    pub refresh: bool,
}

/// The account of the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "Alice Adams",
    "email": "alice@example.com",
    "balance": 6.25,
    "register_date": "2017-11-13T14:46:40Z",
    "last_login_date": "2018-01-08T14:39:39Z",
    "is_verified": false,
})))]
pub struct UserInfo {
    /// Given and family name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Balance in the installation's currency.
    #[schema(value_type = f64)]
    pub balance: Amount,
    /// UTC.
    #[schema(value_type = kinds::Time)]
    pub register_date: String,
    /// UTC; empty if never.
    #[schema(value_type = kinds::TimeOrEmpty)]
    pub last_login_date: String,
    /// Whether the e-mail address was verified.
    pub is_verified: bool,
}

/// The balance alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"balance": 6.25})))]
pub struct UserBalance {
    /// Balance in the installation's currency.
    #[schema(value_type = f64)]
    pub balance: Amount,
}

/// An amount of money as a JSON number: `6.25`.
///
/// The one place where money becomes a float, on its last step: up to nine digits before the point the float
/// that is nearest to a number with six decimals prints as just that number.
#[derive(Debug, Clone, Copy)]
pub struct Amount(pub Micros);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ratio(self.0.0, 1_000_000, serializer)
    }
}

/// An amount of memory as a JSON number of GB: an integer where it is whole, as in the document.
#[derive(Debug, Clone, Copy)]
pub struct Gigabytes {
    mib: u64,
}

impl Serialize for Gigabytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ratio(i64::try_from(self.mib).unwrap_or(i64::MAX), 1024, serializer)
    }
}

/// `value / unit`, an integer where that is one.
fn ratio<S: Serializer>(value: i64, unit: i64, serializer: S) -> Result<S::Ok, S::Error> {
    if value % unit == 0 {
        return serializer.serialize_i64(value / unit);
    }
    serializer.serialize_f64(value as f64 / unit as f64)
}

/// The operation that a call began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"event_id": 1587})))]
pub struct EventStarted {
    /// Its id, for `/v1/event/{id}`.
    pub event_id: i64,
}

impl From<OperationId> for EventStarted {
    fn from(id: OperationId) -> Self {
        Self { event_id: id.0 }
    }
}

/// The operation that makes a server, and the server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"event_id": 1587, "id": 1515})))]
pub struct ServerOrdered {
    /// The operation's id.
    pub event_id: i64,
    /// The server's id.
    pub id: i64,
}

impl ServerOrdered {
    /// What a new server answers.
    pub fn new(operation: OperationId, server: ServerId) -> Self {
        Self { event_id: operation.0, id: server.0 }
    }
}

/// A server ("List all servers").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Server, examples(json!({
    "id": 1515,
    "name": "ubuntu-16-04-x64",
    "cpu": 1,
    "memory": 1,
    "disk": 40,
    "bandwidth": 4,
    "state": "Running",
    "region": "ist2",
    "image": "ubuntu-16-04-x64",
    "package": "eos2",
    "networks": {
        "v4": {"ip": "172.17.32.68", "netmask": "255.255.255.192", "gateway": "172.17.32.65"},
        "v6": "",
    },
    "created_at": "2018-01-04T11:14:34Z",
    "active_events": [1578],
    "hostname": "ubuntu-16-04-x64",
    "tags": ["web"],
})))]
pub struct ServerView<'a> {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: &'a str,
    /// Number of CPUs.
    pub cpu: u32,
    /// Memory, GB.
    #[schema(value_type = f64)]
    pub memory: Gigabytes,
    /// Disk, GB.
    pub disk: u64,
    /// Traffic included in a month, TB.
    pub bandwidth: u64,
    /// `Running`, `Stopped` or `Stopping`.
    #[schema(value_type = kinds::ServerState)]
    pub state: &'static str,
    /// Slug of its region.
    pub region: &'a str,
    /// Slug of its image.
    pub image: &'a str,
    /// Slug of its package.
    pub package: &'a str,
    /// Its addresses.
    pub networks: Networks,
    /// When it was ordered, UTC.
    #[schema(value_type = kinds::Time)]
    pub created_at: String,
    /// Ids of the events that are under way.
    pub active_events: &'a [i64],
    /// Its host name.
    pub hostname: &'a str,
    /// Its tags.
    pub tags: &'a [String],
}

/// The addresses of a server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Networks {
    /// IPv4.
    pub v4: AddressOrEmpty,
    /// IPv6.
    pub v6: AddressOrEmpty,
}

/// An address, or where there is none the empty string of the document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AddressOrEmpty {
    /// The address.
    Address(Address),
    /// Always `""`.
    Empty(Empty),
}

/// What stands where there is no address.
#[derive(Debug, Serialize)]
pub enum Empty {
    /// `""`
    #[serde(rename = "")]
    Empty,
}

// A derived schema would not see that the word is an empty one.
impl PartialSchema for Empty {
    fn schema() -> RefOr<Schema> {
        kinds::EmptyText::schema()
    }
}

impl ToSchema for Empty {}

/// An address and how to reach the world from it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Address {
    /// The address.
    pub ip: String,
    /// IPv4: a netmask in dotted form; IPv6: the length of the prefix.
    pub netmask: String,
    /// The gateway.
    pub gateway: String,
}

impl AddressOrEmpty {
    fn or_empty(address: Option<Address>) -> Self {
        address.map_or(Self::Empty(Empty::Empty), Self::Address)
    }

    fn v4(address: Option<&ServerIpv4>) -> Self {
        Self::or_empty(address.map(|v4| Address {
            ip: v4.address.to_string(),
            netmask: netmask(v4.prefix).to_string(),
            gateway: v4.gateway.to_string(),
        }))
    }

    fn v6(address: Option<&ServerIpv6>) -> Self {
        Self::or_empty(address.map(|v6| Address {
            ip: v6.address.to_string(),
            netmask: v6.prefix.to_string(),
            gateway: v6.gateway.to_string(),
        }))
    }
}

impl<'a> From<&'a Server> for ServerView<'a> {
    fn from(server: &'a Server) -> Self {
        Self {
            id: server.id.0,
            name: &server.name,
            cpu: server.cpu,
            memory: Gigabytes { mib: server.memory_mib },
            disk: server.disk_gib,
            bandwidth: server.traffic_tb,
            state: server.power.wire(),
            region: &server.region_slug,
            image: &server.image_slug,
            package: &server.package_slug,
            networks: Networks {
                v4: AddressOrEmpty::v4(server.ipv4.as_ref()),
                v6: AddressOrEmpty::v6(server.ipv6.as_ref()),
            },
            created_at: server.created_at.wire(),
            active_events: &server.active_operations,
            hostname: &server.hostname,
            tags: &server.tags,
        }
    }
}

/// An image ("List all images").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Image, examples(json!({
    "name": "Ubuntu 16.04",
    "slug": "ubuntu-16-04-x64",
    "type": "template",
    "distribution": "Ubuntu",
    "regions": ["ist2"],
    "min_cpu": 1,
    "min_ram": 0.5,
    "min_disk_size": null,
})))]
pub struct ImageView {
    /// For people.
    pub name: String,
    /// What the calls take.
    pub slug: String,
    /// `template` or `application`.
    #[serde(rename = "type")]
    #[schema(value_type = kinds::ImageType)]
    pub kind: &'static str,
    /// `Debian`, `Ubuntu`, …
    pub distribution: String,
    /// Slugs of the regions that offer it.
    pub regions: Vec<String>,
    /// Fewest CPUs it runs with.
    #[schema(required)]
    pub min_cpu: Option<u32>,
    /// Least memory it runs with, GB.
    #[schema(value_type = Option<f64>, required)]
    pub min_ram: Option<Gigabytes>,
    /// Smallest disk it fits on, GB.
    #[schema(required)]
    pub min_disk_size: Option<u64>,
}

impl From<Image> for ImageView {
    fn from(image: Image) -> Self {
        Self {
            name: image.name,
            slug: image.slug,
            kind: image.kind.as_str(),
            distribution: image.distribution,
            regions: image.regions,
            min_cpu: image.min_cpu,
            min_ram: image.min_memory_mib.map(|mib| Gigabytes { mib }),
            min_disk_size: image.min_disk_gib,
        }
    }
}

/// A package ("List all packages").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Package, examples(json!({
    "slug": "eos2",
    "cpu": 1,
    "ram": 1,
    "disk": 40,
    "bandwidth": 4,
    "hourly_price": "0.0074",
    "monthly_price": "5.0000",
    "regions": ["ist2"],
})))]
pub struct PackageView {
    /// What the calls take.
    pub slug: String,
    /// Number of CPUs.
    pub cpu: u32,
    /// Memory, GB.
    #[schema(value_type = f64)]
    pub ram: Gigabytes,
    /// Disk, GB.
    pub disk: u64,
    /// Traffic included in a month, TB.
    pub bandwidth: u64,
    /// Price of an hour, four decimals.
    #[schema(value_type = kinds::Price)]
    pub hourly_price: String,
    /// Most that a calendar month costs, four decimals.
    #[schema(value_type = kinds::Price)]
    pub monthly_price: String,
    /// Slugs of the regions that offer it.
    pub regions: Vec<String>,
}

impl From<Package> for PackageView {
    fn from(package: Package) -> Self {
        Self {
            slug: package.slug,
            cpu: package.cpu,
            ram: Gigabytes { mib: package.memory_mib },
            disk: package.disk_gib,
            bandwidth: package.traffic_tb,
            hourly_price: package.hourly.four_decimals(),
            monthly_price: package.monthly.four_decimals(),
            regions: package.regions,
        }
    }
}

/// A region ("List all Regions").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Region, examples(json!({"slug": "ist2", "name": "İstanbul 2", "country": "TR", "status": true})))]
pub struct RegionView {
    /// What the calls take.
    pub slug: String,
    /// For people.
    pub name: String,
    /// ISO 3166 code of the country.
    pub country: String,
    /// Whether servers can be ordered there.
    pub status: bool,
}

impl From<Region> for RegionView {
    fn from(region: Region) -> Self {
        Self { slug: region.slug, name: region.name, country: region.country, status: region.active }
    }
}

/// An SSH key ("List all SSH Key").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SshKey, examples(json!({
    "name": "laptop",
    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL3pfYXD7DgtH40m6h7/HwJnQ1RlHicitQBewMJJrgZ5 alice",
    "fingerprint": "1a:b7:5d:80:50:3c:c5:74:27:46:51:36:bf:db:6b:1b",
})))]
pub struct SshKeyView {
    /// Unique in the account.
    pub name: String,
    /// One line in OpenSSH's form.
    pub public_key: String,
    /// MD5 with colons.
    #[schema(value_type = kinds::Fingerprint)]
    pub fingerprint: String,
}

/// The account's keys: an object whose members are named like the keys, in the order of the keys.
#[derive(Debug)]
pub struct KeysByName(pub Vec<SshKey>);

impl Serialize for KeysByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|key| {
            let view = SshKeyView {
                name: key.name.clone(),
                public_key: key.public_key.clone(),
                fingerprint: key.fingerprint.clone(),
            };
            (&key.name, view)
        }))
    }
}

/// An event ("List all events", "Get information an event").
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, examples(json!({
    "id": 1578,
    "event": "VM.CREATE",
    "status": 0,
    "subscription_id": 1515,
    "created_at": "2018-01-04T11:14:34Z",
    "completed_at": "",
})))]
pub struct EventView {
    /// Its id.
    pub id: i64,
    /// `VM.CREATE`, `VM.START`, …
    #[schema(value_type = kinds::EventName)]
    pub event: &'static str,
    /// 0 under way, 1 done, -1 failed.
    #[schema(value_type = kinds::EventStatus)]
    pub status: i64,
    /// The server that it is about.
    pub subscription_id: i64,
    /// When it was asked for, UTC.
    #[schema(value_type = kinds::Time)]
    pub created_at: String,
    /// When it ended, UTC; empty while it is under way.
    #[schema(value_type = kinds::TimeOrEmpty)]
    pub completed_at: String,
    /// Of a failed one: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub message: Option<String>,
}

impl From<Operation> for EventView {
    fn from(operation: Operation) -> Self {
        // While it is under way, a failure that is being undone is nobody's news yet.
        let ended = operation.status != bulut_model::operation::Status::Running;
        Self {
            id: operation.id.0,
            event: operation.kind.event(),
            status: operation.status.code(),
            subscription_id: operation.server.0,
            created_at: operation.created_at.wire(),
            completed_at: operation.completed_at.map(|at| at.wire()).unwrap_or_default(),
            message: operation.message.filter(|_| ended),
        }
    }
}

#[cfg(test)]
mod tests;
