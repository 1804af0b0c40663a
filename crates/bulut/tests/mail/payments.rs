//! Payments by signed requests: believed only when they are whole, new and by somebody with a key, and booked once.

use crate::templates;
use bulut::domain::{accounts, payments};
use bulut_model::error::Kind;
use bulut_model::payment::PaymentKey;
use bulut_model::{Micros, PaymentKeyId};
use bulut_store::ledger;
use bulut_testkit::http::{Answer, send};
use bulut_testkit::{Customer, Database, TestCloud};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

const BODY: &str = r#"{"account": "alice@example.com", "amount": "25.00", "reference": "pi_7"}"#;

/// A payment provider.
struct Provider {
    key: PaymentKey,
    secret: String,
}

impl Provider {
    async fn new(cloud: &TestCloud) -> Self {
        let (key, secret) = payments::add_key(cloud.app(), "cards").await.unwrap();
        Self { key, secret }
    }

    fn sign(&self, timestamp: &str, name: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("{timestamp}\n{name}\n{body}").as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Signs a payment now and sends it.
    async fn pay(&self, cloud: &TestCloud, name: &str, body: &str) -> Answer {
        let now = cloud.app().clock().now().unix_seconds().to_string();
        let signature = self.sign(&now, name, body);
        post(cloud, &self.key.id.to_string(), &now, name, &signature, body).await
    }
}

async fn post(
    cloud: &TestCloud,
    key: &str,
    timestamp: &str,
    name: &str,
    signature: &str,
    body: &str,
) -> Answer {
    let headers = [
        ("bulut-payment-key", key),
        ("bulut-timestamp", timestamp),
        ("idempotency-key", name),
        ("bulut-signature", signature),
        ("content-type", "application/json"),
    ];
    send(cloud.router(), "POST", "/v2/payments", &headers, body.to_owned()).await
}

async fn balance(cloud: &TestCloud, customer: &Customer<'_>) -> Micros {
    ledger::balance(cloud.app().store(), customer.account.id).await.unwrap()
}

async fn books_once(database: Database) {
    let cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let provider = Provider::new(&cloud).await;
    let first = provider.pay(&cloud, "p1", BODY).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let paid = first.json();
    let expected = json!({
        "id": paid["id"], "account_id": alice.account.id.0, "amount": "25", "balance": "75",
        "reference": "pi_7", "created_at": "2026-01-01T00:00:00Z",
    });
    assert_eq!(paid, expected);
    // Later, after another payment, and signed anew.
    cloud.app().clock().advance(Duration::from_secs(40 * 86_400));
    assert_eq!(
        provider.pay(&cloud, "p2", r#"{"account": 1, "amount": "0.5", "currency": "EUR"}"#).await.json()["balance"],
        "75.5"
    );
    let again = provider.pay(&cloud, "p1", BODY).await;
    assert_eq!((again.status.as_u16(), again.text), (200, first.text));
    let other = provider.pay(&cloud, "p1", &BODY.replace("25", "26")).await;
    assert_eq!(other.status, 409, "{}", other.text);
    // Another key has names of its own.
    assert_eq!(Provider::new(&cloud).await.pay(&cloud, "p1", BODY).await.json()["balance"], "100.5");
    // Twenty at once.
    let many = (0..20).map(|_| provider.pay(&cloud, "p3", BODY));
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text == answers[0].text));
    assert_eq!(balance(&cloud, &alice).await, Micros(125_500_000));
    let again = cloud.sign_in(&alice.account).await;
    let listed = again.send("GET", "/v1/transaction/list", "").await.data();
    let payments: Vec<&Value> =
        listed.as_array().unwrap().iter().filter(|entry| entry["type"] == "payment").collect();
    assert_eq!(payments.len(), 4);
    assert_eq!((&payments[0]["reference"], &payments[0]["amount"]), (&json!("pi_7"), &json!(25)));
    assert_eq!(templates(&cloud).await.iter().filter(|template| **template == "top_up").count(), 4);
}

#[tokio::test]
async fn a_payment_is_booked_once_however_often_it_is_told_on_sqlite() {
    books_once(Database::Sqlite).await;
}

#[tokio::test]
async fn a_payment_is_booked_once_however_often_it_is_told_on_postgres() {
    books_once(Database::Postgres).await;
}

#[tokio::test]
async fn who_has_no_key_or_changes_anything_is_refused() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (provider, other) = (Provider::new(&cloud).await, Provider::new(&cloud).await);
    let before = cloud.state().await;
    let now = cloud.app().clock().now().unix_seconds().to_string();
    let (key, right) = (provider.key.id.to_string(), provider.sign(&now, "p1", BODY));
    let later = (now.parse::<i64>().unwrap() + 1).to_string();
    let refused = [
        (other.key.id.to_string(), now.clone(), "p1", right.clone(), BODY.to_owned()),
        ("99".into(), now.clone(), "p1", right.clone(), BODY.into()),
        (key.clone(), later, "p1", right.clone(), BODY.into()),
        (key.clone(), now.clone(), "p2", right.clone(), BODY.into()),
        (key.clone(), now.clone(), "p1", right.clone(), BODY.replace("25", "52")),
        (key.clone(), now.clone(), "p1", right.to_uppercase().replace(['A', 'B'], "0"), BODY.into()),
        (key.clone(), now.clone(), "p1", right[..62].into(), BODY.into()),
        (key.clone(), now.clone(), "p1", "é".repeat(32), BODY.into()),
        // The separators keep parts apart.
        (key.clone(), format!("{now}\np1"), "p1", right.clone(), BODY.into()),
    ];
    for (key, timestamp, name, signature, body) in refused {
        if timestamp.contains('\n') || !signature.is_ascii() {
            continue;
        }
        let answer = post(&cloud, &key, &timestamp, name, &signature, &body).await;
        assert_eq!(answer.status, 401, "{key} {timestamp} {name}: {}", answer.text);
    }
    let window = [(-301, 401), (-300, 200), (300, 200), (301, 401)];
    for (shift, status) in window {
        let at = (now.parse::<i64>().unwrap() + shift).to_string();
        let name = format!("w{shift}");
        let answer = post(&cloud, &key, &at, &name, &provider.sign(&at, &name, BODY), BODY).await;
        assert_eq!(answer.status.as_u16(), status, "{shift}: {}", answer.text);
        if status == 200 {
            continue;
        }
        assert!(answer.text.contains("too long ago or in the future"), "{}", answer.text);
    }
    assert_eq!(balance(&cloud, &alice).await, Micros(100_000_000));
    payments::remove_key(cloud.app(), provider.key.id).await.unwrap();
    assert_eq!(provider.pay(&cloud, "p9", BODY).await.status, 401);
    assert_eq!(payments::remove_key(cloud.app(), provider.key.id).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(payments::remove_key(cloud.app(), PaymentKeyId(99)).await.unwrap_err().kind, Kind::NotFound);
    assert_ne!(cloud.state().await, before, "two were in time");
}

#[tokio::test]
async fn what_cannot_be_credited_is_refused_by_its_name_and_changes_nothing() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let provider = Provider::new(&cloud).await;
    let before = cloud.state().await;
    for (body, status, named) in [
        ("", 400, "body"),
        ("[]", 400, "body"),
        (r#"{"account": "alice"}"#, 400, "body"),
        (r#"{"account": "alice", "amount": 25.0}"#, 400, "body"),
        (r#"{"account": "alice", "amount": "1", "currency": "XYZ"}"#, 400, "currency must be EUR"),
        (r#"{"account": "alice", "amount": "1", "curency": "EUR"}"#, 400, "body"),
        (r#"{"account": "alice", "amount": "1e3"}"#, 400, "amount"),
        (r#"{"account": "alice", "amount": "0"}"#, 400, "amount"),
        (r#"{"account": "alice", "amount": "-1"}"#, 400, "amount"),
        (r#"{"account": "alice", "amount": "1000000.01"}"#, 400, "amount"),
        (r#"{"account": "alice", "amount": "1", "reference": "a\nb"}"#, 400, "reference"),
        (r#"{"account": "bob", "amount": "1"}"#, 404, "bob"),
        (r#"{"account": 99, "amount": "1"}"#, 404, "99"),
    ] {
        let answer = provider.pay(&cloud, "p1", body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(named), "{body}: {}", answer.text);
    }
    for missing in ["bulut-payment-key", "bulut-timestamp", "idempotency-key", "bulut-signature"] {
        let mut headers = vec![
            ("bulut-payment-key", "1"),
            ("bulut-timestamp", "1"),
            ("idempotency-key", "p"),
            ("bulut-signature", "00"),
        ];
        headers.retain(|(name, _)| *name != missing);
        let answer = send(cloud.router(), "POST", "/v2/payments", &headers, BODY.to_owned()).await;
        assert!(answer.status == 400 && answer.text.contains(missing), "{missing}: {}", answer.text);
    }
    assert_eq!(cloud.state().await, before);
    assert_eq!(templates(&cloud).await, ["verification"]);
    assert_eq!(provider.pay(&cloud, "p1", BODY).await.status, 200, "a refusal uses no name up");
}

#[tokio::test]
async fn an_operator_credits_and_corrects_by_hand() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let credit = async |amount: i64, once: Option<&str>| {
        payments::credit_by_hand(cloud.app(), "alice", Micros(amount), "By bank", once).await.unwrap().1
    };
    assert_eq!(credit(5_000_000, None).await, Micros(55_000_000));
    assert_eq!(credit(5_000_000, None).await, Micros(60_000_000));
    assert_eq!(credit(-10_000_000, Some("x")).await, Micros(50_000_000));
    assert_eq!(credit(-10_000_000, Some("x")).await, Micros(50_000_000));
    let listed = alice.send("GET", "/v1/transaction/list", "").await.data();
    let kinds: Vec<&Value> = listed.as_array().unwrap().iter().map(|entry| &entry["type"]).collect();
    assert_eq!(kinds, ["correction", "credit", "credit", "credit"]);
    let refused = payments::credit_by_hand(cloud.app(), "alice", Micros(0), "", None).await.unwrap_err();
    assert!(matches!(refused.kind, Kind::Invalid { .. }));
}

/// The lines for a shell in the document work as they stand there.
#[tokio::test]
async fn the_documents_own_lines_credit_an_account() {
    let document = include_str!("../../../../docs/payments.md");
    let lines = document.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let cloud = TestCloud::new().await;
    let ada = cloud.customer("ada").await;
    // The lines sign with the time of this machine.
    let behind = bulut::clock::Clock::System.now().since(cloud.app().clock().now());
    cloud.app().clock().advance(behind);
    let provider = Provider::new(&cloud).await;
    let url = format!("http://{}", cloud.serve().await);
    for _ in 0..2 {
        let shell = tokio::process::Command::new("sh")
            .args(["-euc", lines])
            .envs([("SECRET", &provider.secret), ("KEY", &provider.key.id.to_string()), ("BULUT_URL", &url)])
            .env("no_proxy", "*")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&shell.stdout).into_owned();
        assert!(shell.status.success(), "{said} {}", String::from_utf8_lossy(&shell.stderr));
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&answer["amount"], &answer["balance"]), (&json!("25"), &json!("75")), "{said}");
        assert_eq!(answer["reference"], "card payment 4711");
    }
    assert_eq!(balance(&cloud, &ada).await, Micros(75_000_000));
    assert!(accounts::named(cloud.app(), "ada").await.is_ok());
}
