//! What further addresses and traffic beyond the package cost: measured from what happens to them, to the byte.

use super::{HOUR, charge, of_server};
use bulut::domain::{metering, traffic as verbs};
use bulut::reconcile::traffic as reconciler;
use bulut_compute::Usage;
use bulut_model::interval::{Interval, State, Subject};
use bulut_model::price::Priced;
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB};
use bulut_model::{Micros, ServerId};
use bulut_store::{intervals, prices};
use bulut_testkit::{Customer, Database, TestCloud};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

async fn set_price(cloud: &TestCloud, of: Priced, unit: i64) {
    let (store, now) = (cloud.app().store(), cloud.app().clock().now());
    prices::insert(store, of, Micros(unit), None, now).await.unwrap();
}

/// The intervals of this kind.
async fn kind(cloud: &TestCloud, customer: &Customer<'_>, server: i64, word: &str) -> Vec<Interval> {
    let all = of_server(cloud, customer, server).await;
    all.into_iter().filter(|it| it.subject.kind() == word).collect()
}

async fn change(cloud: &TestCloud, customer: &Customer<'_>, method: &str, path: &str) -> String {
    let answer = cloud.sign_in(&customer.account).await.send(method, path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    cloud.run_until_idle().await;
    answer.json()["address"].as_str().unwrap().to_owned()
}

async fn addresses_cost_while_they_lead_somewhere(database: Database) {
    let cloud = TestCloud::on(database).await;
    set_price(&cloud, Priced::Address, 900).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v2/servers/{server}/addresses");
    let first = change(&cloud, &alice, "POST", &path).await;
    change(&cloud, &alice, "POST", &path).await;
    let open = kind(&cloud, &alice, server, "address").await;
    assert_eq!(open.len(), 2);
    for it in &open {
        assert_eq!((it.terms.state, it.terms.unit_price, it.closed_at), (State::Kept, Micros(900), None));
    }
    cloud.app().clock().advance(HOUR);
    change(&cloud, &alice, "DELETE", &format!("{path}/{first}")).await;
    let now = kind(&cloud, &alice, server, "address").await;
    assert_eq!(now.iter().filter(|it| it.closed_at.is_none()).count(), 1);
    let closed = now.iter().find_map(|it| it.closed_at.map(|at| at.since(it.opened_at))).unwrap();
    assert!(closed >= HOUR && closed < HOUR + MINUTE, "{closed:?}");
    // A change that fails costs nothing.
    cloud.fault("server_network.apply_network.after", bulut::faults::Fault::Fatal, 1);
    cloud.sign_in(&alice.account).await.send("POST", &path, "").await;
    cloud.run_until_idle().await;
    assert_eq!(kind(&cloud, &alice, server, "address").await.len(), 2);
    // The order that ends the server ends all of it.
    let destroy = format!("/v1/server/{server}/destroy");
    cloud.sign_in(&alice.account).await.send("DELETE", &destroy, "").await.data();
    assert!(kind(&cloud, &alice, server, "address").await.iter().all(|it| it.closed_at.is_some()));
    cloud.run_until_idle().await;
    assert_eq!(intervals::list_open(cloud.app().store()).await.unwrap(), []);
}

#[tokio::test]
async fn further_addresses_cost_while_they_lead_to_their_server_on_sqlite() {
    addresses_cost_while_they_lead_somewhere(Database::Sqlite).await;
}

#[tokio::test]
async fn further_addresses_cost_while_they_lead_to_their_server_on_postgresql() {
    addresses_cost_while_they_lead_somewhere(Database::Postgres).await;
}

#[tokio::test]
async fn an_address_that_the_balance_does_not_cover_is_refused_and_not_taken() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    set_price(&cloud, Priced::Address, 1_000_000_000).await;
    let before = cloud.state().await;
    let refused = alice.send("POST", &format!("/v2/servers/{server}/addresses"), "").await;
    assert_eq!(refused.status, 402, "{}", refused.text);
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn addresses_that_were_there_before_money_are_metered_from_then_on() {
    let off = bulut_testkit::cloud::Setup {
        configure: |config| config.billing.enabled = false,
        ..bulut_testkit::cloud::Setup::default()
    };
    let mut cloud = TestCloud::with(off).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    change(&cloud, &alice, "POST", &format!("/v2/servers/{server}/addresses")).await;
    assert_eq!(intervals::list_open(cloud.app().store()).await.unwrap(), []);
    cloud.configure(|config| config.billing.enabled = true);
    cloud.restart().await;
    metering::adopt(cloud.app()).await.unwrap();
    let open = intervals::list_open(cloud.app().store()).await.unwrap();
    let addresses = open.iter().filter(|(_, it)| matches!(it, Subject::Address(_))).count();
    assert_eq!((open.len(), addresses), (2, 1), "{open:?}");
    metering::adopt(cloud.app()).await.unwrap();
    assert_eq!(intervals::list_open(cloud.app().store()).await.unwrap().len(), 2);
}

async fn traffic_beyond_the_package(database: Database) {
    let cloud = TestCloud::on(database).await;
    set_price(&cloud, Priced::Traffic(None), 20_000).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    verbs::set_at_limit(cloud.app(), "eos1", AtLimit::Bill).await.unwrap();
    let look = async |received_bytes: u64, sent_bytes: u64| {
        let moved = Usage { received_bytes, sent_bytes, ..Usage::default() };
        cloud.world().add_usage(ServerId(server), &moved);
        cloud.app().clock().advance(MINUTE);
        for _ in 0..2 {
            reconciler::sample(cloud.app()).await;
            verbs::bill_beyond(cloud.app(), cloud.node()).await.unwrap();
        }
    };
    let beyond = async || -> u64 {
        let month = bulut_model::traffic_month::Month::of(cloud.app().clock().now());
        let store = cloud.app().store();
        let used = bulut_store::traffic_months::find(store, ServerId(server), month).await.unwrap().unwrap();
        used.total_bytes().saturating_sub(BYTES_PER_TB)
    };
    let billed = async || -> u64 {
        kind(&cloud, &alice, server, "traffic").await.iter().map(|it| it.terms.units).sum()
    };
    look(BYTES_PER_TB / 2, 0).await;
    assert_eq!((beyond().await, billed().await), (0, 0));
    // The limit lies in the middle of what is counted here: only what is beyond it costs.
    look(BYTES_PER_TB / 2, 5_000_000_000).await;
    let now = beyond().await;
    assert!(now >= 5_000_000_000, "{now}");
    assert_eq!(billed().await, now);
    cloud.app().clock().advance(HOUR);
    look(0, 7_000_000_000).await;
    assert_eq!(billed().await, beyond().await);
    assert_eq!(kind(&cloud, &alice, server, "traffic").await.len(), 2, "one for each hour");
    // What is counted at a stop is in it too, and nothing is counted twice.
    cloud.world().add_usage(ServerId(server), &Usage { sent_bytes: 3_000_000_000, ..Usage::default() });
    let alice_again = cloud.sign_in(&alice.account).await;
    alice_again.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
    cloud.run_until_idle().await;
    verbs::bill_beyond(cloud.app(), cloud.node()).await.unwrap();
    assert!(beyond().await >= 15_000_000_000);
    assert_eq!(billed().await, beyond().await);
    // What the operator allows costs nothing.
    verbs::set_allowed(cloud.app(), ServerId(server), true).await.unwrap();
    let before = billed().await;
    alice_again.send("POST", &format!("/v1/server/{server}/start"), "").await.data();
    cloud.run_until_idle().await;
    look(0, 1_000_000_000).await;
    assert_eq!(billed().await, before);
    cloud.app().clock().advance(2 * HOUR);
    assert_eq!(charge(&cloud).await, 1);
}

#[tokio::test]
async fn traffic_beyond_the_package_is_billed_to_the_byte_on_sqlite() {
    traffic_beyond_the_package(Database::Sqlite).await;
}

#[tokio::test]
async fn traffic_beyond_the_package_is_billed_to_the_byte_on_postgresql() {
    traffic_beyond_the_package(Database::Postgres).await;
}
