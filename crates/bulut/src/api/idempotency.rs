//! The header by which a client names a request that it may repeat.
//!
//! Must not know: what is asked.

use axum::http::HeaderMap;
use bulut_model::{Error, Result};

/// The header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest name, bytes.
pub const KEY_MAX: usize = 255;

/// The client's name for its request; an empty one is none.
///
/// Errors: `Invalid` for one that is too long or holds control characters.
pub fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or("\n");
    if text.len() > KEY_MAX || text.chars().any(|c| c.is_ascii_control()) {
        return Err(Error::invalid(
            IDEMPOTENCY_KEY,
            format!("The header Idempotency-Key must have 1 to {KEY_MAX} visible ASCII characters."),
        ));
    }
    Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty()))
}
