//! Who calls: the access token in the Authorization header.
//!
//! Promises: the token itself never reaches a log or an answer. Must not know: what is in a token.

use crate::api::arrival;
use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::limits::Who;
use crate::domain::sessions;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use bulut_model::{Error, Result};

/// The account that bears the request's token.
///
/// Errors: `Unauthenticated` without a token that holds; `RateLimited`.
pub async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller> {
    let token = token(headers).ok_or_else(|| {
        Error::unauthenticated(
            "This call needs a token: log in at /v1/user/login and send its token in the header \
             'Authorization: Bearer <token>'.",
        )
    })?;
    let caller = sessions::authenticate(app, token).await?;
    tracing::Span::current().record("account.id", caller.account.id.0);
    arrival::charge(app, Who::Account(caller.account.id))?;
    Ok(caller)
}

/// The token of the header `Authorization: Bearer …`, whatever the case of its scheme.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(char::is_whitespace)?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_scheme_is_needed_in_any_case() {
        let token_of = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
            token(&headers).map(str::to_owned)
        };
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c ", " Bearer a.b.c"] {
            assert_eq!(token_of(good).as_deref(), Some("a.b.c"), "{good}");
        }
        for bad in ["", "a.b.c", "Bearer", "Bearer ", "Basic a.b.c", "Bearera.b.c"] {
            assert_eq!(token_of(bad), None, "{bad}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
