//! How answers of this dialect are written (cloudatcost-api-v1, "Standard response", as the service really sent it).
//!
//! Promises: one line of ASCII, `": "` behind keys and `","` between members; nothing in it can be markup, since it is
//! declared as HTML, which its clients expect. Must not know: what is answered.

use crate::api::arrival;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// A success.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    status: &'static str,
    time: i64,
    api: &'static str,
    #[serde(flatten)]
    members: T,
}

impl<T> Answer<T> {
    /// A success with these members behind the ones that every success has.
    pub fn new(members: T) -> Self {
        Self { status: "ok", time: arrival::time().unix_seconds(), api: "v1", members }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match one_line(&self) {
            Ok(body) => (StatusCode::OK, headers(), body).into_response(),
            Err(error) => {
                let fault =
                    crate::api::failure::Failure::fault(format_args!("an answer cannot be JSON: {error}"));
                crate::api::cac::error::answer(&fault)
            }
        }
    }
}

/// The headers of every answer. Whoever opens one in a browser sees text that can do nothing.
pub fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

/// The value on one line.
pub fn one_line<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    value.serialize(&mut Serializer::with_formatter(&mut line, OneLine))?;
    Ok(line)
}

/// The service's own way of writing JSON.
struct OneLine;

impl Formatter for OneLine {
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    /// Slashes as in the document (`01\/26\/2014`); all that is not ASCII, and what HTML could take for its own, by
    /// numbers.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            match c {
                '/' => writer.write_all(b"\\/")?,
                '<' | '>' | '&' | '\u{7f}'.. => {
                    for unit in c.encode_utf16(&mut units) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
                _ => writer.write_all(&[c as u8])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written<T: Serialize>(value: &T) -> String {
        String::from_utf8(one_line(value).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_is_one_line_with_the_services_blanks() {
        #[derive(Serialize)]
        struct Members {
            serverid: &'static str,
            taskid: i64,
            list: Vec<i64>,
            none: Option<i64>,
        }
        let members = Members { serverid: "254513205", taskid: 700_420_024_805, list: vec![], none: None };
        let answer = Answer { time: 1_425_504_815, ..Answer::new(members) };
        assert_eq!(
            written(&answer),
            r#"{"status": "ok","time": 1425504815,"api": "v1","serverid": "254513205","taskid": 700420024805,"list": [],"none": null}"#
        );
    }

    #[test]
    fn nothing_in_it_is_markup_and_dates_are_as_in_the_document() {
        let said = written(&json!("<script>alert('x')</script> & 01/26/2014 \"é😀\"\u{7f}\u{2028}\n"));
        assert_eq!(
            said,
            concat!(
                r#""\u003cscript\u003ealert('x')\u003c\/script\u003e \u0026 01\/26\/2014 "#,
                r#"\"\u00e9\ud83d\ude00\"\u007f\u2028\n""#
            )
        );
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(text in any::<String>(), key in any::<String>()) {
            let value = json!({ key: [text, null, 1.5, true] });
            let line = written(&value);
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte) && !b"<>&".contains(&byte)));
        }
    }
}
