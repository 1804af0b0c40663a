//! Reading a request: its header, its one question and its EDNS, and nothing of what else it carries.
//!
//! Records that a request has no use for are stepped over by their lengths, so that what stands in them cannot hurt.

use hickory_proto::op::{Header, MessageType, Metadata, OpCode, Query};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The number of EDNS's record type.
const OPT: u16 = 41;
/// The number of IXFR's question and of the start of authority that it carries.
const SOA: u16 = 6;

/// What a request says of EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer that fits, bytes.
    pub payload: u16,
    /// The version that is spoken.
    pub version: u8,
    /// Whether signatures are wanted, which there are none of; the bit is given back (RFC 3225).
    pub dnssec_ok: bool,
}

/// A request that can be answered.
#[derive(Debug)]
pub struct Question {
    /// Its header, without the counts.
    pub metadata: Metadata,
    /// The question; none in a request that is not well formed.
    pub query: Option<Query>,
    /// What it says of EDNS, if anything.
    pub edns: Option<Edns>,
    /// The serial that a client of an incremental transfer has.
    pub serial: Option<u32>,
    /// Whether all of it could be read.
    pub well_formed: bool,
}

impl Question {
    /// Reads a request. `None` for what gets no answer: too short for a header, or an answer itself.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        if header.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut question =
            Self { metadata: header.metadata, query: None, edns: None, serial: None, well_formed: false };
        // What is no question is refused by its kind, whatever stands in it.
        if header.metadata.op_code != OpCode::Query {
            question.well_formed = true;
            return Some(question);
        }
        question.well_formed =
            header.counts.queries == 1 && question.read_body(&mut decoder, &header).is_some();
        Some(question)
    }

    fn read_body(&mut self, decoder: &mut BinDecoder<'_>, header: &Header) -> Option<()> {
        self.query = Some(Query::read(decoder).ok()?);
        let counts = header.counts;
        for _ in 0..counts.answers {
            skip_record(decoder)?;
        }
        for _ in 0..counts.authorities {
            let record = skip_record(decoder)?;
            if record.kind == SOA {
                self.serial = record.serial;
            }
        }
        for _ in 0..counts.additionals {
            let record = skip_record(decoder)?;
            if record.kind == OPT {
                // There is one at most, and it belongs to the root.
                if self.edns.is_some() || !record.at_root {
                    return None;
                }
                let [_, version, flags, _] = record.ttl.to_be_bytes();
                self.edns = Some(Edns { payload: record.class, version, dnssec_ok: flags & 0x80 != 0 });
            }
        }
        Some(())
    }
}

/// What is looked at of a record that is stepped over.
struct Skipped {
    kind: u16,
    class: u16,
    ttl: u32,
    at_root: bool,
    /// Of a start of authority.
    serial: Option<u32>,
}

fn skip_record(decoder: &mut BinDecoder<'_>) -> Option<Skipped> {
    let name = Name::read(decoder).ok()?;
    let kind = decoder.read_u16().ok()?.unverified();
    let class = decoder.read_u16().ok()?.unverified();
    let ttl = decoder.read_u32().ok()?.unverified();
    let length = decoder.read_u16().ok()?.unverified();
    let data = decoder.read_slice(length.into()).ok()?.unverified();
    // Serial, refresh, retry, expire and minimum are its last twenty bytes.
    let serial = match data.last_chunk::<20>() {
        Some([a, b, c, d, ..]) if kind == SOA => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    };
    Some(Skipped { kind, class, ttl, at_root: name.is_root(), serial })
}
