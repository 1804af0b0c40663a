//! Servers of the caller: what the Cloude dialect has no words for.

use crate::api::bearer;
use crate::api::native::error::Error;
use crate::api::native::wire::{ServerView, Setup};
use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::servers;
use axum::Json;
use axum::extract::{FromRef, FromRequestParts, RawPathParams, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use bulut_model::{Error as ModelError, ServerId};

/// Most bytes of a serial log that one answer holds.
const LOG_MAX: usize = 1024 * 1024;

/// A caller with a valid token, and the server that the path names.
pub struct Target {
    /// Who asks.
    pub caller: Caller,
    /// For which server; whether it is theirs is the domain's question.
    pub server: ServerId,
}

impl<S> FromRequestParts<S> for Target
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let caller = bearer::caller(&App::from_ref(state), &parts.headers).await?;
        let path = RawPathParams::from_request_parts(parts, state).await.ok();
        let id = path.and_then(|path| path.iter().find_map(|(name, id)| (name == "id").then(|| id.parse())));
        let Some(Ok(id)) = id else {
            return Err(
                ModelError::invalid("id", "The id in the path must be the integer id of a server.").into()
            );
        };
        Ok(Self { caller, server: ServerId(id) })
    }
}

/// `GET /v2/servers/{id}`
pub async fn get(State(app): State<App>, target: Target) -> Result<Json<ServerView>, Error> {
    let server = servers::get(&app, &target.caller, target.server).await?;
    Ok(Json(server.into()))
}

/// `GET /v2/servers/{id}/setup`
pub async fn setup(State(app): State<App>, target: Target) -> Result<Json<Setup>, Error> {
    let status = servers::setup_status(&app, &target.caller, target.server).await?;
    Ok(Json(Setup { status }))
}

/// `GET /v2/servers/{id}/serial-log`: its last bytes. A guest may write anything, so control characters and
/// what is not UTF-8 come as they are.
pub async fn serial_log(State(app): State<App>, target: Target) -> Result<impl IntoResponse, Error> {
    let log = servers::serial_log(&app, &target.caller, target.server, LOG_MAX).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], log))
}
