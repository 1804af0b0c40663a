//! What handlers take out of a request: who calls, and with which parameters.
//!
//! Promises: key and login are looked for wherever clients put them, and never reach the log; a refusal is in the
//! dialect's own form. Must not know: single calls.

use crate::api::arrival;
use crate::api::cac::error::{Code, Error};
use crate::api::cac::parameters::{KEY, LOGIN, SID};
use crate::api::idempotency;
use crate::api::params::{Param, Params};
use crate::app::App;
use crate::domain::access::{Caller, IdempotencyKey};
use crate::domain::api_keys::{self, Denied};
use crate::domain::limits::Who;
use axum::extract::{FromRef, FromRequest, Request};
use bulut_model::ServerId;

/// A caller whose key was proved, and what it asks for.
pub struct Signed {
    /// Who calls.
    pub caller: Caller,
    /// With which parameters.
    pub params: Params,
}

impl<S> FromRequest<S> for Signed
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let app = App::from_ref(state);
        let call = request.uri().path().to_owned();
        let named = idempotency::key(request.headers())?;
        let params = Params::read_forgivingly(request).await?;
        let mut caller = prove(&app, &params).await?;
        caller.key = named.map(|key| IdempotencyKey { fingerprint: params.fingerprint(&call), key });
        Ok(Self { caller, params })
    }
}

/// Who bears the key that the request names.
async fn prove(app: &App, params: &Params) -> Result<Caller, Error> {
    let invalid = || Error::new(Code::Key, "invalid API key");
    let key = params.optional(&KEY).map_err(|_| invalid())?;
    let key = key.ok_or_else(|| Error::new(Code::Key, "missing API key"))?;
    let login = params.required(&LOGIN)?;
    let address = arrival::address();
    match api_keys::authenticate(app, key.trim(), &login, address).await {
        Ok((caller, key)) => {
            tracing::Span::current().record("account.id", caller.account.id.0);
            arrival::charge(app, Who::ApiKey(key))?;
            Ok(caller)
        }
        Err(Denied::Invalid) => Err(invalid()),
        Err(Denied::Address) => Err(Error::new(Code::Address, "invalid ip address connection")),
        Err(Denied::Failed(error)) => Err(error.into()),
    }
}

impl Signed {
    /// The server that the request names; whether it is the caller's is the domain's question.
    ///
    /// Errors: 103 when it names none, 109 for what is no id.
    pub fn server(&self) -> Result<ServerId, Error> {
        let sid = self.params.required(&SID)?;
        sid.trim().parse().map(ServerId).map_err(|_| Error::server())
    }

    /// A word of the document, in small letters.
    ///
    /// Errors: 103 when it is missing.
    pub fn word(&self, param: &Param) -> Result<String, Error> {
        Ok(self.params.required(param)?.trim().to_ascii_lowercase())
    }

    /// A number that is not negative; none for what is no such number.
    ///
    /// Errors: 103 when it is missing.
    pub fn number(&self, param: &Param) -> Result<Option<u64>, Error> {
        let text = self.params.required(param)?;
        let digits = text.trim();
        // `str::parse` takes a plus sign, too.
        Ok(digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit())))
    }
}
