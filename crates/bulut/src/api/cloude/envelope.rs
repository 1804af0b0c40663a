//! The envelope that every answer of this dialect comes in (the document's "JSON Response Structure").
//!
//! Must not know: what is in it.

use crate::api::cloude::wire::kinds;
use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

/// A success: `{"status":"success","data":…,"message":null}`.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    status: &'static str,
    data: T,
    message: Option<&'static str>,
}

impl<T> Envelope<T> {
    /// Wraps the data of a success.
    pub fn new(data: T) -> Self {
        Self { status: "success", data, message: None }
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// An envelope that was rendered before.
#[derive(Debug)]
pub struct Rendered(pub Bytes);

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.0).into_response()
    }
}

/// A failure. `data` is always null; the sentence stands in both places where clients look for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "status": "error",
    "data": null,
    "message": "The parameter name is missing.",
    "error": {"errorMessage": "The parameter name is missing.", "errorDev": "validation"},
})))]
pub struct Failed {
    /// Always `error`.
    #[schema(value_type = kinds::Failure)]
    status: &'static str,
    /// Always null.
    #[schema(value_type = kinds::Nothing)]
    data: Option<()>,
    /// A sentence for a person: what is wrong, and what would be accepted.
    message: String,
    /// The same again, with a word for programs.
    error: FailedDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedDetail {
    /// A sentence for a person.
    #[serde(rename = "errorMessage")]
    error_message: String,
    /// A stable word for programs.
    #[serde(rename = "errorDev")]
    #[schema(value_type = kinds::FailureWord)]
    error_dev: &'static str,
}

impl Failed {
    /// A failure with its sentence and its word.
    pub fn new(sentence: String, word: &'static str) -> Self {
        Self {
            status: "error",
            data: None,
            message: sentence.clone(),
            error: FailedDetail { error_message: sentence, error_dev: word },
        }
    }
}
