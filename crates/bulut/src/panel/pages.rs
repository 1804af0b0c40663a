//! A page as an answer: its headers, and the page that says in words what is wrong.
//!
//! Promises: what is put into a page is escaped; no page is kept by anybody on the way. Must not know: what a page is
//! about.

use super::assets;
use crate::api::cloude::error::status_and_word;
use crate::api::failure::Failure;
use crate::clock::random_bytes;
use crate::documents::escaped;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The page `name` with its blanks (`{{title}}`) filled.
pub fn page(status: StatusCode, name: &str, blanks: &[(&str, &str)]) -> Response {
    filled(status, name, blanks, "'none'")
}

/// The same for a page with a form that is sent to where the page came from.
pub fn form(status: StatusCode, name: &str, blanks: &[(&str, &str)]) -> Response {
    filled(status, name, blanks, "'self'")
}

fn filled(status: StatusCode, name: &str, blanks: &[(&str, &str)], forms_go: &str) -> Response {
    let Some(template) = assets::page(name) else { return without_pages() };
    let nonce: String = random_bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = template.replace("{{nonce}}", &nonce);
    for (blank, value) in blanks {
        text = text.replace(&format!("{{{{{blank}}}}}"), &escaped(value));
    }
    let mut response = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response();
    // The terminal makes style sheets at run time (which get the nonce) and colours letters by attributes.
    let policy = format!(
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
         style-src 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; base-uri 'none'; form-action {forms_go}; \
         frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A page that says one thing.
pub fn notice(status: StatusCode, title: &str, sentence: &str) -> Response {
    page(status, "notice.html", &[("title", title), ("sentence", sentence)])
}

/// The page for a request that failed.
pub fn answer(failure: &Failure) -> Response {
    // The status is the same in every dialect; only the words around it differ.
    let (status, _) = status_and_word(failure);
    let title = match failure {
        Failure::UnknownPath => "There is no such page",
        _ => status.canonical_reason().unwrap_or("That did not work"),
    };
    let sentence = match failure {
        Failure::UnknownPath => "Perhaps the link was not copied whole.".to_owned(),
        other => other.report(),
    };
    notice(status, title, &sentence)
}

fn without_pages() -> Response {
    let sentence = "This program was built without its pages, because Node.js was missing then. Build it again with \
                    Node.js and npm installed.\n";
    (StatusCode::NOT_IMPLEMENTED, [(CONTENT_TYPE, "text/plain; charset=utf-8")], sentence).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn what_is_put_into_a_page_is_text() {
        let response = notice(StatusCode::GONE, "<script>", "a \"b\" & 'c'");
        assert_eq!(response.status(), 410);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[X_FRAME_OPTIONS], "DENY");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(
            policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("&lt;script&gt;") && body.contains("a &quot;b&quot; &amp; &#39;c&#39;"),
            "{body}"
        );
        assert!(!body.contains("{{"), "a blank was left: {body}");
    }

    #[test]
    fn two_pages_have_different_nonces() {
        let policy = |response: Response| response.headers()[CONTENT_SECURITY_POLICY].clone();
        let one = policy(notice(StatusCode::OK, "a", "b"));
        assert_ne!(one, policy(notice(StatusCode::OK, "a", "b")));
    }
}
