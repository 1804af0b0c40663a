//! What a balance does not cover is refused, and nothing has changed.

use super::{HOUR, balance, done};
use bulut::domain::{accounts, charging};
use bulut_model::price::WhenStopped;
use bulut_model::{AccountId, Micros};
use bulut_store::ledger::{self, Entry};
use bulut_store::{accounts as account_rows, holds, packages, prices};
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Database, TestCloud};

/// Takes all of a balance but so much.
async fn leave(cloud: &TestCloud, account: AccountId, micros: i64) {
    let store = cloud.app().store();
    let has = ledger::balance(store, account).await.unwrap();
    let spent = Micros(has.0 - micros);
    let entries = [
        Entry { book: "customer", account: Some(account), amount: -spent },
        Entry { book: "credits", account: None, amount: spent },
    ];
    let key = format!("test/{}", has.0);
    ledger::post(store, &key, "correction", "Spent", &key, &entries, cloud.app().clock().now())
        .await
        .unwrap();
}

const ORDER: &str = "name=web1&region=ist2&package=eos1&image=tiny";
/// 24 hours of eos1 at 0.0074.
const COVER: i64 = 177_600;

#[tokio::test]
async fn an_order_that_the_balance_does_not_cover_is_refused_and_names_what_is_missing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    leave(&cloud, alice.account.id, COVER - 1).await;
    let before = cloud.state().await;
    let refused = alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
    assert!(refused.contains("0.000001 EUR are missing"), "{refused}");
    assert_eq!(cloud.state().await, before);
    assert_eq!(holds::hourly(cloud.app().store(), alice.account.id).await.unwrap(), Micros::ZERO);
    leave(&cloud, alice.account.id, COVER).await;
    alice.running_server("web1").await;
    // What is there counts: nothing is left for a second one, nor for a larger one.
    let refused = alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
    assert!(refused.contains("0.1776 EUR are missing"), "{refused}");
}

#[tokio::test]
async fn an_upgrade_needs_what_it_costs_more_and_a_downgrade_nothing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let path = format!("/v1/server/{server}/upgrade_package");
    leave(&cloud, alice.account.id, 24 * 15_000 - 5).await;
    let before = cloud.state().await;
    let refused = alice.send("POST", &path, "package=eos2&type=flexible").await.refusal(402);
    assert!(refused.contains("0.000005 EUR are missing"), "{refused}");
    assert_eq!(cloud.state().await, before);
    leave(&cloud, alice.account.id, 24 * 15_000).await;
    done(&cloud, &alice, "POST", &path, "package=eos2&type=flexible").await;
    leave(&cloud, alice.account.id, 0).await;
    done(&cloud, &alice, "POST", &path, "package=eos1&type=flexible").await;
    assert_eq!(alice.servers().await[0]["package"], "eos1");
}

#[tokio::test]
async fn what_has_accrued_since_the_last_charge_is_spent_already() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    leave(&cloud, alice.account.id, 2 * COVER).await;
    cloud.app().clock().advance(HOUR / 2);
    let store = cloud.app().store();
    let available = charging::available(store, alice.account.id, cloud.app().clock().now()).await.unwrap();
    assert_eq!(available, Micros(2 * COVER - 3_700));
    let refused = alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
    assert!(refused.contains("0.0037 EUR are missing"), "{refused}");
}

#[tokio::test]
async fn orders_at_the_same_time_never_spend_a_balance_twice() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        // Enough for seven and almost another one.
        leave(&cloud, alice.account.id, 8 * COVER - 1).await;
        let orders = (0..20).map(|i| {
            let (alice, form) = (&alice, format!("name=web{i}&region=ist2&package=eos1&image=tiny"));
            async move { alice.send("POST", "/v1/server/create", &form).await.status.as_u16() }
        });
        let statuses = futures_util::future::join_all(orders).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 402).count(), 13, "{statuses:?}");
        cloud.run_until_idle().await;
        // Nobody may order more, and a day later the balance is not below zero.
        alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
        cloud.app().clock().advance(24 * HOUR);
        super::charge(&cloud).await;
        let left = balance(&cloud, &alice).await;
        assert_eq!(left, Micros(COVER - 1));
    }
}

#[tokio::test]
async fn a_failed_order_frees_what_it_held() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    leave(&cloud, alice.account.id, COVER).await;
    cloud.fault("server_create.ensure_disk.before", bulut::faults::Fault::Fatal, 1);
    alice.order_server("web1").await;
    alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
    cloud.run_until_idle().await;
    alice.running_server("web2").await;
}

#[tokio::test]
async fn who_pays_later_and_a_cloud_without_money_are_never_refused() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    leave(&cloud, alice.account.id, 0).await;
    alice.send("POST", "/v1/server/create", ORDER).await.refusal(402);
    account_rows::set_postpaid(cloud.app().store(), alice.account.id, true).await.unwrap();
    alice.running_server("web1").await;
    cloud.app().clock().advance(HOUR);
    super::charge(&cloud).await;
    assert_eq!(balance(&cloud, &alice).await, Micros(-7_400));
    assert!(accounts::named(cloud.app(), "alice").await.unwrap().is_postpaid);

    let off = Setup { configure: |config| config.billing.enabled = false, ..Setup::default() };
    let cloud = TestCloud::with(off).await;
    let bob = cloud.customer("bob").await;
    leave(&cloud, bob.account.id, 0).await;
    bob.running_server("web1").await;
    cloud.app().clock().advance(HOUR);
    assert_eq!((super::charge(&cloud).await, balance(&cloud, &bob).await), (0, Micros::ZERO));
}

#[tokio::test]
async fn a_start_needs_what_it_costs_more_than_standing_still() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let store = cloud.app().store();
    let eos1 = packages::find(store, "eos1").await.unwrap().unwrap().id;
    prices::set_when_stopped(store, eos1, WhenStopped::None).await.unwrap();
    let server = alice.running_server("web1").await;
    done(&cloud, &alice, "POST", &format!("/v1/server/{server}/stop"), "").await;
    leave(&cloud, alice.account.id, COVER - 1).await;
    for (verb, form) in [("start", ""), ("reboot", ""), ("refresh_install", "image=tiny")] {
        let path = format!("/v1/server/{server}/{verb}");
        let refused = alice.send("POST", &path, form).await.refusal(402);
        assert!(refused.contains("0.000001 EUR are missing"), "{verb}: {refused}");
    }
    assert_eq!(alice.servers().await[0]["state"], "Stopped");
    leave(&cloud, alice.account.id, COVER).await;
    done(&cloud, &alice, "POST", &format!("/v1/server/{server}/start"), "").await;
    assert_eq!(alice.servers().await[0]["state"], "Running");
}
