//! `application/x-www-form-urlencoded`: bodies and query strings, read as forgivingly as web servers do.
//!
//! Promises: never fails; a broken %-escape stays as it is, what is not UTF-8 is marked under its name.
//! Must not know: bodies, content types.

use super::{Item, Layer};

/// Reads a form. Pairs without `=` are names with an empty value.
pub fn read(form: &[u8]) -> Layer {
    let mut layer = Layer::default();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let name = String::from_utf8_lossy(&decoded(name)).into_owned();
        let item = match String::from_utf8(decoded(value)) {
            Ok(text) => Item::Text(text),
            Err(_) => Item::Damaged("is not UTF-8"),
        };
        layer.push(&name, item);
    }
    layer.settle();
    layer
}

/// Decodes `%41` and `+`.
///
/// A value that has blanks as `%20` was made by an encoder that never writes them as `+`; its plus signs are
/// plus signs. The Cloude document's own example sends an SSH key in this way.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let plus = if raw.windows(3).any(|escape| escape == b"%20") { b'+' } else { b' ' };
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => out.push(plus),
            (b'%', [high, low, behind @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = behind;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
