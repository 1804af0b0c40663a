//! The caller's entries of the ledger, which this dialect calls transactions.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::{BEFORE, LIMIT};
use crate::api::cloude::wire::TransactionView;
use crate::app::App;
use crate::domain::ledger;
use axum::extract::State;
use bulut_model::TransactionId;

/// `GET /v1/transaction/list`
pub async fn list(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<Vec<TransactionView>>, Error> {
    let before = params.optional_integer(&BEFORE)?.map(TransactionId);
    let transactions = ledger::list(&app, &caller, before, params.optional_integer(&LIMIT)?).await?;
    Ok(Envelope::new(transactions.into_iter().map(Into::into).collect()))
}
