//! Addresses of servers.

use crate::api::native::error::Error;
use crate::api::native::extract::Changing;
use crate::api::native::servers::Target;
use crate::api::native::wire::{AddressOrdered, AddressesView};
use crate::api::params::Param;
use crate::app::App;
use crate::domain::addresses;
use axum::Json;
use axum::extract::State;
use bulut_model::{Error as ModelError, ServerId};

const ID: Param = Param::integer(&["id"], "the id of a server");
const ADDRESS: Param = Param::text(&["address"], "a further IPv4 address of the server");

/// `GET /v2/servers/{id}/addresses`
pub async fn list(State(app): State<App>, target: Target) -> Result<Json<AddressesView>, Error> {
    Ok(Json(addresses::list(&app, &target.caller, target.server).await?.into()))
}

/// `POST /v2/servers/{id}/addresses`: one IPv4 address more.
pub async fn add(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<AddressOrdered>, Error> {
    Ok(Json(addresses::add(&app, &caller, ServerId(params.integer(&ID)?)).await?.into()))
}

/// `DELETE /v2/servers/{id}/addresses/{address}`
pub async fn remove(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<AddressOrdered>, Error> {
    let (id, address) = (ServerId(params.integer(&ID)?), params.required(&ADDRESS)?);
    let address = address.trim().parse().map_err(|_| {
        ModelError::invalid(
            "address",
            "The address in the path must be a further IPv4 address of the server.",
        )
    })?;
    Ok(Json(addresses::remove(&app, &caller, id, address).await?.into()))
}
