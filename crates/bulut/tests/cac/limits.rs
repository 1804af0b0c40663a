//! Limits of how often somebody may ask: in each dialect's own words, with what is left in the headers.

use crate::client::{assert_error, checked, client};
use bulut::config::Config;
use bulut_testkit::TestCloud;
use bulut_testkit::cloud::{PASSWORD, Setup};
use bulut_testkit::http::{Answer, form, send_from};
use std::net::SocketAddr;
use std::time::Duration;

/// Five changes at once and one a second; fifty reads.
fn tight(config: &mut Config) {
    config.rates.enabled = true;
    (config.rates.changes_per_minute, config.rates.changes_burst) = (60, 5);
    (config.rates.reads_per_minute, config.rates.reads_burst) = (600, 50);
    (config.rates.logins_per_minute, config.rates.logins_burst) = (2, 3);
    config.rates.address_factor = 2;
}

async fn cloud() -> TestCloud {
    TestCloud::with(Setup { configure: tight, ..Setup::default() }).await
}

fn header(answer: &Answer, name: &str) -> u64 {
    let value = answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", answer.headers));
    value.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_503_and_when_to_come_back() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = {
        cloud.run_until_idle().await;
        alice.running_server("web1").await.to_string()
    };
    cloud.app().clock().advance(Duration::from_secs(60));
    let rename = async || client.post("renameserver.php", &[("sid", &server), ("name", "x")]).await;
    for left in (0..5).rev() {
        let answer = rename().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((header(&answer, "ratelimit-limit"), header(&answer, "ratelimit-remaining")), (5, left));
    }
    let refused = rename().await;
    assert_error(&refused, 503, 503, "rate limit hit");
    assert_eq!((header(&refused, "retry-after"), header(&refused, "ratelimit-remaining")), (1, 0));
    assert_eq!(header(&refused, "ratelimit-limit"), 5);
    for _ in 0..40 {
        let answer = client.get("listtasks.php", &[]).await;
        assert_eq!(answer.status, 200, "waiting by looking is not punished");
    }
    cloud.app().clock().advance(Duration::from_secs(1));
    assert_eq!(rename().await.status, 200);
    assert_eq!(rename().await.status, 503);
}

#[tokio::test]
async fn an_account_that_asks_too_often_is_told_429_in_cloude_and_every_answer_says_what_is_left() {
    let cloud = cloud().await;
    let alice = cloud.customer("alice").await;
    let (server, _) = alice.order_server("web1").await;
    cloud.run_until_idle().await;
    for left in (1..4).rev() {
        let answer = alice.send("POST", "/v1/server/start", &format!("id={server}")).await;
        assert_eq!(header(&answer, "ratelimit-remaining"), left, "{}", answer.text);
        cloud.run_until_idle().await;
    }
    alice.send("POST", "/v1/server/start", "id=4711").await.refusal(404);
    let refused = alice.send("POST", "/v1/server/start", &format!("id={server}")).await;
    refused.refusal(429);
    assert_eq!(refused.word(), "rate_limited");
    assert_eq!((header(&refused, "retry-after"), header(&refused, "ratelimit-remaining")), (1, 0));
    assert_eq!(header(&refused, "ratelimit-limit"), 5);
    assert!(header(&refused, "ratelimit-reset") >= 1);
    let native = alice.send("PUT", &format!("/v2/servers/{server}"), "name=x").await;
    assert_eq!((native.status.as_u16(), header(&native, "retry-after")), (429, 1), "{}", native.text);
    for (method, path) in
        [("GET", "/v1/event/list"), ("GET", "/v1/region/list"), ("GET", "/v1/nothing"), ("GET", "/v2/pool")]
    {
        let answer = alice.send(method, path, "").await;
        assert!(header(&answer, "ratelimit-remaining") < 100, "{path}");
        assert!([50, 100].contains(&header(&answer, "ratelimit-limit")), "{path}");
    }
    for path in ["/healthz", "/metrics"] {
        let answer = cloud.send("GET", path, &[], "").await;
        assert!(!answer.headers.contains_key("ratelimit-limit"), "{path}");
    }
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_whoever_it_says_it_is() {
    let cloud = cloud().await;
    let ask = async |peer: &str, path: &str| {
        let peer: SocketAddr = peer.parse().unwrap();
        send_from(peer, cloud.router(), "POST", path, &[], "").await
    };
    for _ in 0..10 {
        assert_eq!(ask("192.0.2.1:1", "/api/v1/powerop.php").await.status, 403);
    }
    assert_error(&checked(ask("192.0.2.1:2", "/api/v1/powerop.php").await), 503, 503, "rate limit hit");
    ask("192.0.2.1:3", "/v1/server/create").await.refusal(429);
    assert_eq!(ask("192.0.2.2:1", "/api/v1/powerop.php").await.status, 403, "another one is another one");
    for host in 0..10 {
        assert_eq!(ask(&format!("[2001:db8::{host}]:1"), "/v1/server/create").await.status, 401);
    }
    ask("[2001:db8::ffff]:1", "/v1/server/create").await.refusal(429);
    assert_eq!(ask("[2001:db8:0:1::1]:1", "/v1/server/create").await.status, 401);
}

#[tokio::test]
async fn guessing_passwords_is_slow_and_knowing_them_is_not() {
    let cloud = cloud().await;
    cloud.customer("alice").await;
    cloud.customer("bob").await;
    let login = async |peer: &str, user: &str, password: &str| {
        let peer: SocketAddr = peer.parse().unwrap();
        let body = form(&[("username", user), ("password", password)]);
        // Each with a minute's address tokens: what is meant here are the attempts.
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        send_from(peer, cloud.router(), "POST", "/v1/user/login", &headers, body).await
    };
    for _ in 0..6 {
        assert_eq!(login("192.0.2.1:1", "alice", PASSWORD).await.status, 200);
    }
    cloud.app().clock().advance(Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(login("192.0.2.1:1", "alice", "wrong").await.status, 401);
    }
    let refused = login("192.0.2.1:1", " ALICE ", PASSWORD).await;
    refused.refusal(429);
    assert_eq!(header(&refused, "retry-after"), 30);
    assert_eq!(login("192.0.2.1:1", "bob", "wrong").await.status, 401, "as somebody else");
    assert_eq!(login("192.0.2.2:1", "alice", PASSWORD).await.status, 200, "from somewhere else");
    cloud.app().clock().advance(Duration::from_secs(30));
    assert_eq!(login("192.0.2.1:1", "alice", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let off = |config: &mut Config| {
        tight(config);
        config.rates.enabled = false;
    };
    let cloud = TestCloud::with(Setup { configure: off, ..Setup::default() }).await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await.to_string();
    for _ in 0..30 {
        let answer = client.post("renameserver.php", &[("sid", &server), ("name", "x")]).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("ratelimit-limit"));
    }
}
