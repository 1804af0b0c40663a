//! Parameters of the legacy dialects: one tolerant reader for every way in which clients send them.
//!
//! Promises: a parameter means the same whether it comes as a form, JSON, `multipart/form-data`, in the query
//! or in the path; every refusal names the parameter and says what would be accepted; nothing panics.
//! Must not know: which calls there are, or what their values mean to the domain.
//!
//! What wins is the order of the layers: the path, then the body, then the query; an empty value is as good
//! as none, so that a later layer may fill it. On GET and HEAD the body does not count, whatever it is.

mod body;
mod forgiving;
mod form;
mod json;
mod layer;
mod multipart;
mod param;
#[cfg(test)]
mod tests;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use bulut_model::name::excerpt;
use bulut_model::{Error, Result, Timestamp};
use bytes::Bytes;
pub use layer::{Given, Item, Layer};
pub use param::{Facts, Param, Shape};
use sha2::{Digest as _, Sha256};

/// The last second that the documents' form of a time can write: that of the year 9999.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// The parameters of one request.
#[derive(Debug, Clone, Default)]
pub struct Params {
    layers: Vec<Layer>,
}

impl Params {
    /// Parameters from these sources; the first that gives one wins.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers }
    }

    /// Reads a request by the rules of the Cloude dialect.
    ///
    /// Errors: `Invalid` for a body that is broken or a path that is not UTF-8.
    pub async fn read(request: Request) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let path = path_layer(RawPathParams::from_request_parts(&mut parts, &()).await)?;
        let query = form::read(parts.uri.query().unwrap_or_default().as_bytes());
        if ignores_body(&parts.method) {
            return Ok(Self::new(vec![path, query]));
        }
        let body = body::read(content_type(&parts.headers), &whole(body).await?).await?;
        Ok(Self::new(vec![path, body, query]))
    }

    /// A digest of all that was said, SHA-256 in hexadecimal: the same for the same parameters, however they were
    /// encoded. `call` tells apart what they were said to.
    pub fn fingerprint(&self, call: &str) -> String {
        let mut digest = Sha256::new();
        // Lengths before texts, so that no two requests run together into the same bytes.
        let mut take = |text: &str| {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        };
        take(call);
        for layer in &self.layers {
            for (name, given) in layer.all().filter(|(_, given)| given.is_something()) {
                take(name);
                for item in &given.items {
                    match item {
                        Item::Text(text) => take(text),
                        Item::Damaged(why) => take(why),
                    }
                }
            }
            take("");
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The text of a parameter that must be given.
    ///
    /// Errors: `Invalid` when it is missing, several values, or not text.
    pub fn required(&self, param: &Param) -> Result<String> {
        self.optional(param)?.ok_or_else(|| param.missing())
    }

    /// The text of a parameter that may be given; empty is the same as not given.
    ///
    /// Errors: `Invalid` for several values, or what is not text.
    pub fn optional(&self, param: &Param) -> Result<Option<String>> {
        let Some((name, given)) = self.find(param).next() else { return Ok(None) };
        let texts = texts(param, name, given)?;
        if given.is_list && texts.len() > 1 {
            return Err(param.wrong(name, "must be one value, not several"));
        }
        // A plain name that comes twice (`a=1&a=2`) is one value, the last: what web servers of the time did.
        Ok(texts.last().map(|text| (*text).to_owned()))
    }

    /// Base64 text of a parameter that may be given, as it was before a client wrapped it into lines or forgot
    /// to encode its plus signs, which a form turns into blanks.
    ///
    /// Errors: as [`Params::optional`].
    pub fn base64(&self, param: &Param) -> Result<Option<String>> {
        let text = self.optional(param)?;
        Ok(text.map(|text| {
            let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
            text.chars()
                .filter(|c| !matches!(c, '\r' | '\n' | '\t'))
                .map(|c| if c == ' ' { '+' } else { c })
                .collect()
        }))
    }

    /// The integer of a parameter that must be given.
    ///
    /// Errors: `Invalid` when it is missing or not an integer.
    pub fn integer(&self, param: &Param) -> Result<i64> {
        self.optional_integer(param)?.ok_or_else(|| param.missing())
    }

    /// The integer of a parameter that may be given.
    ///
    /// Errors: `Invalid` when it is not an integer.
    pub fn optional_integer(&self, param: &Param) -> Result<Option<i64>> {
        let Some(text) = self.optional(param)? else { return Ok(None) };
        let refuse = || param.wrong(self.name_of(param), &format!("is '{}', not an integer", excerpt(&text)));
        whole_number(&text).map(Some).ok_or_else(refuse)
    }

    /// The integers of a list that must have at least one.
    ///
    /// Errors: `Invalid` when it is missing, or one of its values is not an integer.
    pub fn integers(&self, param: &Param) -> Result<Vec<i64>> {
        let refuse = |text: &str| {
            param.wrong(self.name_of(param), &format!("has '{}', not an integer", excerpt(text)))
        };
        let texts = self.required_list(param)?;
        texts.iter().map(|text| whole_number(text).ok_or_else(|| refuse(text))).collect()
    }

    /// The point in time of a parameter that may be given: seconds since 1970, or the form of the documents.
    ///
    /// Errors: `Invalid` when it is neither.
    pub fn time(&self, param: &Param) -> Result<Option<Timestamp>> {
        let Some(text) = self.optional(param)? else { return Ok(None) };
        let seconds = text.trim().parse().ok().filter(|seconds| (0..=LAST_SECOND).contains(seconds));
        let time = seconds.map(Timestamp::from_unix_seconds).or_else(|| Timestamp::from_wire(text.trim()));
        let refuse = || param.wrong(self.name_of(param), &format!("is '{}', not a time", excerpt(&text)));
        time.map(Some).ok_or_else(refuse)
    }

    /// The values of a list: those of every name of the parameter in the first source that has any of them,
    /// split at commas, without blanks around them, each once. Not given is the empty list.
    ///
    /// Errors: `Invalid` for what is not text.
    pub fn list(&self, param: &Param) -> Result<Vec<String>> {
        self.split(param, |c| c == ',')
    }

    /// As [`Params::list`], of a parameter that must be given.
    ///
    /// Errors: `Invalid` when it is missing.
    pub fn required_list(&self, param: &Param) -> Result<Vec<String>> {
        let values = self.list(param)?;
        if values.is_empty() { Err(param.missing()) } else { Ok(values) }
    }

    /// As [`Params::list`], of a parameter that must be given: if it is to be empty, by an array of nothing, which only
    /// JSON can say.
    ///
    /// Errors: `Invalid` when it is missing.
    pub fn given_list(&self, param: &Param) -> Result<Vec<String>> {
        let values = self.list(param)?;
        if values.is_empty() && !self.is_nothing(param) { Err(param.missing()) } else { Ok(values) }
    }

    /// As [`Params::list`], but blanks separate values too, and it must be given: if it is to be empty, by an array
    /// of nothing, which only JSON can say.
    ///
    /// Errors: `Invalid` when it is missing.
    pub fn words(&self, param: &Param) -> Result<Vec<String>> {
        let values = self.split(param, |c| c == ',' || c.is_whitespace())?;
        if values.is_empty() && !self.is_nothing(param) { Err(param.missing()) } else { Ok(values) }
    }

    /// Whether a source says that the parameter is an array of nothing.
    fn is_nothing(&self, param: &Param) -> bool {
        let mut named =
            self.layers.iter().flat_map(|layer| param.names.iter().filter_map(|name| layer.get(name)));
        named.any(|given| given.is_list && given.items.is_empty())
    }

    /// The name under which the parameter was given.
    fn name_of(&self, param: &Param) -> &'static str {
        self.find(param).next().map_or(param.name(), |(name, _)| name)
    }

    fn split(&self, param: &Param, is_separator: fn(char) -> bool) -> Result<Vec<String>> {
        let mut values: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (name, given) in self.find(param) {
            for text in texts(param, name, given)? {
                for value in text.split(is_separator).map(str::trim).filter(|value| !value.is_empty()) {
                    if seen.insert(value) {
                        values.push(value.to_owned());
                    }
                }
            }
        }
        Ok(values)
    }

    /// What the strongest source that gives the parameter says under each of its names.
    fn find<'a>(&'a self, param: &'a Param) -> impl Iterator<Item = (&'static str, &'a Given)> {
        let given = move |layer: &'a Layer| {
            param.names.iter().filter_map(move |name| {
                layer.get(name).filter(|given| given.is_something()).map(|given| (*name, given))
            })
        };
        self.layers.iter().find(move |layer| given(layer).next().is_some()).into_iter().flat_map(given)
    }
}

/// The texts that are not empty. No call takes a zero byte anywhere, and PostgreSQL takes none in a text, not
/// even to compare with.
fn texts<'a>(param: &Param, name: &str, given: &'a Given) -> Result<Vec<&'a str>> {
    let mut texts = Vec::new();
    for item in &given.items {
        match item {
            Item::Text(text) if text.is_empty() => {}
            Item::Text(text) if text.contains('\0') => return Err(param.wrong(name, "has a zero byte")),
            Item::Text(text) => texts.push(text.as_str()),
            Item::Damaged(why) => return Err(param.wrong(name, why)),
        }
    }
    Ok(texts)
}

/// An integer; languages that know only one kind of number write it as `7.0`.
fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    let fraction_of_nothing = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit == b'0');
    let digits =
        text.split_once('.').filter(|(_, part)| fraction_of_nothing(part)).map_or(text, |(it, _)| it);
    digits.parse().ok()
}

/// Whether only query and path count.
fn ignores_body(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The body; how long it may be was settled before it came here.
async fn whole(body: Body) -> Result<Bytes> {
    to_bytes(body, usize::MAX).await.map_err(|error| {
        Error::invalid("body", "The body could not be read to its end.").with_internal(error)
    })
}

fn path_layer(
    path: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
) -> Result<Layer> {
    use axum::extract::rejection::RawPathParamsRejection as Rejection;
    match path {
        Ok(params) => {
            let mut layer = Layer::default();
            for (name, value) in &params {
                layer.push(name, Item::Text(value.to_owned()));
            }
            Ok(layer)
        }
        Err(Rejection::InvalidUtf8InPathParam(_)) => {
            Err(Error::invalid("path", "The path is not UTF-8 once its %-escapes are decoded."))
        }
        // A route without parameters has none to read.
        Err(_) => Ok(Layer::default()),
    }
}
