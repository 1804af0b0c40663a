//! Telling another server of names: dynamic updates (RFC 2136), signed with a key that both know (TSIG, RFC 8945).
//!
//! Promises: a change is repeated without harm; every answer is checked to come from who has the key. Must not know: what
//! should be told, or when.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::zone::{Data, name};

/// How far our clock and the server's may differ, seconds.
const FUDGE: u16 = 300;
/// How long the server may take for anything.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a resolver may keep what is told, seconds.
const TTL: u32 = 300;

/// Why the server was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// It does not answer; nothing is known of what it has.
    #[error("{0}")]
    Unreachable(String),
    /// It does not accept the key, or did not prove to have it.
    #[error("{0}")]
    Key(String),
    /// It refuses this change; others may go through.
    #[error("{0}")]
    Refused(String),
}

/// A key that both know.
#[derive(Clone)]
pub struct Key(TSigner);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.0.signer_name())
    }
}

impl Key {
    /// The key of this name; `algorithm` is `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    ///
    /// # Errors
    /// A sentence that says which of the three is wrong.
    pub fn new(key_name: &str, algorithm: &str, secret: Vec<u8>) -> Result<Self, String> {
        let algorithm = match algorithm.to_ascii_lowercase().as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            other => {
                return Err(format!(
                    "'{other}' is no algorithm of a key; it must be hmac-sha256, hmac-sha384 or hmac-sha512"
                ));
            }
        };
        if secret.is_empty() {
            return Err("the key's secret is empty".to_owned());
        }
        // Names of keys are compared as they are written in a signature: in small letters.
        let key_name = name(key_name).map_err(|why| why.to_string())?.to_lowercase();
        TSigner::new(secret, algorithm, key_name, FUDGE).map(Self).map_err(|why| why.to_string())
    }
}

/// A record that is to be there alone, or to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The owner has this record of its type, and no other.
    Set(Data),
    /// The owner has no record of this type: `PTR`, `A` or `AAAA`.
    Remove(String),
}

/// A connection to another server of names.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    key: Key,
    /// The zone of each parent of an owner that was asked for.
    zones: HashMap<Name, Name>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn open(server: SocketAddr, key: Key) -> Result<Self, UpdateError> {
        let stream = limited(TcpStream::connect(server)).await?;
        Ok(Self { stream, key, zones: HashMap::new() })
    }

    /// Makes one change at a name. `now` is the time, which the signature carries, in seconds since 1970.
    ///
    /// # Errors
    /// See [`UpdateError`]. After `Unreachable` the connection is of no use any more.
    pub async fn change(&mut self, owner: &str, change: &Change, now: u64) -> Result<(), UpdateError> {
        let owner = name(owner).map_err(|why| UpdateError::Refused(why.to_string()))?;
        let zone = self.zone_of(&owner, now).await?;
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        let mut query = Query::query(zone.clone(), RecordType::SOA);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        let (kind, data) = match change {
            Change::Set(data) => {
                let data = wire(data)?;
                (data.record_type(), Some(data))
            }
            Change::Remove(kind) => (type_of(kind)?, None),
        };
        // First all records of the type go, then the one comes: both, or on refusal none of it.
        let mut gone = Record::update0(owner.clone(), 0, kind);
        gone.dns_class = DNSClass::ANY;
        message.add_authority(gone);
        if let Some(data) = data {
            message.add_authority(Record::from_rdata(owner.clone(), TTL, data));
        }
        let answer = self.exchange(message, now).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(UpdateError::Refused(format!(
                "the server refuses to change {owner} in the zone {zone}: {}",
                said(code)
            ))),
        }
    }

    /// The zone that the server has for a name: it says so with the start of authority, whatever it has there.
    async fn zone_of(&mut self, owner: &Name, now: u64) -> Result<Name, UpdateError> {
        let parent = owner.base_name();
        if let Some(zone) = self.zones.get(&parent) {
            return Ok(zone.clone());
        }
        let mut message = Message::query();
        let mut query = Query::query(owner.clone(), RecordType::SOA);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        let answer = self.exchange(message, now).await?;
        let mut records = answer.answers.iter().chain(&answer.authorities);
        let soa = records.find(|record| record.record_type() == RecordType::SOA);
        let there = matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        match soa {
            Some(soa) if there && answer.metadata.authoritative && soa.name.zone_of(owner) => {
                // The zone of a name's parent is that of the name too, unless the name begins a zone of its own.
                if soa.name != *owner {
                    self.zones.insert(parent, soa.name.clone());
                }
                Ok(soa.name.clone())
            }
            _ => Err(UpdateError::Refused(format!(
                "the server has no zone for {owner} ({})",
                said(answer.metadata.response_code)
            ))),
        }
    }

    /// Signs and sends a message, and checks the answer.
    async fn exchange(&mut self, mut message: Message, now: u64) -> Result<Message, UpdateError> {
        let unfit =
            |why: &dyn std::fmt::Display| UpdateError::Refused(format!("the request cannot be made: {why}"));
        let verifier = message.finalize(&self.key.0, now).map_err(|why| unfit(&why))?;
        let mut verifier = verifier.ok_or_else(|| unfit(&"it was not signed"))?;
        let bytes = message.to_vec().map_err(|why| unfit(&why))?;
        limited(send(&mut self.stream, &bytes)).await?;
        let bytes = limited(receive(&mut self.stream)).await?;
        let garbage = |why: &dyn std::fmt::Display| {
            UpdateError::Unreachable(format!("the server's answer is none: {why}"))
        };
        let answer = Message::from_vec(&bytes).map_err(|why| garbage(&why))?;
        if answer.metadata.message_type != MessageType::Response || answer.metadata.id != message.metadata.id
        {
            return Err(garbage(&"it belongs to another request"));
        }
        let key = self.key.0.signer_name();
        match answer.signature.as_ref().map(|record| &record.data) {
            None => Err(UpdateError::Key(format!(
                "the server does not sign its answer ({}); does it know the key {key}?",
                said(answer.metadata.response_code)
            ))),
            Some(signature) => {
                if let Some(error) = signature.error {
                    return Err(UpdateError::Key(key_refused(key, error)));
                }
                let proven = verifier.verify(&bytes).map_err(|why| {
                    UpdateError::Key(format!("the server's answer is not signed with the key {key}: {why}"))
                });
                proven.map(|_| answer)
            }
        }
    }
}

fn key_refused(key: &Name, error: TsigError) -> String {
    match error {
        TsigError::BadSig => format!("the server refuses the key {key}: its secret is another one (BADSIG)"),
        TsigError::BadKey => {
            format!(
                "the server refuses the key {key}: it does not know it, or with another algorithm (BADKEY)"
            )
        }
        TsigError::BadTime => {
            format!("the server refuses the key {key}: its clock and ours differ (BADTIME)")
        }
        TsigError::BadTrunc => {
            format!("the server refuses the key {key}: the signature is too short for it (BADTRUNC)")
        }
        TsigError::Unknown(code) => format!("the server refuses the key {key}: error {code}"),
    }
}

/// A response code as the RFCs write it.
fn said(code: ResponseCode) -> String {
    match code {
        ResponseCode::NotAuth => "NOTAUTH: it is not the zone's primary server".to_owned(),
        ResponseCode::Refused => "REFUSED: its rules do not allow it to this key".to_owned(),
        ResponseCode::NotZone => "NOTZONE: the name lies in another zone".to_owned(),
        other => other.to_str().to_ascii_uppercase(),
    }
}

fn type_of(kind: &str) -> Result<RecordType, UpdateError> {
    match kind {
        "PTR" => Ok(RecordType::PTR),
        "A" => Ok(RecordType::A),
        "AAAA" => Ok(RecordType::AAAA),
        other => Err(UpdateError::Refused(format!("'{other}' is no type of a record that is published"))),
    }
}

fn wire(data: &Data) -> Result<RData, UpdateError> {
    Ok(match data {
        Data::Ptr(target) => {
            RData::PTR(PTR(name(target).map_err(|why| UpdateError::Refused(why.to_string()))?))
        }
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
    })
}

async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, UpdateError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(UpdateError::Unreachable(format!("the server does not answer: {why}"))),
        Err(_) => {
            Err(UpdateError::Unreachable(format!("the server did not answer within {} s", LIMIT.as_secs())))
        }
    }
}

async fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).await
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_is_wrong_with_it_and_never_shows_its_secret() {
        let key = |name: &str, algorithm: &str, secret: &[u8]| Key::new(name, algorithm, secret.to_vec());
        assert!(key("k", "hmac-md5", b"s").unwrap_err().contains("hmac-md5"));
        assert!(key("k", "hmac-sha256", b"").unwrap_err().contains("empty"));
        assert!(key("a..b", "hmac-sha256", b"s").unwrap_err().contains("a..b"));
        assert_eq!(format!("{:?}", key("Bulut", "HMAC-SHA256", b"hidden").unwrap()), "Key(bulut.)");
    }
}
