//! Transactions as they are told.

use super::get;
use bulut_model::{AccountId, Micros};
use bulut_store::ledger::{self, Entry};
use bulut_testkit::TestCloud;
use serde_json::{Value, json};
use std::time::Duration;

async fn charge(cloud: &TestCloud, account: AccountId, key: &str, micros: i64) {
    let entries = [
        Entry { book: "customer", account: Some(account), amount: Micros(-micros) },
        Entry { book: "revenue", account: None, amount: Micros(micros) },
    ];
    let (store, now) = (cloud.app().store(), cloud.app().clock().now());
    ledger::post(store, key, "charge", "Server web1, one hour", key, &entries, now).await.unwrap();
}

#[tokio::test]
async fn a_transaction_is_the_contracts_newest_first_and_exact() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let bob = cloud.customer("bob").await;
    cloud.app().clock().advance(Duration::from_secs(1800));
    charge(&cloud, bob.account.id, "bob", 1).await;
    charge(&cloud, alice.account.id, "server/1/hour/1", 15_000).await;
    charge(&cloud, alice.account.id, "server/1/hour/2", 43_735_000).await;
    let listed = get(&alice, "/v1/transaction/list").await;
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(
        listed,
        json!([
            {
                "id": ids[0], "type": "charge", "amount": -43.735, "balance_after": 6.25,
                "description": "Server web1, one hour", "reference": "server/1/hour/2",
                "created_at": "2026-01-01T00:30:00Z",
            },
            {
                "id": ids[1], "type": "charge", "amount": -0.015, "balance_after": 49.985,
                "description": "Server web1, one hour", "reference": "server/1/hour/1",
                "created_at": "2026-01-01T00:30:00Z",
            },
            {
                "id": ids[2], "type": "credit", "amount": 50, "balance_after": 50,
                "description": "Opening credit", "reference": format!("account/{}/opening", alice.account.id),
                "created_at": "2026-01-01T00:00:00Z",
            },
        ])
    );
    assert!(ids[0].as_i64() > ids[1].as_i64() && ids[1].as_i64() > ids[2].as_i64());
    assert_eq!(get(&alice, "/v1/account/user_balance").await["balance"], listed[0]["balance_after"]);
    assert_eq!(get(&bob, "/v1/transaction/list").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_long_list_is_told_in_pages_that_meet() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let tx = cloud.app().store().begin().await.unwrap();
    for hour in 0..1200 {
        let entries = [
            Entry { book: "customer", account: Some(alice.account.id), amount: Micros(-1) },
            Entry { book: "revenue", account: None, amount: Micros(1) },
        ];
        let (key, now) = (format!("hour {hour}"), cloud.app().clock().now());
        ledger::post(&tx, &key, "charge", "", &key, &entries, now).await.unwrap();
    }
    tx.commit().await.unwrap();
    let page = async |query: &str| match get(&alice, &format!("/v1/transaction/list{query}")).await {
        Value::Array(page) => page,
        other => panic!("not a list: {other}"),
    };
    let first = page("").await;
    assert_eq!(first.len(), 1000);
    let last = first[999]["id"].as_i64().unwrap();
    let rest = page(&format!("?before={last}")).await;
    assert_eq!(rest.len(), 201);
    assert_eq!(rest.last().unwrap()["type"], "credit");
    let balance = |it: &Value| it["balance_after"].as_f64().unwrap();
    let (upper, lower) = (balance(first.last().unwrap()), balance(&rest[0]));
    assert!((lower - upper - 0.000_001).abs() < 1e-9, "{lower} {upper}");
    assert_eq!(page(&format!("?limit=3&before={last}")).await, rest[..3]);
    assert_eq!(page("?limit=1000&before=").await, first);
    assert_eq!(page("?before=0").await, Vec::<Value>::new());
}
