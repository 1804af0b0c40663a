//! What handlers take out of a request: who calls, and with which parameters.
//!
//! Promises: a refusal is in the envelope. Must not know: single calls.

use crate::api::bearer;
use crate::api::cloude::error::Error;
use crate::api::params;
use crate::app::App;
use crate::domain::access::Caller;
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
