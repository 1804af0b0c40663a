//! `multipart/form-data` bodies.
//!
//! Promises: fields and files alike are parameters. Must not know: content types beyond the boundary.

use super::{Item, Layer};
use bulut_model::{Error, Result};
use bytes::Bytes;
use std::convert::Infallible;

/// Reads a body between these boundaries.
///
/// Errors: `Invalid` for `body` when it is broken.
pub async fn read(body: &Bytes, boundary: String) -> Result<Layer> {
    let body = body.clone();
    let stream = futures_util::stream::once(async move { Ok::<_, Infallible>(body) });
    let mut parts = multer::Multipart::new(stream, boundary);
    let mut layer = Layer::default();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(broken)?;
        let item = match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Item::Text(text),
            Err(_) => Item::Damaged("is not UTF-8"),
        };
        layer.push(&name, item);
    }
    layer.settle();
    Ok(layer)
}

/// The boundary that a body itself begins with, for clients that set the content type by hand and forget it.
pub fn boundary_of(body: &[u8]) -> Option<String> {
    let line = body.strip_prefix(b"--")?.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let plain = |byte: &u8| byte.is_ascii_graphic();
    if line.is_empty() || line.len() > 70 || !line.iter().all(plain) {
        return None;
    }
    let head = &body[..body.len().min(1024)];
    let is_form = head.windows(9).any(|word| word.eq_ignore_ascii_case(b"form-data"));
    is_form.then(|| String::from_utf8_lossy(line).into_owned())
}

fn broken(error: multer::Error) -> Error {
    Error::invalid(
        "body",
        "The multipart/form-data body is broken: a part does not begin or end where its boundary says.",
    )
    .with_internal(error)
}
