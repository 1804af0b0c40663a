//! An invoice is made again from its intervals and comes out as the same bytes; what somebody changed behind its back is
//! named.

use super::{DAY, HOUR, at, done, look, of, taxed_cloud, until};
use bulut::domain::billing_details;
use bulut::domain::invoices as verbs;
use bulut::domain::invoices::replay::{Difference, replay};
use bulut_model::Micros;
use bulut_model::error::Kind;
use bulut_model::invoice::Content;
use bulut_model::tax::TaxRate;
use bulut_store::ledger::{self, Entry};
use bulut_store::{accounts, invoices};
use bulut_testkit::TestCloud;
use sha2::{Digest as _, Sha256};

/// Two months of a life with all kinds of changes, and what became of everything afterwards.
async fn lived() -> TestCloud {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    let web1 = alice.running_server("web1").await;
    let web2 = alice.running_server("web2").await;
    cloud.app().clock().advance(DAY * 3);
    done(&cloud, &alice, "POST", "/v1/snapshot/create", &format!("id={web1}&name=nightly")).await;
    until(&cloud, "2026-01-20T01:02:03Z");
    done(&cloud, &alice, "POST", &format!("/v1/server/{web1}/upgrade_package"), "package=eos2").await;
    until(&cloud, "2026-01-25T00:00:00Z");
    bulut::domain::invoices::issuing::issue_now(cloud.app(), alice.account.id).await.unwrap();
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{web2}/destroy"), "").await;
    until(&cloud, "2026-03-01T01:00:00Z");
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await.len(), 3);
    cloud
}

#[tokio::test]
async fn every_invoice_comes_out_as_the_same_bytes_whatever_happened_since() {
    let cloud = lived().await;
    let alice = accounts::find_by_name(cloud.app().store(), "alice").await.unwrap().unwrap().0;
    let alice = cloud.sign_in(&alice).await;
    let web1 = alice.servers().await[0]["id"].as_i64().unwrap();
    let renamed = alice.send("PUT", &format!("/v2/servers/{web1}"), "name=other").await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    let changes =
        billing_details::Changes { name: Some("Other".into()), tax: Some("7".into()), ..Default::default() };
    billing_details::change(cloud.app(), "alice", changes).await.unwrap();
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{web1}/destroy"), "").await;
    until(&cloud, "2026-06-01T01:00:00Z");
    look(&cloud).await;
    let all = of(&cloud, &alice).await;
    assert_eq!(all.len(), 4);
    for invoice in all {
        let replayed = replay(cloud.app(), &invoice.content.number).await.unwrap();
        assert_eq!(replayed.difference, None, "{}", invoice.content.number);
        assert!(replayed.intervals > 0 && replayed.lines > 10);
        assert_eq!(replayed.invoice, invoice);
    }
    assert_eq!(replay(cloud.app(), "2026-99999").await.unwrap_err().kind, Kind::NotFound);
}

/// The difference that a replay finds in an invoice that somebody has put beside the real one.
async fn forged(cloud: &TestCloud, number: &str, forge: impl FnOnce(&mut Content)) -> Option<Difference> {
    let real = verbs::find(cloud.app(), "2026-00001").await.unwrap().content;
    let mut content = Content { number: number.into(), ..real };
    let digest: String = Sha256::digest(content.text()).iter().map(|byte| format!("{byte:02x}")).collect();
    forge(&mut content);
    invoices::insert(cloud.app().store(), &content, &digest).await.unwrap();
    replay(cloud.app(), number).await.unwrap().difference
}

#[tokio::test]
async fn what_was_changed_behind_its_back_is_named() {
    let cloud = lived().await;
    assert_eq!(forged(&cloud, "F0", |_| {}).await, None);
    let more = forged(&cloud, "F1", |content| content.lines[0].amount = Micros(1)).await;
    let Some(Difference::Line { kept: Some(kept), replayed: Some(replayed), .. }) = more else {
        panic!("{more:?}")
    };
    assert!(kept.ends_with("is 0.000001") && !replayed.ends_with("is 0.000001"), "{kept} {replayed}");
    for forge in [
        (|content| content.lines.truncate(1)) as fn(&mut Content),
        |content| content.lines[0].intervals.clear(),
        |content| content.total = Micros(0),
        |content| content.tax_rate = TaxRate::ZERO,
    ] {
        let number = format!("F2-{}", cloud.app().clock().now().0);
        cloud.app().clock().advance(HOUR);
        let difference = forged(&cloud, &number, forge).await;
        assert!(matches!(difference, Some(Difference::Line { .. })), "{difference:?}");
    }
    let other = forged(&cloud, "F3", |content| content.recipient.name = "Bob".into()).await;
    assert!(matches!(other, Some(Difference::Digest { .. })), "{other:?}");
}

#[tokio::test]
async fn a_charge_that_no_interval_explains_is_named() {
    let cloud = lived().await;
    let (account, _) = accounts::find_by_name(cloud.app().store(), "alice").await.unwrap().unwrap();
    let entries = [
        Entry { book: "customer", account: Some(account.id), amount: Micros(-7) },
        Entry { book: "revenue", account: None, amount: Micros(7) },
    ];
    let then = at("2026-01-02T01:00:00Z");
    ledger::post(cloud.app().store(), "odd", "charge", "", "odd", &entries, then).await.unwrap();
    let found = replay(cloud.app(), "2026-00001").await.unwrap().difference;
    let Some(Difference::Charges { charged, invoiced }) = found else { panic!("{found:?}") };
    assert_eq!(charged, invoiced + Micros(7));
    assert_eq!(replay(cloud.app(), "2026-00002").await.unwrap().difference, None);
}
