//! Traffic of the caller's servers, which this dialect calls usage.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::{FROM, SERVER, STEP, TO};
use crate::api::cloude::wire::UsageView;
use crate::app::App;
use crate::domain::traffic::{self, Asked};
use axum::extract::State;
use bulut_model::ServerId;
use bulut_model::traffic::Step;

/// `GET /v1/usage/list`
pub async fn list(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<UsageView>, Error> {
    let server = ServerId(params.integer(&SERVER)?);
    let step = params.optional(&STEP)?.map_or(Ok(Step::MINUTE), |word| Step::parse(word.trim()))?;
    let asked = Asked { from: params.time(&FROM)?, to: params.time(&TO)?, step };
    let samples = traffic::list(&app, &caller, server, asked).await?;
    Ok(Envelope::new(samples.into()))
}
