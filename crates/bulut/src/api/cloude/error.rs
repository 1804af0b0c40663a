//! Failures in the Cloude envelope (the document's "JSON Response Structure", its lost example as real clients
//! read it).
//!
//! Promises: every kind of failure has one status and one stable word (`errorDev`); no context of ours leaves.
//! Must not know: calls.

use crate::api::cloude::envelope::Failed;
use crate::api::failure::Failure;
use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bulut_model::Error as ModelError;
use bulut_model::error::Kind;

/// What a handler of this dialect fails with.
#[derive(Debug)]
pub struct Error(Failure);

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self(Failure::Domain(error))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        answer(&self.0)
    }
}

/// The answer to a request that failed.
pub fn answer(failure: &Failure) -> Response {
    let (status, word) = status_and_word(failure);
    let mut headers = HeaderMap::new();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bulut\""));
    }
    if let Failure::Domain(ModelError { kind: Kind::RateLimited { retry_after_s }, .. }) = failure {
        headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
        headers.insert(HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(0));
        headers.insert(HeaderName::from_static("ratelimit-reset"), HeaderValue::from(*retry_after_s));
    }
    (status, headers, Json(Failed::new(failure.report(), word))).into_response()
}

/// The HTTP status, and the word that programs tell failures apart by.
pub fn status_and_word(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Domain(error) => of_kind(&error.kind),
        Failure::UnknownPath => (StatusCode::NOT_FOUND, "not_found"),
        Failure::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        Failure::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Failure::TooSlow => (StatusCode::REQUEST_TIMEOUT, "timeout"),
    }
}

fn of_kind(kind: &Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "exists"),
        Kind::Invalid { .. } => (StatusCode::BAD_REQUEST, "validation"),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Quota => (StatusCode::FORBIDDEN, "quota"),
        Kind::Funds => (StatusCode::PAYMENT_REQUIRED, "insufficient_balance"),
        // Nothing is wrong with the request, nor with us; what is asked for is taken.
        Kind::Capacity => (StatusCode::CONFLICT, "no_capacity"),
        Kind::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    async fn told(failure: Failure) -> (StatusCode, HeaderMap, serde_json::Value) {
        let response = answer(&failure);
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_envelope() {
        let (status, _, body) =
            told(ModelError::invalid("name", "The parameter name is missing.").into()).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            serde_json::json!({
                "status": "error",
                "data": null,
                "message": "The parameter name is missing.",
                "error": {"errorMessage": "The parameter name is missing.", "errorDev": "validation"},
            })
        );
    }

    #[tokio::test]
    async fn a_fault_of_ours_keeps_its_context_and_gives_a_number() {
        let (status, _, body) = told(Failure::fault("the secret of the table")).await;
        assert_eq!(status, 500);
        let text = body.to_string();
        assert!(!text.contains("secret"), "{text}");
        let message = body["message"].as_str().unwrap();
        let id = message.trim_end_matches('.').rsplit(' ').next().unwrap();
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{message}");
        assert_eq!(body["error"]["errorMessage"], body["message"]);
    }

    #[tokio::test]
    async fn a_refusal_says_how_to_go_on() {
        let (status, headers, _) = told(ModelError::unauthenticated("No token.").into()).await;
        assert_eq!(status, 401);
        assert!(headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
        let limited = ModelError::new(Kind::RateLimited { retry_after_s: 7 }, "Slow down.");
        let (status, headers, _) = told(limited.into()).await;
        assert_eq!(status, 429);
        assert_eq!(headers[RETRY_AFTER], "7");
    }

    #[test]
    fn only_faults_of_ours_are_5xx() {
        for (kind, status) in [
            (Kind::NotFound, 404),
            (Kind::AlreadyExists, 409),
            (Kind::Conflict, 409),
            (Kind::Forbidden, 403),
            (Kind::Quota, 403),
            (Kind::Funds, 402),
            (Kind::Capacity, 409),
            (Kind::Unavailable, 503),
            (Kind::Internal, 500),
        ] {
            let (found, word) = of_kind(&kind);
            assert_eq!(found, status, "{word}");
        }
    }
}
