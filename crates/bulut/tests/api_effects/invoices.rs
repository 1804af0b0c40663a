//! Invoices as they are told.

use super::get;
use bulut_model::invoice::{Content, Line, Party, Quantity, Status};
use bulut_model::tax::TaxRate;
use bulut_model::{AccountId, Micros, ServerId, Timestamp};
use bulut_store::invoices;
use bulut_testkit::TestCloud;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    Timestamp::from_wire(text).unwrap()
}

fn january(account: AccountId, number: &str, server: i64) -> Content {
    let line = |description: &str, hours: i64, price: i64, amount: i64, server| Line {
        description: description.into(),
        details: String::new(),
        label: String::new(),
        quantity: Quantity(hours),
        unit: "hour".into(),
        unit_price: Micros(price),
        amount: Micros(amount),
        server,
        intervals: vec![],
    };
    Content {
        account,
        number: number.into(),
        period_start: at("2026-01-01T00:00:00Z"),
        period_end: at("2026-02-01T00:00:00Z"),
        status: Status::Unpaid,
        currency: "EUR".into(),
        subtotal: Micros(10_003_700),
        tax_rate: TaxRate::from_millionths(190_000).unwrap(),
        tax: Micros(1_900_703),
        total: Micros(11_904_403),
        issued_at: at("2026-02-01T00:00:01Z"),
        due_at: at("2026-02-15T00:00:00Z"),
        issuer: Party::default(),
        recipient: Party::default(),
        note: String::new(),
        lines: vec![
            line("web1, eos2", 744_000_000, 15_000, 10_000_000, Some(ServerId(server))),
            line("Extra", 500_000, 7_400, 3_700, None),
        ],
    }
}

#[tokio::test]
async fn an_invoice_is_the_contracts_and_its_accounts_alone() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let bob = cloud.customer("bob").await;
    assert_eq!(get(&alice, "/v1/invoice/list").await, json!([]));
    let server = alice.running_server("web1").await;
    let store = cloud.app().store();
    let first = invoices::insert(store, &january(alice.account.id, "2026-0001", server), "").await.unwrap();
    let paid = Content {
        status: Status::Paid { at: at("2026-02-02T00:00:00Z") },
        lines: vec![],
        ..january(alice.account.id, "2026-0002", server)
    };
    let second = invoices::insert(store, &paid, "").await.unwrap();
    let listed = get(&alice, "/v1/invoice/list").await;
    assert_eq!(
        listed[1],
        json!({
            "id": first.0, "number": "2026-0001",
            "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-02-01T00:00:00Z",
            "status": "unpaid", "currency": "EUR", "subtotal": 10.0037, "tax": 1.900703, "total": 11.904403,
            "issued_at": "2026-02-01T00:00:01Z", "due_at": "2026-02-15T00:00:00Z", "paid_at": null,
            "lines": [
                {
                    "description": "web1, eos2", "quantity": 744, "unit": "hour", "unit_price": "0.0150",
                    "amount": 10, "subscription_id": server,
                },
                {
                    "description": "Extra", "quantity": 0.5, "unit": "hour", "unit_price": "0.0074",
                    "amount": 0.0037, "subscription_id": null,
                },
            ],
        })
    );
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["status"], &listed[0]["paid_at"], &listed[0]["lines"]),
        (&json!(second.0), &json!("paid"), &json!("2026-02-02T00:00:00Z"), &json!([]))
    );
    assert_eq!(get(&bob, "/v1/invoice/list").await, json!([]));
    // It says what was, also of a server that is gone.
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(get(&alice, "/v1/invoice/list").await, listed);
}
