//! The caller's own account: what happened to it, and the letter that confirms its address.

use crate::api::native::error::Error;
use crate::api::native::extract::{Changing, Signed};
use crate::api::native::wire::AccountEventView;
use crate::app::App;
use crate::domain::{account_links, dunning};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /v2/account/events`: newest first.
pub async fn events(
    State(app): State<App>,
    Signed(caller): Signed,
) -> Result<Json<Vec<AccountEventView>>, Error> {
    let events = dunning::events(&app, &caller).await?;
    Ok(Json(events.into_iter().map(Into::into).collect()))
}

/// `POST /v2/account/verification`: another letter with a link, unless the address is confirmed or there were many.
pub async fn verification(
    State(app): State<App>,
    Changing(caller, _): Changing,
) -> Result<Json<Value>, Error> {
    let written = account_links::request_verification(&app, &caller.account).await?;
    Ok(Json(json!({ "is_verified": caller.account.is_verified, "sent": written.is_some() })))
}
