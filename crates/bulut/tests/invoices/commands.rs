//! The commands on invoices and books, as the program itself runs them.

use super::{look, of, taxed_cloud, until};
use bulut_store::accounts as account_rows;
use bulut_testkit::{Shell, TestCloud};
use serde_json::{Value, json};

async fn shell(cloud: &TestCloud) -> Shell {
    Shell::open(cloud, env!("CARGO_BIN_EXE_bulut")).await.with("BULUT_INVOICE_TAX_PERCENT", "19")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_are_shown_saved_paid_replayed_and_exported() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    account_rows::set_postpaid(cloud.app().store(), alice.account.id, true).await.unwrap();
    let server = alice.running_server("web1").await;
    let shell = shell(&cloud).await;
    let details = ["--name", "Işık", "--address", "Köln", "--vat-id", "DE123456"];
    let said = shell.json(&[&["account", "billing", "alice"][..], &details].concat()).await;
    assert_eq!(
        said,
        json!({"account": "alice@example.com", "name": "Işık", "address": ["Köln"], "vat_id": "DE123456",
               "tax_percent": null, "note": null})
    );
    assert!(shell.done(&["account", "billing", "alice"]).await.contains("19 % (the settings')"));
    assert!(shell.refused(&["account", "billing", "alice", "--tax", "200"]).await.contains("tax"));
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    let shown = shell.done(&["invoice", "show", "2026-00001"]).await;
    for said in ["Işık", "unpaid", "5.95 EUR", "0.95 EUR (19 %)", "744", "0.0074", "at most 5.00"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let whole = shell.json(&["invoice", "show", "2026-00001"]).await;
    assert_eq!(whole["lines"][0]["server_id"], server);
    assert_eq!(shell.done(&["invoice", "pdf", "2026-00001"]).await, "invoice-2026-00001.pdf\n");
    assert!(shell.read("invoice-2026-00001.pdf").starts_with(b"%PDF-"));
    shell.done(&["invoice", "html", "2026-00001", "--out", "mine.html"]).await;
    shell.done(&["invoice", "html", "2026-00001", "--any", "--out", "any.html"]).await;
    assert!(shell.read("mine.html").starts_with(b"<!DOCTYPE html>"));
    assert_eq!(shell.read("mine.html"), shell.read("any.html"), "over the API and on the box");
    assert!(
        shell.refused(&["invoice", "pdf", "2026-00002"]).await.contains("There is no invoice 2026-00002.")
    );
    assert!(shell.refused(&["invoice", "show", "../user"]).await.contains("hint: bulut invoice list"));
    let replayed = shell.json(&["invoice", "replay", "2026-00001"]).await;
    assert_eq!((&replayed["identical"], &replayed["intervals"]), (&json!(true), &json!(1)));
    assert!(
        shell.done(&["invoice", "replay", "2026-00001"]).await.starts_with("2026-00001 is byte-identical: ")
    );
    assert_eq!(shell.done(&["invoice", "pay", "2026-00001"]).await, "2026-00001  5.95 EUR  paid\n");
    assert!(shell.refused(&["invoice", "pay", "2026-00001"]).await.contains("is paid since"));
    assert!(of(&cloud, &alice).await[0].content.status.paid_at().is_some());
    let exported = shell.done(&["invoice", "export"]).await;
    assert!(exported.starts_with("number,account_id,issued_at,"), "{exported}");
    assert!(exported.contains(",Işık,DE123456,EUR,5,19,0.95,5.95,Teşekkürler!\n"), "{exported}");
    let lines = shell.json(&["invoice", "export", "--lines"]).await;
    assert_eq!((&lines[0]["amount"], &lines[0]["position"]), (&json!("5"), &json!(1)));
    shell.done(&["ledger", "export", "--format", "json", "--out", "books.json"]).await;
    let books: Value = serde_json::from_slice(&shell.read("books.json")).unwrap();
    let kinds = |kind: &str| books.as_array().unwrap().iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((kinds("credit"), kinds("invoice"), kinds("payment")), (2, 2, 2));
    assert!(kinds("charge") > 1000 && kinds("charge") % 2 == 0, "{}", kinds("charge"));
    let csv = shell.done(&["ledger", "export"]).await;
    assert_eq!(csv.lines().count(), books.as_array().unwrap().len() + 1);
}

/// The program's own clock is the host's, which is later than a test's beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_are_made_on_demand() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    let shell = shell(&cloud).await;
    alice.running_server("web1").await;
    cloud.customer("bob").await;
    assert_eq!(shell.json(&["invoice", "issue", "bob"]).await, json!([]));
    let made = shell.json(&["invoice", "issue", "alice"]).await;
    assert!(!made.as_array().unwrap().is_empty());
    assert_eq!(made[0]["number"].as_str().unwrap().len(), 10);
    assert_eq!(shell.json(&["invoice", "issue"]).await, json!({"invoices": 0}));
    assert!(shell.refused(&["invoice", "issue", "nobody"]).await.contains("nobody"));
    for invoice in made.as_array().unwrap() {
        let number = invoice["number"].as_str().unwrap();
        assert_eq!(shell.json(&["invoice", "replay", number]).await["identical"], true);
    }
}
