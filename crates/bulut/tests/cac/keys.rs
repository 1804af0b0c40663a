//! API keys: made, shown once, kept as digests, used from where they may be, and ended.

use crate::client::{assert_error, checked, client};
use bulut::domain::access::Caller;
use bulut::domain::accounts::{self, NewAccount};
use bulut::domain::api_keys::{self, Made, NewKey};
use bulut_model::account::Account;
use bulut_model::{Micros, Timestamp};
use bulut_store::api_keys as api_key_rows;
use bulut_testkit::cloud::{PASSWORD, Setup};
use bulut_testkit::http::{Answer, form, send_from};
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// An account with this e-mail address.
pub async fn account(cloud: &TestCloud, email: &str) -> Account {
    let new = NewAccount {
        email: email.into(),
        user_name: None,
        first_name: "Bob".into(),
        last_name: String::new(),
        password: PASSWORD.into(),
        is_operator: false,
        credit: Micros::ZERO,
    };
    accounts::create(cloud.app(), new).await.unwrap()
}

/// A key of the account that may be used from there.
pub async fn key(cloud: &TestCloud, account: &Account, addresses: &[&str]) -> Made {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    let new = NewKey { name: "test".into(), addresses: Some(addresses), expires_at: None };
    api_keys::create(cloud.app(), &Caller::new(account.clone()), new).await.unwrap()
}

/// The list of servers, asked from this address.
async fn ask_from(cloud: &TestCloud, peer: &str, headers: &[(&str, &str)], key: &str, login: &str) -> Answer {
    let path = format!("/api/v1/listservers.php?{}", form(&[("key", key), ("login", login)]));
    let peer: SocketAddr = peer.parse().unwrap();
    checked(send_from(peer, cloud.router(), "GET", &path, headers, "").await)
}

async fn is_allowed(cloud: &TestCloud, peer: &str, headers: &[(&str, &str)], made: &Made) -> bool {
    let answer = ask_from(cloud, peer, headers, &made.secret, "bob@example.com").await;
    if answer.status != 200 {
        assert_error(&answer, 412, 104, "invalid ip address connection");
    }
    answer.status == 200
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_kept_as_a_digest() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let body = json!({"name": "ci", "addresses": ["127.0.0.1", "2001:db8::/32"], "expires_at": "2027-01-01T00:00:00Z"});
    let made = alice.send_json("POST", "/v2/api-keys", &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = made.json();
    let key = made["key"].as_str().unwrap();
    assert!(key.len() >= 40 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    assert_eq!(made["addresses"], json!(["127.0.0.1/32", "2001:db8::/32"]));
    assert_eq!((&made["expires_at"], &made["last_used_at"]), (&json!("2027-01-01T00:00:00Z"), &Value::Null));
    let listed = alice.send("GET", "/v2/api-keys", "").await;
    assert!(!listed.text.contains(key), "{}", listed.text);
    assert_eq!(listed.json()[0]["name"], "ci");
    let prefix = made["prefix"].as_str().unwrap();
    let (_, digest) = api_key_rows::find_by_prefix(cloud.app().store(), prefix).await.unwrap().unwrap();
    assert!(digest.len() == 64 && !digest.contains(&key[prefix.len()..]), "{digest}");
    let asked = ask_from(&cloud, "127.0.0.1:1", &[], key, "alice").await;
    assert_eq!(asked.status, 200);
}

#[tokio::test]
async fn a_new_key_may_be_used_from_nowhere_unless_the_operator_says_otherwise() {
    let cloud = TestCloud::new().await;
    let bob = account(&cloud, "bob@example.com").await;
    let new = NewKey { name: "test".into(), ..NewKey::default() };
    let made = api_keys::create(cloud.app(), &Caller::new(bob.clone()), new.clone()).await.unwrap();
    assert_eq!(made.key.networks, []);
    for peer in ["127.0.0.1:1", "[::1]:1", "192.0.2.7:1"] {
        assert!(!is_allowed(&cloud, peer, &[], &made).await, "{peer}");
    }
    let open = Setup {
        configure: |config| config.api_key_default_addresses = vec!["any".into()],
        ..Setup::default()
    };
    let cloud = TestCloud::with(open).await;
    let bob = account(&cloud, "bob@example.com").await;
    let made = api_keys::create(cloud.app(), &Caller::new(bob.clone()), new).await.unwrap();
    for peer in ["127.0.0.1:1", "[2001:db8::1]:1", "192.0.2.7:1"] {
        assert!(is_allowed(&cloud, peer, &[], &made).await, "{peer}");
    }
    let none = key(&cloud, &bob, &[]).await;
    assert!(!is_allowed(&cloud, "127.0.0.1:1", &[], &none).await, "its owner's word counts");
}

#[tokio::test]
async fn a_key_is_used_from_its_addresses_alone() {
    let cloud = TestCloud::new().await;
    let bob = account(&cloud, "bob@example.com").await;
    let made = key(&cloud, &bob, &["192.0.2.0/24", "198.51.100.7", "2001:db8:1::/48"]).await;
    for (peer, allowed) in [
        ("192.0.2.1:9", true),
        ("192.0.3.1:9", false),
        ("198.51.100.7:9", true),
        ("198.51.100.8:9", false),
        ("[2001:db8:1:ffff::1]:9", true),
        ("[2001:db8:2::1]:9", false),
        ("[::ffff:192.0.2.1]:9", true),
        ("127.0.0.1:9", false),
    ] {
        assert_eq!(is_allowed(&cloud, peer, &[], &made).await, allowed, "{peer}");
    }
    let forwarded =
        [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("x-real-ip", "192.0.2.1")];
    assert!(!is_allowed(&cloud, "127.0.0.1:9", &forwarded, &made).await, "nobody trusts this proxy");
    let caller = Caller::new(bob);
    api_keys::set_addresses(cloud.app(), &caller, made.key.id, &["127.0.0.0/8".into()]).await.unwrap();
    assert!(is_allowed(&cloud, "127.0.0.1:9", &[], &made).await);
    assert!(!is_allowed(&cloud, "192.0.2.1:9", &[], &made).await);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_configured_header_counts_and_no_other() {
    let behind = |config: &mut bulut::config::Config| {
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    };
    let cloud = TestCloud::with(Setup { configure: behind, ..Setup::default() }).await;
    let bob = account(&cloud, "bob@example.com").await;
    let made = key(&cloud, &bob, &["192.0.2.7"]).await;
    let xff = |value: &'static str| [("x-forwarded-for", value)];
    assert!(is_allowed(&cloud, "10.1.2.3:9", &xff("192.0.2.7"), &made).await);
    assert!(is_allowed(&cloud, "[fd00::1]:9", &xff("192.0.2.7, 10.9.9.9"), &made).await);
    assert!(
        !is_allowed(&cloud, "10.1.2.3:9", &xff("192.0.2.7, 198.51.100.1"), &made).await,
        "a forged beginning"
    );
    assert!(!is_allowed(&cloud, "10.1.2.3:9", &[], &made).await, "the proxy itself");
    assert!(!is_allowed(&cloud, "198.51.100.1:9", &xff("192.0.2.7"), &made).await, "a stranger is no proxy");
    assert!(is_allowed(&cloud, "192.0.2.7:9", &xff("198.51.100.1"), &made).await);
    for other in
        [("x-real-ip", "192.0.2.7"), ("forwarded", "for=192.0.2.7"), ("cf-connecting-ip", "192.0.2.7")]
    {
        assert!(!is_allowed(&cloud, "10.1.2.3:9", &[other], &made).await, "{other:?}");
    }
    let named = |config: &mut bulut::config::Config| {
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        config.proxy_header = "x-real-ip".into();
    };
    let cloud = TestCloud::with(Setup { configure: named, ..Setup::default() }).await;
    let made = key(&cloud, &account(&cloud, "bob@example.com").await, &["192.0.2.7"]).await;
    assert!(is_allowed(&cloud, "10.1.2.3:9", &[("x-real-ip", "192.0.2.7")], &made).await);
    assert!(!is_allowed(&cloud, "10.1.2.3:9", &xff("192.0.2.7"), &made).await);
}

#[tokio::test]
async fn a_key_ends_when_it_expires_is_revoked_or_its_account_gets_another_name() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let status = async |key: &str| ask_from(&cloud, "127.0.0.1:1", &[], key, "alice").await.status.as_u16();
    let new = async |body: Value| alice.send_json("POST", "/v2/api-keys", &body).await.json();
    let hour = cloud.app().clock().now().plus(Duration::from_secs(3600));
    let short = new(json!({"name": "short", "addresses": "any", "expires_at": hour.wire()})).await;
    let long = new(json!({"name": "long", "addresses": "any"})).await;
    let (short, long_key) = (short["key"].as_str().unwrap(), long["key"].as_str().unwrap());
    assert_eq!((status(short).await, status(long_key).await), (200, 200));
    cloud.app().clock().advance(Duration::from_secs(3599));
    assert_eq!(status(short).await, 200);
    cloud.app().clock().advance(Duration::from_secs(1));
    assert_eq!((status(short).await, status(long_key).await), (403, 200));
    let alice = cloud.sign_in(&alice.account).await;
    let path = format!("/v2/api-keys/{}", long["id"]);
    let revoked = alice.send("DELETE", &path, "").await.json();
    assert_eq!(revoked["revoked_at"], cloud.app().clock().now().wire());
    assert_eq!(status(long_key).await, 403);
    assert_eq!(alice.send("DELETE", &path, "").await.json(), revoked, "once more changes nothing");
    assert_eq!(alice.send("PUT", &path, "addresses=any").await.status, 404);
    assert_eq!(alice.send("GET", "/v2/api-keys", "").await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_last_use_is_written_down_once_a_minute() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let last = async || {
        let keys = api_key_rows::list(cloud.app().store(), alice.account.id).await.unwrap();
        keys[0].last_used_at
    };
    assert_eq!(last().await, None);
    let begun = cloud.app().clock().now();
    let mut expected = begun;
    for seconds in [0, 30, 30, 30, 61] {
        cloud.app().clock().advance(Duration::from_secs(seconds));
        client.get("listservers.php", &[]).await;
        let now = cloud.app().clock().now();
        if now.since(expected) > Duration::from_secs(60) {
            expected = now;
        }
        assert_eq!(last().await, Some(expected));
    }
    assert_ne!(expected, begun);
}

#[tokio::test]
async fn what_is_no_key_is_refused_where_it_is_made() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for (body, status) in [
        (json!({}), 400),
        (json!({"name": ""}), 400),
        (json!({"name": "x".repeat(65)}), 400),
        (json!({"name": "a", "addresses": ["10.0.0.1/8"]}), 400),
        (json!({"name": "a", "addresses": ["example.com"]}), 400),
        (json!({"name": "a", "expires_at": "yesterday"}), 400),
        (json!({"name": "a", "expires_at": "2025-12-31T23:59:59Z"}), 400),
    ] {
        let answer = alice.send_json("POST", "/v2/api-keys", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    for number in 0..100 {
        let body = json!({"name": format!("key {number}")});
        assert_eq!(alice.send_json("POST", "/v2/api-keys", &body).await.status, 200);
    }
    let one_more = alice.send_json("POST", "/v2/api-keys", &json!({"name": "one more"})).await;
    assert_eq!(one_more.status, 403, "{}", one_more.text);
}

/// Every call of the keys, pools and run modes, asked by nobody, by somebody else, and by a suspended owner.
#[tokio::test]
async fn keys_pools_and_modes_are_their_owners_alone() {
    let cloud = TestCloud::new().await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    let server = alice.running_server("web1").await;
    let id = key(&cloud, &alice.account, &["any"]).await.key.id;
    let (key, server) = (format!("/v2/api-keys/{id}"), format!("/v2/servers/{server}"));
    let mode = format!("{server}/run-mode");
    let calls: [(&str, &str, &str, bool, bool); 7] = [
        ("GET", "/v2/api-keys", "", false, false),
        ("POST", "/v2/api-keys", "name=x", false, true),
        ("PUT", &key, "addresses=any", true, true),
        ("DELETE", &key, "", true, true),
        ("GET", "/v2/pool", "", false, false),
        ("PUT", &server, "name=mine", true, true),
        ("PUT", &mode, "mode=safe", true, true),
    ];
    let before = cloud.state().await;
    for (method, path, body, is_owned, _) in calls {
        let nobody = cloud.send(method, path, &[], body).await;
        assert_eq!(nobody.status, 401, "{method} {path}: {}", nobody.text);
        if is_owned {
            assert_eq!(bob.send(method, path, body).await.status, 404, "{method} {path}");
        }
    }
    let list = bob.send("GET", "/v2/api-keys", "").await;
    assert_eq!(list.json(), json!([]));
    accounts::set_standing(cloud.app(), "alice", bulut_model::account::Standing::Suspended).await.unwrap();
    for (method, path, body, _, changes) in calls {
        let answer = alice.send(method, path, body).await;
        assert_eq!(answer.status, if changes { 403 } else { 200 }, "{method} {path}: {}", answer.text);
    }
    accounts::set_standing(cloud.app(), "alice", bulut_model::account::Standing::Active).await.unwrap();
    assert_eq!(before.lines().count(), cloud.state().await.lines().count());
    for (method, path, body, ..) in calls {
        let answer = alice.send(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_keys_maker_may_repeat_itself() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let make = async |customer: &Customer<'_>| {
        let bearer = format!("Bearer {}", customer.token);
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k-1")];
        cloud.send("POST", "/v2/api-keys", &headers, "name=ci&addresses=any").await
    };
    let (first, second) = (make(&alice).await, make(&alice).await);
    assert_eq!(first.text, second.text, "the same key, which the first answer may have been lost with");
    assert_eq!(alice.send("GET", "/v2/api-keys", "").await.json().as_array().unwrap().len(), 1);
    let _ = Timestamp::default();
}
