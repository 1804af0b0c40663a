//! What is answered, byte for byte as it goes over the wire.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_dns::{Content, Data, Record, Reply, Snapshot, Transport, Zone, answer, reverse};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

const V4: &str = "65.112.86.10.in-addr.arpa.";
const V6: &str = "0.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.";

fn record(owner: &str, data: Data) -> Record {
    Record { owner: owner.into(), data }
}

fn content(origin: &str, records: Vec<Record>) -> Content {
    Content {
        origin: origin.into(),
        primary: "ns1.cloud.example".into(),
        contact: "hostmaster@cloud.example".into(),
        nameservers: vec!["ns1.cloud.example".into(), "ns2.example.net".into()],
        records,
    }
}

fn snapshot() -> Arc<Snapshot> {
    let v4: IpAddr = "10.86.112.65".parse().unwrap();
    let v6: IpAddr = "fd00:1:2:3::1:0".parse().unwrap();
    let ptr = |address| record(&reverse::owner(address), Data::Ptr("web1.example.com".into()));
    let forward = vec![
        record("ns1.cloud.example", Data::A(Ipv4Addr::new(192, 0, 2, 53))),
        record("server-1.cloud.example", Data::A(Ipv4Addr::new(10, 86, 112, 65))),
        record("server-1.cloud.example", Data::Aaaa("fd00:1:2:3::1:0".parse().unwrap())),
    ];
    // So many that they do not fit in a datagram.
    let many = (0..200).map(|n| record("many.cloud.example", Data::A(Ipv4Addr::new(10, 0, 0, n)))).collect();
    let contents = [
        content("112.86.10.in-addr.arpa", vec![ptr(v4)]),
        content("3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", vec![ptr(v6)]),
        content("cloud.example", [forward, many].concat()),
    ];
    Arc::new(Snapshot::new(contents.iter().map(|content| Zone::new(content, 7).unwrap())))
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.metadata.recursion_desired = true;
    message
}

fn reply(snapshot: &Arc<Snapshot>, request: &Message, transport: Transport) -> (Message, usize) {
    match answer(snapshot, &request.to_vec().unwrap(), transport, false) {
        Reply::Message(bytes) => {
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.metadata.id, request.metadata.id);
            assert_eq!(reply.metadata.message_type, MessageType::Response);
            assert!(!reply.metadata.recursion_available);
            (reply, bytes.len())
        }
        other => panic!("not one message: {other:?}"),
    }
}

fn ask(name: &str, kind: RecordType) -> Message {
    reply(&snapshot(), &question(name, kind), Transport::Udp).0
}

fn texts(records: &[WireRecord]) -> Vec<String> {
    records.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn addresses_lead_back_to_names_and_names_to_addresses() {
    for owner in [V4, V6] {
        let reply = ask(owner, RecordType::PTR);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.metadata.authoritative && reply.metadata.recursion_desired);
        assert_eq!(texts(&reply.answers), ["web1.example.com."]);
        assert_eq!(reply.answers[0].ttl, 300);
    }
    assert_eq!(texts(&ask("server-1.cloud.example.", RecordType::A).answers), ["10.86.112.65"]);
    assert_eq!(texts(&ask("server-1.cloud.example.", RecordType::AAAA).answers), ["fd00:1:2:3::1:0"]);
}

#[test]
fn letters_of_either_case_mean_the_same_and_come_back_as_they_were() {
    let reply = ask("SerVer-1.Cloud.EXAMPLE.", RecordType::A);
    assert_eq!(reply.queries[0].name().to_string(), "SerVer-1.Cloud.EXAMPLE.");
    assert_eq!(reply.answers[0].name.to_string(), "SerVer-1.Cloud.EXAMPLE.");
}

#[test]
fn a_zone_tells_its_start_and_its_servers() {
    let reply = ask("112.86.10.in-addr.arpa.", RecordType::SOA);
    assert_eq!(texts(&reply.answers), ["ns1.cloud.example. hostmaster.cloud.example. 7 300 60 1209600 60"]);
    let reply = ask("cloud.example.", RecordType::NS);
    assert_eq!(texts(&reply.answers), ["ns1.cloud.example.", "ns2.example.net."]);
    assert_eq!(texts(&reply.additionals), ["192.0.2.53"], "the address of the one that is ours");
}

#[test]
fn what_does_not_exist_comes_with_the_start_of_authority() {
    let cases = [
        ("66.112.86.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
        ("x.server-1.cloud.example.", RecordType::A, ResponseCode::NXDomain),
        // It exists, without such a record.
        (V4, RecordType::A, ResponseCode::NoError),
        ("server-1.cloud.example.", RecordType::MX, ResponseCode::NoError),
        // It exists because a name below it does.
        (&V6[4..], RecordType::PTR, ResponseCode::NoError),
    ];
    for (name, kind, code) in cases {
        let reply = ask(name, kind);
        assert_eq!(reply.metadata.response_code, code, "{name}");
        assert!(reply.metadata.authoritative && reply.answers.is_empty(), "{name}");
        assert_eq!(reply.authorities.len(), 1, "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
        assert_eq!(reply.authorities[0].ttl, 60, "{name}");
    }
}

#[test]
fn what_is_not_ours_is_refused_without_a_hint() {
    let snapshot = snapshot();
    for (name, class) in [
        ("example.com.", DNSClass::IN),
        (".", DNSClass::IN),
        ("arpa.", DNSClass::IN),
        ("111.86.10.in-addr.arpa.", DNSClass::IN),
        ("version.bind.", DNSClass::CH),
        ("cloud.example.", DNSClass::CH),
    ] {
        let mut request = question(name, RecordType::ANY);
        request.queries[0].set_query_class(class);
        let (reply, _) = reply(&snapshot, &request, Transport::Udp);
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused, "{name}");
        assert!(reply.answers.is_empty() && reply.authorities.is_empty() && !reply.metadata.authoritative);
    }
}

#[test]
fn a_question_for_any_type_gets_one_kind_of_records() {
    assert_eq!(texts(&ask("server-1.cloud.example.", RecordType::ANY).answers), ["10.86.112.65"]);
    assert_eq!(ask("cloud.example.", RecordType::ANY).answers.len(), 1);
}

#[test]
fn an_answer_that_does_not_fit_says_so_and_comes_whole_by_tcp() {
    let (snapshot, request) = (snapshot(), question("many.cloud.example.", RecordType::A));
    let (short, length) = reply(&snapshot, &request, Transport::Udp);
    assert!(short.metadata.truncation && short.answers.is_empty() && length <= 512);
    let mut larger = request.clone();
    larger.set_edns(Edns::new().set_max_payload(65_535).to_owned());
    let (short, length) = reply(&snapshot, &larger, Transport::Udp);
    assert!(short.metadata.truncation && length <= 1232, "{length}");
    assert!(short.edns.is_some(), "what is cut short still speaks EDNS");
    let (whole, _) = reply(&snapshot, &request, Transport::Tcp);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[test]
fn edns_is_spoken_with_those_who_speak_it() {
    let snapshot = snapshot();
    assert!(ask(V4, RecordType::PTR).edns.is_none());
    let mut request = question(V4, RecordType::PTR);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    request.set_edns(edns.clone());
    let (said, _) = reply(&snapshot, &request, Transport::Udp);
    let ours = said.edns.unwrap();
    assert_eq!((ours.max_payload(), ours.version(), ours.flags().dnssec_ok), (1232, 0, true));
    assert_eq!(said.answers.len(), 1);
    edns.set_version(1);
    request.set_edns(edns);
    let (said, _) = reply(&snapshot, &request, Transport::Udp);
    assert_eq!(u16::from(said.metadata.response_code), 16, "BADVERS");
    assert!(said.answers.is_empty() && said.edns.unwrap().version() == 0);
}

#[test]
fn only_questions_are_answered() {
    let snapshot = snapshot();
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut request = question("cloud.example.", RecordType::SOA);
        request.metadata.op_code = op_code;
        assert_eq!(reply(&snapshot, &request, Transport::Udp).0.metadata.response_code, ResponseCode::NotImp);
    }
    let mut answered = question(V4, RecordType::PTR);
    answered.metadata.message_type = MessageType::Response;
    let bytes = answered.to_vec().unwrap();
    assert!(
        matches!(answer(&snapshot, &bytes, Transport::Udp, false), Reply::Silence),
        "two servers would never end"
    );
    assert!(matches!(answer(&snapshot, b"short", Transport::Udp, false), Reply::Silence));
    let mut two = question(V4, RecordType::PTR);
    two.add_query(two.queries[0].clone());
    assert_eq!(reply(&snapshot, &two, Transport::Udp).0.metadata.response_code, ResponseCode::FormErr);
    let mut cut = question(V4, RecordType::PTR).to_vec().unwrap();
    cut.truncate(cut.len() - 3);
    match answer(&snapshot, &cut, Transport::Udp, false) {
        Reply::Message(bytes) => {
            assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::FormErr);
        }
        other => panic!("{other:?}"),
    }
}

/// The records of a transfer, and how many messages they came in.
fn transfer(snapshot: &Arc<Snapshot>, request: &Message) -> (Vec<WireRecord>, usize) {
    match answer(snapshot, &request.to_vec().unwrap(), Transport::Tcp, true) {
        Reply::Transfer(messages) => {
            let messages: Vec<Message> = messages.map(|bytes| Message::from_vec(&bytes).unwrap()).collect();
            assert!(messages.iter().all(|message| message.metadata.id == request.metadata.id));
            assert!(
                messages.iter().all(|message| message.metadata.authoritative && !message.metadata.truncation)
            );
            let count = messages.len();
            (messages.into_iter().flat_map(|message| message.answers).collect(), count)
        }
        other => panic!("no transfer: {other:?}"),
    }
}

#[test]
fn a_zone_goes_whole_to_those_who_may_have_it_and_to_nobody_else() {
    let snapshot = snapshot();
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        for name in ["cloud.example.", "example.com."] {
            let (refused, _) = reply(&snapshot, &question(name, kind), Transport::Tcp);
            assert_eq!(refused.metadata.response_code, ResponseCode::Refused, "{name}");
            assert!(refused.answers.is_empty());
        }
        let (records, messages) = transfer(&snapshot, &question("cloud.example.", kind));
        assert_eq!(records.len(), 2 + 2 + 3 + 200);
        assert!(messages > 1, "more than a message holds");
        for soa in [records.first(), records.last()] {
            assert_eq!(soa.unwrap().record_type(), RecordType::SOA);
        }
    }
    let request = question("example.com.", RecordType::AXFR).to_vec().unwrap();
    let Reply::Message(bytes) = answer(&snapshot, &request, Transport::Tcp, true) else {
        panic!("a transfer")
    };
    assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::NotAuth);
}

#[test]
fn an_incremental_transfer_gets_nothing_that_it_has() {
    let snapshot = snapshot();
    let with_serial = |serial| {
        let mut request = question("112.86.10.in-addr.arpa.", RecordType::IXFR);
        let root = Name::root;
        let soa = SOA::new(root(), root(), serial, 1, 1, 1, 1);
        let origin = Name::from_ascii("112.86.10.in-addr.arpa.").unwrap();
        request.add_authority(WireRecord::from_rdata(origin, 0, RData::SOA(soa)));
        request
    };
    for (serial, transport) in [(7, Transport::Tcp), (9, Transport::Tcp), (1, Transport::Udp)] {
        let bytes = with_serial(serial).to_vec().unwrap();
        let Reply::Message(bytes) = answer(&snapshot, &bytes, transport, true) else {
            panic!("serial {serial}")
        };
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].record_type(), RecordType::SOA);
    }
    assert_eq!(transfer(&snapshot, &with_serial(6)).0.len(), 1 + 2 + 1 + 1);
}

/// Whatever comes, the reply is a reply of ours, or nothing.
fn assert_harmless(bytes: &[u8]) {
    static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(snapshot);
    let snapshot = &SNAPSHOT;
    for transport in [Transport::Udp, Transport::Tcp] {
        match answer(snapshot, bytes, transport, true) {
            Reply::Silence => {}
            Reply::Message(reply) => {
                assert_eq!(reply[..2], bytes[..2], "the id comes back");
                assert!(reply[2] & 0x80 != 0, "a reply says that it is one");
                assert!(transport == Transport::Tcp || reply.len() <= 1232);
                Message::from_vec(&reply).unwrap();
            }
            Reply::Transfer(messages) => assert!(messages.count() < 10),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_packet_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        assert_harmless(&bytes);
    }

    #[test]
    fn no_packet_that_looks_like_a_question_does_harm(
        flags in any::<[u8; 2]>(),
        counts in prop::collection::vec(0_u8..4, 4),
        body in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xc0), Just(12), Just(41), Just(63), any::<u8>()], 0..300),
    ) {
        let mut bytes = vec![0x12, 0x34, flags[0] & 0x7f, flags[1]];
        bytes.extend(counts.iter().flat_map(|count| [0, *count]));
        bytes.extend(body);
        assert_harmless(&bytes);
    }

    #[test]
    fn no_change_to_a_good_question_does_harm(
        name in prop_oneof![Just(V4), Just(V6), Just("many.cloud.example."), Just("cloud.example.")],
        kind in prop_oneof![Just(RecordType::PTR), Just(RecordType::AXFR), Just(RecordType::IXFR), Just(RecordType::ANY)],
        edns in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut message = question(name, kind);
        if edns {
            message.set_edns(Edns::new());
        }
        let mut bytes = message.to_vec().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        assert_harmless(&bytes);
    }
}
