//! The sockets behind the console's page: who gets one, what it carries, and when it ends.

use crate::{Opened, link};
use bulut::domain::accounts;
use bulut_model::account::Standing;
use bulut_testkit::cloud::Setup;
use bulut_testkit::program::eventually;
use bulut_testkit::{Customer, TestCloud};
use futures_util::{SinkExt as _, StreamExt as _};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, http};

type Socket = WebSocketStream<TcpStream>;

/// More than the few seconds within which a session's end is to be seen.
const SOON: Duration = Duration::from_secs(10);

/// A cloud that listens, with a running server and its owner.
struct Served<'a> {
    cloud: &'a TestCloud,
    alice: Customer<'a>,
    server: i64,
    at: SocketAddr,
}

impl<'a> Served<'a> {
    async fn new(cloud: &'a TestCloud) -> Self {
        let alice = cloud.customer("alice").await;
        let server = alice.running_server("web1").await;
        let at = cloud.serve().await;
        Self { cloud, alice, server, at }
    }

    async fn session(&self) -> Opened {
        Opened::new(self.cloud, &self.alice, self.server).await
    }

    fn own_origin(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Opens a socket with these headers besides the usual ones.
    async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Socket, http::Response<()>), http::StatusCode> {
        let mut request = format!("ws://{}{path}", self.at).into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.at).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, response)) => Ok((socket, response.map(|_| ()))),
            Err(Error::Http(response)) => Err(response.status()),
            Err(other) => panic!("{path}: {other}"),
        }
    }

    /// A socket as the page opens it.
    async fn socket(&self, session: &Opened, name: &str) -> Socket {
        let origin = self.own_origin();
        let headers =
            [("cookie", session.cookie.as_str()), ("origin", &origin), ("sec-websocket-protocol", "binary")];
        let (socket, response) = self.open(&format!("{}/{name}", session.base), &headers).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "binary");
        socket
    }
}

/// The next message that is not about the connection itself.
async fn next(socket: &mut Socket) -> Message {
    loop {
        let message = timeout(SOON, socket.next()).await.expect("a message within seconds");
        match message.expect("an open socket").expect("a message") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

/// Reads until the socket is closed; answers the code and the reason.
async fn closing(socket: &mut Socket) -> (u16, String) {
    loop {
        if let Message::Close(frame) = next(socket).await {
            let frame = frame.expect("a reason");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

/// Reads the serial line's beginning: the kept log and whether the line follows.
async fn log(socket: &mut Socket) -> (String, String) {
    let mut log = Vec::new();
    loop {
        match next(socket).await {
            Message::Binary(bytes) => log.extend_from_slice(&bytes),
            Message::Text(text) => return (String::from_utf8(log).unwrap(), text.to_string()),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads until `text` has come.
async fn says(socket: &mut Socket, text: &str) {
    let mut said = String::new();
    while !said.contains(text) {
        match next(socket).await {
            Message::Binary(bytes) => said += &String::from_utf8_lossy(&bytes),
            other => panic!("{other:?} after {said:?}"),
        }
    }
}

#[tokio::test]
async fn only_the_page_with_its_cookie_gets_a_socket() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let cookie = ("cookie", session.cookie.as_str());
    let own = served.own_origin();
    for name in ["screen", "serial"] {
        let path = format!("{}/{name}", session.base);
        let refused =
            async |headers: &[(&str, &str)]| served.open(&path, headers).await.unwrap_err().as_u16();
        assert_eq!(refused(&[cookie]).await, 403, "without an origin");
        for origin in ["http://evil.example.com", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
            assert_eq!(refused(&[cookie, ("origin", origin)]).await, 403, "{origin}");
        }
        let forged =
            [cookie, ("origin", "http://evil.example.com"), ("x-forwarded-host", "evil.example.com")];
        assert_eq!(refused(&forged).await, 403, "nobody is trusted to forward");
        assert_eq!(refused(&[("origin", &own)]).await, 404, "without the cookie");
        assert_eq!(refused(&[("origin", &own), ("cookie", "bulut_console=guess")]).await, 404);
        let ordinary = [cookie, ("origin", own.as_str())];
        let answer = cloud.send("GET", &path, &[cookie, ("origin", "http://x"), ("host", "x")], "").await;
        assert_eq!(answer.status, 400, "an ordinary request is told so");
        assert!(served.open(&path, &ordinary).await.is_ok(), "and with all of it, it opens");
    }
    cloud.app().clock().advance(Duration::from_secs(1800));
    let path = format!("{}/screen", session.base);
    assert_eq!(served.open(&path, &[cookie, ("origin", &own)]).await.unwrap_err(), 410);
}

#[tokio::test]
async fn a_trusted_proxy_says_which_host_and_scheme_the_page_has() {
    let trusting = |config: &mut bulut::config::Config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    };
    let cloud = TestCloud::with(Setup { configure: trusting, ..Setup::default() }).await;
    let served = Served::new(&cloud).await;
    let path = link(&served.alice, served.server).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(format!("http://{}{path}", served.at))
        .header("x-forwarded-host", "cloud.example.com")
        .header("x-forwarded-proto", "https")
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let (base, _) = path.rsplit_once('/').unwrap();
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    let (host, origin) = (("x-forwarded-host", "cloud.example.com"), ("origin", "https://cloud.example.com"));
    let screen = format!("{base}/screen");
    assert!(served.open(&screen, &[cookie, host, origin]).await.is_ok());
    assert_eq!(served.open(&screen, &[cookie, origin]).await.unwrap_err(), 403);
}

#[tokio::test]
async fn the_screen_speaks_rfb_both_ways() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut socket = served.socket(&session, "screen").await;
    let Message::Binary(greeting) = next(&mut socket).await else { panic!("a greeting in bytes") };
    assert_eq!(greeting, "RFB 003.008\n");
    socket.send(Message::binary(greeting)).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::binary(&[1u8, 1][..]));
    socket.send(Message::binary(&[1u8][..])).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::binary(&[0u8; 4][..]));
    socket.send(Message::binary(&[1u8][..])).await.unwrap();
    let Message::Binary(init) = next(&mut socket).await else { panic!("the screen's size in bytes") };
    assert_eq!(&init[..4], [0, 64, 0, 48]);
}

#[tokio::test]
async fn the_serial_line_shows_its_log_and_then_talks() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut socket = served.socket(&session, "serial").await;
    let (kept, follows) = log(&mut socket).await;
    assert!(kept.contains("Linux (simulated), boot 1") && kept.contains("login:"), "{kept}");
    assert_eq!(follows, "live");
    socket.send(Message::binary("root")).await.unwrap();
    says(&mut socket, "root").await;
}

#[tokio::test]
async fn a_stopped_server_shows_its_last_words_and_takes_none() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut screen = served.socket(&session, "screen").await;
    served.alice.send("POST", &format!("/v1/server/{}/stop", served.server), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(closing(&mut screen).await, (4001, "The server is off.".into()));
    let mut serial = served.socket(&session, "serial").await;
    let (kept, follows) = log(&mut serial).await;
    assert!(kept.contains("boot 1"), "{kept}");
    assert_eq!(follows, "off");
    assert_eq!(closing(&mut serial).await.0, 4001);
    let mut screen = served.socket(&session, "screen").await;
    assert_eq!(closing(&mut screen).await.0, 4001);
    // It outlives that: started again, the server is seen in the same session.
    served.alice.send("POST", &format!("/v1/server/{}/start", served.server), "").await.data();
    cloud.run_until_idle().await;
    let mut serial = served.socket(&session, "serial").await;
    let (kept, follows) = log(&mut serial).await;
    assert!(kept.contains("boot 2") && follows == "live", "{kept}");
}

#[tokio::test]
async fn open_sockets_end_within_seconds_of_the_server_or_the_account() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut sockets = [served.socket(&session, "screen").await, served.socket(&session, "serial").await];
    served.alice.send("DELETE", &format!("/v1/server/{}/destroy", served.server), "").await.data();
    for socket in &mut sockets {
        let (code, reason) = closing(socket).await;
        assert_eq!((code, reason.as_str()), (4003, "The server of this console does not exist any more."));
    }
    cloud.run_until_idle().await;

    let other = served.alice.running_server("web2").await;
    let session = Opened::new(&cloud, &served.alice, other).await;
    let mut socket = served.socket(&session, "screen").await;
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    let (code, reason) = closing(&mut socket).await;
    assert!(code == 4003 && reason.contains("suspended"), "{code} {reason}");
}

#[tokio::test]
async fn typing_keeps_a_session_from_being_idle_and_watching_does_not() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let (typed, watched) = (served.session().await, served.session().await);
    let mut typing = served.socket(&typed, "serial").await;
    let mut watching = served.socket(&watched, "screen").await;
    // Updates are asked for as long as the page is open: that is not use.
    for message in [&b"RFB 003.008\n"[..], &[1], &[1], &[3, 1, 0, 0, 0, 0, 4, 0, 3, 0]] {
        watching.send(Message::binary(message)).await.unwrap();
    }
    cloud.app().clock().advance(Duration::from_secs(1700));
    typing.send(Message::binary("x")).await.unwrap();
    let id = typed.base.strip_prefix("/console/").unwrap();
    eventually("the use is noted", SOON, async || {
        let console = bulut_store::consoles::find(cloud.app().store(), id).await.unwrap().unwrap();
        (console.opened.unwrap().used_at == cloud.app().clock().now()).then_some(())
    })
    .await;
    cloud.app().clock().advance(Duration::from_secs(100));
    let (code, reason) = closing(&mut watching).await;
    assert!(code == 4003 && reason.contains("not used"), "{code} {reason}");
    assert_eq!(typed.state(cloud.router()).await.status, 200);
    cloud.app().clock().advance(Duration::from_secs(1700));
    let (code, reason) = closing(&mut typing).await;
    assert!(code == 4003 && reason.contains("not used"), "{code} {reason}");
}

#[tokio::test]
async fn an_account_has_only_so_many_sockets() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(served.socket(&session, "serial").await);
    }
    let origin = served.own_origin();
    let headers = [("cookie", session.cookie.as_str()), ("origin", &origin)];
    let path = format!("{}/serial", session.base);
    assert_eq!(served.open(&path, &headers).await.unwrap_err(), 429);
    open.pop().unwrap().close(None).await.unwrap();
    eventually("the seat is free again", SOON, async || served.open(&path, &headers).await.ok()).await;
}

#[tokio::test]
async fn who_does_not_read_is_not_read_either() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut socket = served.socket(&session, "screen").await;
    for message in [&b"RFB 003.008\n"[..], &[1], &[1]] {
        socket.send(Message::binary(message)).await.unwrap();
    }
    // Each of these asks for the whole screen, 12 KiB. What is sent back has to wait for us, and so must we: with
    // all of them taken, a hundred megabytes would lie in the cloud's memory.
    let ask = [3u8, 0, 0, 0, 0, 0, 0, 64, 0, 48];
    let asks = ask.repeat(6_000);
    let mut taken = 0;
    while timeout(Duration::from_secs(3), socket.send(Message::binary(asks.clone()))).await.is_ok() {
        taken += 6_000;
        assert!(taken < 3_000_000, "the cloud takes requests without end");
    }
    let mut other = served.socket(&session, "serial").await;
    assert_eq!(log(&mut other).await.1, "live", "nobody else is held up");
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_socket_and_nothing_else() {
    let cloud = TestCloud::new().await;
    let served = Served::new(&cloud).await;
    let session = served.session().await;
    let mut socket = served.socket(&session, "serial").await;
    log(&mut socket).await;
    // The cloud may close before all of it is sent.
    let _ = socket.send(Message::binary(vec![b'x'; 200_000])).await;
    let ended = timeout(SOON, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    assert!(ended.is_ok(), "the socket ends");
    let mut socket = served.socket(&session, "serial").await;
    assert_eq!(log(&mut socket).await.1, "live");
}
