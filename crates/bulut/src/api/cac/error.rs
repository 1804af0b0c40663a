//! Failures in this dialect (cloudatcost-api-v1, "Standard response" and "HTTP response codes"; the contract lists the
//! numbers).
//!
//! Promises: a failure never has a 2xx status, and is JSON whatever its status; each kind of failure has one number and
//! sentence. Must not know: calls.

use crate::api::arrival;
use crate::api::cac::answer::{headers, one_line};
use crate::api::failure::Failure;
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bulut_model::Error as ModelError;
use bulut_model::error::Kind;
use serde::Serialize;
use std::borrow::Cow;

/// What a handler of this dialect fails with.
#[derive(Debug)]
pub enum Error {
    /// A refusal in the dialect's own words.
    Coded(Code, Cow<'static, str>),
    /// Anything else.
    Failure(Failure),
}

/// The numbers of the document and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The key is missing or wrong.
    Key,
    /// A parameter is missing or wrong.
    Parameter,
    /// The key may not be used from there.
    Address,
    /// Another task holds the server, or what is asked for does not exist.
    Task,
    /// Too little is left, or it may not be done.
    Resources,
    /// No such server, or no such name.
    Server,
}

/// How a number is written: those of "CLOUD PRO" are texts in the document, all others numbers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Written {
    Number(u16),
    Text(&'static str),
}

/// A failure as it is written.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    status: &'static str,
    time: i64,
    error: Written,
    error_description: &'a str,
}

impl Error {
    /// A refusal with this number and sentence.
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self::Coded(code, description.into())
    }

    /// `invalid server ID`, also for somebody else's.
    pub fn server() -> Self {
        Self::new(Code::Server, "invalid server ID")
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Failure(Failure::Domain(error))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Coded(code, description) => {
                let (status, written) = code.written();
                render(status, written, &description)
            }
            Self::Failure(failure) => answer(&failure),
        }
    }
}

impl Code {
    const fn written(self) -> (StatusCode, Written) {
        let failed = StatusCode::PRECONDITION_FAILED;
        match self {
            Self::Key => (StatusCode::FORBIDDEN, Written::Number(101)),
            Self::Parameter => (failed, Written::Number(103)),
            Self::Address => (failed, Written::Number(104)),
            Self::Task => (failed, Written::Number(105)),
            Self::Resources => (failed, Written::Text("107")),
            Self::Server => (failed, Written::Number(109)),
        }
    }
}

/// The answer to a request that failed.
pub fn answer(failure: &Failure) -> Response {
    let sentence = failure.report();
    match failure {
        Failure::Domain(error) => of_domain(error, &sentence),
        Failure::UnknownPath => other(StatusCode::BAD_REQUEST, "invalid API URL"),
        Failure::MethodNotAllowed => other(StatusCode::METHOD_NOT_ALLOWED, &sentence),
        Failure::TooLarge(_) => other(StatusCode::PAYLOAD_TOO_LARGE, &sentence),
        Failure::TooSlow => other(StatusCode::REQUEST_TIMEOUT, &sentence),
    }
}

/// A HEAD on a call that changes something: it may not change anything, and so cannot know what it would have answered.
pub fn head_refused() -> Response {
    let mut response =
        other(StatusCode::METHOD_NOT_ALLOWED, "this call changes something, which HEAD may not");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE"));
    response
}

fn of_domain(error: &ModelError, sentence: &str) -> Response {
    let coded = |code: Code, description: &str| {
        let (status, written) = code.written();
        render(status, written, description)
    };
    match &error.kind {
        Kind::NotFound => coded(Code::Server, "invalid server ID"),
        Kind::AlreadyExists | Kind::Invalid { .. } => coded(Code::Parameter, sentence),
        Kind::Conflict => coded(Code::Task, "task already running"),
        Kind::Forbidden => coded(Code::Resources, "Invalid Server Permission"),
        Kind::Unauthenticated => coded(Code::Key, "invalid API key"),
        Kind::Quota | Kind::Funds | Kind::Capacity => coded(Code::Resources, sentence),
        Kind::RateLimited { retry_after_s } => {
            let mut response = other(StatusCode::SERVICE_UNAVAILABLE, "rate limit hit");
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
            headers.insert(HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(0));
            headers.insert(HeaderName::from_static("ratelimit-reset"), HeaderValue::from(*retry_after_s));
            response
        }
        // 503 means something else here.
        Kind::Unavailable | Kind::Internal => other(StatusCode::INTERNAL_SERVER_ERROR, sentence),
    }
}

/// What the document has a status for and no number: the number is the status.
fn other(status: StatusCode, description: &str) -> Response {
    render(status, Written::Number(status.as_u16()), description)
}

fn render(status: StatusCode, error: Written, description: &str) -> Response {
    let time = arrival::time().unix_seconds();
    let failed = Failed { status: "error", time, error, error_description: description };
    // Texts and numbers can always be JSON.
    let body = one_line(&failed).unwrap_or_default();
    (status, headers(), body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    async fn told(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "text/html; charset=UTF-8");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.starts_with("{\"status\": \"error\",\"time\": "), "{text}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["time"].is_i64());
        value.as_object_mut().unwrap().remove("time");
        (status, value)
    }

    fn failed(error: Value, description: &str) -> Value {
        json!({"status": "error", "error": error, "error_description": description})
    }

    #[tokio::test]
    async fn every_kind_has_its_status_and_number() {
        let of = |kind: Kind| Error::from(ModelError::new(kind, "a sentence")).into_response();
        for (kind, status, error, description) in [
            (Kind::NotFound, 412, json!(109), "invalid server ID"),
            (Kind::AlreadyExists, 412, json!(103), "a sentence"),
            (Kind::Invalid { field: "x".into() }, 412, json!(103), "a sentence"),
            (Kind::Conflict, 412, json!(105), "task already running"),
            (Kind::Forbidden, 412, json!("107"), "Invalid Server Permission"),
            (Kind::Quota, 412, json!("107"), "a sentence"),
            (Kind::Funds, 412, json!("107"), "a sentence"),
            (Kind::Capacity, 412, json!("107"), "a sentence"),
            (Kind::Unauthenticated, 403, json!(101), "invalid API key"),
            (Kind::RateLimited { retry_after_s: 7 }, 503, json!(503), "rate limit hit"),
            (Kind::Unavailable, 500, json!(500), "a sentence"),
        ] {
            assert_eq!(told(of(kind)).await, (status, failed(error, description)));
        }
        let limited = of(Kind::RateLimited { retry_after_s: 7 });
        assert_eq!(limited.headers()[RETRY_AFTER], "7");
    }

    #[tokio::test]
    async fn what_never_reaches_a_handler_is_json_too() {
        for (failure, status) in [
            (Failure::UnknownPath, 400),
            (Failure::MethodNotAllowed, 405),
            (Failure::TooLarge(9), 413),
            (Failure::TooSlow, 408),
        ] {
            let (found, value) = told(answer(&failure)).await;
            assert_eq!((found, &value["error"]), (status, &json!(status)));
        }
        let (status, value) = told(answer(&Failure::fault("the secret of the table"))).await;
        assert_eq!(status, 500);
        assert!(!value.to_string().contains("secret"), "{value}");
        assert_eq!(told(head_refused()).await.0, 405);
    }
}
