//! Operations, which this dialect calls events.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::EVENT;
use crate::api::cloude::wire::EventView;
use crate::app::App;
use crate::domain::operations;
use axum::extract::State;
use bulut_model::OperationId;

/// `GET /v1/event/list`
pub async fn list(State(app): State<App>, Signed(caller): Signed) -> Result<Envelope<Vec<EventView>>, Error> {
    let operations = operations::list(&app, &caller).await?;
    Ok(Envelope::new(operations.into_iter().map(Into::into).collect()))
}

/// `GET /v1/event/{id}`
pub async fn get(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<EventView>, Error> {
    let id = OperationId(params.integer(&EVENT)?);
    let operation = operations::get(&app, &caller, id).await?;
    Ok(Envelope::new(operation.into()))
}
