//! The caller's resource pool.

use crate::api::native::error::Error;
use crate::api::native::extract::Signed;
use crate::api::native::wire::PoolView;
use crate::app::App;
use crate::domain::pools;
use axum::Json;
use axum::extract::State;

/// `GET /v2/pool`
pub async fn get(State(app): State<App>, Signed(caller): Signed) -> Result<Json<PoolView>, Error> {
    Ok(Json(pools::get(&app, &caller).await?.into()))
}
