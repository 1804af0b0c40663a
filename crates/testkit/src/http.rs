//! Requests to a cloud in process, and what it answered.
//!
//! Promises: every answer is one that the description of the API allows. Must not know: single calls.

use crate::contract;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use tower::ServiceExt as _;

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("not JSON ({why}): {}", self.text))
    }

    /// The member `data` of a Cloude envelope that says success.
    pub fn data(&self) -> Value {
        let json = self.json();
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(json["status"], "success", "{}", self.text);
        json["data"].clone()
    }

    /// The sentence of a Cloude envelope that says error, after checking its shape.
    pub fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let json = self.json();
        assert_eq!(json["status"], "error", "{}", self.text);
        assert!(json["data"].is_null(), "{}", self.text);
        assert_eq!(json["message"], json["error"]["errorMessage"], "{}", self.text);
        assert!(json["error"]["errorDev"].is_string(), "{}", self.text);
        json["message"].as_str().expect("the message is a text").to_owned()
    }

    /// The stable word of a Cloude envelope that says error.
    pub fn word(&self) -> String {
        self.json()["error"]["errorDev"].as_str().expect("the word is a text").to_owned()
    }
}

/// Text as it may stand in a path, a query or a form: all but letters, digits and `-._~` as %-escapes.
pub fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

/// Names and values as a form or a query.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", escaped(name), escaped(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Sends one request to a router. Panics when the answer is none that the description of the API allows.
pub async fn send(
    router: axum::Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    // As if somebody on this machine had connected.
    send_from(SocketAddr::from(([127, 0, 0, 1], 4711)), router, method, path, headers, body).await
}

/// Sends one request to a router, as if it had connected from there.
pub async fn send_from(
    peer: SocketAddr,
    router: axum::Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let method = method.parse::<Method>().expect("a method");
    let mut request = Request::builder().method(method.clone()).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).expect("a request");
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await.expect("a router always answers");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a body that ends");
    let text = String::from_utf8(bytes.to_vec()).expect("a body of UTF-8");
    contract::check(&method, path, parts.status, &parts.headers, &text);
    Answer { status: parts.status, headers: parts.headers, text }
}
