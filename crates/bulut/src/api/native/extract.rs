//! What handlers of the native API take out of a request that changes something: who calls, and with which parameters.
//!
//! Promises: a change can be repeated under an Idempotency-Key; a refusal is a problem. Must not know: single calls.

use crate::api::native::error::Error;
use crate::api::params::Params;
use crate::api::{bearer, idempotency};
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
        Ok(Self(bearer::caller(&App::from_ref(state), &parts.headers).await?))
    }
}

/// A caller who changes something, and how.
pub struct Changing(pub Caller, pub Params);

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
        let params = Params::read(request).await?;
        caller.key = key.map(|key| IdempotencyKey { fingerprint: params.fingerprint(&call), key });
        Ok(Self(caller, params))
    }
}
