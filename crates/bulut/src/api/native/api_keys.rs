//! API keys of the caller, for Cloud at Cost clients.

use crate::api::native::error::Error;
use crate::api::native::extract::{Changing, Signed};
use crate::api::native::wire::{ApiKeyMade, ApiKeyView};
use crate::api::params::{Param, Params};
use crate::app::App;
use crate::domain::api_keys::{self, NewKey};
use axum::Json;
use axum::extract::State;
use bulut_model::{ApiKeyId, Result as ModelResult};

const ID: Param = Param::integer(&["id"], "the id of an API key as in /v2/api-keys");
const NAME: Param = Param::text(&["name"], "a name of at most 64 characters");
const ADDRESSES: Param = Param::list(
    &["addresses"],
    "addresses and networks such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, or any",
);
const EXPIRES_AT: Param =
    Param::time(&["expires_at"], "a time such as 2030-01-31T00:00:00Z, or seconds since 1970");

/// `GET /v2/api-keys`
pub async fn list(State(app): State<App>, Signed(caller): Signed) -> Result<Json<Vec<ApiKeyView>>, Error> {
    let keys = api_keys::list(&app, &caller).await?;
    Ok(Json(keys.into_iter().map(Into::into).collect()))
}

/// `POST /v2/api-keys`: the only answer that ever holds the key itself.
pub async fn create(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<ApiKeyMade>, Error> {
    let addresses = params.list(&ADDRESSES)?;
    let new = NewKey {
        name: params.required(&NAME)?,
        addresses: (!addresses.is_empty()).then_some(addresses),
        expires_at: params.time(&EXPIRES_AT)?,
    };
    let made = api_keys::create(&app, &caller, new).await?;
    Ok(Json(ApiKeyMade { secret: made.secret, view: made.key.into() }))
}

/// `PUT /v2/api-keys/{id}`: from where it may be used; without addresses, from nowhere.
pub async fn update(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<ApiKeyView>, Error> {
    let key = api_keys::set_addresses(&app, &caller, id(&params)?, &params.list(&ADDRESSES)?).await?;
    Ok(Json(key.into()))
}

/// `DELETE /v2/api-keys/{id}`
pub async fn revoke(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<ApiKeyView>, Error> {
    let key = api_keys::revoke(&app, &caller, id(&params)?).await?;
    Ok(Json(key.into()))
}

fn id(params: &Params) -> ModelResult<ApiKeyId> {
    params.integer(&ID).map(ApiKeyId)
}
