//! Which way a body is read: by its Content-Type, and where that is missing or nonsense, by its look.
//!
//! Promises: what clearly is JSON or multipart is read as such even under the form type that some tools set
//! by default. Must not know: methods, paths.

use super::{Layer, form, json, multipart};
use bulut_model::Result;
use bytes::Bytes;

/// Reads a body.
///
/// Errors: `Invalid` for `body` when it is broken.
pub async fn read(content_type: &str, body: &Bytes) -> Result<Layer> {
    // An UTF-8 byte order mark says nothing here.
    let body = if body.starts_with(b"\xef\xbb\xbf") { &body.slice(3..) } else { body };
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind.contains("json") {
        return json::read(body);
    }
    if kind.contains("multipart") {
        let declared = multer::parse_boundary(content_type).ok().filter(|it| occurs(it, body));
        if let Some(boundary) = declared.or_else(|| multipart::boundary_of(body)) {
            return multipart::read(body, boundary).await;
        }
    }
    by_look(kind.contains("form-urlencoded"), body).await
}

async fn by_look(says_form: bool, body: &Bytes) -> Result<Layer> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(body.len());
    let trimmed = body.slice(start..);
    // No form begins with a brace, but under the type of a form only a whole object is taken for JSON.
    let is_json = match trimmed.first() {
        Some(b'{') => !says_form || json::is_object(&trimmed),
        Some(b'[') => !says_form,
        _ => false,
    };
    if is_json {
        return json::read(&trimmed);
    }
    if let Some(boundary) = multipart::boundary_of(&trimmed) {
        return multipart::read(&trimmed, boundary).await;
    }
    let end = trimmed.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    Ok(form::read(&trimmed[..end]))
}

fn occurs(boundary: &str, body: &[u8]) -> bool {
    let delimiter = format!("--{boundary}");
    !boundary.is_empty() && body.windows(delimiter.len()).any(|window| window == delimiter.as_bytes())
}
