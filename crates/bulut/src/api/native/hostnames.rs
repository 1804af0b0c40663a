//! What a server is called: in its guest, and by its addresses.

use crate::api::native::error::Error;
use crate::api::native::extract::Changing;
use crate::api::native::servers::Target;
use crate::api::native::wire::{HostnameOrdered, HostnameView};
use crate::api::params::Param;
use crate::app::App;
use crate::domain::{names, servers};
use axum::Json;
use axum::extract::State;
use bulut_model::ServerId;

const ID: Param = Param::integer(&["id"], "the id of a server");
const HOSTNAME: Param = Param::text(&["hostname"], "a fully qualified host name such as web1.example.com");

/// `GET /v2/servers/{id}/hostname`
pub async fn get(State(app): State<App>, target: Target) -> Result<Json<HostnameView>, Error> {
    Ok(Json(names::get(&app, &target.caller, target.server).await?.into()))
}

/// `PUT /v2/servers/{id}/hostname`
pub async fn put(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<HostnameOrdered>, Error> {
    let (id, hostname) = (ServerId(params.integer(&ID)?), params.required(&HOSTNAME)?);
    let operation = names::set_reverse(&app, &caller, id, &hostname).await?;
    let server = servers::get(&app, &caller, id).await?;
    let warning = names::warning(&app, &server, &hostname).await?;
    Ok(Json(HostnameOrdered { event_id: operation.0, hostname, warning }))
}
