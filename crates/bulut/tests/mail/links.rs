//! Links of letters: they open once, not for long, and tell nobody who has an account.

use crate::smtp::Server;
use crate::{letters, templates};
use bulut::domain::account_links::{self, issue};
use bulut::reconcile::{mails::look, sweep};
use bulut_model::account::{Account, LinkPurpose};
use bulut_model::mail::MailState;
use bulut_testkit::cloud::PASSWORD;
use bulut_testkit::http::{Answer, form};
use bulut_testkit::{Database, TestCloud};
use serde_json::json;
use std::time::Duration;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const NEW: &str = "a new password";

async fn send(cloud: &TestCloud, method: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    cloud.send(method, path, &[FORM], &form(pairs)).await
}

/// The path of a new link.
async fn path(cloud: &TestCloud, account: &Account, purpose: LinkPurpose) -> String {
    let (url, _) = issue(cloud.app(), account, purpose).await.unwrap();
    url[url.find("/account/").unwrap()..].to_owned()
}

async fn choose(cloud: &TestCloud, path: &str, password: &str, again: &str) -> u16 {
    send(cloud, "POST", path, &[("password", password), ("again", again)]).await.status.as_u16()
}

async fn sign_in(cloud: &TestCloud, password: &str) -> u16 {
    let pairs = [("username", "alice@example.com"), ("password", password)];
    send(cloud, "POST", "/v1/user/login", &pairs).await.status.as_u16()
}

/// Waits until there are so many letters, those to who asks for a new password being written behind the answer.
async fn until_letters(cloud: &TestCloud, count: usize) {
    for _ in 0..500 {
        if letters(cloud).await.len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no letter was written");
}

async fn confirms(database: Database) {
    let cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let info = async || alice.send("GET", "/v1/user/info", "").await.data()["is_verified"].clone();
    assert_eq!(info().await, json!(false));
    let mut server = Server::start(&[]);
    look(cloud.app(), &server.mailer(&cloud, |_| ())).await.unwrap();
    let letter = server.letter();
    assert_eq!(letter["recipients"][0], "alice@example.com");
    let plain = letter["plain"].as_str().unwrap();
    let url = plain.lines().find(|line| line.starts_with("http://")).unwrap();
    assert!(letter["html"].as_str().unwrap().contains(&format!("href=\"{url}\"")));
    let path = &url[url.find("/account/").unwrap()..];
    // Programs that look at letters follow links: looking uses nothing up.
    for _ in 0..2 {
        let page = cloud.send("GET", path, &[], "").await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("Is alice@example.com your e-mail address?"), "{}", page.text);
    }
    assert_eq!(info().await, json!(false));
    let done = cloud.send("POST", path, &[], "").await;
    assert!(done.status == 200 && done.text.contains("Your address is confirmed"), "{}", done.text);
    assert_eq!(info().await, json!(true));
    for method in ["GET", "POST"] {
        let again = cloud.send(method, path, &[], "").await;
        assert!(again.status == 404 && again.text.contains("does not work any more"), "{}", again.text);
    }
}

#[tokio::test]
async fn a_link_confirms_an_address_once_on_sqlite() {
    confirms(Database::Sqlite).await;
}

#[tokio::test]
async fn a_link_confirms_an_address_once_on_postgres() {
    confirms(Database::Postgres).await;
}

#[tokio::test]
async fn a_new_password_ends_all_that_the_old_one_opened() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let account = &alice.account;
    let reset = LinkPurpose::PasswordReset;
    let (link, other) = (path(&cloud, account, reset).await, path(&cloud, account, reset).await);
    let page = cloud.send("GET", &link, &[], "").await;
    assert!(page.status == 200 && page.text.contains("value=\"alice@example.com\""), "{}", page.text);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("form-action 'self'"));
    assert_eq!(choose(&cloud, &link, NEW, "a new passwort").await, 400);
    assert_eq!(choose(&cloud, &link, "short", "short").await, 400);
    assert_eq!(sign_in(&cloud, PASSWORD).await, 200, "nothing has changed yet");
    assert_eq!(choose(&cloud, &link, NEW, NEW).await, 200);
    assert_eq!((sign_in(&cloud, PASSWORD).await, sign_in(&cloud, NEW).await), (401, 200));
    assert_eq!(alice.send("GET", "/v1/server/list", "").await.status, 401, "an old token is still good");
    assert_eq!(choose(&cloud, &link, "yet another one", "yet another one").await, 404);
    assert_eq!(choose(&cloud, &other, "yet another one", "yet another one").await, 404);
    assert_eq!(sign_in(&cloud, NEW).await, 200);
    assert_eq!(templates(&cloud).await, ["verification", "password_changed"]);
    let account = bulut::domain::accounts::named(cloud.app(), "alice").await.unwrap();
    assert!(account.is_verified, "the link was in her mail");
    // A letter that would have asked her to confirm is of no use any more.
    let server = Server::start(&[]);
    look(cloud.app(), &server.mailer(&cloud, |_| ())).await.unwrap();
    assert_eq!(letters(&cloud).await[0].state, MailState::Expired);
    assert_eq!(server.end().len(), 1);
}

#[tokio::test]
async fn a_link_ends_at_its_time_and_opens_for_its_own_purpose_only() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for (purpose, life) in [(LinkPurpose::PasswordReset, 3600), (LinkPurpose::Verification, 72 * 3600)] {
        let link = path(&cloud, &alice.account, purpose).await;
        let misused = match purpose {
            LinkPurpose::Verification => link.replace("/verify/", "/password/"),
            LinkPurpose::PasswordReset => link.replace("/password/", "/verify/"),
        };
        assert_eq!(cloud.send("GET", &misused, &[], "").await.status, 404);
        cloud.app().clock().advance(Duration::from_secs(life - 1));
        assert_eq!(cloud.send("GET", &link, &[], "").await.status, 200);
        cloud.app().clock().advance(Duration::from_secs(1));
        assert_eq!(cloud.send("GET", &link, &[], "").await.status, 404);
        assert_eq!(choose(&cloud, &link.replace("/verify/", "/password/"), NEW, NEW).await, 404);
    }
    for bad in ["x", "%2e%2e", &"a".repeat(5000)] {
        assert_eq!(cloud.send("GET", &format!("/account/password/{bad}"), &[], "").await.status, 404);
    }
    sweep::all(cloud.app()).await.unwrap();
    assert_eq!(sign_in(&cloud, PASSWORD).await, 200);
}

#[tokio::test]
async fn nobody_learns_who_has_an_account_and_nobodys_mailbox_is_filled() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let ask = async |email: &str| {
        let answer = send(&cloud, "POST", "/account/password/forgotten", &[("email", email)]).await;
        // All but what is different in every answer.
        let policy = answer.headers["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        (answer.status.as_u16(), answer.text.replace(&nonce, ""))
    };
    assert_eq!(cloud.send("GET", "/account/password/forgotten", &[], "").await.status, 200);
    let known = ask("alice@example.com").await;
    assert_eq!(known.0, 200);
    assert_eq!(ask("nobody@example.com").await, known);
    until_letters(&cloud, 2).await;
    for _ in 0..4 {
        assert_eq!(ask("ALICE@example.com ").await, known);
    }
    until_letters(&cloud, 4).await;
    // Asked for once more where the answer is waited for, so that none can be on its way.
    account_links::request_reset(cloud.app(), "alice").await.unwrap();
    let mut all = templates(&cloud).await;
    all.sort_unstable();
    assert_eq!(all, ["password_reset", "password_reset", "password_reset", "verification"]);
    cloud.app().clock().advance(Duration::from_secs(3601));
    account_links::request_reset(cloud.app(), "alice").await.unwrap();
    assert_eq!(letters(&cloud).await.len(), 5);
}

#[tokio::test]
async fn who_is_signed_in_gets_another_letter_to_confirm_the_address() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let ask = async || alice.send("POST", "/v2/account/verification", "").await.json();
    assert_eq!(ask().await, json!({"is_verified": false, "sent": true}));
    assert_eq!(ask().await, json!({"is_verified": false, "sent": true}));
    assert_eq!(ask().await, json!({"is_verified": false, "sent": false}), "the first letter counts too");
    account_links::set_verified(cloud.app(), "alice").await.unwrap();
    assert_eq!(ask().await, json!({"is_verified": true, "sent": false}));
    assert_eq!(cloud.send("POST", "/v2/account/verification", &[], "").await.status, 401);
}
