//! What handlers take out of a request: who calls, and with which parameters.
//!
//! Promises: a refusal is in the envelope. Must not know: single calls.

use crate::api::cloude::error::Error;
use crate::api::{bearer, idempotency, params};
use crate::app::App;
use crate::domain::access::{Caller, IdempotencyKey};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

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
        let key = idempotency::key(request.headers())?;
        let params = params::Params::read(request).await?;
        caller.key = key.map(|key| IdempotencyKey { fingerprint: params.fingerprint(&call), key });
        Ok(Self(caller, params))
    }
}
