//! The check of the books sees what is wrong with them, and traffic and addresses stand in them.

use super::{HOUR, balance, charge};
use bulut::domain::{books, traffic};
use bulut_model::interval::{Interval, Subject};
use bulut_model::price::Priced;
use bulut_model::traffic::{Minute, Sample};
use bulut_model::traffic_month::AtLimit;
use bulut_model::{Micros, ServerId};
use bulut_store::ledger::Entry;
use bulut_store::{intervals, ledger, prices, traffic as samples, traffic_months};
use bulut_testkit::TestCloud;

#[tokio::test]
async fn books_that_are_in_order_say_nothing_and_others_say_what_is_wrong() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    cloud.app().clock().advance(3 * HOUR);
    charge(&cloud).await;
    assert_eq!(books::check(cloud.app()).await.unwrap(), Vec::<String>::new());
    // An hour that is charged for nothing, and taken back by a posting of its own.
    for (key, amount) in [("a", 5), ("b", -5)] {
        let entries = [
            Entry { book: "customer", account: Some(alice.account.id), amount: Micros(-amount) },
            Entry { book: "revenue", account: None, amount: Micros(amount) },
        ];
        let (reference, now) = ("charge/2026-01-01T03:00:00Z", cloud.app().clock().now());
        let key = format!("test/{key}");
        ledger::post(cloud.app().store(), &key, "charge", "Odd", reference, &entries, now).await.unwrap();
        let found = books::check(cloud.app()).await.unwrap();
        assert_eq!(found.len(), usize::from(amount > 0), "{found:?}");
        assert!(amount < 0 || found[0].contains("for nothing"), "{found:?}");
    }
}

#[tokio::test]
async fn traffic_beyond_the_package_is_billed_to_the_byte_where_the_package_says_so() {
    let cloud = TestCloud::new().await;
    let (app, store) = (cloud.app(), cloud.app().store());
    let alice = cloud.customer("alice").await;
    let server = ServerId(alice.running_server("web1").await);
    // A GB costs 0.01; eos1 includes 1 TB.
    prices::insert(store, Priced::Traffic(None), Micros(10_000), None, app.clock().now()).await.unwrap();
    let moves = async |bytes: u64| {
        let minute = Minute::of(app.clock().now());
        samples::add(store, server, &Sample { minute, received_bytes: bytes, sent_bytes: 0 }).await.unwrap();
        traffic::bill_beyond(app, cloud.node()).await.unwrap();
        traffic::bill_beyond(app, cloud.node()).await.unwrap();
    };
    let billed = async || -> Vec<u64> {
        let all = intervals::list_of_server(store, alice.account.id, server).await.unwrap();
        let traffic = |one: &&Interval| matches!(one.subject, Subject::Traffic(_));
        all.iter().filter(traffic).map(|one| one.terms.units).collect()
    };
    moves(1_000_000_000_000).await;
    moves(7).await;
    assert_eq!(billed().await, Vec::<u64>::new(), "the package does not say so");
    traffic_months::set_at_limit(store, "eos1", AtLimit::Bill).await.unwrap();
    moves(2_000_000_000).await;
    assert_eq!(billed().await, [2_000_000_007]);
    app.clock().advance(HOUR);
    charge(&cloud).await;
    moves(500_000_000).await;
    moves(1).await;
    assert_eq!(billed().await, [2_000_000_007, 500_000_001]);
    app.clock().advance(HOUR);
    charge(&cloud).await;
    // 2.500000008 GB × 0.01 = 0.02500000008, and two hours of the server.
    assert_eq!(balance(&cloud, &alice).await, Micros(50_000_000 - 25_000 - 14_800));
    assert_eq!(books::check(app).await.unwrap(), Vec::<String>::new());
}
