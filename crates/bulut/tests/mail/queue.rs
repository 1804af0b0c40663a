//! The queue against a real mail server: what arrives, what is refused, and who dies in between.

use crate::smtp::{Server, certificate, mailer};
use crate::{letters, templates};
use bulut::domain::mails;
use bulut::faults::Fault;
use bulut::mailer::Mailer;
use bulut::reconcile::mails::look;
use bulut::reconcile::{invoices, sweep};
use bulut_model::error::Kind;
use bulut_model::mail::{Letter, MailState};
use bulut_testkit::{Database, TestCloud};
use std::time::Duration;

async fn states(cloud: &TestCloud) -> Vec<(MailState, u32)> {
    letters(cloud).await.iter().map(|mail| (mail.state, mail.failures)).collect()
}

/// The states of all letters after another look this much later.
async fn after(cloud: &TestCloud, mailer: &Mailer, wait: Duration) -> Vec<(MailState, u32)> {
    cloud.app().clock().advance(wait);
    look(cloud.app(), mailer).await.unwrap();
    states(cloud).await
}

#[tokio::test]
async fn a_letter_arrives_as_text_and_as_html_and_only_once() {
    let cloud = TestCloud::new().await;
    let mut server = Server::start(&[]);
    let mailer = server.mailer(&cloud, |settings| settings.reply_to = Some("help@example.net".into()));
    mails::test(cloud.app(), "ada@example.com").await.unwrap();
    look(cloud.app(), &mailer).await.unwrap();
    look(cloud.app(), &mailer).await.unwrap();
    let letter = server.letter();
    assert_eq!(
        (&letter["sender"], &letter["recipients"][0]),
        (&"cloud@example.net".into(), &"ada@example.com".into())
    );
    assert_eq!((&letter["secure"], &letter["signed_in"]), (&false.into(), &false.into()));
    let headers = &letter["headers"];
    assert_eq!(headers["from"], "Sky & Söhne <cloud@example.net>");
    assert_eq!(
        (&headers["to"], &headers["reply-to"]),
        (&"ada@example.com".into(), &"help@example.net".into())
    );
    assert_eq!(
        (&headers["auto-submitted"], &headers["subject"]),
        (&"auto-generated".into(), &"A letter from bulut".into())
    );
    assert!(headers["date"].as_str().unwrap().starts_with("Thu, 01 Jan 2026 00:00:00"), "{headers}");
    let mail = &letters(&cloud).await[0];
    assert_eq!(headers["message-id"], format!("<{}@example.net>", mail.uuid));
    assert!(letter["plain"].as_str().unwrap().contains("It has arrived"), "{letter}");
    assert!(letter["html"].as_str().unwrap().contains("<p>It has arrived"), "{letter}");
    assert_eq!((mail.state, mail.settled_at), (MailState::Sent, Some(cloud.app().clock().now())));
    assert_eq!(server.end(), Vec::<serde_json::Value>::new(), "it came a second time");
}

#[tokio::test]
async fn a_connection_is_as_secure_as_the_settings_say() {
    let (cloud, dir) = (TestCloud::new().await, tempfile::tempdir().unwrap());
    let (certificate, authority, key) = certificate(dir.path());
    let password = dir.path().join("password");
    std::fs::write(&password, "tomato soup\n").unwrap();
    for tls in ["starttls", "tls"] {
        let mut server = Server::start(&[
            "--tls",
            tls,
            "--certificate",
            certificate.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "--user",
            "cloud",
            "--password",
            "tomato soup",
        ]);
        let with = |password_file: &std::path::Path, ca: bool| {
            server.mailer(&cloud, |settings| {
                settings.tls = tls.into();
                settings.user = Some("cloud".into());
                settings.password_file = Some(password_file.into());
                settings.ca_file = ca.then(|| authority.clone());
            })
        };
        let (stranger, liar, right) = (with(&password, false), with(&key, true), with(&password, true));
        let id = mails::test(cloud.app(), "ada@example.com").await.unwrap();
        look(cloud.app(), &stranger).await.unwrap();
        let mail = mails::get(cloud.app(), id).await.unwrap();
        assert_eq!(
            (mail.state, mail.failures),
            (MailState::Waiting, 1),
            "a certificate of nobody was believed"
        );
        cloud.app().clock().advance(Duration::from_secs(60));
        look(cloud.app(), &liar).await.unwrap();
        let mail = mails::get(cloud.app(), id).await.unwrap();
        assert_eq!((mail.state, mail.failures), (MailState::Waiting, 2), "{mail:?}");
        assert!(mail.last_error.unwrap().contains("535"), "a wrong password waits for the right one");
        cloud.app().clock().advance(Duration::from_secs(120));
        look(cloud.app(), &right).await.unwrap();
        let letter = server.letter();
        assert_eq!((&letter["secure"], &letter["signed_in"]), (&true.into(), &true.into()), "{tls}");
        assert_eq!(mails::get(cloud.app(), id).await.unwrap().state, MailState::Sent);
    }
}

#[tokio::test]
async fn a_plain_server_gets_nothing_where_the_settings_want_it_secured() {
    let cloud = TestCloud::new().await;
    let server = Server::start(&[]);
    let mailer = server.mailer(&cloud, |settings| settings.tls = "starttls".into());
    mails::test(cloud.app(), "ada@example.com").await.unwrap();
    look(cloud.app(), &mailer).await.unwrap();
    assert_eq!(states(&cloud).await, [(MailState::Waiting, 1)]);
    assert_eq!(server.end(), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_letter_that_is_put_off_waits_longer_each_time_and_one_that_is_refused_is_given_up() {
    let cloud = TestCloud::new().await;
    let mut server = Server::start(&[]);
    let mailer = server.mailer(&cloud, |_| ());
    mails::test(cloud.app(), "busy@example.com").await.unwrap();
    mails::test(cloud.app(), "unknown@example.com").await.unwrap();
    use MailState::{GivenUp, Sent, Waiting};
    assert_eq!(after(&cloud, &mailer, Duration::ZERO).await, [(Waiting, 1), (GivenUp, 1)]);
    assert!(letters(&cloud).await[1].last_error.as_ref().unwrap().contains("no such user"));
    assert_eq!(after(&cloud, &mailer, Duration::from_secs(59)).await[0], (Waiting, 1));
    assert_eq!(after(&cloud, &mailer, Duration::from_secs(1)).await[0], (Waiting, 2));
    assert_eq!(after(&cloud, &mailer, Duration::from_secs(119)).await[0], (Waiting, 2));
    assert_eq!(after(&cloud, &mailer, Duration::from_secs(1)).await[0], (Sent, 2));
    assert_eq!(server.letter()["recipients"][0], "busy@example.com");
    // An operator has it tried again, which the server refuses again.
    assert_eq!(mails::retry_all(cloud.app()).await.unwrap(), 1);
    assert_eq!(states(&cloud).await[1], (Waiting, 0));
    assert_eq!(after(&cloud, &mailer, Duration::ZERO).await[1], (GivenUp, 1));
    let sent = letters(&cloud).await[0].id;
    assert_eq!(mails::retry(cloud.app(), sent).await.unwrap_err().kind, Kind::Conflict);
}

#[tokio::test]
async fn while_the_server_is_away_letters_wait_and_are_given_up_after_two_days() {
    let cloud = TestCloud::new().await;
    let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    drop(held);
    let mailer = mailer(&cloud, port, |_| ());
    mails::test(cloud.app(), "ada@example.com").await.unwrap();
    let mut hours = 0;
    while states(&cloud).await[0].0 == MailState::Waiting {
        assert!(hours < 150, "it is tried for ever");
        look(cloud.app(), &mailer).await.unwrap();
        cloud.app().clock().advance(Duration::from_secs(1800));
        hours += 1;
    }
    assert_eq!(states(&cloud).await, [(MailState::GivenUp, 20)]);
    assert!(hours > 60, "given up after {} hours", hours / 2);
    let mut server = Server::start(&[]);
    let again = server.mailer(&cloud, |_| ());
    mails::retry(cloud.app(), letters(&cloud).await[0].id).await.unwrap();
    assert_eq!(after(&cloud, &again, Duration::ZERO).await, [(MailState::Sent, 0)]);
    assert_eq!(server.letter()["recipients"][0], "ada@example.com");
}

/// Whether the process died before or after the server took the letter, it is sent; if after, twice, as one letter.
async fn a_sender_dies(database: Database) {
    let mut cloud = TestCloud::on(database).await;
    let server = Server::start(&[]);
    mails::test(cloud.app(), "ada@example.com").await.unwrap();
    cloud.fault("mail.sent", Fault::Die, 1);
    let first = server.mailer(&cloud, |_| ());
    assert!(look(cloud.app(), &first).await.is_err());
    // Whoever comes next waits for the end of the lease.
    assert_eq!(after(&cloud, &first, Duration::from_secs(1)).await, [(MailState::Waiting, 0)]);
    cloud.restart().await;
    let second = server.mailer(&cloud, |_| ());
    assert_eq!(after(&cloud, &second, Duration::from_secs(120)).await, [(MailState::Sent, 0)]);
    assert_eq!(after(&cloud, &second, Duration::from_secs(9999)).await, [(MailState::Sent, 0)]);
    let ids: Vec<String> =
        server.end().iter().map(|letter| letter["headers"]["message-id"].to_string()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_sender_that_dies_loses_no_letter_on_sqlite() {
    a_sender_dies(Database::Sqlite).await;
}

#[tokio::test]
async fn a_sender_that_dies_loses_no_letter_on_postgres() {
    a_sender_dies(Database::Postgres).await;
}

#[tokio::test]
async fn many_senders_send_each_letter_once() {
    let cloud = TestCloud::new().await;
    let server = Server::start(&[]);
    let mailer = server.mailer(&cloud, |_| ());
    for i in 0..20 {
        mails::test(cloud.app(), &format!("a{i}@example.com")).await.unwrap();
    }
    let (one, two) = tokio::join!(look(cloud.app(), &mailer), look(cloud.app(), &mailer));
    one.and(two).unwrap();
    let mut arrived: Vec<String> =
        server.end().iter().map(|letter| letter["recipients"][0].to_string()).collect();
    arrived.sort();
    let count = arrived.len();
    arrived.dedup();
    assert_eq!((count, arrived.len()), (20, 20));
}

#[tokio::test]
async fn without_a_mail_server_letters_wait_and_nothing_fails() {
    let cloud = TestCloud::new().await;
    assert!(Mailer::open(&cloud.app().config().mail).unwrap().is_none());
    let alice = cloud.customer("alice").await;
    assert_eq!(templates(&cloud).await, ["verification"]);
    bulut::domain::accounts::set_password(cloud.app(), "alice", "another password").await.unwrap();
    assert_eq!(templates(&cloud).await, ["verification", "password_changed"]);
    assert!(letters(&cloud).await.iter().all(|mail| mail.state == MailState::Waiting));
    let shown = mails::show(cloud.app(), &letters(&cloud).await[0]).await.unwrap();
    assert!(shown.plain.contains("Hello alice,") && !shown.plain.contains("http"), "{}", shown.plain);
    assert!(!alice.account.is_verified);
}

/// Where the mail server of the next test is, which a change of the settings cannot be told otherwise.
static PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_runs_sends_what_is_written() {
    let mut server = Server::start(&[]);
    PORT.store(server.port, std::sync::atomic::Ordering::SeqCst);
    let configure = |config: &mut bulut::config::Config| {
        config.mail.host = Some("127.0.0.1".into());
        config.mail.port = Some(PORT.load(std::sync::atomic::Ordering::SeqCst));
        config.mail.tls = "none".into();
        config.mail.from = Some("cloud@example.net".into());
    };
    let cloud = TestCloud::with(bulut_testkit::cloud::Setup { configure, ..Default::default() }).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let sending = tokio::spawn(bulut::reconcile::mails::send(cloud.app().clone(), stop.clone()));
    mails::test(cloud.app(), "ada@example.com").await.unwrap();
    let letter = tokio::task::spawn_blocking(move || (server.letter(), server)).await.unwrap().0;
    assert_eq!(letter["recipients"][0], "ada@example.com");
    stop.cancel();
    sending.await.unwrap();
}

#[tokio::test]
async fn letters_of_long_ago_are_forgotten_and_what_they_told_is_not_told_again() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        let (app, kept_for) = (cloud.app(), cloud.app().config().mail.kept_for());
        cloud.customer("alice").await.running_server("web1").await;
        let server = Server::start(&[]);
        let mailer = server.mailer(&cloud, |_| ());
        app.clock().advance(Duration::from_secs(32 * 24 * 60 * 60));
        invoices::look(app).await.unwrap();
        assert_eq!(after(&cloud, &mailer, Duration::ZERO).await, [(MailState::Sent, 0); 2]);
        app.clock().advance(kept_for);
        mails::test(app, "waits@example.com").await.unwrap();
        sweep::all(app).await.unwrap();
        assert_eq!(templates(&cloud).await, ["verification", "invoice", "test"]);
        app.clock().advance(Duration::from_secs(1));
        sweep::all(app).await.unwrap();
        assert_eq!(templates(&cloud).await, ["test"]);
        // It is March by now.
        invoices::look(app).await.unwrap();
        invoices::look(app).await.unwrap();
        let told: Vec<Letter> = letters(&cloud).await.into_iter().skip(1).map(|mail| mail.letter).collect();
        assert!(matches!(&told[..], [Letter::Invoice { number, .. }] if number == "2026-00002"), "{told:?}");
    }
}
