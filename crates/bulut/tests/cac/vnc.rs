//! Direct VNC: `vncport` and `vncpass` really open the screen, to nobody else, and only as long as they may.

use crate::client::{Client, client};
use bulut::config::Config;
use bulut::domain::accounts;
use bulut_model::account::Standing;
use bulut_testkit::cloud::Setup;
use bulut_testkit::program::eventually;
use bulut_testkit::{Database, TestCloud};
use des::Des;
use des::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

async fn cloud(configure: fn(&mut Config)) -> (TestCloud, CancellationToken) {
    let cloud = TestCloud::with(Setup { configure, ..Setup::default() }).await;
    let stop = CancellationToken::new();
    tokio::spawn(bulut::vnc::serve(cloud.app().clone(), stop.clone()));
    (cloud, stop)
}

/// With ports of this process's own: its neighbours run the same tests. They lie below those that systems give away.
fn direct(config: &mut Config) {
    config.vnc.direct = true;
    config.vnc.first_port = 20_000 + u16::try_from(std::process::id() % 120).unwrap() * 100;
    config.vnc.last_port = config.vnc.first_port + 99;
}

/// Port and password, once they are shown.
async fn door(client: &Client<'_>, sid: i64) -> (u16, String) {
    eventually("port and password are shown", SOON, || async {
        let shown = client.server(sid).await;
        let (port, password) = (shown["vncport"].as_str().unwrap(), shown["vncpass"].as_str().unwrap());
        assert_eq!(port.is_empty(), password.is_empty());
        (!port.is_empty()).then(|| (port.parse().unwrap(), password.to_owned()))
    })
    .await
}

/// What a VNC program meets.
enum Met {
    /// The name of the screen, and the connection.
    Screen(String, TcpStream),
    /// Why it was refused.
    Refused(String),
    /// Nobody who listens, or who speaks.
    Nobody,
}

impl Met {
    fn screen(self) -> (String, TcpStream) {
        match self {
            Self::Screen(name, stream) => (name, stream),
            Self::Refused(why) => panic!("refused: {why}"),
            Self::Nobody => panic!("nobody is there"),
        }
    }
}

/// Connects as a VNC program of version 3.8 does.
async fn connect(port: u16, password: &str) -> Met {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return Met::Nobody };
    let mut version = [0; 12];
    if stream.read_exact(&mut version).await.is_err() {
        return Met::Nobody;
    }
    stream.write_all(&version).await.unwrap();
    let mut types = [0; 2];
    stream.read_exact(&mut types).await.unwrap();
    assert_eq!(types, [1, 2], "a password is the only way in");
    stream.write_all(&[2]).await.unwrap();
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).await.unwrap();
    let mut key = [0; 8];
    key.copy_from_slice(password.as_bytes());
    let cipher = Des::new(&Array::from(key.map(u8::reverse_bits)));
    for half in challenge.chunks_exact_mut(8) {
        let mut block = Array::default();
        block.copy_from_slice(half);
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    stream.write_all(&challenge).await.unwrap();
    if stream.read_u32().await.unwrap() != 0 {
        let mut why = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut why).await.unwrap();
        return Met::Refused(String::from_utf8(why).unwrap());
    }
    stream.write_all(&[1]).await.unwrap();
    let mut init = [0; 20];
    if stream.read_exact(&mut init).await.is_err() {
        return Met::Nobody;
    }
    let mut name = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut name).await.unwrap();
    Met::Screen(String::from_utf8(name).unwrap(), stream)
}

async fn is_shut(port: u16) {
    eventually("the port is shut", SOON, || async {
        TcpStream::connect(("127.0.0.1", port)).await.is_err().then_some(())
    })
    .await;
}

async fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it ends").ok();
}

#[tokio::test]
async fn each_servers_password_opens_its_screen_and_no_other() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::with(Setup { configure: direct, database, ..Setup::default() }).await;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(bulut::vnc::serve(cloud.app().clone(), stop.clone()));
        let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
        let (web, mail) = (alice.running_server("web").await, bob.running_server("mail").await);
        let (alices, bobs) = (client(&cloud, &alice).await, client(&cloud, &bob).await);
        let (port, password) = door(&alices, web).await;
        let (bobs_port, bobs_password) = door(&bobs, mail).await;
        assert!(port != bobs_port && password != bobs_password);
        assert_eq!(password.len(), 8);

        let (name, screen) = connect(port, &password).await.screen();
        assert_eq!(name, "web");
        match connect(port, &bobs_password).await {
            Met::Refused(why) => assert_eq!(why, "The password is wrong."),
            Met::Screen(..) | Met::Nobody => panic!("a wrong password is told so"),
        }
        drop(screen);
        let stored = cloud.state().await;
        assert!(!stored.contains(&password), "{stored}");

        // It stays what it is over a restart of the control plane, and ends with the server.
        stop.cancel();
        serving.await.unwrap();
        is_shut(port).await;
        let stop = CancellationToken::new();
        tokio::spawn(bulut::vnc::serve(cloud.app().clone(), stop.clone()));
        let opened = eventually("it is open again", SOON, || async {
            match connect(port, &password).await {
                Met::Screen(_, stream) => Some(stream),
                Met::Refused(why) => panic!("{why}"),
                Met::Nobody => None,
            }
        })
        .await;
        alice.send("DELETE", &format!("/v1/server/{web}/destroy"), "").await.data();
        cloud.run_until_idle().await;
        ends(opened).await;
        is_shut(port).await;
        stop.cancel();
    }
}

#[tokio::test]
async fn a_suspended_account_loses_its_screens_until_it_is_active_again() {
    let (cloud, stop) = cloud(direct).await;
    let alice = cloud.customer("alice").await;
    let web = alice.running_server("web").await;
    let (port, password) = door(&client(&cloud, &alice).await, web).await;
    let (_, screen) = connect(port, &password).await.screen();
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    ends(screen).await;
    is_shut(port).await;
    accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
    eventually("it is open again", SOON, || async {
        matches!(connect(port, &password).await, Met::Screen(..)).then_some(())
    })
    .await;
    stop.cancel();
}

#[tokio::test]
async fn a_port_that_something_else_holds_is_passed_by() {
    let (cloud, stop) = cloud(direct).await;
    let first = cloud.app().config().vnc.first_port;
    // Where this fails, something else holds it already.
    let held = TcpListener::bind(("127.0.0.1", first)).await;
    let alice = cloud.customer("alice").await;
    let web = alice.running_server("web").await;
    let client = client(&cloud, &alice).await;
    eventually("its screen is at another port", SOON, || async {
        let (port, password) = door(&client, web).await;
        (port != first && matches!(connect(port, &password).await, Met::Screen(..))).then_some(())
    })
    .await;
    drop(held);
    stop.cancel();
}

#[tokio::test]
async fn nothing_is_shown_where_it_is_off_or_secrets_are_not_wanted() {
    let (off, _) = cloud(|_| {}).await;
    let alice = off.customer("alice").await;
    let web = alice.running_server("web").await;
    let shown = client(&off, &alice).await.server(web).await;
    assert_eq!((&shown["vncport"], &shown["vncpass"]), (&"".into(), &"".into()));

    let (on, stop) = cloud(direct).await;
    let alice = on.customer("alice").await;
    let web = alice.running_server("web").await;
    door(&client(&on, &alice).await, web).await;
    accounts::set_hides_secrets(on.app(), "alice", true).await.unwrap();
    let shown = client(&on, &alice).await.server(web).await;
    assert_eq!((&shown["vncport"], &shown["vncpass"]), (&"".into(), &"".into()));
    stop.cancel();
}
