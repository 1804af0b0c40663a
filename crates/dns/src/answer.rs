//! Answering: a request's bytes in, a reply's bytes out. Pure.

use crate::question::Question;
use crate::transfer::Transfer;
use crate::zone::{Snapshot, Zone};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, LowerName, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use std::sync::Arc;

/// The largest reply by UDP, bytes: one that no network takes apart (the value of DNS Flag Day 2020).
const LARGEST_UDP: u16 = 1232;
/// The largest reply to somebody who does not speak EDNS, bytes.
const LARGEST_PLAIN_UDP: u16 = 512;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: the reply has to fit in one.
    Udp,
    /// On a connection.
    Tcp,
}

/// What to do about a request.
#[derive(Debug)]
pub enum Reply {
    /// Nothing: it was no request.
    Silence,
    /// Send this.
    Message(Vec<u8>),
    /// Send a whole zone, message by message.
    Transfer(Box<Transfer>),
}

/// Answers a request. `may_transfer` says whether whoever asks may have whole zones.
pub fn answer(snapshot: &Arc<Snapshot>, request: &[u8], transport: Transport, may_transfer: bool) -> Reply {
    let Some(question) = Question::read(request) else { return Reply::Silence };
    let mut reply = begin(&question);
    let refusal = refusal(&question);
    if let (None, Some(query)) = (refusal, &question.query) {
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            match transfer(snapshot, &question, query, transport, may_transfer) {
                Ok(Some(transfer)) => return Reply::Transfer(Box::new(transfer)),
                Ok(None) => answer_query(snapshot, &soa_query(query), &mut reply),
                Err(code) => reply.metadata.response_code = code,
            }
        } else {
            answer_query(snapshot, query, &mut reply);
        }
    } else {
        reply.metadata.response_code = refusal.unwrap_or(ResponseCode::FormErr);
    }
    encoded(&reply, largest(&question, transport)).map_or(Reply::Silence, Reply::Message)
}

/// A reply with nothing in it yet but what the request was.
pub(crate) fn begin(question: &Question) -> Message {
    let metadata = Metadata::response_from_request(&question.metadata);
    let mut reply = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    reply.metadata = metadata;
    reply.queries.extend(question.query.clone());
    if let Some(theirs) = question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP).set_version(0).set_dnssec_ok(theirs.dnssec_ok);
        reply.set_edns(edns);
    }
    reply
}

/// Why a request is refused before anything is looked up.
fn refusal(question: &Question) -> Option<ResponseCode> {
    if question.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if !question.well_formed {
        return Some(ResponseCode::FormErr);
    }
    if question.edns.is_some_and(|edns| edns.version > 0) {
        return Some(ResponseCode::BADVERS);
    }
    let class = question.query.as_ref().map(Query::query_class);
    match class {
        Some(DNSClass::IN | DNSClass::ANY) => None,
        _ => Some(ResponseCode::Refused),
    }
}

fn answer_query(snapshot: &Snapshot, query: &Query, reply: &mut Message) {
    let name = LowerName::new(query.name());
    let Some(zone) = snapshot.zone_of(&name) else {
        reply.metadata.response_code = ResponseCode::Refused;
        return;
    };
    reply.metadata.authoritative = true;
    reply.answers = match query.query_type() {
        RecordType::ANY => zone.any_records(&name, query.name()),
        kind => zone.records(&name, query.name(), kind),
    };
    if reply.answers.is_empty() {
        if !zone.exists(&name) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        reply.authorities.push(zone.soa_for_absence());
    }
    reply.additionals = addresses_of_servers(snapshot, &reply.answers);
}

/// The addresses of the servers of names in an answer, as far as we know them.
fn addresses_of_servers(snapshot: &Snapshot, answers: &[Record]) -> Vec<Record> {
    let mut found = Vec::new();
    for record in answers {
        let RData::NS(server) = &record.data else { continue };
        let name = LowerName::new(&server.0);
        if let Some(zone) = snapshot.zone_of(&name) {
            for kind in [RecordType::A, RecordType::AAAA] {
                found.extend(zone.records(&name, &server.0, kind));
            }
        }
    }
    found
}

/// A transfer for those who may have one. `None`: by UDP the serial is all that an incremental one gets, and who has
/// it already needs nothing else; the question for it is answered instead.
fn transfer(
    snapshot: &Arc<Snapshot>,
    question: &Question,
    query: &Query,
    transport: Transport,
    may_transfer: bool,
) -> Result<Option<Transfer>, ResponseCode> {
    // Strangers do not learn which zones there are.
    if !may_transfer {
        return Err(ResponseCode::Refused);
    }
    let origin = LowerName::new(query.name());
    let zone = snapshot.exactly(&origin).ok_or(ResponseCode::NotAuth)?;
    let incremental = query.query_type() == RecordType::IXFR;
    match transport {
        Transport::Udp if incremental => Ok(None),
        Transport::Udp => Err(ResponseCode::FormErr),
        Transport::Tcp if incremental && has_it(zone, question.serial) => Ok(None),
        Transport::Tcp => Ok(Some(Transfer::new(Arc::clone(snapshot), origin, begin(question)))),
    }
}

fn has_it(zone: &Zone, serial: Option<u32>) -> bool {
    serial.is_some_and(|serial| serial == zone.serial() || crate::serial::is_after(serial, zone.serial()))
}

fn soa_query(query: &Query) -> Query {
    let mut soa = query.clone();
    soa.set_query_type(RecordType::SOA);
    soa
}

fn largest(question: &Question, transport: Transport) -> u16 {
    match (transport, question.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(LARGEST_PLAIN_UDP, LARGEST_UDP),
        (Transport::Udp, None) => LARGEST_PLAIN_UDP,
    }
}

/// The reply's bytes. One that is too large is sent without its records, telling to ask again by TCP.
pub(crate) fn encoded(reply: &Message, largest: u16) -> Option<Vec<u8>> {
    let encode = |reply: &Message| {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(largest);
        reply.emit(&mut encoder).ok()?;
        Some(bytes)
    };
    /// The bit that says that something was left out, in the third byte of a header.
    const TRUNCATED: u8 = 0b10;
    let whole = encode(reply);
    match whole {
        Some(bytes) if bytes.get(2).is_some_and(|flags| flags & TRUNCATED == 0) => Some(bytes),
        _ => {
            let mut short = Message::new(reply.metadata.id, MessageType::Response, reply.metadata.op_code);
            short.metadata = reply.metadata;
            short.metadata.truncation = true;
            short.queries.clone_from(&reply.queries);
            short.edns.clone_from(&reply.edns);
            encode(&short)
        }
    }
}
