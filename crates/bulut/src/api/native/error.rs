//! Failures of the native API: `application/problem+json` as in RFC 9457.
//!
//! Promises: the type ends in the same stable word that the Cloude dialect says, so that there is one table.
//! Must not know: calls.

use crate::api::cloude::error::status_and_word;
use crate::api::failure::Failure;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bulut_model::Error as ModelError;
use bulut_model::error::Kind;
use serde_json::json;

/// What a native handler fails with.
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
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bulut\""));
    }
    if let Failure::Domain(ModelError { kind: Kind::RateLimited { retry_after_s }, .. }) = failure {
        headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
    }
    let problem = json!({
        "type": format!("urn:bulut:problem:{word}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": failure.report(),
    });
    (status, headers, problem.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn a_refusal_is_a_problem() {
        let response = answer(&ModelError::not_found("There is no server with the id 7.").into());
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "urn:bulut:problem:not_found",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no server with the id 7.",
            })
        );
    }
}
