//! Who may: every route of the Cloude dialect, as its own description lists them, and the native routes beside it,
//! asked by nobody, by strangers, by an operator, and by an owner in good standing and suspended.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::config::Config;
use bulut::domain::accounts;
use bulut_model::Micros;
use bulut_model::account::Standing;
use bulut_model::invoice::{Content, Party, Status};
use bulut_model::tax::TaxRate;
use bulut_store::invoices;
use bulut_testkit::cloud::{PASSWORD, Setup};
use bulut_testkit::http::{Answer, form, send_from};
use bulut_testkit::{Customer, TestCloud};
use serde_json::Value;
use std::collections::BTreeSet;

/// Whose a route's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Anybody's.
    Public,
    /// The caller's own things, which are others for each caller.
    Own,
    /// One thing of the owner's, which for others does not exist.
    Owners,
}

/// A route.
struct Row {
    /// Method and path as in the description; holes are filled from the scene.
    name: &'static str,
    guard: Guard,
    changes: bool,
    /// A body, or on a GET a query, that the owner succeeds with; `{server}` is filled from the scene.
    body: &'static str,
}

const fn row(name: &'static str, guard: Guard, changes: bool, body: &'static str) -> Row {
    Row { name, guard, changes, body }
}

const READ: bool = false;
const CHANGE: bool = true;

const CLOUDE: [Row; 47] = [
    row("POST /v1/user/login", Guard::Public, CHANGE, "username=owner&password={password}"),
    row("POST /v1/user/refreshtoken", Guard::Public, CHANGE, "refreshtoken={refresh}"),
    row("GET /v1/region/list", Guard::Public, READ, ""),
    row("GET /v1/package/list", Guard::Public, READ, ""),
    row("GET /v1/image/list", Guard::Public, READ, ""),
    row("GET /v1/account/detail", Guard::Own, READ, ""),
    row("GET /v1/user/info", Guard::Own, READ, ""),
    row("GET /v1/account/user_balance", Guard::Own, READ, ""),
    row("GET /v1/server/list", Guard::Own, READ, ""),
    row("GET /v1/sshkey/list", Guard::Own, READ, ""),
    row("GET /v1/event/list", Guard::Own, READ, ""),
    row("POST /v1/server/create", Guard::Own, CHANGE, "name=web2&region=ist2&package=eos1&image=tiny"),
    row("POST /v1/sshkey/create", Guard::Own, CHANGE, "name=desktop&public_key={key}"),
    row("GET /v1/server/{id}", Guard::Owners, READ, ""),
    row("GET /v1/event/{id}", Guard::Owners, READ, ""),
    row("POST /v1/server/{id}/start", Guard::Owners, CHANGE, ""),
    row("POST /v1/server/{id}/stop", Guard::Owners, CHANGE, ""),
    row("POST /v1/server/{id}/reboot", Guard::Owners, CHANGE, ""),
    row("DELETE /v1/server/{id}/destroy", Guard::Owners, CHANGE, ""),
    row("POST /v1/server/start", Guard::Owners, CHANGE, "id={server}"),
    row("POST /v1/server/stop", Guard::Owners, CHANGE, "id={server}"),
    row("POST /v1/server/reboot", Guard::Owners, CHANGE, "id={server}"),
    row("DELETE /v1/server/destroy", Guard::Owners, CHANGE, "id={server}"),
    row("GET /v1/snapshot/list", Guard::Own, READ, ""),
    row("GET /v1/server/{id}/snapshots", Guard::Owners, READ, ""),
    row("POST /v1/snapshot/create", Guard::Owners, CHANGE, "id={server}&name=second"),
    row("DELETE /v1/snapshot/destroy", Guard::Owners, CHANGE, "id={snapshot}"),
    row("POST /v1/server/{id}/change_password", Guard::Owners, CHANGE, ""),
    row("POST /v1/server/change_password", Guard::Owners, CHANGE, "id={server}"),
    row("POST /v1/server/{id}/upgrade_package", Guard::Owners, CHANGE, "package=eos2"),
    row("POST /v1/server/upgrade_package", Guard::Owners, CHANGE, "id={server}&package=eos2"),
    row("POST /v1/server/{id}/refresh_install", Guard::Owners, CHANGE, "image=tiny"),
    row("POST /v1/server/refresh_install", Guard::Owners, CHANGE, "id={server}&image=tiny"),
    row("POST /v1/server/{id}/restore_from_snapshot", Guard::Owners, CHANGE, "snapshot_id={snapshot}"),
    row("POST /v1/server/restore_from_snapshot", Guard::Owners, CHANGE, "id={server}&snapshot_id={snapshot}"),
    row(
        "POST /v1/server/{id}/create_from_snapshot",
        Guard::Owners,
        CHANGE,
        "name=web3&package=eos1&snapshot_id={snapshot}",
    ),
    row(
        "POST /v1/server/create_from_snapshot",
        Guard::Owners,
        CHANGE,
        "name=web3&package=eos1&snapshot_id={snapshot}",
    ),
    row("PUT /v1/sshkey/update", Guard::Owners, CHANGE, "fingerprint=desktop&name=tower"),
    row("DELETE /v1/sshkey/destroy", Guard::Owners, CHANGE, "fingerprint=tower"),
    row("POST /v1/tags/create", Guard::Owners, CHANGE, "sub_ids={server}&tags=owners-tag,owners-secret"),
    row("GET /v1/tags/list", Guard::Own, READ, ""),
    row("DELETE /v1/tags/destroy", Guard::Owners, CHANGE, "tag=owners-tag"),
    row("PUT /v1/tags/update", Guard::Owners, CHANGE, "sub_id={server}&tags=owners-tag"),
    row("GET /v1/invoice/list", Guard::Own, READ, ""),
    row("GET /v1/transaction/list", Guard::Own, READ, ""),
    row("GET /v1/usage/list", Guard::Owners, READ, "id={server}"),
    // The description itself, which it does not describe.
    row("GET /v1/openapi.json", Guard::Public, READ, ""),
];

/// Routes beside the dialect; they have no description yet.
const NATIVE: [Row; 18] = [
    row("GET /", Guard::Public, READ, ""),
    row("GET /healthz", Guard::Public, READ, ""),
    row("GET /readyz", Guard::Public, READ, ""),
    // From this host, where the test asks from.
    row("GET /metrics", Guard::Public, READ, ""),
    row("GET /v2/invoices", Guard::Own, READ, ""),
    row("GET /v2/invoices/owners-invoice", Guard::Owners, READ, ""),
    row("GET /v2/invoices/owners-invoice.html", Guard::Owners, READ, ""),
    row("GET /v2/servers/{id}", Guard::Owners, READ, ""),
    row("GET /v2/servers/{id}/hostname", Guard::Owners, READ, ""),
    row("PUT /v2/servers/{id}/hostname", Guard::Owners, CHANGE, "hostname=web1.example.com"),
    row("GET /v2/servers/{id}/firewall", Guard::Owners, READ, ""),
    row("PUT /v2/servers/{id}/firewall", Guard::Owners, CHANGE, "rules=in deny tcp 25"),
    row("POST /v2/servers/{id}/firewall", Guard::Owners, CHANGE, "direction=in&action=deny"),
    row("GET /v2/servers/{id}/addresses", Guard::Owners, READ, ""),
    row("POST /v2/servers/{id}/addresses", Guard::Owners, CHANGE, ""),
    row("GET /v2/servers/{id}/setup", Guard::Owners, READ, ""),
    row("GET /v2/servers/{id}/serial-log", Guard::Owners, READ, ""),
    row("POST /v2/servers/{id}/console", Guard::Owners, CHANGE, ""),
];

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl owner@home";

/// An owner of a running server, with everything that others must not see.
struct Scene<'a> {
    cloud: &'a TestCloud,
    owner: Customer<'a>,
    refresh: String,
    server: i64,
    event: i64,
    snapshot: i64,
}

impl<'a> Scene<'a> {
    async fn new(cloud: &'a TestCloud) -> Self {
        let owner = cloud.customer("owner").await;
        let tokens = bulut::domain::sessions::login(cloud.app(), "owner", PASSWORD).await.unwrap();
        let mut scene =
            Self { cloud, owner, refresh: tokens.refresh_token, server: 0, event: 0, snapshot: 0 };
        scene.another_server().await;
        invoices::insert(cloud.app().store(), &scene.invoice(), "").await.unwrap();
        scene
    }

    fn invoice(&self) -> Content {
        let now = self.cloud.app().clock().now();
        Content {
            account: self.owner.account.id,
            number: "owners-invoice".into(),
            period_start: now,
            period_end: now,
            status: Status::Unpaid,
            currency: "EUR".into(),
            subtotal: Micros(1),
            tax_rate: TaxRate::ZERO,
            tax: Micros::ZERO,
            total: Micros(1),
            issued_at: now,
            due_at: now,
            issuer: Party::default(),
            recipient: Party { name: "owners-secret".into(), ..Party::default() },
            note: String::new(),
            lines: vec![],
        }
    }

    async fn another_server(&mut self) {
        (self.server, self.event) = self.owner.order_server("owners-server").await;
        self.cloud.run_until_idle().await;
        let form = format!("id={}&name=owners-snapshot", self.server);
        let taken = self.owner.send("POST", "/v1/snapshot/create", &form).await.data();
        self.snapshot = taken["id"].as_i64().unwrap();
        self.cloud.run_until_idle().await;
    }
}

impl Scene<'_> {
    async fn ask(&self, row: &Row, token: Option<&str>) -> Answer {
        let (method, path) = row.name.split_once(' ').unwrap();
        let id = if path.contains("/event/") { self.event } else { self.server };
        let path = path.replace("{id}", &id.to_string());
        let key = form(&[("k", KEY)]);
        let body = row
            .body
            .replace("{server}", &self.server.to_string())
            .replace("{snapshot}", &self.snapshot.to_string())
            .replace("{refresh}", &self.refresh)
            .replace("{password}", &form(&[("p", PASSWORD)])[2..])
            .replace("{key}", &key[2..]);
        let path = if method == "GET" && !body.is_empty() { format!("{path}?{body}") } else { path };
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        self.cloud.send(method, &path, &headers, &body).await
    }

    /// Nothing of this text tells of the owner's things.
    fn assert_tells_nothing(&self, row: &Row, answer: &Answer) {
        for secret in ["owners-server", "owners-snapshot", "owners-secret", "owner@example.com", "owner@home"]
        {
            assert!(!answer.text.contains(secret), "{} tells {secret}: {}", row.name, answer.text);
        }
    }
}

async fn check(row: &Row, scene: &Scene<'_>, others: &[Customer<'_>]) {
    let (cloud, name) = (scene.cloud, row.name);
    if row.guard == Guard::Public {
        let answer = scene.ask(row, None).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        // A token that does not hold does not spoil what needs none.
        if !row.changes {
            assert_eq!(scene.ask(row, Some("junk")).await.status, 200, "{name}");
            scene.assert_tells_nothing(row, &answer);
        }
        return;
    }
    let before = cloud.state().await;
    for token in [None, Some("junk"), Some(scene.refresh.as_str())] {
        let answer = scene.ask(row, token).await;
        assert_eq!(answer.status, 401, "{name} with {token:?}: {}", answer.text);
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{name}");
        scene.assert_tells_nothing(row, &answer);
    }
    for other in others {
        if row.guard == Guard::Own && row.changes {
            continue;
        }
        let answer = scene.ask(row, Some(&other.token)).await;
        let expected = if row.guard == Guard::Owners { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{name} by {}: {}", other.account.email, answer.text);
        scene.assert_tells_nothing(row, &answer);
    }
    assert_eq!(before, cloud.state().await, "{name} changed something for somebody who may not");
    accounts::set_standing(cloud.app(), "owner", Standing::Suspended).await.unwrap();
    let before = cloud.state().await;
    let answer = scene.ask(row, Some(&scene.owner.token)).await;
    assert_eq!(answer.status, if row.changes { 403 } else { 200 }, "{name}, suspended: {}", answer.text);
    if row.changes && row.name.contains(" /v2/") {
        assert_eq!(answer.json()["type"], "urn:bulut:problem:forbidden", "{name}: {}", answer.text);
    } else if row.changes {
        assert!(answer.text.contains("suspended"), "{name}: {}", answer.text);
        // The native routes answer problems instead.
        if name.contains("/v1/") {
            answer.refusal(403);
            assert_eq!(answer.word(), "forbidden");
        }
    }
    assert_eq!(before, cloud.state().await, "{name} changed something for a suspended account");
    accounts::set_standing(cloud.app(), "owner", Standing::Active).await.unwrap();
    let before = cloud.state().await;
    let answer = scene.ask(row, Some(&scene.owner.token)).await;
    assert_eq!(answer.status, 200, "{name} by its owner: {}", answer.text);
    assert_eq!(before == cloud.state().await, !row.changes, "{name}: what changes and what only reads");
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn who_may_call_what() {
    let cloud = TestCloud::new().await;
    let mut scene = Scene::new(&cloud).await;
    let others = [cloud.customer("stranger").await, cloud.operator("operator").await];
    for row in CLOUDE.iter().chain(&NATIVE) {
        scene.another_server().await;
        check(row, &scene, &others).await;
    }
}

#[tokio::test]
async fn rules_and_further_addresses_are_taken_away_by_the_owner_alone() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud).await;
    let others = [cloud.customer("stranger").await, cloud.operator("operator").await];
    let base = format!("/v2/servers/{}", scene.server);
    let added = scene.owner.send("POST", &format!("{base}/addresses"), "").await.json();
    cloud.run_until_idle().await;
    scene.owner.send("PUT", &format!("{base}/firewall"), "rules=in deny tcp 25").await.json();
    cloud.run_until_idle().await;
    let address = added["address"].as_str().unwrap();
    for name in [
        "DELETE /v2/servers/{id}/firewall/1".to_owned(),
        format!("DELETE /v2/servers/{{id}}/addresses/{address}"),
    ] {
        check(&row(name.leak(), Guard::Owners, CHANGE, ""), &scene, &others).await;
    }
}

#[tokio::test]
async fn every_described_route_stands_in_the_matrix_with_its_guard() {
    let cloud = TestCloud::new().await;
    let document = cloud.send("GET", "/v1/openapi.json", &[], "").await.json();
    let mut described = BTreeSet::from([("GET /v1/openapi.json".to_owned(), true)]);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            // None needed, or none among what will do.
            let is_public = call["security"]
                .as_array()
                .is_some_and(|ways| ways.is_empty() || ways.contains(&serde_json::json!({})));
            described.insert((format!("{} {path}", method.to_uppercase()), is_public));
        }
    }
    let rows = CLOUDE.iter().map(|row| (row.name.to_owned(), row.guard == Guard::Public)).collect();
    assert_eq!(described, rows);
}

#[tokio::test]
async fn a_suspended_account_signs_in_and_refreshes_to_look_at_its_things() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud).await;
    accounts::set_standing(cloud.app(), "owner@example.com", Standing::Suspended).await.unwrap();
    let login = form(&[("username", "owner"), ("password", PASSWORD)]);
    let tokens = cloud.send("POST", "/v1/user/login", &[], &login).await.data();
    let refresh = form(&[("refresh", tokens["refreshtoken"].as_str().unwrap())]);
    let tokens = cloud.send("POST", "/v1/user/refreshtoken", &[], &refresh).await.data();
    let mut suspended = scene.owner.clone();
    suspended.token = tokens["token"].as_str().unwrap().to_owned();
    assert_eq!(suspended.servers().await.len(), 1);
    suspended.send("POST", &format!("/v1/server/{}/stop", scene.server), "").await.refusal(403);
}

#[tokio::test]
async fn a_console_is_the_owners_alone() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud).await;
    let stranger = cloud.customer("stranger").await;
    let row = row("GET /v2/servers/{id}/console/serial", Guard::Owners, CHANGE, "");
    assert_eq!(scene.ask(&row, None).await.status, 401);
    // Without the headers of a handshake nobody gets further than this, and nobody learns whose it is.
    let refused = scene.ask(&row, Some(&stranger.token)).await;
    let owners = scene.ask(&row, Some(&scene.owner.token)).await;
    assert_eq!(refused.status, 400);
    assert_eq!((refused.status, refused.text), (owners.status, owners.text));
}

#[tokio::test]
async fn the_servers_of_one_are_not_among_those_of_another() {
    let cloud = TestCloud::new().await;
    let scene = Scene::new(&cloud).await;
    let stranger = cloud.customer("stranger").await;
    let empty: [Value; 0] = [];
    assert_eq!(stranger.servers().await, empty);
    let own = stranger.running_server("strangers-server").await;
    let ids = |servers: Vec<Value>| servers.iter().map(|it| it["id"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(stranger.servers().await), [own]);
    assert_eq!(ids(scene.owner.servers().await), [scene.server]);
    // Asked again, from whatever remembers lists.
    assert_eq!(ids(stranger.servers().await), [own]);
    let events = stranger.send("GET", "/v1/event/list", "").await.data();
    assert!(events.as_array().unwrap().iter().all(|event| event["subscription_id"] == own), "{events}");
}

#[tokio::test]
async fn the_metrics_are_for_networks_of_the_settings_and_who_knows_the_token() {
    let configure = |config: &mut Config| {
        config.metrics.networks = vec!["127.0.0.0/8".parse().unwrap(), "2001:db8:7::/48".parse().unwrap()];
        config.metrics.token = Some("a-token-that-nobody-guesses".into());
    };
    let cloud = TestCloud::with(Setup { configure, ..Setup::default() }).await;
    let ask = async |peer: &str, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|it| ("authorization", it.as_str())).collect();
        send_from(peer.parse().unwrap(), cloud.router(), "GET", "/metrics", &headers, "").await
    };
    for inside in ["127.0.0.1:1", "[2001:db8:7::9]:1", "[::ffff:127.0.0.1]:1"] {
        let answer = ask(inside, None).await;
        assert_eq!(answer.status, 200, "{inside}: {}", answer.text);
        assert!(answer.text.contains("# TYPE bulut_drift counter"), "{}", answer.text);
    }
    for (peer, token) in [
        ("192.0.2.1:1", None),
        ("[2001:db8:8::9]:1", None),
        ("192.0.2.1:1", Some("a-token-that-nobody-guesse")),
        ("192.0.2.1:1", Some("a-token-that-nobody-guesses!")),
    ] {
        let answer = ask(peer, token).await;
        assert_eq!(answer.status, 403, "{peer} {token:?}");
        assert!(
            answer.text.contains("metrics.networks") && !answer.text.contains("bulut_"),
            "{}",
            answer.text
        );
    }
    assert_eq!(ask("192.0.2.1:1", Some("a-token-that-nobody-guesses")).await.status, 200);
    let closed = TestCloud::new().await;
    let stranger = "192.0.2.1:1".parse().unwrap();
    for headers in [&[][..], &[("authorization", "Bearer ")], &[("x-forwarded-for", "127.0.0.1")]] {
        let answer = send_from(stranger, closed.router(), "GET", "/metrics", headers, "").await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
}
