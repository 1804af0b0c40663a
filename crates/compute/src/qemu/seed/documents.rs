//! What customers hand over as user-data, taken apart: a script, a cloud-config, whatever else cloud-init knows by its
//! first line, gzip of any, or a MIME document of several.
//!
//! Promises: nothing is left out, and nothing that unpacks to more than a limit is taken. A MIME document comes out
//! flat and decoded, so that each part can be given the headers that it lacks. Must not know: what the parts are
//! merged with.

use crate::DriverError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::io::Read as _;

/// User-data that unpacks to more is refused, bytes: no cloud takes more, and gzip can hide far more.
const LIMIT: usize = 1 << 20;

/// Documents inside of documents, as deep as this; deeper ones are handed on as they are.
const DEPTH: usize = 8;

/// What a document is that says nothing of itself.
const PLAIN: &str = "text/plain";

/// What a shell, or another interpreter, runs.
const SCRIPT: &str = "text/x-shellscript";

/// How cloud-init tells documents apart, the longer beginnings first (`INCLUSION_TYPES_MAP` of its source).
const BEGINNINGS: [(&str, &str); 9] = [
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
    ("## template: jinja", "text/jinja2"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#cloud-config", "text/cloud-config"),
    ("#include-once", "text/x-include-once-url"),
    ("#part-handler", "text/part-handler"),
    ("#include", "text/x-include-url"),
    ("#!", SCRIPT),
];

/// Content types of parts that are compressed (`DECOMP_TYPES` of cloud-init's source).
const COMPRESSED: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

/// One document that is no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `text/cloud-config`…, lower case, without parameters.
    pub content_type: String,
    /// What else its author said of it (`Merge-Type`, a file name…), in order.
    pub headers: Vec<(String, String)>,
    /// Decoded.
    pub body: Vec<u8>,
}

impl Document {
    /// Of the kind that its beginning tells.
    fn sniffed(body: &[u8]) -> Self {
        let content_type = sniff(body).unwrap_or(PLAIN);
        // The kernel runs a script only when it begins at once.
        let body = if content_type == SCRIPT { body.trim_ascii_start() } else { body };
        Self { content_type: content_type.to_owned(), headers: Vec::new(), body: body.to_vec() }
    }

    /// Whether its author gave it this header, in any case.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

/// The documents of a customer's user-data, in order; none for blank data.
///
/// # Errors
/// `Fatal` when it is broken gzip, or unpacks to more than the limit.
pub fn documents(data: &[u8]) -> Result<Vec<Document>, DriverError> {
    let mut room = LIMIT;
    let plain = if is_gzip(data) {
        unpack(data, &mut room)?.ok_or_else(|| DriverError::fatal("the compressed user-data is broken"))?
    } else {
        data.to_vec()
    };
    let mut found = Vec::new();
    let plain = plain.trim_ascii_start();
    match Message::parse(plain).filter(Message::is_mime) {
        _ if plain.is_empty() => {}
        Some(message) => take_apart(&message, DEPTH, &mut room, &mut found)?,
        None => found.push(Document::sniffed(plain)),
    }
    Ok(found)
}

fn is_gzip(data: &[u8]) -> bool {
    data.starts_with(&[0x1f, 0x8b])
}

/// What is compressed; `None` when it is broken. `room` is what it may have, and then what is left of it.
fn unpack(data: &[u8], room: &mut usize) -> Result<Option<Vec<u8>>, DriverError> {
    let mut plain = Vec::new();
    let limit = u64::try_from(*room).unwrap_or(u64::MAX);
    let read = flate2::read::MultiGzDecoder::new(data).take(limit + 1).read_to_end(&mut plain);
    if plain.len() > *room {
        return Err(DriverError::fatal("the user-data is larger than 1 MiB when unpacked"));
    }
    *room -= plain.len();
    Ok(read.ok().map(|_| plain))
}

/// The documents in a message: those in its parts, or itself.
fn take_apart(
    message: &Message<'_>,
    depth: usize,
    room: &mut usize,
    found: &mut Vec<Document>,
) -> Result<(), DriverError> {
    let mut content_type = message.content_type();
    let parts = message.parts();
    if content_type.starts_with("multipart/") && depth > 0 && !parts.is_empty() {
        for part in parts {
            match Message::parse(part) {
                Some(part) => take_apart(&part, depth - 1, room, found)?,
                None => found.push(Document::sniffed(part)),
            }
        }
        return Ok(());
    }
    let mut body = message.decoded();
    if COMPRESSED.contains(&content_type.as_str())
        && let Some(plain) = unpack(&body, room)?
    {
        body = plain;
        content_type = PLAIN.to_owned();
    }
    // These are said of anything; only the beginning tells.
    let document = if ["", PLAIN, "text/x-not-multipart", SCRIPT].contains(&content_type.as_str()) {
        Document::sniffed(&body)
    } else {
        Document { content_type, headers: Vec::new(), body }
    };
    found.push(Document { headers: message.others(), ..document });
    Ok(())
}

/// What a document is by its beginning, as cloud-init tells.
fn sniff(data: &[u8]) -> Option<&'static str> {
    let begin = data.trim_ascii_start();
    let begins =
        |text: &str| begin.get(..text.len()).is_some_and(|b| b.eq_ignore_ascii_case(text.as_bytes()));
    BEGINNINGS.iter().find(|(text, _)| begins(text)).map(|(_, kind)| *kind)
}

/// Headers and a body, as RFC 5322 has them.
struct Message<'a> {
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// `None` when it does not begin with headers. A part may have none: then it begins with a blank line.
    fn parse(data: &'a [u8]) -> Option<Self> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut rest = data;
        let mut first = true;
        while !rest.is_empty() {
            let (line, after) = line(rest);
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end();
            rest = after;
            if text.is_empty() {
                return Some(Self { headers, body: rest });
            }
            match (text.split_once(':'), headers.last_mut()) {
                // A long header goes on in the next line, which begins with a blank.
                (_, Some((_, value))) if text.starts_with([' ', '\t']) => {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                (Some((name, value)), _) if is_header_name(name) => {
                    headers.push((name.to_owned(), value.trim().to_owned()));
                }
                // The envelope of a mailbox.
                _ if first && text.starts_with("From ") => {}
                _ => return None,
            }
            first = false;
        }
        None
    }

    fn is_mime(&self) -> bool {
        self.header("mime-version").is_some() || self.content_type().starts_with("multipart/")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Without parameters; empty where none is given.
    fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or("");
        value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
    }

    /// Headers that say something else than how the body is encoded.
    fn others(&self) -> Vec<(String, String)> {
        let own = ["content-type", "content-transfer-encoding", "content-length", "mime-version"];
        let is_own = |name: &str| own.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect()
    }

    fn decoded(&self) -> Vec<u8> {
        match self.header("content-transfer-encoding").map(str::to_ascii_lowercase).as_deref() {
            Some("base64") => from_base64(self.body).unwrap_or_else(|| self.body.to_vec()),
            Some("quoted-printable") => from_quoted_printable(self.body),
            _ => self.body.to_vec(),
        }
    }

    /// What is between the boundaries; the line end before a boundary is the boundary's (RFC 2046, 5.1.1).
    fn parts(&self) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        let Some(boundary) = self.boundary() else { return parts };
        let (opens, closes) = (format!("--{boundary}"), format!("--{boundary}--"));
        let (mut at, mut begun) = (0, None);
        while at < self.body.len() {
            let (text, after) = line(&self.body[at..]);
            let next = self.body.len() - after.len();
            let text = text.trim_ascii_end();
            if text == opens.as_bytes() || text == closes.as_bytes() {
                if let Some(begin) = begun {
                    parts.push(without_line_end(&self.body[begin..at.max(begin)]));
                }
                if text == closes.as_bytes() {
                    return parts;
                }
                begun = Some(next);
            }
            at = next;
        }
        // A document that was cut off: its last part may still be of use.
        if let Some(begin) = begun {
            parts.push(&self.body[begin..]);
        }
        parts
    }

    fn boundary(&self) -> Option<String> {
        let value = self.header("content-type")?;
        let at = value.to_ascii_lowercase().find("boundary")?;
        let value = value.get(at + "boundary".len()..)?.trim_start().strip_prefix('=')?.trim_start();
        let boundary = match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => value.split([';', ' ', '\t']).next(),
        };
        boundary.map(str::to_owned).filter(|boundary| !boundary.is_empty())
    }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The first line without its end, and what comes after it.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (data[..at].strip_suffix(b"\r").unwrap_or(&data[..at]), &data[at + 1..]),
        None => (data, &[]),
    }
}

fn without_line_end(data: &[u8]) -> &[u8] {
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    data.strip_suffix(b"\r").unwrap_or(data)
}

fn from_base64(data: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let digits: Vec<u8> = data.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(digits).ok()
}

/// RFC 2045, 6.7; what is no code stays as it is.
fn from_quoted_printable(data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        rest = match (*first, code) {
            (b'=', Some(byte)) => {
                plain.push(byte);
                &after[2..]
            }
            // A line that only looks like two.
            (b'=', None) if after.starts_with(b"\r\n") => &after[2..],
            (b'=', None) if after.starts_with(b"\n") => &after[1..],
            (byte, _) => {
                plain.push(byte);
                after
            }
        };
    }
    plain
}

#[cfg(test)]
#[path = "documents_tests.rs"]
pub(super) mod tests;
