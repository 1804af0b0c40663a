//! Each hour is charged once, whenever and however often somebody charges.

use super::{DAY, HOUR, balance, charge, done};
use bulut_model::ledger::Transaction;
use bulut_model::rating::{between, hour_of};
use bulut_model::{AccountId, Micros};
use bulut_store::{charging, intervals, ledger};
use bulut_testkit::cloud::BEGINNING;
use bulut_testkit::{Database, TestCloud};
use std::collections::BTreeSet;
use std::time::Duration;

async fn charges(cloud: &TestCloud, account: AccountId) -> Vec<(String, Micros, String)> {
    let mut all = ledger::list(cloud.app().store(), account, None, 10_000).await.unwrap();
    all.retain(|one| one.kind == "charge");
    all.sort_by(|a, b| a.reference.cmp(&b.reference));
    let told = |one: Transaction| (one.reference, one.amount, one.created_at.wire());
    all.into_iter().map(told).collect()
}

#[tokio::test]
async fn an_hour_is_charged_when_it_has_passed_and_once() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    assert_eq!(charge(&cloud).await, 0, "no hour has passed");
    cloud.app().clock().advance(HOUR);
    assert_eq!((charge(&cloud).await, charge(&cloud).await), (1, 0));
    assert_eq!(balance(&cloud, &alice).await, Micros(50_000_000 - 7_400));
    cloud.app().clock().advance(HOUR / 2);
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{server}/destroy"), "").await;
    cloud.app().clock().advance(DAY);
    charge(&cloud).await;
    assert_eq!(balance(&cloud, &alice).await, Micros(50_000_000 - 7_400 - 3_700));
    let told = charges(&cloud, alice.account.id).await;
    assert_eq!(
        told[1],
        ("charge/2026-01-01T01:00:00Z".into(), Micros(-3_700), "2026-01-01T02:00:00Z".into())
    );
    assert_eq!(told.len(), 2);
    cloud.app().clock().advance(DAY);
    assert_eq!(charge(&cloud).await, 0, "what has nothing is not looked at");
}

/// A server that is made, stopped, made larger and removed over days, while somebody charges after each `every`.
async fn life(database: Database, every: Option<Duration>) -> Vec<(String, Micros, String)> {
    let cloud = TestCloud::on(database).await;
    let alice = cloud.customer("alice").await;
    let mut until_charge = every.unwrap_or(100 * DAY);
    let mut pass = async |mut span: Duration| {
        while span >= until_charge {
            cloud.app().clock().advance(until_charge);
            span -= until_charge;
            charge(&cloud).await;
            until_charge = every.unwrap_or(100 * DAY);
        }
        cloud.app().clock().advance(span);
        until_charge -= span;
    };
    pass(Duration::from_secs(1_234)).await;
    let server = alice.running_server("web1").await;
    let path = |verb: &str| format!("/v1/server/{server}/{verb}");
    pass(Duration::from_secs(30_000)).await;
    for (verb, form, seconds) in
        [("stop", "", 5_000), ("upgrade_package", "package=eos3", 77), ("start", "", 90_061)]
    {
        done(&cloud, &alice, "POST", &path(verb), form).await;
        pass(Duration::from_secs(seconds)).await;
    }
    done(&cloud, &alice, "DELETE", &path("destroy"), "").await;
    pass(40 * DAY).await;
    charge(&cloud).await;
    charges(&cloud, alice.account.id).await
}

#[tokio::test]
async fn the_books_do_not_depend_on_when_somebody_charged() {
    let hourly = life(Database::Sqlite, Some(HOUR)).await;
    let sum: i64 = hourly.iter().map(|(_, amount, _)| -amount.0).sum();
    // 30 000 + 5 000 s of eos1, 77 + 90 061 s of eos3; 2.0556 and 8.3333 micro-units a second. The stopped and the
    // running part of each are a line.
    assert_eq!(sum, 61_667 + 10_278 + 642 + 750_508);
    for every in [Some(Duration::from_secs(60 * 47)), Some(DAY), Some(7 * DAY), None] {
        assert_eq!(life(Database::Sqlite, every).await, hourly, "{every:?}");
    }
    assert_eq!(life(Database::Postgres, Some(DAY)).await, hourly);
}

/// Two accounts with servers and five hours to be charged, by a process that dies after each statement.
async fn dies_everywhere(database: Database) {
    let mut cloud = TestCloud::on(database).await;
    let mut ids = Vec::new();
    for name in ["alice", "bob"] {
        let customer = cloud.customer(name).await;
        customer.running_server("web1").await;
        customer.running_server("web2").await;
        ids.push(customer.account.id);
    }
    let mut deaths = 0;
    for round in 0.. {
        cloud.app().clock().advance(5 * HOUR);
        let until = hour_of(cloud.app().clock().now());
        cloud.app().store().die_after(round);
        let finished = bulut::domain::charging::run_due(cloud.app()).await.is_ok();
        deaths += usize::from(!finished);
        // The next one finds what is there and charges the rest.
        cloud.restart().await;
        charge(&cloud).await;
        for id in &ids {
            assert_eq!(
                charging::charged_until(cloud.app().store(), *id).await.unwrap(),
                until,
                "round {round}"
            );
        }
        if finished {
            break;
        }
    }
    assert!(deaths > 20, "it died {deaths} times only: there were more statements than that");
    for id in ids {
        let told = charges(&cloud, id).await;
        let hours: BTreeSet<&String> = told.iter().map(|(hour, ..)| hour).collect();
        assert_eq!(hours.len(), told.len(), "an hour was charged twice");
        let spent: Micros = told.iter().map(|(_, amount, _)| -*amount).sum();
        let all = intervals::list_all(cloud.app().store(), id).await.unwrap();
        let until = charging::charged_until(cloud.app().store(), id).await.unwrap();
        assert_eq!(spent, between(&all, BEGINNING, until), "an hour was lost");
        assert!(told.len() >= 5 * deaths, "{} hours in {deaths} rounds", told.len());
    }
}

#[tokio::test]
async fn a_process_that_dies_at_any_statement_charges_each_hour_once_on_sqlite() {
    dies_everywhere(Database::Sqlite).await;
}

#[tokio::test]
async fn a_process_that_dies_at_any_statement_charges_each_hour_once_on_postgresql() {
    dies_everywhere(Database::Postgres).await;
}

#[tokio::test]
async fn many_who_charge_at_once_charge_each_hour_once() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        alice.running_server("web1").await;
        cloud.app().clock().advance(30 * HOUR);
        let all = (0..8).map(|_| bulut::domain::charging::run_due(cloud.app()));
        for outcome in futures_util::future::join_all(all).await {
            outcome.unwrap();
        }
        assert_eq!(balance(&cloud, &alice).await, Micros(50_000_000 - 30 * 7_400));
        assert_eq!(charges(&cloud, alice.account.id).await.len(), 30);
    }
}
