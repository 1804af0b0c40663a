//! A link opens once, in time, and what it opens lasts no longer than it may.

use crate::{Opened, link};
use bulut::app::App;
use bulut::clock::Clock;
use bulut::domain::{accounts, consoles};
use bulut::faults::Faults;
use bulut::vault::Vault;
use bulut_model::ServerId;
use bulut_model::account::Standing;
use bulut_store::Store;
use bulut_testkit::cloud::Setup;
use bulut_testkit::http::send;
use bulut_testkit::{Database, TestCloud};
use futures_util::future::join_all;
use std::time::Duration;

const BOTH: [Database; 2] = [Database::Sqlite, Database::Postgres];

/// Another process on the same database.
async fn second_process(cloud: &TestCloud) -> App {
    let config = cloud.app().config().clone();
    let store = Store::open(&config.database_url(), 4).await.unwrap();
    App::new(config, store, Clock::frozen(cloud.app().clock().now()), Vault::new(&[7; 32]), Faults::default())
}

#[tokio::test]
async fn of_many_who_open_a_link_at_once_by_two_processes_one_gets_in() {
    for database in BOTH {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let server = alice.running_server("web1").await;
        let other = second_process(&cloud).await;
        let routers = [cloud.router(), bulut::api::router(other.clone())];
        for _ in 0..4 {
            let path = link(&alice, server).await;
            let tries = (0..12).map(|i| {
                let (router, path) = (routers[i % 2].clone(), path.clone());
                tokio::spawn(async move { send(router, "GET", &path, &[], "").await })
            });
            let answers: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
            let (opened, refused): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|answer| answer.status == 200);
            assert_eq!(opened.len(), 1, "{database:?}");
            for answer in &refused {
                assert_eq!(answer.status, 410);
                assert!(answer.text.contains("has been used already"), "{}", answer.text);
                assert!(answer.headers.get("set-cookie").is_none());
            }
            // The session is good at the other process too.
            let session = Opened::by(&path, &opened[0]);
            for router in &routers {
                assert_eq!(session.state(router.clone()).await.status, 200);
            }
        }
        other.store().close().await.unwrap();
    }
}

#[tokio::test]
async fn a_link_is_a_long_secret_that_is_kept_as_a_digest() {
    for database in BOTH {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let server = alice.running_server("web1").await;
        let path = link(&alice, server).await;
        let [_, id, token] = path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] else {
            panic!("{path}")
        };
        // 6 bits a letter: at least 192.
        assert!(token.len() >= 32 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        let session = Opened::by(&path, &cloud.send("GET", &path, &[], "").await);
        let secret = session.cookie.strip_prefix("bulut_console=").unwrap();
        assert!(secret.len() >= 32 && secret != token);
        let row =
            format!("{:?}", bulut_store::consoles::find(cloud.app().store(), id).await.unwrap().unwrap());
        assert!(row.contains("token_hash") && !row.contains(token) && !row.contains(secret), "{row}");
    }
}

#[tokio::test]
async fn a_link_expires() {
    for database in BOTH {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let server = alice.running_server("web1").await;
        let answer = alice.send("POST", &format!("/v2/servers/{server}/console"), "").await;
        assert_eq!(
            answer.json()["expires_at"],
            cloud.app().clock().now().plus(Duration::from_secs(60)).wire()
        );
        let (early, late) = (link(&alice, server).await, link(&alice, server).await);
        cloud.app().clock().advance(Duration::from_millis(59_999));
        assert_eq!(cloud.send("GET", &early, &[], "").await.status, 200);
        cloud.app().clock().advance(Duration::from_millis(1));
        let answer = cloud.send("GET", &late, &[], "").await;
        assert_eq!(answer.status, 410);
        assert!(answer.text.contains("has expired"), "{}", answer.text);
        assert_eq!(cloud.send("GET", &late, &[], "").await.status, 410);
    }
}

#[tokio::test]
async fn looking_at_a_link_does_not_use_it_up() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = link(&alice, server).await;
    assert_eq!(cloud.send("HEAD", &path, &[], "").await.status, 200);
    assert_eq!(cloud.send("OPTIONS", &path, &[], "").await.status, 204);
    assert_eq!(cloud.send("POST", &path, &[], "").await.status, 405);
    let prefetch = [("sec-purpose", "prefetch;prerender")];
    assert_eq!(cloud.send("GET", &path, &prefetch, "").await.status, 503);
    let (base, _) = path.rsplit_once('/').unwrap();
    let guess = format!("{base}/{}", "A".repeat(43));
    assert_eq!(cloud.send("GET", &guess, &[], "").await.status, 404, "the id alone opens nothing");
    assert_eq!(cloud.send("GET", &path, &[], "").await.status, 200);
}

#[tokio::test]
async fn the_page_is_locked_up_and_its_cookie_bound_to_it() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = link(&alice, server).await;
    let answer = cloud.send("GET", &path, &[], "").await;
    let said = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let policy = said("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert_eq!(said("x-content-type-options"), "nosniff");
    assert_eq!(said("referrer-policy"), "no-referrer");
    assert_eq!(said("cache-control"), "no-store");
    assert_eq!(said("x-frame-options"), "DENY");
    // Without a path of its own, a browser binds it to the directory of the link.
    let cookie = said("set-cookie");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Path=") && !cookie.contains("Secure"), "{cookie}");
    assert!(!answer.text.contains("<script>") && !answer.text.contains("{{"), "{}", answer.text);
    for reference in answer.text.split(['"']).filter(|text| text.contains("assets/")) {
        assert!(reference.starts_with("../../assets/"), "{reference} would not work behind a prefix");
        let asset = cloud.send("GET", &reference[5..], &[], "").await;
        assert_eq!(asset.status, 200, "{reference}");
    }
}

#[tokio::test]
async fn only_who_may_change_a_server_gets_a_link() {
    let cloud = TestCloud::new().await;
    let (alice, mallory) = (cloud.customer("alice").await, cloud.customer("mallory").await);
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/console");
    assert_eq!(cloud.send("POST", &path, &[], "").await.status, 401);
    assert_eq!(mallory.send("POST", &path, "").await.status, 404);
    assert_eq!(alice.send("POST", "/v2/servers/99/console", "").await.status, 404);
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    assert_eq!(alice.send("POST", &path, "").await.status, 403);
    accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    assert_eq!(alice.send("POST", &path, "").await.status, 409, "it is going");
    cloud.run_until_idle().await;
    assert_eq!(alice.send("POST", &path, "").await.status, 404);
}

#[tokio::test]
async fn a_link_dies_with_its_server_and_its_accounts_standing() {
    for database in BOTH {
        let cloud = TestCloud::on(database).await;
        let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
        let (web, db) = (alice.running_server("web").await, alice.running_server("db").await);
        let bobs = bob.running_server("bobs").await;
        let refused = async |path: &str, why: &str| {
            let answer = cloud.send("GET", path, &[], "").await;
            assert_eq!(answer.status, 410, "{}", answer.text);
            assert!(answer.text.contains(why), "{}", answer.text);
            assert!(answer.headers.get("set-cookie").is_none());
        };

        let gone = link(&alice, web).await;
        alice.send("DELETE", &format!("/v1/server/{web}/destroy"), "").await.data();
        refused(&gone, "does not exist any more").await;
        let gone = link(&bob, bobs).await;
        bob.send("DELETE", &format!("/v1/server/{bobs}/destroy"), "").await.data();
        cloud.run_until_idle().await;
        refused(&gone, "does not exist any more").await;

        let suspended = link(&alice, db).await;
        accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
        accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
        refused(&suspended, "suspended").await;

        let before = link(&alice, db).await;
        accounts::set_password(cloud.app(), "alice", "another horse battery").await.unwrap();
        refused(&before, "password changed").await;
    }
}

#[tokio::test]
async fn a_session_is_shown_by_its_own_cookie_only() {
    let cloud = TestCloud::new().await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    let (web, bobs) = (alice.running_server("web1").await, bob.running_server("bobs").await);
    let (mine, theirs) = (Opened::new(&cloud, &alice, web).await, Opened::new(&cloud, &bob, bobs).await);
    let state = mine.state(cloud.router()).await;
    assert_eq!(state.headers["cache-control"], "no-store");
    let state = state.json();
    assert_eq!((state["server"].as_i64(), state["name"].as_str()), (Some(web), Some("web1")));
    assert_eq!((state["power"].as_str(), state["phase"].as_str()), (Some("running"), Some("ready")));
    let crossed = Opened { base: mine.base.clone(), cookie: theirs.cookie.clone() };
    assert_eq!(crossed.over(&cloud).await, "unknown");
    for cookie in ["", "bulut_console=", "bulut_console=x"] {
        let nobody = Opened { base: mine.base.clone(), cookie: cookie.into() };
        assert_eq!(nobody.over(&cloud).await, "unknown");
    }
    // The page itself is the same for everybody, so that it can be loaded again.
    let page = cloud.send("GET", &format!("{}/view", mine.base), &[], "").await;
    assert!(page.status == 200 && !page.text.contains("web1") && page.headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_after_its_time() {
    for database in BOTH {
        let setup = Setup {
            database,
            configure: |config| {
                config.console_idle_s = 600;
                config.console_session_s = 1000;
            },
            ..Setup::default()
        };
        let cloud = TestCloud::with(setup).await;
        let alice = cloud.customer("alice").await;
        let server = alice.running_server("web1").await;
        let (idle, used) =
            (Opened::new(&cloud, &alice, server).await, Opened::new(&cloud, &alice, server).await);
        let advance = |seconds| cloud.app().clock().advance(Duration::from_secs(seconds));
        advance(599);
        let id = used.base.strip_prefix("/console/").unwrap();
        let secret = used.cookie.strip_prefix("bulut_console=").unwrap();
        let consoles::State::Open(session) = consoles::resume(cloud.app(), id, secret).await.unwrap() else {
            panic!("it is open")
        };
        assert_eq!(session.server.id, ServerId(server));
        consoles::touch(cloud.app(), &session).await.unwrap();
        assert_eq!(idle.state(cloud.router()).await.status, 200);
        advance(1);
        assert_eq!(idle.over(&cloud).await, "idle");
        assert_eq!(used.state(cloud.router()).await.status, 200);
        advance(400);
        assert_eq!(used.over(&cloud).await, "time_up");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_server_and_its_accounts_standing() {
    for database in BOTH {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let (web, db) = (alice.running_server("web").await, alice.running_server("db").await);
        let (one, two) = (Opened::new(&cloud, &alice, web).await, Opened::new(&cloud, &alice, db).await);
        alice.send("DELETE", &format!("/v1/server/{web}/destroy"), "").await.data();
        assert_eq!(one.over(&cloud).await, "server_gone");
        assert_eq!(two.state(cloud.router()).await.status, 200);
        accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
        assert_eq!(two.over(&cloud).await, "account_changed");
        accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
        assert_eq!(two.over(&cloud).await, "account_changed", "what was ended stays ended");
        let three = Opened::new(&cloud, &alice, db).await;
        accounts::set_password(cloud.app(), "alice", "another horse battery").await.unwrap();
        assert_eq!(three.over(&cloud).await, "account_changed");
        cloud.run_until_idle().await;
    }
}

#[tokio::test]
async fn consoles_are_forgotten_a_day_after_they_can_have_been_open() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = link(&alice, server).await;
    let life = Duration::from_secs(60 + 28_800 + 86_400);
    cloud.app().clock().advance(life);
    assert_eq!(consoles::forget(cloud.app(), 10).await.unwrap(), 0);
    assert!(cloud.send("GET", &path, &[], "").await.text.contains("has expired"));
    cloud.app().clock().advance(Duration::from_secs(1));
    assert_eq!(consoles::forget(cloud.app(), 10).await.unwrap(), 1);
    let answer = cloud.send("GET", &path, &[], "").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("no such link"), "{}", answer.text);
}

#[tokio::test]
async fn the_url_begins_with_what_the_client_used_or_the_settings_say() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let bearer = format!("Bearer {}", alice.token);
    let path = format!("/v2/servers/{server}/console");
    let url = async |cloud: &TestCloud, host: &str| {
        let headers =
            [("authorization", bearer.as_str()), ("host", host), ("x-forwarded-host", "evil.example.com")];
        cloud.send("POST", &path, &headers, "").await.json()["url"].as_str().unwrap().to_owned()
    };
    assert!(url(&cloud, "cloud.example.com:81").await.starts_with("http://cloud.example.com:81/console/"));
    assert!(url(&cloud, "evil/../host").await.starts_with("http://127.0.0.1:8080/console/"));
    drop(cloud);

    let public =
        |config: &mut bulut::config::Config| config.public_url = Some("https://x.example.com/b".into());
    let cloud = TestCloud::with(Setup { configure: public, ..Setup::default() }).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let answer = alice.send("POST", &format!("/v2/servers/{server}/console"), "").await;
    assert!(answer.json()["url"].as_str().unwrap().starts_with("https://x.example.com/b/console/"));
}

#[tokio::test]
async fn an_unknown_page_is_a_page() {
    let cloud = TestCloud::new().await;
    for path in ["/console/a/b/c", "/console/x", "/assets/a/b"] {
        let answer = cloud.send("GET", path, &[], "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        assert!(answer.headers.get("content-security-policy").is_some(), "{path}");
    }
}
