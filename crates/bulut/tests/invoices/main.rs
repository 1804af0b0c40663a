//! Invoices in a whole cloud: made once for each month, whatever happens meanwhile; paid, shown, and made again.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod commands;
mod issuing;
mod paper;
mod replay;

use bulut::config::Config;
use bulut::domain::invoices::issuing as verbs;
use bulut::reconcile;
use bulut_model::Timestamp;
use bulut_model::invoice::Invoice;
use bulut_store::{invoices, ledger};
use bulut_testkit::{Customer, Database, TestCloud};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(text: &str) -> Timestamp {
    Timestamp::from_wire(text).unwrap()
}

/// The clock goes to this time.
fn until(cloud: &TestCloud, text: &str) {
    let clock = cloud.app().clock();
    assert!(clock.now() <= at(text), "the clock does not go back to {text}");
    clock.advance(at(text).since(clock.now()));
}

/// One look of the loop.
async fn look(cloud: &TestCloud) {
    reconcile::invoices::look(cloud.app()).await.unwrap();
}

async fn of(cloud: &TestCloud, customer: &Customer<'_>) -> Vec<Invoice> {
    let mut invoices = invoices::list(cloud.app().store(), customer.account.id).await.unwrap();
    invoices.reverse();
    invoices
}

async fn balance(cloud: &TestCloud, customer: &Customer<'_>) -> String {
    ledger::balance(cloud.app().store(), customer.account.id).await.unwrap().decimal()
}

/// Sends a change and carries it out.
async fn done(cloud: &TestCloud, customer: &Customer<'_>, method: &str, path: &str, form: &str) {
    let customer = cloud.sign_in(&customer.account).await;
    customer.send(method, path, form).await.data();
    cloud.run_until_idle().await;
}

/// With an issuer, a tax of 19 % and a note.
fn taxed(config: &mut Config) {
    config.invoice.issuer = Some("Bulut Bilişim & Söhne GmbH".into());
    config.invoice.issuer_address = vec!["Lindenstraße 7".into(), "10969 Berlin".into()];
    config.invoice.issuer_vat_id = "DE123456789".into();
    config.invoice.tax_percent = "19".into();
    config.invoice.note = "Teşekkürler!".into();
}

async fn taxed_cloud() -> TestCloud {
    TestCloud::with(bulut_testkit::cloud::Setup { configure: taxed, ..Default::default() }).await
}

/// A cloud on this database.
async fn cloud_on(database: Database) -> TestCloud {
    TestCloud::with(bulut_testkit::cloud::Setup { database, configure: taxed, ..Default::default() }).await
}
