//! What a server is called: every step failing, dying and repeated; who may have which name; and what the zones hold.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::config::Config;
use bulut::domain::access::Caller;
use bulut::domain::names;
use bulut::faults::Fault;
use bulut::operations::step::OnFailure;
use bulut::operations::{definition, engine};
use bulut::reconcile::names as served;
use bulut_compute::Stop;
use bulut_dns::Data;
use bulut_model::ServerId;
use bulut_model::error::Kind;
use bulut_model::operation::OperationKind;
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Customer, Database, TestCloud};
use std::collections::BTreeMap;

const KIND: OperationKind = OperationKind::ServerHostname;
const NEW: &str = "new.example.com";
const ZONE: &str = "cloud.example";
const REVERSE: &str = "112.86.10.in-addr.arpa";

fn with_names(config: &mut Config) {
    config.dns.zone = Some(ZONE.into());
    // Nobody binds it here; it says that there is something to serve.
    config.dns.listen = vec!["127.0.0.1:5353".parse().unwrap()];
}

async fn cloud(database: Database) -> TestCloud {
    TestCloud::with(Setup { database, configure: with_names, ..Setup::default() }).await
}

/// Whether the guest runs, and has an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    Talks,
    Mute,
    Off,
}

const GUESTS: [Guest; 3] = [Guest::Talks, Guest::Mute, Guest::Off];

async fn set(cloud: &TestCloud, alice: &Customer<'_>, guest: Guest) -> i64 {
    let server = alice.running_server("web1").await;
    cloud.world().set_agent(ServerId(server), guest != Guest::Mute);
    if guest == Guest::Off {
        alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
        cloud.run_until_idle().await;
    }
    served::refresh(cloud.app()).await.unwrap();
    server
}

async fn rename(
    cloud: &TestCloud,
    alice: &Customer<'_>,
    server: i64,
    name: &str,
) -> bulut_model::Result<i64> {
    let caller = Caller::new(alice.account.clone());
    Ok(names::set_reverse(cloud.app(), &caller, ServerId(server), name).await?.0)
}

/// What addresses lead to and names lead to, in all zones; and the zones' serials.
async fn zones(cloud: &TestCloud) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, u32>) {
    let mut records: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut serials = BTreeMap::new();
    for zone in served::show(cloud.app()).await.unwrap() {
        let served = cloud.app().names().served().current();
        let serial = served.zone(&zone.content.origin).map(bulut_dns::Zone::serial);
        assert_eq!(serial, zone.serial, "what is served is what is stored: {}", zone.content.origin);
        serials.insert(zone.content.origin.clone(), zone.serial.unwrap());
        for record in zone.content.records {
            let value = match record.data {
                Data::Ptr(target) => target,
                Data::A(address) => address.to_string(),
                Data::Aaaa(address) => address.to_string(),
            };
            records.entry(record.owner).or_default().push(value);
        }
    }
    (records, serials)
}

/// What the server's IPv4 address leads to.
async fn leads_to(cloud: &TestCloud, server: i64) -> Vec<String> {
    let row = bulut_store::servers::find(cloud.app().store(), ServerId(server)).await.unwrap().unwrap();
    let owner = bulut_dns::reverse::owner(row.ipv4.unwrap().address.into());
    zones(cloud).await.0.remove(&owner).unwrap_or_default()
}

/// The row, the seed, the guest (now, or after its next boot) and the address have the name.
async fn assert_called(cloud: &TestCloud, alice: &Customer<'_>, server: i64, guest: Guest, context: &str) {
    let id = ServerId(server);
    let shown = alice.servers().await.remove(0);
    assert_eq!(shown["hostname"], NEW, "{context}");
    assert_eq!(leads_to(cloud, server).await, [NEW], "{context}");
    let seed = cloud.world().machine(id).unwrap().spec.unwrap().seed;
    assert_eq!((seed.hostname.as_str(), seed.renamed), (NEW, true), "{context}");
    let now = if guest == Guest::Talks { NEW } else { "web1" };
    assert_eq!(cloud.world().hostname_of(id).unwrap(), now, "{context}");
    assert_eq!(shown["state"], if guest == Guest::Off { "Stopped" } else { "Running" }, "{context}");
    let driver = cloud.app().driver(cloud.node()).unwrap();
    driver.reboot(id, Stop::Force).await.unwrap();
    assert_eq!(cloud.world().hostname_of(id).unwrap(), NEW, "after a boot: {context}");
}

#[tokio::test]
async fn a_new_name_is_in_the_guest_now_or_at_its_next_boot_and_its_addresses_lead_to_it() {
    for database in [Database::Sqlite, Database::Postgres] {
        for guest in GUESTS {
            let cloud = cloud(database).await;
            let alice = cloud.customer("alice").await;
            let server = set(&cloud, &alice, guest).await;
            assert_eq!(leads_to(&cloud, server).await, [format!("server-{server}.{ZONE}")]);
            let event = rename(&cloud, &alice, server, NEW).await.unwrap();
            assert_eq!(
                leads_to(&cloud, server).await,
                [format!("server-{server}.{ZONE}")],
                "not before it is done"
            );
            cloud.run_until_idle().await;
            let event = alice.event(event).await;
            assert_eq!(
                (&event["status"], &event["event"]),
                (&1.into(), &"VM.UPDATE".into()),
                "{guest:?}: {event}"
            );
            let remark = event["message"].as_str().unwrap_or_default();
            match guest {
                Guest::Talks => assert_eq!(remark, ""),
                Guest::Mute => {
                    assert!(remark.contains("No agent") && remark.contains("next boot"), "{remark}")
                }
                Guest::Off => assert!(remark.contains("does not run"), "{remark}"),
            }
            assert_called(&cloud, &alice, server, guest, &format!("{guest:?}")).await;
        }
    }
}

fn points(moment: &str) -> Vec<(String, bool)> {
    let point = |name: &str| format!("{}.{name}.{moment}", KIND.as_str());
    definition(KIND).steps.iter().map(|step| (point(step.name), !step.insists)).collect()
}

/// All that could have been altered.
async fn picture(cloud: &TestCloud, alice: &Customer<'_>, server: i64) -> String {
    let spec = cloud.world().machine(ServerId(server)).unwrap().spec;
    let called = cloud.world().hostname_of(ServerId(server));
    format!("{:#?} {spec:#?} {called:?} {:#?}", alice.servers().await, zones(cloud).await)
}

#[tokio::test]
async fn a_name_that_cannot_be_given_changes_nothing() {
    assert!(definition(KIND).on_failure == OnFailure::Undo);
    for guest in GUESTS {
        for moment in ["before", "after"] {
            for (point, fails) in points(moment) {
                let cloud = cloud(Database::Sqlite).await;
                let alice = cloud.customer("alice").await;
                let server = set(&cloud, &alice, guest).await;
                let before = picture(&cloud, &alice, server).await;
                cloud.fault(&point, Fault::Fatal, 1);
                let event = rename(&cloud, &alice, server, NEW).await.unwrap();
                cloud.run_until_idle().await;
                let event = alice.event(event).await;
                let context = format!("{point}, {guest:?}: {event}");
                if fails {
                    assert_eq!(event["status"], -1, "{context}");
                    assert!(event["message"].as_str().unwrap().contains("could not be"), "{context}");
                    assert_eq!(picture(&cloud, &alice, server).await, before, "{context}");
                } else {
                    assert_eq!(event["status"], 1, "{context}");
                    assert_called(&cloud, &alice, server, guest, &context).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_new_name_that_dies_at_any_step_is_given_after_a_restart() {
    for database in [Database::Sqlite, Database::Postgres] {
        for moment in ["before", "after"] {
            for (point, _) in points(moment) {
                let mut cloud = cloud(database).await;
                let (account, server) = {
                    let alice = cloud.customer("alice").await;
                    let server = set(&cloud, &alice, Guest::Talks).await;
                    cloud.fault(&point, Fault::Die, 1);
                    rename(&cloud, &alice, server, NEW).await.unwrap();
                    (alice.account, server)
                };
                engine::run_due(cloud.app()).await.unwrap();
                cloud.restart().await;
                cloud.run_until_idle().await;
                served::refresh(cloud.app()).await.unwrap();
                let alice = cloud.sign_in(&account).await;
                assert_called(&cloud, &alice, server, Guest::Talks, &point).await;
            }
        }
    }
}

#[tokio::test]
async fn a_new_name_whose_undoing_dies_is_undone_after_a_restart() {
    for step in definition(KIND).steps.iter().filter(|step| step.undo.is_some()) {
        let mut cloud = cloud(Database::Sqlite).await;
        let point = format!("{}.{}", KIND.as_str(), step.name);
        let (account, server, before) = {
            let alice = cloud.customer("alice").await;
            let server = set(&cloud, &alice, Guest::Talks).await;
            let before = picture(&cloud, &alice, server).await;
            cloud.fault(&format!("{point}.after"), Fault::Fatal, 1);
            cloud.fault(&format!("{point}.undo.after"), Fault::Die, 1);
            rename(&cloud, &alice, server, NEW).await.unwrap();
            (alice.account, server, before)
        };
        engine::run_due(cloud.app()).await.unwrap();
        cloud.restart().await;
        cloud.run_until_idle().await;
        served::refresh(cloud.app()).await.unwrap();
        let alice = cloud.sign_in(&account).await;
        assert_eq!(picture(&cloud, &alice, server).await, before, "at {point}");
    }
}

#[tokio::test]
async fn only_what_is_a_whole_name_is_taken_and_nothing_changes_otherwise() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    let server = set(&cloud, &alice, Guest::Talks).await;
    let before = picture(&cloud, &alice, server).await;
    for bad in ["", "localhost", "a..b", "-a.example", "a_b.example", "a.b.", "1.2.3.4", "a b.c", "é.example"]
    {
        let refused = rename(&cloud, &alice, server, bad).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid { field: "hostname".into() }, "{bad}");
    }
    let mallory = cloud.customer("mallory").await;
    let refused = rename(&cloud, &mallory, server, NEW).await.unwrap_err();
    assert_eq!(refused.kind, Kind::NotFound);
    assert_eq!(picture(&cloud, &alice, server).await, before);
    rename(&cloud, &alice, server, NEW).await.unwrap();
    let refused = rename(&cloud, &alice, server, "other.example.com").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_name_of_the_providers_zone_belongs_to_one_server_and_the_zones_own_to_none() {
    let cloud = cloud(Database::Sqlite).await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    let (first, second) = (alice.running_server("web1").await, bob.running_server("web1").await);
    rename(&cloud, &alice, first, "Shop.Cloud.Example").await.unwrap();
    for (taken, why) in [
        ("shop.cloud.example", "another order has taken it"),
        ("cloud.example", "the zone itself"),
        ("ns1.cloud.example", "its server of names"),
        (&format!("server-{first}.cloud.example"), "another server's default"),
        ("server-99.cloud.example", "some later server's default"),
    ] {
        let refused = rename(&cloud, &bob, second, taken).await.unwrap_err();
        assert_eq!(refused.kind, Kind::AlreadyExists, "{taken}: {why}");
    }
    cloud.run_until_idle().await;
    let (records, _) = zones(&cloud).await;
    let address = alice.servers().await[0]["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
    assert!(records["shop.cloud.example"].contains(&address), "it leads forth: {records:?}");
    assert_eq!(leads_to(&cloud, first).await, ["Shop.Cloud.Example"], "and back");
    rename(&cloud, &bob, second, &format!("server-{second}.cloud.example")).await.unwrap();
    rename(&cloud, &alice, first, "elsewhere.example").await.unwrap();
    cloud.run_until_idle().await;
    rename(&cloud, &bob, second, "shop.cloud.example").await.unwrap();
    cloud.run_until_idle().await;
    assert_eq!(leads_to(&cloud, second).await, ["shop.cloud.example"], "it was free again");
    // An order that comes to nothing takes nothing.
    cloud.fault("server_hostname.set_hostname.before", Fault::Fatal, 1);
    rename(&cloud, &alice, first, "mail.cloud.example").await.unwrap();
    cloud.run_until_idle().await;
    rename(&cloud, &bob, second, "mail.cloud.example").await.unwrap();
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn serials_rise_with_their_zones_and_with_nothing_else_over_restarts() {
    let mut cloud = cloud(Database::Sqlite).await;
    let account = cloud.customer("alice").await.account;
    let server = {
        let alice = cloud.sign_in(&account).await;
        set(&cloud, &alice, Guest::Talks).await
    };
    let (_, begun) = zones(&cloud).await;
    cloud.restart().await;
    served::refresh(cloud.app()).await.unwrap();
    assert_eq!(zones(&cloud).await.1, begun, "a restart is no change");
    let alice = cloud.sign_in(&account).await;
    let mut last = begun.clone();
    for name in ["a.example", "b.example", "c.example"] {
        rename(&cloud, &alice, server, name).await.unwrap();
        cloud.run_until_idle().await;
        let (_, now) = zones(&cloud).await;
        assert!(bulut_dns::serial::is_after(now[REVERSE], last[REVERSE]), "{name}: {now:?} after {last:?}");
        assert_eq!(now[ZONE], last[ZONE], "names elsewhere change nothing in our zone");
        last = now;
    }
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    served::refresh(cloud.app()).await.unwrap();
    let (records, now) = zones(&cloud).await;
    assert!(bulut_dns::serial::is_after(now[ZONE], last[ZONE]));
    assert!(bulut_dns::serial::is_after(now[REVERSE], last[REVERSE]));
    assert_eq!(records.keys().collect::<Vec<_>>(), ["ns1.cloud.example"], "nothing is left of it");
}

#[tokio::test]
async fn the_native_call_tells_what_a_server_is_called_and_what_others_make_of_it() {
    let cloud = cloud(Database::Sqlite).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/hostname");
    let called = alice.send("GET", &path, "").await.json();
    let default = format!("server-{server}.{ZONE}");
    assert_eq!((&called["hostname"], &called["reverse_name"]), (&"web1".into(), &default.as_str().into()));
    assert!(called["warning"].is_null(), "we answer for it ourselves: {called}");
    let refused = alice.send("PUT", &path, "hostname=nodots").await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["detail"].as_str().unwrap().contains("hostname"), "{}", refused.text);
    let ordered = alice.send("PUT", &path, "hostname=shop.cloud.example").await.json();
    assert_eq!(
        (&ordered["hostname"], &ordered["warning"]),
        (&"shop.cloud.example".into(), &serde_json::Value::Null)
    );
    cloud.run_until_idle().await;
    assert_eq!(alice.event(ordered["event_id"].as_i64().unwrap()).await["status"], 1);
    let called = alice.send("GET", &path, "").await.json();
    assert_eq!(
        (&called["hostname"], &called["default_name"]),
        (&"shop.cloud.example".into(), &default.into())
    );
    let mallory = cloud.customer("mallory").await;
    assert_eq!(mallory.send("GET", &path, "").await.status, 404);
}
