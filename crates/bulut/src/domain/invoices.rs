//! Invoices as their account sees them.

use crate::app::App;
use crate::domain::access::Caller;
use bulut_model::Result;
use bulut_model::invoice::Invoice;
use bulut_store::invoices;

/// The account's invoices, newest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Invoice>> {
    invoices::list(app.store(), caller.account.id).await
}
