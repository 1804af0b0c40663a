//! Invoices of the caller.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::Signed;
use crate::api::cloude::wire::InvoiceView;
use crate::app::App;
use crate::domain::invoices;
use axum::extract::State;

/// `GET /v1/invoice/list`
pub async fn list(
    State(app): State<App>,
    Signed(caller): Signed,
) -> Result<Envelope<Vec<InvoiceView>>, Error> {
    let invoices = invoices::list(&app, &caller).await?;
    Ok(Envelope::new(invoices.into_iter().map(Into::into).collect()))
}
