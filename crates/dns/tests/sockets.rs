//! The server on real sockets: what strangers can do with them, and what they cannot.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_dns::update::{Change, Connection, Key, UpdateError};
use bulut_dns::{Bound, Content, Data, Limits, Record, Served, Snapshot, Zone, serve};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(10);
const OWNER: &str = "2.0.0.10.in-addr.arpa.";

fn snapshot(target: &str, serial: u32) -> Snapshot {
    let content = Content {
        origin: "0.0.10.in-addr.arpa".into(),
        primary: "ns.example".into(),
        contact: "hostmaster@example.com".into(),
        nameservers: vec!["ns.example".into()],
        records: vec![Record { owner: OWNER.into(), data: Data::Ptr(target.into()) }],
    };
    Snapshot::new([Zone::new(&content, serial).unwrap()])
}

/// A server on loopback; it ends when dropped.
struct Server {
    at: SocketAddr,
    served: Arc<Served>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn server(limits: Limits) -> Server {
    let bound = Bound::new("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let at = bound.address().unwrap();
    let (served, stop) = (Arc::new(Served::default()), CancellationToken::new());
    served.swap(snapshot("old.example", 1));
    tokio::spawn(serve(Arc::clone(&served), vec![bound], limits, stop.clone()));
    Server { at, served, stop }
}

fn question(kind: RecordType) -> Vec<u8> {
    let owner = if kind == RecordType::PTR { OWNER } else { "0.0.10.in-addr.arpa." };
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(owner).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn by_udp(at: SocketAddr, request: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(request, at).await.unwrap();
    let mut reply = vec![0; 2000];
    let length = tokio::time::timeout(LIMIT, socket.recv(&mut reply)).await.unwrap().unwrap();
    Message::from_vec(&reply[..length]).unwrap()
}

async fn say(stream: &mut TcpStream, request: &[u8]) {
    let mut bytes = u16::try_from(request.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(request);
    stream.write_all(&bytes).await.unwrap();
}

/// The next reply; `None` when the connection is closed instead.
async fn hear(stream: &mut TcpStream) -> Option<Message> {
    let heard = async {
        let length = stream.read_u16().await.ok()?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.ok()?;
        Message::from_vec(&bytes).ok()
    };
    tokio::time::timeout(LIMIT, heard).await.expect("neither an answer nor the end")
}

fn target(reply: &Message) -> String {
    reply.answers[0].data.to_string()
}

#[tokio::test]
async fn the_same_is_answered_by_udp_and_tcp_and_a_new_snapshot_takes_its_place_at_once() {
    let server = server(Limits::default()).await;
    let request = question(RecordType::PTR);
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    for expected in ["old.example.", "new.example."] {
        assert_eq!(target(&by_udp(server.at, &request).await), expected);
        say(&mut stream, &request).await;
        assert_eq!(target(&hear(&mut stream).await.unwrap()), expected);
        server.served.swap(snapshot("new.example", 2));
    }
}

#[tokio::test]
async fn several_requests_on_a_connection_are_answered_in_their_order() {
    let server = server(Limits::default()).await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    for kind in [RecordType::PTR, RecordType::SOA, RecordType::NS] {
        say(&mut stream, &question(kind)).await;
    }
    for kind in [RecordType::PTR, RecordType::SOA, RecordType::NS] {
        assert_eq!(hear(&mut stream).await.unwrap().answers[0].record_type(), kind);
    }
}

#[tokio::test]
async fn whoever_may_not_have_a_zone_is_refused_it() {
    for allowed in [true, false] {
        let transfers = if allowed { vec![Ipv4Addr::LOCALHOST.into()] } else { Vec::new() };
        let server = server(Limits { transfers, ..Limits::default() }).await;
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        say(&mut stream, &question(RecordType::AXFR)).await;
        let reply = hear(&mut stream).await.unwrap();
        let code = if allowed { ResponseCode::NoError } else { ResponseCode::Refused };
        assert_eq!(reply.metadata.response_code, code);
        assert_eq!(reply.answers.len(), if allowed { 4 } else { 0 });
    }
}

#[tokio::test]
async fn nobody_takes_all_connections_and_the_silent_lose_theirs() {
    let idle = Duration::from_millis(300);
    let limits = Limits { connections_from_one: 3, idle, ..Limits::default() };
    let server = server(limits).await;
    let request = question(RecordType::PTR);
    let mut first = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        say(&mut stream, &request).await;
        assert!(hear(&mut stream).await.is_some());
        first.push(stream);
    }
    let mut fourth = TcpStream::connect(server.at).await.unwrap();
    // It may be closed before the request is sent.
    let _ = fourth.write_all(&[0, 1]).await;
    assert!(hear(&mut fourth).await.is_none(), "a fourth connection is closed");
    assert!(hear(&mut first[0]).await.is_none(), "whoever is silent is closed");
    drop(first);
    // Their places are free again, as soon as the server has noticed.
    let again = async {
        loop {
            let mut stream = TcpStream::connect(server.at).await.unwrap();
            let mut bytes = vec![0, u8::try_from(request.len()).unwrap()];
            bytes.extend(&request);
            if stream.write_all(&bytes).await.is_ok() && hear(&mut stream).await.is_some() {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_no_request_ends_its_connection_and_no_other() {
    let server = server(Limits::default()).await;
    let request = question(RecordType::PTR);
    let mut good = TcpStream::connect(server.at).await.unwrap();
    let claims_too_much = [0xff, 0xff, 1, 2, 3].to_vec();
    let too_short = [0, 3, 1, 2, 3].to_vec();
    for bad in [claims_too_much, too_short] {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        stream.write_all(&bad).await.unwrap();
        assert!(hear(&mut stream).await.is_none());
        by_udp(server.at, &request).await;
    }
    say(&mut good, &request).await;
    assert!(hear(&mut good).await.is_some());
}

#[tokio::test]
async fn a_flood_of_nonsense_leaves_the_server_answering() {
    let server = server(Limits::default()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0_u32..20_000 {
        let noise: Vec<u8> = n.to_be_bytes().repeat(1 + n as usize % 300);
        let _ = socket.try_send_to(&noise, server.at);
    }
    // What came before it may have filled the socket's buffer, so it is asked until it is heard.
    let asked = async {
        let request = question(RecordType::PTR);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            socket.send_to(&request, server.at).await.unwrap();
            let mut reply = vec![0; 2000];
            let wait = Duration::from_millis(200);
            if let Ok(Ok(length)) = tokio::time::timeout(wait, socket.recv(&mut reply)).await {
                break Message::from_vec(&reply[..length]).unwrap();
            }
        }
    };
    assert_eq!(target(&tokio::time::timeout(LIMIT, asked).await.unwrap()), "old.example.");
}

fn key() -> Key {
    Key::new("bulut", "hmac-sha256", b"secret".to_vec()).unwrap()
}

#[tokio::test]
async fn a_server_that_is_away_is_unreachable_and_one_that_proves_nothing_is_not_believed() {
    // Nobody listens on a port that was just given back.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(Connection::open(gone, key()).await, Err(UpdateError::Unreachable(_))));
    // Ours answers updates and questions, but signs nothing.
    let server = server(Limits::default()).await;
    let mut connection = Connection::open(server.at, key()).await.unwrap();
    let change = Change::Set(Data::Ptr("new.example".into()));
    let refused = connection.change(OWNER, &change, 1_767_225_600).await.unwrap_err();
    assert!(matches!(&refused, UpdateError::Key(why) if why.contains("bulut")), "{refused:?}");
}
