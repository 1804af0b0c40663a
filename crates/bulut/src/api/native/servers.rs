//! Servers of the caller: what the Cloude dialect has no words for.

use crate::api::bearer;
use crate::api::native::error::Error;
use crate::api::native::extract::Changing;
use crate::api::native::wire::{ServerView, Setup};
use crate::api::params::Param;
use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::{networks, run_modes, servers};
use axum::Json;
use axum::extract::{FromRef, FromRequestParts, RawPathParams, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use bulut_model::run_mode::RunMode;
use bulut_model::{Error as ModelError, ServerId, Timestamp};

/// Most bytes of a serial log that one answer holds.
const LOG_MAX: usize = 1024 * 1024;

const ID: Param = Param::integer(&["id"], "the id of a server");
const NAME: Param = Param::text(&["name"], "a name of at most 64 characters");
const MODE: Param = Param::text(&["mode"], "normal or safe");

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
    Ok(Json(view(&app, &target.caller, target.server).await?))
}

/// `PUT /v2/servers/{id}`: another name.
pub async fn rename(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<ServerView>, Error> {
    let id = ServerId(params.integer(&ID)?);
    servers::rename(&app, &caller, id, &params.required(&NAME)?).await?;
    Ok(Json(view(&app, &caller, id).await?))
}

/// `PUT /v2/servers/{id}/run-mode`
pub async fn set_run_mode(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<ServerView>, Error> {
    let (id, word) = (ServerId(params.integer(&ID)?), params.required(&MODE)?);
    let mode = RunMode::from_word(&word)
        .ok_or_else(|| ModelError::invalid("mode", "The parameter mode must be normal or safe."))?;
    run_modes::set(&app, &caller, id, mode).await?;
    Ok(Json(view(&app, &caller, id).await?))
}

async fn view(app: &App, caller: &Caller, id: ServerId) -> Result<ServerView, Error> {
    let server = servers::get(app, caller, id).await?;
    let powers_off_at = run_modes::deadline(app, caller, id).await?.map(Timestamp::wire);
    let network = networks::get(app, caller, id).await?;
    Ok(ServerView {
        powers_off_at,
        further_ipv4: network.further.iter().map(ToString::to_string).collect(),
        rates: network.rates.into(),
        traffic_limit: network.held.map(Into::into),
        forged_frames: network.forged_frames,
        ..server.into()
    })
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
