//! Servers of the caller.
//!
//! Each action exists in both documented forms, which answer differently: with the id in the path it tells
//! the event, with the id in the body it says `true`.

use crate::api::cloude::cache::ListCache;
use crate::api::cloude::envelope::{Envelope, Rendered};
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Changing, Params, Signed};
use crate::api::cloude::parameters::{
    HOSTNAME, IMAGE, NEW_PASSWORD, PACKAGE, REGION, SERVER, SERVER_NAME, SIZE_CHANGE, SNAPSHOT, SSH_KEYS,
    TAGS, USER_DATA,
};
use crate::api::cloude::wire::{EventStarted, PasswordChanged, ServerOrdered, ServerView, SnapshotView};
use crate::api::params;
use crate::app::App;
use crate::domain::orders::{self, Order, Wanted};
use crate::domain::{servers, snapshots};
use axum::extract::State;
use bulut_model::server::{Server, SizeChange};
use bulut_model::{Error as ModelError, Result as ModelResult, ServerId, SnapshotId};
use bytes::Bytes;
use std::sync::Arc;

/// `POST /v1/server/create`
pub async fn create(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<ServerOrdered>, Error> {
    // In the order of the document, which is the order in which missing ones are named.
    params.required(&SERVER_NAME)?;
    let region = params.required(&REGION)?;
    params.required(&PACKAGE)?;
    let order = Order { region, image: params.required(&IMAGE)?, server: wanted(&params)? };
    let ordered = orders::create(&app, &caller, order).await?;
    Ok(Envelope::new(ServerOrdered::new(ordered.operation, ordered.server)))
}

/// `POST /v1/server/{id}/create_from_snapshot`, and without an id `POST /v1/server/create_from_snapshot`.
///
/// The document's path names a server and its example none. What is named has to be one of the caller's, also one
/// that is gone; what counts is the snapshot.
pub async fn create_from_snapshot(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<ServerOrdered>, Error> {
    if params.optional(&SERVER)?.is_some() {
        servers::check_was_owned(&app, &caller, id(&params)?).await?;
    }
    let wanted = wanted(&params)?;
    let ordered = orders::create_from_snapshot(&app, &caller, snapshot(&params)?, wanted).await?;
    Ok(Envelope::new(ServerOrdered::new(ordered.operation, ordered.server)))
}

fn wanted(params: &params::Params) -> ModelResult<Wanted> {
    Ok(Wanted {
        name: params.required(&SERVER_NAME)?,
        package: params.required(&PACKAGE)?,
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
    Changing(caller, params): Changing,
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
            Changing(caller, params): Changing,
        ) -> Result<Envelope<EventStarted>, Error> {
            let operation = servers::$verb(&app, &caller, id(&params)?).await?;
            Ok(Envelope::new(operation.into()))
        }

        /// The same with the id in the body.
        pub async fn $by_body(
            State(app): State<App>,
            Changing(caller, params): Changing,
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

/// `GET /v1/server/{id}/snapshots`, also of a server that is gone.
pub async fn snapshots(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<Vec<SnapshotView>>, Error> {
    let snapshots = snapshots::list_of(&app, &caller, id(&params)?).await?;
    Ok(Envelope::new(snapshots.into_iter().map(Into::into).collect()))
}

/// `POST /v1/server/{id}/change_password`, and with the id in the body `POST /v1/server/change_password`
pub async fn change_password(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<PasswordChanged>, Error> {
    let wanted = params.optional(&NEW_PASSWORD)?;
    let ordered = servers::change_password(&app, &caller, id(&params)?, wanted).await?;
    Ok(Envelope::new(ordered.into()))
}

/// `POST /v1/server/{id}/restore_from_snapshot`, and with the id in the body
pub async fn restore_from_snapshot(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<EventStarted>, Error> {
    let operation = servers::restore(&app, &caller, id(&params)?, snapshot(&params)?).await?;
    Ok(Envelope::new(operation.into()))
}

/// `POST /v1/server/{id}/refresh_install`, and with the id in the body
pub async fn refresh_install(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<EventStarted>, Error> {
    let image = params.required(&IMAGE)?;
    let operation = servers::reinstall(&app, &caller, id(&params)?, &image).await?;
    Ok(Envelope::new(operation.into()))
}

/// `POST /v1/server/{id}/upgrade_package`, and with the id in the body
pub async fn upgrade_package(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<EventStarted>, Error> {
    let (id, package) = (id(&params)?, params.required(&PACKAGE)?);
    let operation = servers::upgrade(&app, &caller, id, &package, size_change(&params)?).await?;
    Ok(Envelope::new(operation.into()))
}

fn size_change(params: &params::Params) -> ModelResult<SizeChange> {
    let Some(word) = params.optional(&SIZE_CHANGE)? else { return Ok(SizeChange::default()) };
    SizeChange::from_word(word.trim()).ok_or_else(|| {
        let why = format!("The parameter type must be {}.", SIZE_CHANGE.accepted);
        ModelError::invalid(SIZE_CHANGE.name(), why)
    })
}

fn snapshot(params: &params::Params) -> ModelResult<SnapshotId> {
    Ok(SnapshotId(params.integer(&SNAPSHOT)?))
}

fn id(params: &params::Params) -> ModelResult<ServerId> {
    Ok(ServerId(params.integer(&SERVER)?))
}
