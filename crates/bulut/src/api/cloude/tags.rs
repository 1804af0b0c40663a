//! Tags of the caller's servers.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Changing, Signed};
use crate::api::cloude::parameters::{ALL_TAGS, RETAGGED, TAG, TAGGED, TAGS};
use crate::api::cloude::wire::TagView;
use crate::app::App;
use crate::domain::tags;
use axum::extract::State;
use bulut_model::ServerId;

/// `POST /v1/tags/create`
pub async fn create(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<bool>, Error> {
    let servers: Vec<ServerId> = params.integers(&TAGGED)?.into_iter().map(ServerId).collect();
    tags::create(&app, &caller, &servers, &params.required_list(&TAGS)?).await?;
    Ok(Envelope::new(true))
}

/// `GET /v1/tags/list`
pub async fn list(State(app): State<App>, Signed(caller): Signed) -> Result<Envelope<Vec<TagView>>, Error> {
    let tags = tags::list(&app, &caller).await?;
    Ok(Envelope::new(tags.into_iter().map(Into::into).collect()))
}

/// `PUT /v1/tags/update`
pub async fn update(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<bool>, Error> {
    let server = ServerId(params.integer(&RETAGGED)?);
    tags::update(&app, &caller, server, &params.words(&ALL_TAGS)?).await?;
    Ok(Envelope::new(true))
}

/// `DELETE /v1/tags/destroy`
pub async fn destroy(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<bool>, Error> {
    tags::destroy(&app, &caller, params.required(&TAG)?.trim()).await?;
    Ok(Envelope::new(true))
}
