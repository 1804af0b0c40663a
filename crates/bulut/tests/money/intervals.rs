//! Intervals begin and end with what they are about.

use super::{DAY, HOUR, done, of_server, told};
use bulut::domain::metering;
use bulut::faults::Fault;
use bulut_model::interval::Subject;
use bulut_model::price::{Priced, WhenStopped};
use bulut_model::{Micros, PackageId, ServerId};
use bulut_store::{intervals, packages, prices};
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Database, TestCloud};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

async fn package(cloud: &TestCloud, slug: &str) -> PackageId {
    packages::find(cloud.app().store(), slug).await.unwrap().unwrap().id
}

#[tokio::test]
async fn a_server_costs_from_when_it_runs_until_it_is_asked_to_go() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cloud = TestCloud::on(database).await;
        let alice = cloud.customer("alice").await;
        let (server, _) = alice.order_server("web1").await;
        assert_eq!(told(&cloud, &alice, server).await, [], "what is being made costs nothing");
        cloud.app().clock().advance(MINUTE);
        cloud.run_until_idle().await;
        cloud.app().clock().advance(9 * MINUTE);
        done(&cloud, &alice, "POST", &format!("/v1/server/{server}/stop"), "").await;
        cloud.app().clock().advance(10 * MINUTE);
        done(&cloud, &alice, "POST", &format!("/v1/server/{server}/upgrade_package"), "package=eos2").await;
        cloud.app().clock().advance(10 * MINUTE);
        done(&cloud, &alice, "POST", &format!("/v1/server/{server}/start"), "").await;
        cloud.app().clock().advance(10 * MINUTE);
        alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
        cloud.app().clock().advance(DAY);
        cloud.run_until_idle().await;
        assert_eq!(
            told(&cloud, &alice, server).await,
            [
                ("running", 7_400, 60, Some(600)),
                ("stopped", 7_400, 600, Some(1200)),
                ("stopped", 15_000, 1200, Some(1800)),
                ("running", 15_000, 1800, Some(2400)),
            ]
        );
        let continues: Vec<bool> =
            of_server(&cloud, &alice, server).await.iter().map(|it| it.continues).collect();
        assert_eq!(continues, [true, true, true, false]);
    }
}

#[tokio::test]
async fn a_server_that_never_came_costs_nothing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    cloud.fault("server_create.start_machine.after", Fault::Fatal, 1);
    let (server, _) = alice.order_server("web1").await;
    cloud.run_until_idle().await;
    assert_eq!(told(&cloud, &alice, server).await, []);
}

#[tokio::test]
async fn a_stopped_server_costs_what_its_package_says() {
    let cloud = TestCloud::new().await;
    let (app, store) = (cloud.app(), cloud.app().store());
    let alice = cloud.customer("alice").await;
    let eos1 = package(&cloud, "eos1").await;
    prices::insert(store, Priced::Disk, Micros(100), None, app.clock().now()).await.unwrap();
    prices::insert(store, Priced::Address, Micros(900), None, app.clock().now()).await.unwrap();
    // A disk of 20 GiB and an address.
    for (when, hourly) in [(WhenStopped::Full, 7_400), (WhenStopped::Disk, 2_900), (WhenStopped::None, 0)] {
        prices::set_when_stopped(store, eos1, when).await.unwrap();
        let server = alice.running_server("web1").await;
        done(&cloud, &alice, "POST", &format!("/v1/server/{server}/stop"), "").await;
        let last = told(&cloud, &alice, server).await.pop().unwrap();
        assert_eq!((last.0, last.1), ("stopped", hourly), "{when:?}");
    }
    // Never more than a running one.
    prices::set_when_stopped(store, eos1, WhenStopped::Disk).await.unwrap();
    prices::insert(store, Priced::Disk, Micros(1_000_000), None, app.clock().now()).await.unwrap();
    let server = alice.running_server("web2").await;
    done(&cloud, &alice, "POST", &format!("/v1/server/{server}/stop"), "").await;
    assert_eq!(told(&cloud, &alice, server).await.pop().unwrap().1, 7_400);
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_metered_as_it_is_seen() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    cloud.app().clock().advance(HOUR);
    cloud.world().guest_powers_off(ServerId(server));
    cloud.reconcile().await;
    let told = told(&cloud, &alice, server).await;
    assert_eq!((told[0], told[1]), (("running", 7_400, 0, Some(3600)), ("stopped", 7_400, 3600, None)));
}

#[tokio::test]
async fn another_price_touches_later_intervals_alone() {
    let cloud = TestCloud::new().await;
    let (app, store) = (cloud.app(), cloud.app().store());
    let alice = cloud.customer("alice").await;
    let old = alice.running_server("old").await;
    app.clock().advance(HOUR);
    let eos1 = package(&cloud, "eos1").await;
    prices::set_package(store, eos1, Micros(9_000), Micros(6_000_000), app.clock().now()).await.unwrap();
    let new = cloud.sign_in(&alice.account).await.running_server("new").await;
    // A restart of the guest ends no interval; what was bought keeps its price.
    done(&cloud, &alice, "POST", &format!("/v1/server/{old}/reboot"), "").await;
    assert_eq!(told(&cloud, &alice, old).await, [("running", 7_400, 0, None)]);
    assert_eq!(told(&cloud, &alice, new).await, [("running", 9_000, 3600, None)]);
    // The operator may exchange it for those that run, from that second on.
    app.clock().advance(HOUR);
    assert_eq!(metering::reprice(app, eos1).await.unwrap(), 1);
    assert_eq!(metering::reprice(app, eos1).await.unwrap(), 0);
    assert_eq!(
        told(&cloud, &alice, old).await,
        [("running", 7_400, 0, Some(7200)), ("running", 9_000, 7200, None)]
    );
}

#[tokio::test]
async fn a_snapshot_costs_while_it_is_kept_also_without_its_server() {
    let cloud = TestCloud::new().await;
    let (app, store) = (cloud.app(), cloud.app().store());
    let alice = cloud.customer("alice").await;
    prices::insert(store, Priced::Snapshot, Micros(70), None, app.clock().now()).await.unwrap();
    let server = alice.running_server("web1").await;
    let taken = alice.send("POST", "/v1/snapshot/create", &format!("id={server}&name=s")).await.data();
    cloud.run_until_idle().await;
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{server}/destroy"), "").await;
    app.clock().advance(HOUR);
    let alice = cloud.sign_in(&alice.account).await;
    let form = format!("id={}", taken["id"]);
    alice.send("DELETE", "/v1/snapshot/destroy", &form).await.data();
    app.clock().advance(HOUR);
    cloud.run_until_idle().await;
    let all = of_server(&cloud, &alice, server).await;
    let kept = all.iter().find(|one| matches!(one.subject, Subject::Snapshot(_))).unwrap();
    assert!(kept.terms.units >= 1);
    assert_eq!(kept.terms.unit_price, Micros(70));
    assert_eq!(kept.closed_at.unwrap().since(kept.opened_at), HOUR);
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_gap_and_no_overlap() {
    let mut cloud = TestCloud::new().await;
    let account = cloud.customer("alice").await.account;
    let server = cloud.customer("bob").await.running_server("web1").await;
    cloud.app().clock().advance(90 * MINUTE);
    super::charge(&cloud).await;
    let charged = cloud.app().clock().now();
    cloud.restart_at(charged.minus(DAY)).await;
    let bob = {
        let found = bulut::domain::accounts::named(cloud.app(), "bob").await.unwrap();
        cloud.sign_in(&found).await
    };
    done(&cloud, &bob, "POST", &format!("/v1/server/{server}/stop"), "").await;
    // The hour that is charged stays as it is: the stop counts from its end.
    let told = told(&cloud, &bob, server).await;
    assert_eq!((told[0].3, told[1].2), (Some(3600), 3600));
    assert_ne!(account.id, bob.account.id);
}

#[tokio::test]
async fn without_money_nothing_is_metered_and_turning_it_on_begins_then() {
    let off = Setup { configure: |config| config.billing.enabled = false, ..Setup::default() };
    let mut cloud = TestCloud::with(off).await;
    let server = cloud.customer("alice").await.running_server("web1").await;
    cloud.app().clock().advance(2 * HOUR);
    assert_eq!(super::charge(&cloud).await, 0);
    assert_eq!(intervals::list_open(cloud.app().store()).await.unwrap(), []);
    cloud.configure(|config| config.billing.enabled = true);
    cloud.restart().await;
    metering::adopt(cloud.app()).await.unwrap();
    let open = intervals::list_open(cloud.app().store()).await.unwrap();
    assert_eq!(
        open.iter().map(|(_, subject)| *subject).collect::<Vec<_>>(),
        [Subject::Server(ServerId(server))]
    );
    cloud.configure(|config| config.billing.enabled = false);
    cloud.restart().await;
    metering::adopt(cloud.app()).await.unwrap();
    assert_eq!(intervals::list_open(cloud.app().store()).await.unwrap(), []);
}
