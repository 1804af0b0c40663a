//! JSON bodies.
//!
//! Promises: numbers and booleans are their text, `null` is not given, arrays are lists (also the objects with
//! the keys 0, 1, 2… that some clients make of arrays). Must not know: content types.

use super::{Item, Layer};
use bulut_model::{Error, Result};
use serde_json::{Map, Value};

/// Reads a body that is meant to be JSON. Nothing and `null` are no parameters.
///
/// Errors: `Invalid` for `body` when it is broken, or not an object.
pub fn read(body: &[u8]) -> Result<Layer> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Layer::default());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(layer(object)),
        Ok(Value::Null) => Ok(Layer::default()),
        Ok(_) => Err(Error::invalid(
            "body",
            "The body must be a JSON object with the parameters as its members, such as {\"name\":\"web1\"}.",
        )),
        Err(error) => Err(Error::invalid(
            "body",
            format!(
                "The body is not valid JSON: it breaks at line {}, column {}. Send an object such as \
                 {{\"name\":\"web1\"}}, or a form.",
                error.line(),
                error.column()
            ),
        )),
    }
}

/// Whether a body is a JSON object from its first to its last byte.
pub fn is_object(body: &[u8]) -> bool {
    matches!(serde_json::from_slice(body), Ok(Value::Object(_)))
}

fn layer(object: Map<String, Value>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in object {
        match value {
            Value::Null => {}
            Value::Array(values) => {
                let mut items = Vec::new();
                flatten(values, &mut items);
                layer.put_list(plain(&name), items);
            }
            Value::Object(members) => {
                let mut items = Vec::new();
                match array(members) {
                    Some(values) => flatten(values, &mut items),
                    None => items.push(NOT_TEXT),
                }
                layer.put_list(plain(&name), items);
            }
            scalar => layer.push(&name, item(scalar)),
        }
    }
    layer.settle();
    layer
}

const NOT_TEXT: Item = Item::Damaged("must not be a JSON object");

/// Clients that fill both forms and JSON from one table keep the brackets in the name.
fn plain(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

fn flatten(values: Vec<Value>, items: &mut Vec<Item>) {
    for value in values {
        match value {
            Value::Null => {}
            Value::Array(values) => flatten(values, items),
            other => items.push(item(other)),
        }
    }
}

fn item(value: Value) -> Item {
    match value {
        Value::String(text) => Item::Text(text),
        Value::Number(number) => Item::Text(number.to_string()),
        Value::Bool(truth) => Item::Text(truth.to_string()),
        Value::Null => Item::Text(String::new()),
        Value::Array(_) | Value::Object(_) => NOT_TEXT,
    }
}

/// The values of an object whose keys are all integers, in the order of these.
fn array(members: Map<String, Value>) -> Option<Vec<Value>> {
    let mut numbered = members
        .into_iter()
        .map(|(key, value)| key.parse::<u64>().ok().map(|key| (key, value)))
        .collect::<Option<Vec<_>>>()?;
    numbered.sort_by_key(|(key, _)| *key);
    Some(numbered.into_iter().map(|(_, value)| value).collect())
}
