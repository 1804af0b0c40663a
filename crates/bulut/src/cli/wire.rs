//! Room: the command line. What a client reads in the answers of a cloud (the Cloude document; the native API for
//! ssh and set-up).
//!
//! Promises: only what is needed is asked for, and numbers may come as text, as in the document's own examples.
//! Must not know: the server's types; a client of another version must still read these.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A number or a text that the document shows as either, kept as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain(pub String);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Self::default(),
            serde_json::Value::String(text) => Self(text),
            other => Self(other.to_string()),
        })
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server, as in `server/list`.
#[derive(Debug, Clone, Deserialize)]
pub struct Server {
    /// What the calls take.
    pub id: u64,
    /// Free text.
    pub name: String,
    /// Virtual CPUs.
    #[serde(default)]
    pub cpu: Plain,
    /// Memory, GB.
    #[serde(default)]
    pub memory: Plain,
    /// Disk, GB.
    #[serde(default)]
    pub disk: Plain,
    /// Traffic in a month, TB.
    #[serde(default)]
    pub bandwidth: Plain,
    /// `Running`, `Stopped` or `Stopping`.
    pub state: String,
    /// Slug.
    #[serde(default)]
    pub region: String,
    /// Slug.
    #[serde(default)]
    pub image: String,
    /// Slug.
    #[serde(default)]
    pub package: String,
    /// Host name.
    #[serde(default)]
    pub hostname: Plain,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Addresses.
    #[serde(default)]
    pub networks: Networks,
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    #[serde(default)]
    pub created_at: Plain,
    /// Events under way.
    #[serde(default)]
    pub active_events: Vec<u64>,
}

/// A snapshot, as in `snapshot/list`.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// What the calls take.
    pub id: u64,
    /// Free text.
    pub name: String,
    /// The server that it was taken of.
    #[serde(default)]
    pub subscription_id: Plain,
    /// Size of the disk, GB.
    #[serde(default)]
    pub disk: Plain,
    /// What it takes, MB.
    #[serde(default)]
    pub size_mb: Plain,
    /// `stopped`, `filesystem` or `crash`.
    #[serde(default)]
    pub consistency: Plain,
    /// Percent.
    #[serde(default)]
    pub progress: Plain,
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    #[serde(default)]
    pub created_at: Plain,
}

/// What a change of root's password answers. `Debug` would show the password.
#[derive(Clone, Deserialize)]
pub struct NewPassword {
    /// The event.
    pub event_id: u64,
    /// The password.
    pub password: String,
}

/// The addresses of a server.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Networks {
    /// IPv4.
    #[serde(default)]
    pub v4: Network,
    /// IPv6.
    #[serde(default)]
    pub v6: Network,
}

/// An address; `""` on the wire, and empty here, where there is none.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The server's address.
    pub ip: String,
    /// Netmask (IPv4) or prefix length (IPv6).
    pub netmask: String,
    /// Gateway.
    pub gateway: String,
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = |name: &str| match &value[name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        Ok(Self { ip: text("ip"), netmask: text("netmask"), gateway: text("gateway") })
    }
}

/// Where ssh reaches a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// With brackets around an IPv6 address, which has colons of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the native API adds to a server.
#[derive(Debug, Clone, Deserialize)]
pub struct NativeServer {
    /// Where ssh reaches it, once that is settled.
    #[serde(default)]
    pub ssh: Option<Endpoint>,
    /// Whether it draws on the account's resource pool.
    #[serde(default)]
    pub in_pool: bool,
    /// `normal` or `safe`.
    #[serde(default)]
    pub run_mode: String,
    /// When it is powered off if it goes on idling, UTC.
    #[serde(default)]
    pub powers_off_at: Option<String>,
    /// IPv4 addresses that it has besides.
    #[serde(default)]
    pub further_ipv4: Vec<String>,
    /// How fast it is.
    #[serde(default)]
    pub rates: Rates,
    /// What it is held to because its traffic is used up.
    #[serde(default)]
    pub traffic_limit: Option<TrafficLimit>,
    /// Frames that were dropped because its machine had no right to send them.
    #[serde(default)]
    pub forged_frames: u64,
}

/// What a server is held to because it has used all the traffic that its package includes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLimit {
    /// `slow` or `stop`.
    pub action: String,
    /// UTC.
    #[serde(default)]
    pub since: Option<String>,
    /// UTC.
    pub until: String,
}

/// Bits per second in each direction; none where nothing holds them back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// What the server receives.
    pub down_bps: Option<u64>,
    /// What the server sends.
    pub up_bps: Option<u64>,
}

/// An API key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: u64,
    /// What its owner calls it.
    pub name: String,
    /// How it begins.
    pub prefix: String,
    /// From where it may be used.
    pub addresses: Vec<String>,
    /// UTC.
    pub expires_at: Option<String>,
    /// UTC.
    pub last_used_at: Option<String>,
    /// UTC.
    pub revoked_at: Option<String>,
    /// The key itself, in the answer that makes it.
    #[serde(default)]
    pub key: Option<String>,
}

/// A resource pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pool {
    /// Whose, where it is not the caller's own.
    #[serde(default)]
    pub account: Option<String>,
    /// All there is.
    pub total: Resources,
    /// What servers have.
    pub used: Resources,
}

/// Processors, memory and disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resources {
    /// Virtual CPUs.
    pub cpu: u64,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
}

/// How far the guest's own set-up is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Setup {
    /// `unknown`, `running`, `done` or `failed`.
    #[serde(alias = "setup", alias = "state")]
    pub status: String,
}

/// What `server/create` answers.
#[derive(Debug, Clone, Deserialize)]
pub struct Created {
    /// The event that ends when the server runs.
    pub event_id: u64,
    /// The server.
    pub id: u64,
}

/// What the other changes answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Began {
    /// The event to wait for.
    pub event_id: u64,
}

/// An event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: u64,
    /// `VM.CREATE`…
    pub event: String,
    /// 0 running, 1 success, -1 error.
    pub status: i64,
    /// The server or snapshot.
    #[serde(default)]
    pub subscription_id: Plain,
    /// Start.
    #[serde(default)]
    pub created_at: Plain,
    /// End; empty while it runs.
    #[serde(default)]
    pub completed_at: Plain,
    /// Why it failed.
    #[serde(default)]
    pub message: Plain,
}

impl Event {
    /// The status in a word.
    pub fn word(&self) -> &'static str {
        match self.status {
            0 => "running",
            1 => "done",
            _ => "failed",
        }
    }
}

/// A region.
#[derive(Debug, Clone, Deserialize)]
pub struct Region {
    /// What the calls take.
    pub slug: String,
    /// For people.
    pub name: String,
    /// ISO 3166.
    #[serde(default)]
    pub country: String,
    /// Whether servers can be ordered there.
    pub status: bool,
}

/// A package.
#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    /// What the calls take.
    pub slug: String,
    /// Virtual CPUs.
    #[serde(default)]
    pub cpu: Plain,
    /// Memory, GB.
    #[serde(default)]
    pub ram: Plain,
    /// Disk, GB.
    #[serde(default)]
    pub disk: Plain,
    /// Traffic, TB.
    #[serde(default)]
    pub bandwidth: Plain,
    /// Price of an hour.
    #[serde(default)]
    pub hourly_price: Plain,
    /// Most that a month costs.
    #[serde(default)]
    pub monthly_price: Plain,
    /// Slugs.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// An image.
#[derive(Debug, Clone, Deserialize)]
pub struct Image {
    /// For people.
    pub name: String,
    /// What the calls take.
    pub slug: String,
    /// `template` or `application`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Debian`…
    #[serde(default)]
    pub distribution: String,
    /// Slugs.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Smallest disk, GB.
    #[serde(default)]
    pub min_disk_size: Plain,
}

/// A key of the account.
#[derive(Debug, Clone, Deserialize)]
pub struct SshKey {
    /// Unique in the account.
    pub name: String,
    /// The line.
    pub public_key: String,
    /// MD5 with colons.
    pub fingerprint: String,
}

/// `sshkey/list`: an object keyed by name; an empty one comes as `[]` from servers that know no empty objects.
#[derive(Debug, Clone, Default)]
pub struct SshKeys(pub Vec<SshKey>);

impl<'de> Deserialize<'de> for SshKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Keyed(BTreeMap<String, SshKey>),
            List(Vec<SshKey>),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Keyed(keyed) => keyed.into_values().collect(),
            Either::List(list) => list,
        }))
    }
}

/// A tag.
#[derive(Debug, Clone, Deserialize)]
pub struct Tag {
    /// The word.
    pub tag: String,
    /// Servers that carry it.
    #[serde(default)]
    pub count: Plain,
    /// Its first use.
    #[serde(default)]
    pub created_at: Plain,
}

/// An invoice.
#[derive(Debug, Clone, Deserialize)]
pub struct Invoice {
    /// For people and their books.
    pub number: Plain,
    /// The first instant that it covers.
    #[serde(default)]
    pub period_start: Plain,
    /// The first instant that it does not cover any more.
    #[serde(default)]
    pub period_end: Plain,
    /// Whether it is paid.
    #[serde(default)]
    pub status: Plain,
    /// ISO 4217.
    #[serde(default)]
    pub currency: Plain,
    /// What is to be paid.
    pub total: Plain,
    /// When it has to be paid.
    #[serde(default)]
    pub due_at: Plain,
}

/// An invoice with all that it says, of the native API.
#[derive(Debug, Clone, Deserialize)]
pub struct InvoiceDetails {
    /// For people and their books.
    pub number: String,
    /// Whether it is paid.
    pub status: String,
    /// The first instant that it covers.
    pub period_start: String,
    /// The first instant that it does not cover any more.
    pub period_end: String,
    /// When it has to be paid.
    pub due_at: String,
    /// When it was paid.
    pub paid_at: Option<String>,
    /// Whom it is for.
    pub recipient: InvoiceParty,
    /// What it is for.
    pub lines: Vec<InvoiceLine>,
    /// ISO 4217.
    pub currency: String,
    /// Sum of the lines.
    pub subtotal: String,
    /// Percent.
    pub tax_percent: String,
    /// Tax on it.
    pub tax: String,
    /// What is to be paid.
    pub total: String,
}

/// A side of it.
#[derive(Debug, Clone, Deserialize)]
pub struct InvoiceParty {
    /// Of a person or a company.
    pub name: String,
}

/// A line of it.
#[derive(Debug, Clone, Deserialize)]
pub struct InvoiceLine {
    /// For what.
    pub description: String,
    /// How it came about.
    pub details: String,
    /// How much.
    pub quantity: String,
    /// Of what.
    pub unit: String,
    /// What one of it costs.
    pub unit_price: String,
    /// What all of it costs.
    pub amount: String,
}

/// A change of the balance.
#[derive(Debug, Clone, Deserialize)]
pub struct Transaction {
    /// Its id.
    pub id: Plain,
    /// What it is.
    #[serde(default, rename = "type")]
    pub kind: Plain,
    /// What it added to the balance.
    pub amount: Plain,
    /// The balance right after it.
    #[serde(default)]
    pub balance_after: Plain,
    /// For a person.
    #[serde(default)]
    pub description: Plain,
    /// When it was made.
    #[serde(default)]
    pub created_at: Plain,
}

/// A link to the page of a server's console.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsoleLink {
    /// Works once.
    pub url: String,
    /// Until when; UTC.
    pub expires_at: String,
}

/// The traffic of a server: KiB and the second in which a step begins.
#[derive(Debug, Clone, Deserialize)]
pub struct Usage {
    /// What it received.
    #[serde(default)]
    pub incoming: Vec<(f64, i64)>,
    /// What it sent.
    #[serde(default)]
    pub outgoing: Vec<(f64, i64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_server_is_read_with_its_textual_disk_and_empty_v6() {
        let server: Server = serde_json::from_str(
            r#"{"id":1,"name":"ubuntu-16-04-x642","cpu":1,"memory":1,"disk":"0","state":"Stopped","region":"ist2",
                "image":"ubuntu-16-04-x64","package":"eos2","networks":{"v4":{"ip":"172.17.32.68",
                "netmask":"255.255.255.192","gateway":"172.17.32.65"},"v6":""},
                "created_at":"2018-01-04T11:14:34Z","active_events":[]}"#,
        )
        .unwrap();
        assert_eq!(server.disk.0, "0");
        assert_eq!(server.cpu.0, "1");
        assert_eq!(server.networks.v4.ip, "172.17.32.68");
        assert_eq!(server.networks.v6.ip, "");
        assert!(server.tags.is_empty());
    }

    #[test]
    fn the_documents_keys_are_read_and_so_is_an_empty_list() {
        let keys: SshKeys = serde_json::from_str(
            r#"{"SSHTest":{"name":"SSHTest","public_key":"ssh-rsa AAAA","fingerprint":"d3:b7"}}"#,
        )
        .unwrap();
        assert_eq!(keys.0[0].fingerprint, "d3:b7");
        assert!(serde_json::from_str::<SshKeys>("[]").unwrap().0.is_empty());
        assert!(serde_json::from_str::<SshKeys>("{}").unwrap().0.is_empty());
    }

    #[test]
    fn the_documents_usage_is_read() {
        let usage: Usage =
            serde_json::from_str(r#"{"incoming":[[125.0859375,1515678960]],"outgoing":[[6,1515678960]]}"#)
                .unwrap();
        assert_eq!(usage.incoming, [(125.085_937_5, 1_515_678_960)]);
        assert_eq!(usage.outgoing, [(6.0, 1_515_678_960)]);
    }

    #[test]
    fn an_events_status_is_a_word() {
        let event: Event = serde_json::from_str(
            r#"{"id":375,"event":"VM.START","status":-1,"subscription_id":1511,"created_at":"x","completed_at":"","message":"no room"}"#,
        )
        .unwrap();
        assert_eq!((event.word(), event.message.0.as_str()), ("failed", "no room"));
    }
}
