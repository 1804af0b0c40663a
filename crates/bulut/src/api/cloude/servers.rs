//! Servers of the caller.
//!
//! Each action exists in both documented forms, which answer differently: with the id in the path it tells
//! the event, with the id in the body it says `true`.

use crate::api::cloude::cache::ListCache;
use crate::api::cloude::envelope::{Envelope, Rendered};
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::{
    HOSTNAME, IMAGE, PACKAGE, REGION, SERVER, SERVER_NAME, SSH_KEYS, TAGS, USER_DATA,
};
use crate::api::cloude::wire::{EventStarted, ServerOrdered, ServerView};
use crate::api::params;
use crate::app::App;
use crate::domain::servers::{self, Order};
use axum::extract::State;
use bulut_model::server::Server;
use bulut_model::{Result as ModelResult, ServerId};
use bytes::Bytes;
use std::sync::Arc;

/// `POST /v1/server/create`
pub async fn create(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<ServerOrdered>, Error> {
    let ordered = servers::create(&app, &caller, order(&params)?).await?;
    Ok(Envelope::new(ServerOrdered::new(ordered.operation, ordered.server)))
}

fn order(params: &params::Params) -> ModelResult<Order> {
    Ok(Order {
        name: params.required(&SERVER_NAME)?,
        region: params.required(&REGION)?,
        package: params.required(&PACKAGE)?,
        image: params.required(&IMAGE)?,
        hostname: params.optional(&HOSTNAME)?,
        ssh_keys: params.list(&SSH_KEYS)?,
        user_data: params.base64(&USER_DATA)?,
        tags: params.list(&TAGS)?,
    })
}

/// `GET /v1/server/list`
///
/// The revision was read with the account, which was before the list. A change in between therefore labels a
/// newer list with the older revision, and the next request, which sees the newer revision, renders it again;
/// a list is never labelled newer than it is, so an old one is never served as current.
pub async fn list(
    State(app): State<App>,
    State(lists): State<Arc<ListCache>>,
    Signed(caller): Signed,
) -> Result<Rendered, Error> {
    let (account, revision) = (caller.account.id, caller.account.revision);
    if let Some(body) = lists.find(account, revision) {
        return Ok(Rendered(body));
    }
    let servers = servers::list(&app, &caller).await?;
    let body = render_server_list(&servers)?;
    lists.put(account, revision, body.clone());
    Ok(Rendered(body))
}

/// The whole answer to `GET /v1/server/list`.
///
/// Errors: `Internal` if the list cannot be JSON, which is a fault of ours.
pub fn render_server_list(servers: &[Server]) -> ModelResult<Bytes> {
    let views: Vec<ServerView<'_>> = servers.iter().map(Into::into).collect();
    let body = serde_json::to_vec(&Envelope::new(views)).map_err(bulut_model::Error::internal)?;
    Ok(body.into())
}

/// `GET /v1/server/{id}`: an array with one server, as in the document.
pub async fn get(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Rendered, Error> {
    let server = servers::get(&app, &caller, id(&params)?).await?;
    Ok(Rendered(render_server_list(&[server])?))
}

/// `DELETE /v1/server/{id}/destroy`, and with the id in the body `DELETE /v1/server/destroy`
pub async fn destroy(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<bool>, Error> {
    servers::destroy(&app, &caller, id(&params)?).await?;
    Ok(Envelope::new(true))
}

/// The action handlers: the verb once, its two answers.
macro_rules! actions {
    ($($(#[$doc:meta])* $verb:ident, $by_body:ident;)+) => {$(
        $(#[$doc])*
        pub async fn $verb(
            State(app): State<App>,
            Signed(caller): Signed,
            Params(params): Params,
        ) -> Result<Envelope<EventStarted>, Error> {
            let operation = servers::$verb(&app, &caller, id(&params)?).await?;
            Ok(Envelope::new(operation.into()))
        }

        /// The same with the id in the body.
        pub async fn $by_body(
            State(app): State<App>,
            Signed(caller): Signed,
            Params(params): Params,
        ) -> Result<Envelope<bool>, Error> {
            servers::$verb(&app, &caller, id(&params)?).await?;
            Ok(Envelope::new(true))
        }
    )+};
}

actions! {
    /// `POST /v1/server/{id}/start`
    start, start_by_body;
    /// `POST /v1/server/{id}/stop`
    stop, stop_by_body;
    /// `POST /v1/server/{id}/reboot`
    reboot, reboot_by_body;
}

fn id(params: &params::Params) -> ModelResult<ServerId> {
    Ok(ServerId(params.integer(&SERVER)?))
}
