//! Networks of servers: firewalls, further addresses, rates and what becomes of them at the traffic limit, from the call to
//! the machine.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::config::Config;
use bulut::domain::rates as rate_verbs;
use bulut::domain::traffic as traffic_verbs;
use bulut::domain::{address_pools, zones};
use bulut::faults::Fault;
use bulut::reconcile::pools::{self, Told};
use bulut::reconcile::traffic as reconciler;
use bulut_compute::simulated::{Fail, FailWith, Verb};
use bulut_compute::{Nic, Usage};
use bulut_model::ServerId;
use bulut_model::address_pool::Wanted;
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB};
use bulut_store::{addresses, names};
use bulut_testkit::cloud::Setup;
use bulut_testkit::http::Answer;
use bulut_testkit::{Customer, Database, TestCloud};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn nic(cloud: &TestCloud, server: i64) -> Nic {
    cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().nic
}

/// The rules that the machine holds to.
fn held(cloud: &TestCloud, server: i64) -> Vec<String> {
    nic(cloud, server).firewall.iter().map(ToString::to_string).collect()
}

/// The rules that the API tells.
async fn told(customer: &Customer<'_>, server: i64) -> Vec<String> {
    let answer = customer.send("GET", &format!("/v2/servers/{server}/firewall"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let rules = answer.json()["rules"].clone();
    rules.as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect()
}

/// Asks for a change, sees it through, and answers what was said at once.
async fn change(cloud: &TestCloud, customer: &Customer<'_>, method: &str, path: &str, form: &str) -> Value {
    let answer = customer.send(method, path, form).await;
    assert_eq!(answer.status, 200, "{method} {path} {form}: {}", answer.text);
    cloud.run_until_idle().await;
    let event = customer.event(answer.json()["event_id"].as_i64().unwrap()).await;
    assert_eq!(event["status"], 1, "{event}");
    assert_eq!(event["event"], "VM.UPDATE");
    answer.json()
}

fn problem(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(word), "{detail}");
}

async fn a_firewall_is_the_owners(database: Database) {
    let cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/firewall");
    assert_eq!(told(&alice, server).await, [""; 0]);
    assert_eq!(held(&cloud, server), [""; 0]);

    let rules = "rules[]=in allow tcp 22 10.0.0.0/8&rules[]=in deny tcp";
    let said = change(&cloud, &alice, "PUT", &path, rules).await;
    let first = json!({
        "number": 1, "rule": "in allow tcp 22 10.0.0.0/8", "direction": "in", "action": "allow", "protocol": "tcp",
        "ports": "22", "network": "10.0.0.0/8"
    });
    assert_eq!((&said["rules"][0], &said["otherwise"]), (&first, &json!("allow")));
    assert_eq!(held(&cloud, server), ["in allow tcp 22 10.0.0.0/8", "in deny tcp any any"]);
    assert_eq!(told(&alice, server).await, held(&cloud, server));

    let form = "direction=in&action=allow&protocol=tcp&ports=80-81&network=any&position=2";
    change(&cloud, &alice, "POST", &path, form).await;
    change(&cloud, &alice, "POST", &path, "direction=out&action=deny&network=2001:db8::/32").await;
    let all = [
        "in allow tcp 22 10.0.0.0/8",
        "in allow tcp 80-81 any",
        "in deny tcp any any",
        "out deny any any 2001:db8::/32",
    ];
    assert_eq!(held(&cloud, server), all);
    change(&cloud, &alice, "DELETE", &format!("{path}/3"), "").await;
    let left = [all[0], all[1], all[3]];
    assert_eq!(held(&cloud, server), left);
    assert_eq!(told(&alice, server).await, left);

    // It is the server's, whatever becomes of its disk and its machine.
    let form = format!("id={server}&name=first");
    let snapshot = alice.send("POST", "/v1/snapshot/create", &form).await.data()["id"].clone();
    cloud.run_until_idle().await;
    for (verb, form) in [
        ("stop", String::new()),
        ("start", String::new()),
        ("refresh_install", "image=tiny".to_owned()),
        ("restore_from_snapshot", format!("snapshot_id={snapshot}")),
        ("upgrade_package", "package=eos2".to_owned()),
    ] {
        alice.send("POST", &format!("/v1/server/{server}/{verb}"), &form).await.data();
        cloud.run_until_idle().await;
        assert_eq!(held(&cloud, server), left, "after {verb}");
    }
    // None at all is said by a list of nothing, and by nothing else.
    problem(&alice.send("PUT", &path, "").await, 400, "parameter rules");
    assert_eq!(alice.send_json("PUT", &path, &json!({ "rules": [] })).await.status, 200);
    cloud.run_until_idle().await;
    assert_eq!(held(&cloud, server), [""; 0]);
    assert_eq!(told(&alice, server).await, [""; 0]);
}

#[tokio::test]
async fn a_firewall_is_its_owners_and_stays_with_the_server_on_sqlite() {
    a_firewall_is_the_owners(Database::Sqlite).await;
}

#[tokio::test]
async fn a_firewall_is_its_owners_and_stays_with_the_server_on_postgresql() {
    a_firewall_is_the_owners(Database::Postgres).await;
}

#[tokio::test]
async fn what_is_no_rule_is_refused_by_the_name_of_what_is_wrong() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/firewall");
    change(&cloud, &alice, "PUT", &path, "rules=in deny tcp").await;
    let before = cloud.state().await;
    for (form, word) in [
        ("", "parameter direction"),
        ("direction=in", "parameter action"),
        ("direction=up&action=deny", "The direction 'up' must be in or out"),
        ("direction=in&action=drop", "The action 'drop' must be allow or deny"),
        ("direction=in&action=deny&protocol=sctp", "The protocol 'sctp'"),
        ("direction=in&action=deny&protocol=tcp&ports=99999", "The ports '99999'"),
        ("direction=in&action=deny&protocol=icmp&ports=8", "tcp and udp only"),
        ("direction=in&action=deny&network=10.0.0.1/8", "In network, '10.0.0.1/8'"),
        ("direction=in&action=deny&position=3", "The position 3 must be 1 to 2"),
        ("direction=in&action=deny&position=x", "parameter position"),
    ] {
        problem(&alice.send("POST", &path, form).await, 400, word);
    }
    let rules = alice.send("PUT", &path, "rules[]=in deny&rules[]=in alow tcp").await;
    problem(&rules, 400, "In rules, rule 2: The action 'alow'");
    let many: Vec<String> = (1..=101).map(|port| format!("in deny tcp {port}")).collect();
    problem(&alice.send_json("PUT", &path, &json!({ "rules": many })).await, 400, "100 firewall rules");
    for number in ["0", "2", "-1"] {
        problem(&alice.send("DELETE", &format!("{path}/{number}"), "").await, 404, "it has 1");
    }
    assert_eq!(before, cloud.state().await);
    // One change at a time.
    let first = alice.send("POST", &path, "direction=in&action=deny").await;
    assert_eq!(first.status, 200);
    problem(&alice.send("POST", &path, "direction=in&action=deny").await, 409, "Another operation holds");
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_network_that_cannot_be_changed_is_as_before_and_an_address_free_again() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let base = format!("/v2/servers/{server}");
    change(&cloud, &alice, "PUT", &format!("{base}/firewall"), "rules=in deny tcp").await;
    let (before, taken) = (nic(&cloud, server), addresses::taken(cloud.app().store()).await.unwrap());
    for point in ["server_network.apply_network.before", "server_network.apply_network.after"] {
        for (method, path, form) in [("PUT", "firewall", "rules=in deny udp"), ("POST", "addresses", "")] {
            cloud.fault(point, Fault::Fatal, 1);
            let answer = alice.send(method, &format!("{base}/{path}"), form).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            cloud.run_until_idle().await;
            let event = alice.event(answer.json()["event_id"].as_i64().unwrap()).await;
            assert_eq!(event["status"], -1, "{point} {path}");
            assert_eq!(nic(&cloud, server), before, "{point} {path}");
            assert_eq!(told(&alice, server).await, ["in deny tcp any any"]);
            assert_eq!(addresses::taken(cloud.app().store()).await.unwrap(), taken, "{point} {path}");
        }
    }
    // A node that is away for a moment holds it up, no more.
    cloud.world().fail(Verb::ApplyNetwork, FailWith::times(Fail::Unreachable, 2));
    change(&cloud, &alice, "PUT", &format!("{base}/firewall"), "rules=in deny udp").await;
    assert_eq!(held(&cloud, server), ["in deny udp any any"]);
}

#[tokio::test]
async fn a_change_whose_process_dies_is_finished_by_the_next_one() {
    for database in [Database::Sqlite, Database::Postgres] {
        for point in ["server_network.apply_network.before", "server_network.apply_network.after"] {
            let mut cloud = TestCloud::on(database).await;
            let alice = cloud.customer("alice").await;
            let account = alice.account.clone();
            let server = alice.running_server("web1").await;
            cloud.fault(point, Fault::Die, 1);
            let path = format!("/v2/servers/{server}/addresses");
            let address = alice.send("POST", &path, "").await.json()["address"].clone();
            cloud.run_until_idle().await;
            cloud.restart().await;
            cloud.run_until_idle().await;
            assert_eq!(json!(nic(&cloud, server).more_ipv4), json!([address]), "{point}");
            let alice = cloud.sign_in(&account).await;
            let native = alice.send("GET", &format!("/v2/servers/{server}"), "").await.json();
            assert_eq!(native["further_ipv4"], json!([address]), "{point}");
        }
    }
}

#[tokio::test]
async fn a_machine_gets_the_mtu_of_the_settings() {
    let configure = |config: &mut Config| config.guest_mtu = 1400;
    let cloud = TestCloud::with(Setup { configure, ..Setup::default() }).await;
    let server = cloud.customer("alice").await.running_server("web1").await;
    assert_eq!(nic(&cloud, server).mtu, 1400);
}

async fn further_addresses_come_and_go(database: Database) {
    let cloud = TestCloud::with(Setup {
        database,
        configure: |config| {
            config.address_quarantine_s = 60;
            config.further_addresses_max = 2;
            config.dns.zone = Some("cloud.example".into());
        },
        ..Setup::default()
    })
    .await;
    for stock in address_pools::list(cloud.app()).await.unwrap() {
        address_pools::set_draining(cloud.app(), stock.pool.id, true).await.unwrap();
        address_pools::remove(cloud.app(), stock.pool.id).await.unwrap();
    }
    let pool = Wanted {
        addresses: "203.0.113.2-203.0.113.4".into(),
        netmask: Some("24".into()),
        resolvers: vec!["9.9.9.9".parse().unwrap()],
        ..Wanted::default()
    };
    let pool = address_pools::add(cloud.app(), "ist2", &pool).await.unwrap().pool;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/addresses");
    let added = change(&cloud, &alice, "POST", &path, "").await;
    assert_eq!(added["address"], "203.0.113.3");
    let expected = json!({"addresses": [
        {"address": "203.0.113.2", "prefix": 24, "gateway": "203.0.113.1", "further": false},
        {"address": "203.0.113.3", "prefix": 32, "gateway": "203.0.113.1", "further": true},
    ]});
    assert_eq!(alice.send("GET", &path, "").await.json(), expected);
    assert_eq!(json!(nic(&cloud, server).more_ipv4), json!(["203.0.113.3"]));
    // The document's own shape has one address, and it stays the server's own.
    assert_eq!(alice.servers().await[0]["networks"]["v4"]["ip"], "203.0.113.2");

    // Its names follow: each address leads to the server's name, which leads to all of them.
    let named = names::all(cloud.app().store()).await.unwrap();
    let contents = zones::contents(&cloud.app().config().dns, std::slice::from_ref(&pool), &named);
    let records = format!("{contents:?}");
    assert!(records.contains("3.113.0.203.in-addr.arpa"), "{records}");
    assert!(records.contains("A(203.0.113.3)"), "{records}");

    change(&cloud, &alice, "POST", &path, "").await;
    problem(&alice.send("POST", &path, "").await, 403, "a server can have 2");
    let bobs = cloud.customer("bob").await;
    let form = "name=web2&region=ist2&package=eos1&image=tiny";
    let full = bobs.send("POST", "/v1/server/create", form).await;
    assert!(full.refusal(409).contains("no free IPv4 address"));
    for (address, status, word) in [
        ("203.0.113.2", 400, "made with"),
        ("203.0.113.9", 400, "has no further address"),
        ("fd00::1", 400, "further IPv4 address"),
    ] {
        problem(&alice.send("DELETE", &format!("{path}/{address}"), "").await, status, word);
    }
    // As long as it leads to the machine it is nobody else's; then it rests.
    let removed = alice.send("DELETE", &format!("{path}/203.0.113.3"), "").await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    let used = async || address_pools::find(cloud.app(), pool.id).await.unwrap();
    assert_eq!((used().await.used, used().await.resting), (3, 0));
    cloud.run_until_idle().await;
    assert_eq!((used().await.used, used().await.resting), (2, 1));
    assert_eq!(json!(nic(&cloud, server).more_ipv4), json!(["203.0.113.4"]));
    bobs.send("POST", "/v1/server/create", form).await.refusal(409);
    cloud.app().clock().advance(MINUTE);
    let bob = bobs.running_server("web2").await;
    assert_eq!(json!(nic(&cloud, bob).ipv4.unwrap().address), json!("203.0.113.3"));
    problem(&bobs.send("POST", &format!("/v2/servers/{bob}/addresses"), "").await, 409, "no free IPv4");
    // All of it goes with the server.
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!((used().await.used, used().await.resting), (1, 2));
}

#[tokio::test]
async fn further_addresses_come_and_go_with_quota_rest_and_names_on_sqlite() {
    further_addresses_come_and_go(Database::Sqlite).await;
}

#[tokio::test]
async fn further_addresses_come_and_go_with_quota_rest_and_names_on_postgresql() {
    further_addresses_come_and_go(Database::Postgres).await;
}

#[tokio::test]
async fn a_change_that_is_sent_again_under_its_key_happens_once() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let bearer = format!("Bearer {}", alice.token);
    let send = async |method: &str, path: &str, key: &str, form: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("idempotency-key", key),
        ];
        cloud.send(method, &format!("/v2/servers/{server}/{path}"), &headers, form).await
    };
    for (method, path, form) in [
        ("POST", "addresses", ""),
        ("PUT", "firewall", "rules=in deny tcp"),
        ("POST", "firewall", "direction=in&action=deny"),
        ("DELETE", "firewall/1", ""),
    ] {
        let key = format!("{method} {path}");
        let first = send(method, path, &key, form).await;
        assert_eq!(first.status, 200, "{key}: {}", first.text);
        cloud.run_until_idle().await;
        let done = cloud.state().await;
        let again = send(method, path, &key, form).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{key}");
        assert_eq!(
            send(method, path, &key, "direction=out&action=deny&rules=in deny udp").await.status,
            409,
            "{key}"
        );
        assert_eq!(done, cloud.state().await, "{key}");
    }
}

async fn rates(customer: &Customer<'_>, server: i64) -> Value {
    customer.send("GET", &format!("/v2/servers/{server}"), "").await.json()["rates"].clone()
}

async fn a_look(cloud: &TestCloud) {
    cloud.app().clock().advance(MINUTE);
    reconciler::sample(cloud.app()).await;
    reconciler::hold_to_rates(cloud.app()).await.unwrap();
    cloud.run_until_idle().await;
}

async fn events(customer: &Customer<'_>) -> usize {
    customer.send("GET", "/v1/event/list", "").await.data().as_array().unwrap().len()
}

/// What the owner is told of the limit, and by the last event.
async fn limit(customer: &Customer<'_>, server: i64) -> (Value, String) {
    let native = customer.send("GET", &format!("/v2/servers/{server}"), "").await.json();
    let events = customer.send("GET", "/v1/event/list", "").await.data();
    let last = events.as_array().unwrap().last().unwrap()["message"].as_str().unwrap_or_default().to_owned();
    (native["traffic_limit"].clone(), last)
}

async fn rates_follow_the_package_and_the_limit(database: Database) {
    let cloud = TestCloud::on(database).await;
    let app = cloud.app();
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    let unheld = json!({"down_bps": null, "up_bps": null});
    assert_eq!(rates(&alice, server).await, unheld);
    let machine = |cloud: &TestCloud| {
        let held = nic(cloud, server).rates;
        (held.down_bps, held.up_bps)
    };
    // The package gets rates: its servers that are there follow, new ones are made with them.
    rate_verbs::set(app, "eos1", Some(100_000_000), None).await.unwrap();
    rate_verbs::set(app, "eos3", Some(200_000_000), Some(200_000_000)).await.unwrap();
    let before = events(&alice).await;
    a_look(&cloud).await;
    assert_eq!(rates(&alice, server).await, json!({"down_bps": 100_000_000, "up_bps": null}));
    assert_eq!(machine(&cloud), (100_000_000, 0));
    assert_eq!(events(&alice).await, before + 1, "its owner sees the event");
    a_look(&cloud).await;
    assert_eq!(events(&alice).await, before + 1, "what is so is left alone");
    let other = alice.running_server("web2").await;
    assert_eq!(nic(&cloud, other).rates.down_bps, 100_000_000);

    // All traffic is used: slow, until the month is over.
    traffic_verbs::set_at_limit(app, "eos1", AtLimit::Slow).await.unwrap();
    rate_verbs::set_slow(app, "eos1", 2_000_000).await.unwrap();
    a_look(&cloud).await;
    assert_eq!(machine(&cloud), (100_000_000, 0), "it has moved next to nothing");
    let used = Usage { sent_bytes: BYTES_PER_TB, ..Usage::default() };
    cloud.world().add_usage(ServerId(server), &used);
    a_look(&cloud).await;
    assert_eq!(machine(&cloud), (2_000_000, 2_000_000));
    assert_eq!(alice.servers().await[0]["state"], "Running");
    let (_, lines) = traffic_verbs::month(app, None).await.unwrap();
    assert!(lines.iter().any(|line| line.server == ServerId(server) && line.slowed_at.is_some()));
    assert_eq!(nic(&cloud, other).rates.down_bps, 100_000_000, "only who has used it");
    let slowed_at = lines.iter().find(|line| line.server == ServerId(server)).unwrap().slowed_at.unwrap();
    let (held, message) = limit(&alice, server).await;
    let until = "2026-02-01T00:00:00Z";
    assert_eq!(held, json!({"action": "slow", "since": slowed_at.wire(), "until": until}));
    assert!(message.contains("slowed down until 2026-02-01T00:00:00Z"), "{message}");
    assert_eq!(limit(&alice, other).await.0, Value::Null);
    // It stays so over a restart of the machine, and the operator may let it use more.
    alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
    cloud.run_until_idle().await;
    alice.send("POST", &format!("/v1/server/{server}/start"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(machine(&cloud), (2_000_000, 2_000_000));
    traffic_verbs::set_allowed(app, ServerId(server), true).await.unwrap();
    a_look(&cloud).await;
    assert_eq!(machine(&cloud), (100_000_000, 0));
    assert_eq!(limit(&alice, server).await, (Value::Null, "The server has the rates of its package.".into()));
    traffic_verbs::set_allowed(app, ServerId(server), false).await.unwrap();
    a_look(&cloud).await;
    assert_eq!(machine(&cloud), (2_000_000, 2_000_000));

    // The next month begins anew.
    let now = app.clock().now();
    let month = bulut_model::traffic_month::Month::of(now).next().begin();
    app.clock().advance(month.since(now));
    a_look(&cloud).await;
    assert_eq!(machine(&cloud), (100_000_000, 0));
    // Another package has its own, at once with the upgrade.
    let alice = cloud.sign_in(&account).await;
    let form = "package=eos3&type=flexible";
    alice.send("POST", &format!("/v1/server/{server}/upgrade_package"), form).await.data();
    cloud.run_until_idle().await;
    assert_eq!(machine(&cloud), (200_000_000, 200_000_000));
    assert_eq!(rates(&alice, server).await, json!({"down_bps": 200_000_000, "up_bps": 200_000_000}));
    let seen = events(&alice).await;
    a_look(&cloud).await;
    assert_eq!(events(&alice).await, seen);
}

#[tokio::test]
async fn rates_follow_the_package_and_the_traffic_limit_on_sqlite() {
    rates_follow_the_package_and_the_limit(Database::Sqlite).await;
}

#[tokio::test]
async fn rates_follow_the_package_and_the_traffic_limit_on_postgresql() {
    rates_follow_the_package_and_the_limit(Database::Postgres).await;
}

#[tokio::test]
async fn what_a_guest_forged_is_shown_over_all_its_life() {
    let mut cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let account = alice.account.clone();
    let server = alice.running_server("web1").await;
    let mut all = 0;
    for frames in [3, 0, 4] {
        cloud.world().add_usage(ServerId(server), &Usage { forged_frames: frames, ..Usage::default() });
        all += frames;
        // Its counters end with the machine, and the process knows them no more than that.
        cloud.restart().await;
        let alice = cloud.sign_in(&account).await;
        for verb in ["stop", "start"] {
            alice.send("POST", &format!("/v1/server/{server}/{verb}"), "").await.data();
            cloud.run_until_idle().await;
        }
        let counted = |cloud: &TestCloud, frames| {
            let (page, line) =
                (cloud.app().metrics().render(), format!("bulut_forged_frames_total {frames}\n"));
            assert!(page.contains(&line), "{page}");
        };
        // The machine's end told of them; what comes later is told by the look of the minute.
        counted(&cloud, frames);
        cloud.world().add_usage(ServerId(server), &Usage { forged_frames: 2, ..Usage::default() });
        all += 2;
        reconciler::sample(cloud.app()).await;
        counted(&cloud, frames + 2);
        let native = alice.send("GET", &format!("/v2/servers/{server}"), "").await.json();
        assert_eq!(native["forged_frames"], all);
        let (_, lines) = traffic_verbs::month(cloud.app(), None).await.unwrap();
        assert_eq!((lines[0].server, lines[0].forged_frames), (ServerId(server), all));
    }
}

#[tokio::test]
async fn nodes_are_told_of_pools_that_come_and_go() {
    let cloud = TestCloud::new().await;
    let (app, told) = (cloud.app(), Told::default());
    let known = || -> Vec<String> {
        let pools = cloud.world().pools();
        pools.iter().map(|it| format!("{}/{} {}", it.address, it.prefix, it.private)).collect()
    };
    pools::look(app, &told).await.unwrap();
    let first = known();
    assert!(first.iter().all(|it| it.ends_with("true")), "the pools of a new cloud are private: {first:?}");
    assert!(!first.is_empty());
    let pool = |addresses: &str| Wanted {
        addresses: addresses.into(),
        resolvers: vec!["9.9.9.9".parse().unwrap()],
        ..Wanted::default()
    };
    address_pools::add(app, "ist2", &pool("198.51.100.0/24")).await.unwrap();
    let private = address_pools::add(app, "ist2", &pool("172.20.5.0/24")).await.unwrap().pool.id;
    // The node is away for the first look.
    cloud.world().fail(Verb::SetPools, FailWith::times(Fail::Unreachable, 1));
    assert!(pools::look(app, &told).await.is_err());
    pools::look(app, &told).await.unwrap();
    let [public, private_one] = ["198.51.100.0/24 false", "172.20.5.0/24 true"].map(str::to_owned);
    assert_eq!(known(), [first.clone(), vec![public.clone(), private_one]].concat());
    address_pools::set_draining(app, private, true).await.unwrap();
    address_pools::remove(app, private).await.unwrap();
    pools::look(app, &told).await.unwrap();
    assert_eq!(known(), [first, vec![public]].concat());
}
