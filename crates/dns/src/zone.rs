//! Zones: plain text in, then immutable; looking up names.

use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record as WireRecord, RecordType};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

/// How long a resolver may keep a record, seconds: a name changes for everybody within five minutes.
const TTL: u32 = 300;
/// The same for the names of servers of names, which hardly ever change.
const TTL_NS: u32 = 3600;
/// How long a resolver may keep that a name does not exist, seconds: a new server's names are soon seen.
const TTL_ABSENT: u32 = 60;
/// How often another server of the zone asks for its serial, how soon it asks again, and how long it believes what it
/// has, seconds. Nobody tells it of changes, so it asks as often as records may be kept.
const REFRESH: i32 = 300;
const RETRY: i32 = 60;
const EXPIRE: i32 = 14 * 24 * 3600;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An address leads back to this name.
    Ptr(String),
    /// A name leads to this address.
    A(Ipv4Addr),
    /// A name leads to this address.
    Aaaa(Ipv6Addr),
}

/// A record of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The whole name that has it.
    pub owner: String,
    /// What it says.
    pub data: Data,
}

/// What a zone holds, as plain text. Names are whole and may lack the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The zone's name.
    pub origin: String,
    /// The server of names where the zone is made.
    pub primary: String,
    /// Who is responsible: an e-mail address.
    pub contact: String,
    /// The servers of names that serve it.
    pub nameservers: Vec<String>,
    /// Its records, besides those of the zone itself.
    pub records: Vec<Record>,
}

/// A zone that cannot be served: says which name is none, or lies elsewhere.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// A zone, ready to be asked.
#[derive(Debug)]
pub struct Zone {
    origin: LowerName,
    soa: WireRecord,
    serial: u32,
    /// In canonical order, in which a name stands right before all names below it.
    nodes: BTreeMap<LowerName, Vec<Value>>,
}

/// A record without its owner, kept small: there is one for each address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Ns(Box<Name>),
    Ptr(Box<Name>),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
}

impl Value {
    const fn kind(&self) -> RecordType {
        match self {
            Self::Ns(_) => RecordType::NS,
            Self::Ptr(_) => RecordType::PTR,
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
        }
    }

    fn record(&self, owner: &Name) -> WireRecord {
        let (ttl, data) = match self {
            Self::Ns(name) => (TTL_NS, RData::NS(NS(name.as_ref().clone()))),
            Self::Ptr(name) => (TTL, RData::PTR(PTR(name.as_ref().clone()))),
            Self::A(address) => (TTL, RData::A(A(*address))),
            Self::Aaaa(address) => (TTL, RData::AAAA(AAAA(*address))),
        };
        WireRecord::from_rdata(owner.clone(), ttl, data)
    }
}

/// Reads a whole name, of any labels that the wire can carry: `64/26.2.0.192.in-addr.arpa`.
pub(crate) fn name(text: &str) -> Result<Name, Malformed> {
    let refuse = |why: &dyn std::fmt::Display| Malformed(format!("'{text}' is no name: {why}"));
    let bare = text.strip_suffix('.').unwrap_or(text);
    let labels: Vec<&[u8]> = bare.split('.').map(str::as_bytes).collect();
    if labels.iter().any(|label| label.is_empty()) {
        return Err(refuse(&"a part of it is empty"));
    }
    let mut name = Name::from_labels(labels).map_err(|why| refuse(&why))?;
    name.set_fqdn(true);
    Ok(name)
}

/// An e-mail address as a name: its `@` is a dot, the dots before it belong to the first label.
fn mailbox(contact: &str) -> Result<Name, Malformed> {
    let (local, domain) = contact
        .split_once('@')
        .filter(|(local, _)| !local.is_empty())
        .ok_or_else(|| Malformed(format!("'{contact}' is no e-mail address")))?;
    let domain = name(domain)?;
    let local = Name::from_labels([local.as_bytes()])
        .map_err(|why| Malformed(format!("'{contact}' cannot stand in a zone: {why}")))?;
    local
        .append_domain(&domain)
        .map_err(|why| Malformed(format!("'{contact}' cannot stand in a zone: {why}")))
}

impl Zone {
    /// A zone of this content and serial.
    ///
    /// # Errors
    /// When something that should be a name is none, or lies outside the zone.
    pub fn new(content: &Content, serial: u32) -> Result<Self, Malformed> {
        let apex = name(&content.origin)?;
        let origin = LowerName::new(&apex);
        let soa = SOA::new(
            name(&content.primary)?,
            mailbox(&content.contact)?,
            serial,
            REFRESH,
            RETRY,
            EXPIRE,
            TTL_ABSENT,
        );
        let mut nodes: BTreeMap<LowerName, Vec<Value>> = BTreeMap::new();
        let mut servers = Vec::new();
        for server in &content.nameservers {
            servers.push(Value::Ns(Box::new(name(server)?)));
        }
        nodes.insert(origin.clone(), servers);
        for record in &content.records {
            let owner = LowerName::new(&name(&record.owner)?);
            if !origin.zone_of(&owner) {
                return Err(Malformed(format!("{} lies outside the zone {}", record.owner, content.origin)));
            }
            let value = match &record.data {
                Data::Ptr(target) => Value::Ptr(Box::new(name(target)?)),
                Data::A(address) => Value::A(*address),
                Data::Aaaa(address) => Value::Aaaa(*address),
            };
            let values = nodes.entry(owner).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let soa = WireRecord::from_rdata(apex, TTL, RData::SOA(soa));
        Ok(Self { origin, soa, serial, nodes })
    }

    /// Its serial.
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// How many names have records.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no names, which is never so.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn soa(&self) -> &WireRecord {
        &self.soa
    }

    /// The start of authority as it goes with what does not exist.
    pub(crate) fn soa_for_absence(&self) -> WireRecord {
        let mut soa = self.soa.clone();
        soa.ttl = TTL_ABSENT;
        soa
    }

    pub(crate) fn is_apex(&self, name: &LowerName) -> bool {
        *name == self.origin
    }

    /// Whether the name exists: it has records, or a name below it has.
    pub(crate) fn exists(&self, name: &LowerName) -> bool {
        let next = self.nodes.range::<LowerName, _>((Bound::Included(name), Bound::Unbounded)).next();
        next.is_some_and(|(found, _)| name.zone_of(found))
    }

    /// The records of a type at a name, which they carry as it was written in the question.
    pub(crate) fn records(&self, name: &LowerName, written: &Name, kind: RecordType) -> Vec<WireRecord> {
        let mut found = Vec::new();
        if kind == RecordType::SOA && self.is_apex(name) {
            let mut soa = self.soa.clone();
            soa.name = written.clone();
            found.push(soa);
        }
        let values = self.nodes.get(name).into_iter().flatten();
        found.extend(values.filter(|value| value.kind() == kind).map(|value| value.record(written)));
        found
    }

    /// One set of records at a name, whichever: all that a question for any type gets (RFC 8482).
    pub(crate) fn any_records(&self, name: &LowerName, written: &Name) -> Vec<WireRecord> {
        if self.is_apex(name) {
            return self.records(name, written, RecordType::SOA);
        }
        match self.nodes.get(name).and_then(|values| values.first()) {
            Some(first) => self.records(name, written, first.kind()),
            None => Vec::new(),
        }
    }

    /// The records of the names after `after`, for a transfer: some at a time. `None`: that was all.
    pub(crate) fn records_after(&self, after: Option<&LowerName>) -> Option<(LowerName, Vec<WireRecord>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (name, values) = self.nodes.range::<LowerName, _>((from, Bound::Unbounded)).next()?;
        let owner = Name::from(name);
        Some((name.clone(), values.iter().map(|value| value.record(&owner)).collect()))
    }
}

/// All zones at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    zones: BTreeMap<LowerName, Zone>,
}

impl Snapshot {
    /// The zones, of which none has the name of another.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Self {
        Self { zones: zones.into_iter().map(|zone| (zone.origin.clone(), zone)).collect() }
    }

    /// The zone of this name.
    pub fn zone(&self, origin: &str) -> Option<&Zone> {
        self.zones.get(&LowerName::new(&name(origin).ok()?))
    }

    /// The zone with the longest name that `name` lies in.
    pub(crate) fn zone_of(&self, name: &LowerName) -> Option<&Zone> {
        let mut within = name.clone();
        loop {
            if let Some(zone) = self.zones.get(&within) {
                return Some(zone);
            }
            if within.is_root() {
                return None;
            }
            within = within.base_name();
        }
    }

    pub(crate) fn exactly(&self, origin: &LowerName) -> Option<&Zone> {
        self.zones.get(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn content() -> Content {
        let record = |owner: &str, data| Record { owner: owner.into(), data };
        Content {
            origin: "cloud.example".into(),
            primary: "ns1.cloud.example".into(),
            contact: "host.master@example.com".into(),
            nameservers: vec!["ns1.cloud.example".into(), "ns2.example.net".into()],
            records: vec![
                record("ns1.cloud.example", Data::A(Ipv4Addr::new(192, 0, 2, 53))),
                record("a.b.cloud.example", Data::Aaaa(Ipv6Addr::LOCALHOST)),
            ],
        }
    }

    fn lower(text: &str) -> LowerName {
        LowerName::new(&name(text).unwrap())
    }

    #[test]
    fn a_name_exists_when_it_or_one_below_it_has_records() {
        let zone = Zone::new(&content(), 7).unwrap();
        for there in ["cloud.example", "ns1.cloud.example", "b.cloud.example", "A.B.Cloud.Example"] {
            assert!(zone.exists(&lower(there)), "{there}");
        }
        for absent in ["c.cloud.example", "x.a.b.cloud.example", "ns.cloud.example", "ns10.cloud.example"] {
            assert!(!zone.exists(&lower(absent)), "{absent}");
        }
    }

    #[test]
    fn the_zone_with_the_longest_name_is_responsible() {
        let inner = Content { origin: "64/26.2.0.192.in-addr.arpa".into(), records: Vec::new(), ..content() };
        let outer = Content { origin: "2.0.192.in-addr.arpa".into(), ..inner.clone() };
        let snapshot = Snapshot::new([Zone::new(&inner, 1).unwrap(), Zone::new(&outer, 2).unwrap()]);
        let serial = |name: &str| snapshot.zone_of(&lower(name)).map(Zone::serial);
        assert_eq!(serial("65.64/26.2.0.192.in-addr.arpa"), Some(1));
        assert_eq!(serial("65.2.0.192.in-addr.arpa"), Some(2));
        assert_eq!(serial("65.3.0.192.in-addr.arpa"), None);
        assert_eq!(snapshot.zone("2.0.192.in-addr.arpa.").map(Zone::serial), Some(2));
    }

    #[test]
    fn what_is_no_name_or_lies_outside_makes_no_zone() {
        let bad = |change: fn(&mut Content)| {
            let mut content = content();
            change(&mut content);
            Zone::new(&content, 1).unwrap_err().to_string()
        };
        assert!(bad(|c| c.origin = "a..b".into()).contains("a..b"));
        assert!(bad(|c| c.contact = "nobody".into()).contains("e-mail"));
        assert!(bad(|c| c.records[0].owner = "elsewhere.example".into()).contains("outside"));
        assert!(bad(|c| c.nameservers = vec!["x".repeat(64)]).contains("no name"));
    }

    #[test]
    fn the_dots_before_the_at_belong_to_the_first_label() {
        assert_eq!(mailbox("host.master@example.com").unwrap().iter().next().unwrap(), b"host.master");
    }
}
