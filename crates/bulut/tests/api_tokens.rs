//! Signing in through the Cloude dialect: what the tokens say, how long they hold, how they rotate, and that nothing
//! forged, used up or meant for something else is taken for one.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulut::domain::{accounts, tokens};
use bulut_testkit::cloud::PASSWORD;
use bulut_testkit::http::{Answer, form};
use bulut_testkit::{Database, TestCloud};
use serde_json::{Value, json};
use std::time::Duration;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A pair of tokens as the API gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    token: String,
    refresh: String,
}

fn pair(answer: &Answer, refreshed: bool) -> Pair {
    let data = answer.data();
    let names: Vec<&String> = data.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 3, "{data}");
    assert_eq!(data["refresh"], refreshed);
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    Pair { token: text("token"), refresh: text("refreshtoken") }
}

async fn login(cloud: &TestCloud, username: &str, password: &str) -> Answer {
    let fields = form(&[("username", username), ("password", password)]);
    cloud.send("POST", "/v1/user/login", &[FORM], &fields).await
}

async fn refresh(cloud: &TestCloud, token: &str) -> Answer {
    cloud.send("POST", "/v1/user/refreshtoken", &[FORM], &form(&[("refreshtoken", token)])).await
}

async fn signed_in(cloud: &TestCloud) -> Pair {
    pair(&login(cloud, "alice", PASSWORD).await, false)
}

/// What a call answers to the bearer of this token.
async fn call(cloud: &TestCloud, token: &str) -> Answer {
    cloud.send("GET", "/v1/account/detail", &[("authorization", &format!("Bearer {token}"))], "").await
}

/// A part of a token: 0 is its header, 1 its payload.
fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

#[tokio::test]
async fn an_account_signs_in_by_mail_address_or_user_name() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        cloud.customer("alice").await;
        for name in ["alice", "alice@example.com", "Alice@Example.COM", " alice@example.com "] {
            let pair = pair(&login(&cloud, name, PASSWORD).await, false);
            assert_eq!(call(&cloud, &pair.token).await.data()["email"], "alice@example.com", "{name}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_are_told_alike() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let wrong = login(&cloud, "alice", "wrong horse battery").await;
    let unknown = login(&cloud, "nobody", PASSWORD).await;
    wrong.refusal(401);
    assert_eq!(wrong.word(), "unauthenticated");
    assert_eq!((wrong.status, &wrong.text), (unknown.status, &unknown.text));
    assert_eq!(wrong.headers["www-authenticate"], unknown.headers["www-authenticate"]);
    for password in [PASSWORD.to_uppercase(), format!("{PASSWORD} "), PASSWORD[1..].to_owned()] {
        login(&cloud, "alice", &password).await.refusal(401);
    }
}

#[tokio::test]
async fn tokens_say_what_the_document_says() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let pair = signed_in(&cloud).await;
    let now = cloud.app().clock().now().unix_seconds();
    for (token, life) in [(&pair.token, 45 * 60), (&pair.refresh, 24 * 60 * 60)] {
        assert_eq!(token.split('.').count(), 3);
        let header = part(token, 0);
        assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!("JWT")));
        assert!(!header["kid"].as_str().unwrap().is_empty());
        let claims = part(token, 1);
        let said = |name: &str| claims[name].clone();
        assert_eq!(said("id"), alice.account.id.0);
        assert_eq!(said("email"), "alice@example.com");
        assert_eq!(said("firstname"), "alice");
        assert_eq!(said("lastname"), "Test");
        assert_eq!(said("iat"), now);
        assert_eq!(said("exp"), now + life);
        assert!(!claims.to_string().contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_refresh_token_comes_under_every_name_and_as_bearer() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let mut current = signed_in(&cloud).await;
    let path = "/v1/user/refreshtoken";
    for name in ["refresh", "refreshtoken", "refresh_token", "token"] {
        let answer = cloud.send("POST", path, &[FORM], &form(&[(name, &current.refresh)])).await;
        let next = pair(&answer, true);
        assert_ne!(next.refresh, current.refresh, "{name}");
        call(&cloud, &next.token).await.data();
        let body = json!({name: next.refresh}).to_string();
        let answer = cloud.send("POST", path, &[("content-type", "application/json")], &body).await;
        current = pair(&answer, true);
    }
    let bearer = format!("Bearer {}", current.refresh);
    current = pair(&cloud.send("POST", path, &[("authorization", &bearer)], "").await, true);
    // Clients that keep their access token in the header send the refresh token besides.
    let bearer = format!("Bearer {}", current.token);
    let body = form(&[("refreshtoken", &current.refresh)]);
    current = pair(&cloud.send("POST", path, &[FORM, ("authorization", &bearer)], &body).await, true);
    let query = format!("{path}?{}", form(&[("token", &current.refresh)]));
    pair(&cloud.send("POST", &query, &[], "").await, true);
}

#[tokio::test]
async fn a_refresh_token_that_comes_back_ends_its_family_and_no_other() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        cloud.customer("alice").await;
        let first = signed_in(&cloud).await;
        let other = signed_in(&cloud).await;
        let second = pair(&refresh(&cloud, &first.refresh).await, true);
        let third = pair(&refresh(&cloud, &second.refresh).await, true);
        refresh(&cloud, &first.refresh).await.refusal(401);
        // Whoever holds the newest one cannot be told from the thief.
        for used in [&first, &second, &third] {
            refresh(&cloud, &used.refresh).await.refusal(401);
        }
        pair(&refresh(&cloud, &other.refresh).await, true);
    }
}

#[tokio::test]
async fn of_two_that_refresh_with_one_token_at_once_at_most_one_goes_on() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        cloud.customer("alice").await;
        let first = signed_in(&cloud).await;
        let tries = futures_util::future::join_all((0..8).map(|_| refresh(&cloud, &first.refresh))).await;
        let good: Vec<&Answer> = tries.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(good.len(), 1);
        // The other seven were a reuse.
        refresh(&cloud, &pair(good[0], true).refresh).await.refusal(401);
    }
}

#[tokio::test]
async fn access_and_refresh_tokens_are_not_taken_for_each_other() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let pair = signed_in(&cloud).await;
    call(&cloud, &pair.refresh).await.refusal(401);
    refresh(&cloud, &pair.token).await.refusal(401);
    // Neither try used anything up.
    call(&cloud, &pair.token).await.data();
    refresh(&cloud, &pair.refresh).await.data();
}

#[tokio::test]
async fn an_access_token_lives_for_45_minutes() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let first = signed_in(&cloud).await;
    cloud.app().clock().advance(45 * MINUTE - SECOND);
    call(&cloud, &first.token).await.data();
    cloud.app().clock().advance(SECOND);
    call(&cloud, &first.token).await.refusal(401);
    let next = pair(&refresh(&cloud, &first.refresh).await, true);
    call(&cloud, &next.token).await.data();
}

#[tokio::test]
async fn a_refresh_token_lives_for_a_day_from_when_it_was_given() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        cloud.customer("alice").await;
        let (early, late) = (signed_in(&cloud).await, signed_in(&cloud).await);
        cloud.app().clock().advance(24 * 60 * MINUTE - SECOND);
        let next = pair(&refresh(&cloud, &early.refresh).await, true);
        cloud.app().clock().advance(SECOND);
        refresh(&cloud, &late.refresh).await.refusal(401);
        cloud.app().clock().advance(24 * 60 * MINUTE - 2 * SECOND);
        let last = pair(&refresh(&cloud, &next.refresh).await, true);
        cloud.app().clock().advance(24 * 60 * MINUTE);
        refresh(&cloud, &last.refresh).await.refusal(401);
    }
}

#[tokio::test]
async fn a_changed_password_ends_both_tokens_of_that_account_alone() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        cloud.customer("alice").await;
        let bob = cloud.customer("bob").await;
        let old = signed_in(&cloud).await;
        accounts::set_password(cloud.app(), "alice", "a new password").await.unwrap();
        call(&cloud, &old.token).await.refusal(401);
        refresh(&cloud, &old.refresh).await.refusal(401);
        login(&cloud, "alice", PASSWORD).await.refusal(401);
        let new = pair(&login(&cloud, "alice", "a new password").await, false);
        call(&cloud, &new.token).await.data();
        refresh(&cloud, &new.refresh).await.data();
        call(&cloud, &bob.token).await.data();
    }
}

#[tokio::test]
async fn keys_rotate_without_signing_anybody_out() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let old = signed_in(&cloud).await;
    cloud.app().clock().advance(SECOND);
    let kid = tokens::rotate(cloud.app()).await.unwrap();
    cloud.app().clock().advance(2 * MINUTE);
    let new = signed_in(&cloud).await;
    assert_eq!(part(&new.token, 0)["kid"], kid);
    assert_ne!(part(&old.token, 0)["kid"], kid);
    call(&cloud, &old.token).await.data();
    call(&cloud, &new.token).await.data();
    let refreshed = pair(&refresh(&cloud, &old.refresh).await, true);
    assert_eq!(part(&refreshed.refresh, 0)["kid"], kid);
    // The next rotation comes long after, and does not retire the key that signed until then.
    cloud.app().clock().advance(30 * 24 * 60 * MINUTE);
    let before = signed_in(&cloud).await;
    tokens::rotate(cloud.app()).await.unwrap();
    cloud.app().clock().advance(2 * MINUTE);
    call(&cloud, &before.token).await.data();
    refresh(&cloud, &before.refresh).await.data();
}

#[tokio::test]
async fn tokens_outlive_the_process_that_gave_them() {
    let mut cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let old = signed_in(&cloud).await;
    cloud.restart().await;
    call(&cloud, &old.token).await.data();
    refresh(&cloud, &old.refresh).await.data();
}

#[tokio::test]
async fn a_token_that_was_tampered_with_is_none() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let bob = cloud.customer("bob").await;
    let good = signed_in(&cloud).await.token;
    let (header, mut claims) = (part(&good, 0), part(&good, 1));
    let signature = good.rsplit('.').next().unwrap();
    let bobs_signature = bob.token.rsplit('.').next().unwrap();
    claims["id"] = bob.account.id.0.into();
    let forged_payload = format!("{}.{}", encoded(&header), encoded(&claims));
    let without = |alg: &str| encoded(&json!({"alg": alg, "typ": "JWT", "kid": header["kid"]}));
    let payload = good.split('.').nth(1).unwrap();
    let other_kid = encoded(&json!({"alg": "HS256", "typ": "JWT", "kid": "other"}));
    let no_kid = encoded(&json!({"alg": "HS256", "typ": "JWT"}));
    let odd_kid = encoded(&json!({"alg": "HS256", "typ": "JWT", "kid": "../../etc/passwd\0"}));
    let mut forged = vec![
        format!("{forged_payload}.{signature}"),
        format!("{forged_payload}.{bobs_signature}"),
        format!("{forged_payload}."),
        forged_payload,
        format!("{other_kid}.{payload}.{signature}"),
        format!("{no_kid}.{payload}.{signature}"),
        format!("{odd_kid}.{payload}.{signature}"),
        format!("{good}.{signature}"),
        format!("{good}A"),
        good[..good.len() - 4].to_owned(),
        "é.é.é".into(),
        "..".into(),
        "x".repeat(100_000),
    ];
    for alg in ["none", "None", "NONE", "HS384", "HS512", "RS256", "ES256"] {
        forged.push(format!("{}.{payload}.", without(alg)));
        forged.push(format!("{}.{payload}.{signature}", without(alg)));
    }
    for token in &forged {
        call(&cloud, token).await.refusal(401);
        refresh(&cloud, token).await.refusal(401);
    }
    call(&cloud, &good).await.data();
}

#[tokio::test]
async fn a_token_signed_with_another_key_is_none() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let good = signed_in(&cloud).await.token;
    let kid = part(&good, 0)["kid"].as_str().unwrap().to_owned();
    for secret in ["", "secret", "bulut", kid.as_str()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some(kid.clone()), ..Header::new(algorithm) };
            let token =
                encode(&header, &part(&good, 1), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
            call(&cloud, &token).await.refusal(401);
        }
    }
}

#[tokio::test]
async fn the_header_needs_the_scheme_in_any_case() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let detail = async |header: String| {
        cloud.send("GET", "/v1/account/detail", &[("authorization", &header)], "").await
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        detail(format!("{scheme} {}", alice.token)).await.data();
    }
    for header in [alice.token.clone(), format!("Basic {}", alice.token), "Bearer".into(), "Bearer  ".into()]
    {
        detail(header).await.refusal(401);
    }
    // A token in the query would end up in logs and histories.
    cloud.send("GET", &format!("/v1/account/detail?token={}", alice.token), &[], "").await.refusal(401);
}

#[tokio::test]
async fn a_sign_in_is_remembered_in_the_account() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    cloud.app().clock().advance(90 * SECOND);
    let pair = signed_in(&cloud).await;
    assert_eq!(call(&cloud, &pair.token).await.data()["last_login_date"], "2026-01-01T00:01:30Z");
    cloud.app().clock().advance(90 * SECOND);
    login(&cloud, "alice", "wrong horse battery").await.refusal(401);
    assert_eq!(call(&cloud, &pair.token).await.data()["last_login_date"], "2026-01-01T00:01:30Z");
}
