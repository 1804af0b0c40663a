//! Connections over real sockets: who is let go, and who is not.

use super::*;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::WebSocket;
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// Short, so that the tests are.
const SHORT: Duration = Duration::from_millis(300);
/// No test takes so long.
const LONG: Duration = Duration::from_secs(60);
/// More than the sockets of both sides keep.
const LARGE: usize = 32 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty frame of settings.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// `GET /` over plain HTTP, of fields that the protocol numbers, as the headers and the end of stream 1.
const GET: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86";
/// The same, with more headers to come.
const HALF_GET: &[u8] = b"\0\0\x03\x01\x01\0\0\0\x01\x82\x84\x86";

/// What the test and its handlers tell each other.
struct Between {
    begun: Semaphore,
    ended: Semaphore,
}

impl Between {
    /// A handler has begun; it waits until the test ends all of them.
    async fn wait(&self) {
        self.begun.add_permits(1);
        assert!(self.ended.acquire().await.is_err(), "it is closed, not given");
    }
}

struct Server {
    address: SocketAddr,
    between: Arc<Between>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn new(patience: Duration) -> Self {
        let between = Arc::new(Between { begun: Semaphore::new(0), ended: Semaphore::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, routes(&between), patience, stop.clone()));
        Self { address, between, stop, serving }
    }

    async fn client(&self, says: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(says).await.unwrap();
        client
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn routes(between: &Arc<Between>) -> Router {
    let (waits, streams) = (Arc::clone(between), Arc::clone(between));
    let echo = async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            let _ = socket.send(message).await;
        }
    };
    Router::new()
        .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/socket", get(async move |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)))
        .route(
            "/waits",
            get(async move || {
                waits.wait().await;
                "waited"
            }),
        )
        .route(
            "/streams",
            get(async move || {
                let rest = stream::once(async move {
                    streams.wait().await;
                    Ok("and waited")
                });
                Body::from_stream(stream::iter([Ok::<_, Infallible>("begun ")]).chain(rest))
            }),
        )
}

/// All that comes until the server ends the connection.
async fn until_closed(mut client: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // What was not read when the server hung up is lost to both.
    let _ = timeout(LONG, client.read_to_end(&mut said)).await.expect("it is closed");
    said
}

/// Reads what is answered to `GET /`, and nothing more.
async fn answer_of(client: &mut TcpStream) -> String {
    let mut said = String::new();
    let own = client.local_addr().unwrap().to_string();
    while !said.ends_with(&own) {
        let mut byte = [0];
        timeout(LONG, client.read_exact(&mut byte)).await.unwrap().unwrap();
        said.push(byte[0].into());
    }
    said
}

#[tokio::test]
async fn who_does_not_ask_is_let_go() {
    let server = Server::new(SHORT).await;
    let mut clients = Vec::new();
    for said in [
        &[b"".as_slice()][..],
        &[b"GET / HT"],
        &[b"GET / HTTP/1.0\r\nHost: "],
        &[b"GET / HTTP/1.1\r\nHost: api\r\n"],
        &[b"PR"],
        &[PREFACE],
        &[PREFACE, SETTINGS],
        &[PREFACE, SETTINGS, HALF_GET],
    ] {
        clients.push(server.client(&said.concat()).await);
    }
    for client in clients {
        let said = until_closed(client).await;
        assert!(!String::from_utf8_lossy(&said).contains(" 200 "), "{said:?}");
    }
}

#[tokio::test]
async fn who_was_answered_is_let_go_when_nothing_follows() {
    let server = Server::new(SHORT).await;
    for more in ["", "GET / HT"] {
        let asks = format!("GET / HTTP/1.1\r\nHost: api\r\n\r\n{more}");
        let mut client = server.client(asks.as_bytes()).await;
        assert!(answer_of(&mut client).await.starts_with("HTTP/1.1 200 "));
        assert!(until_closed(client).await.is_empty());
        let asks = format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{more}");
        let mut client = server.client(asks.as_bytes()).await;
        assert!(answer_of(&mut client).await.starts_with("HTTP/1.0 200 "));
        assert!(until_closed(client).await.is_empty());
    }
    let mut client = server.client(&[PREFACE, SETTINGS, GET].concat()).await;
    answer_of(&mut client).await;
    until_closed(client).await;
}

#[tokio::test]
async fn a_slow_client_is_served_that_asks_in_time() {
    let server = Server::new(LONG).await;
    for (begin, end) in [
        (&b"GET / HTTP/1.1\r\nHo"[..], &b"st: api\r\n\r\n"[..]),
        (b"G", b"ET / HTTP/1.0\r\n\r\n"),
        (&PREFACE[..4], &[&PREFACE[4..], SETTINGS, GET].concat()),
    ] {
        let mut slow = server.client(begin).await;
        // Somebody else comes and goes meanwhile.
        let mut other = server.client(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
        assert!(answer_of(&mut other).await.contains(" 200 "));
        slow.write_all(end).await.unwrap();
        answer_of(&mut slow).await;
    }
}

#[tokio::test]
async fn what_was_asked_for_takes_as_long_as_it_takes() {
    let server = Server::new(SHORT).await;
    let mut answers = Vec::new();
    for is_http2 in [false, true] {
        for path in ["/waits", "/streams"] {
            // A client for each, so that none rides on another's connection.
            let client = reqwest::Client::builder().no_proxy();
            let client = if is_http2 { client.http2_prior_knowledge() } else { client }.build().unwrap();
            let asked = client.get(server.url(path)).send();
            answers.push(tokio::spawn(async move { asked.await.unwrap().text().await.unwrap() }));
        }
    }
    let unread = server.client(b"GET /large HTTP/1.0\r\n\r\n").await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let url = format!("ws://{}/socket", server.address);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let _begun = timeout(LONG, server.between.begun.acquire_many(4)).await.unwrap().unwrap();
    // Somebody who comes later and says nothing is let go twice over, the second time the hard way.
    for silent in [b"", PREFACE] {
        until_closed(server.client(silent).await).await;
    }
    server.between.ended.close();
    for (answer, text) in answers.into_iter().zip(["waited", "begun and waited"].repeat(2)) {
        assert_eq!(timeout(LONG, answer).await.unwrap().unwrap(), text);
    }
    let large = until_closed(unread).await;
    assert_eq!(large.iter().filter(|byte| **byte == b'x').count(), LARGE);
    socket.send(Message::text("still here")).await.unwrap();
    let echoed = timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(echoed, Message::text("still here"));
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_not_for_clients_that_stay() {
    let server = Server::new(LONG).await;
    let answer = tokio::spawn(reqwest::Client::new().get(server.url("/waits")).send());
    let mut stays = server.client(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
    answer_of(&mut stays).await;
    let _begun = timeout(LONG, server.between.begun.acquire()).await.unwrap().unwrap();
    server.stop.cancel();
    // Nobody is let in any more, which is when the stop was heard.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.between.ended.close();
    let answer = timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "waited");
    timeout(LONG, server.serving).await.unwrap().unwrap();
}
