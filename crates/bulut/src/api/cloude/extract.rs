//! What handlers take out of a request: who calls, and with which parameters.
//!
//! Promises: a refusal is in the envelope. Must not know: single calls.

use crate::api::bearer;
use crate::api::cloude::error::Error;
use crate::api::params;
use crate::app::App;
use crate::domain::access::{Caller, IdempotencyKey};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// The header by which a client names a request that it may repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest name, bytes.
pub const KEY_MAX: usize = 255;

/// The caller, who bears a valid access token.
pub struct Signed(pub Caller);

impl<S> FromRequestParts<S> for Signed
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let app = App::from_ref(state);
        Ok(Self(bearer::caller(&app, &parts.headers).await?))
    }
}

/// The parameters, from wherever the client put them.
pub struct Params(pub params::Params);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        Ok(Self(params::Params::read(request).await?))
    }
}

/// A caller who changes something, and how: the parameters, and the client's name for the request if it gave one.
pub struct Changing(pub Caller, pub params::Params);

impl<S> FromRequest<S> for Changing
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let app = App::from_ref(state);
        let mut caller = bearer::caller(&app, request.headers()).await?;
        let call = format!("{} {}", request.method(), request.uri().path());
        let key = idempotency_key(request.headers())?;
        let params = params::Params::read(request).await?;
        caller.key = key.map(|key| IdempotencyKey { fingerprint: params.fingerprint(&call), key });
        Ok(Self(caller, params))
    }
}

/// The client's name for its request; an empty one is none.
fn idempotency_key(headers: &HeaderMap) -> bulut_model::Result<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or("\n");
    if text.len() > KEY_MAX || text.chars().any(|c| c.is_ascii_control()) {
        return Err(bulut_model::Error::invalid(
            IDEMPOTENCY_KEY,
            format!("The header Idempotency-Key must have 1 to {KEY_MAX} visible ASCII characters."),
        ));
    }
    Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty()))
}
