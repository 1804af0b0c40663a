//! What must never be in a log: keys, logins, passwords, tokens and the links of consoles, at the loudest level there is.

use crate::client::{SMALL, client, give_pool};
use bulut_testkit::TestCloud;
use bulut_testkit::cloud::PASSWORD;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let kept = Kept::default();
    let logger = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(kept.clone());
    let _logging = tracing::subscriber::set_default(logger.finish());
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let sid = client.built().await.to_string();
    let sid = sid.as_str();
    let rootpass = client.server(sid.parse().unwrap()).await["rootpass"].as_str().unwrap().to_owned();
    client.get("powerop.php", &[("sid", sid), ("action", "reset")]).await;
    cloud.run_until_idle().await;
    let console = client.ok("console.php", &[("sid", sid)]).await["console"].as_str().unwrap().to_owned();
    client.get("renameserver.php", &[("sid", "4711"), ("name", "x")]).await;
    client.post("cloudpro/build.php", &SMALL).await;
    let new =
        alice.send("POST", &format!("/v1/server/{sid}/change_password"), "password=tomato-soup-9").await;
    drop(new);
    // Refused ones, too, and those that reach no call.
    let body = client.said(&[("sid", "x")]);
    for path in ["/api/v1/powerop.php", "/api/v1/nothing.php", "/v1/nothing"] {
        cloud.send("POST", &format!("{path}?{body}"), &[], &body).await;
        cloud.send("GET", &format!("{path}?{body}"), &[], "").await;
    }
    let wrong = format!("key={}x&login=alice%40example.com", client.key);
    cloud.send("GET", &format!("/api/v1/listservers.php?{wrong}"), &[], "").await;
    cloud.run_until_idle().await;
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("API key made") && log.contains("operation ended"),
        "the log was seen: {} bytes",
        log.len()
    );
    let link = console.rsplit('/').next().unwrap();
    let prefixless = &client.key[12..];
    for secret in [client.key.as_str(), prefixless, &rootpass, PASSWORD, "tomato-soup-9", link, &alice.token]
    {
        assert!(!secret.is_empty());
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for login in ["alice@example.com", "alice%40example.com"] {
        assert!(!log.contains(login), "the login is in the log");
    }
}
