//! What the description says of answers: the envelope of successes, the ways to fail, examples of both.
//!
//! Promises: an example is put together from those of the wire types. Must not know: single calls.

use serde_json::{Map, Value, json};

/// A header of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Whether it is a number.
    pub is_integer: bool,
}

/// A way to fail: a status, and the words by which programs tell its causes apart.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Its name among the components.
    pub name: &'static str,
    /// What has happened.
    pub description: &'static str,
    /// The values of `errorDev`.
    pub words: &'static [&'static str],
    /// Headers that come with it, besides those of every answer.
    pub headers: &'static [Header],
}

/// Headers by name, as a response lists them.
fn headers(of: &[Header]) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    Value::Object(of.iter().map(|header| (header.name.to_owned(), reference(header.name))).collect())
}

/// What such a header says.
pub fn header(of: &Header) -> Value {
    let kind = if of.is_integer { json!({"type": "integer"}) } else { json!({"type": "string"}) };
    json!({"description": of.description, "required": true, "schema": kind})
}

/// The response to a request that failed. `schema` refers to the envelope, which `shown` is an example of.
pub fn refused(refusal: &Refusal, always: &[Header], schema: &str, shown: &Value) -> Value {
    let mut shown = shown.clone();
    if let Some(word) = refusal.words.first() {
        shown["message"] = refusal.description.into();
        shown["error"] = json!({"errorMessage": refusal.description, "errorDev": word});
    }
    json!({
        "description": refusal.description,
        "headers": headers(&[always, refusal.headers].concat()),
        "content": {"application/json": {
            // Beside the reference stands which of its words may come with this status.
            "schema": {
                "$ref": schema,
                "properties": {"error": {"properties": {"errorDev": {"enum": refusal.words}}}},
            },
            "example": shown,
        }},
    })
}

/// The response of a call that did what it was asked for.
pub fn done(data: &Value, always: &[Header], schemas: &Map<String, Value>) -> Value {
    json!({
        "description": "Done, or begun where the answer names an event.",
        "headers": headers(always),
        "content": {"application/json": {
            "schema": {
                "type": "object",
                "required": ["status", "data", "message"],
                "properties": {
                    "status": {"const": "success"},
                    "data": data,
                    "message": {"type": "null"},
                },
                "additionalProperties": false,
            },
            "example": {"status": "success", "data": example(data, schemas), "message": null},
        }},
    })
}

/// What an answer of this schema looks like.
fn example(schema: &Value, schemas: &Map<String, Value>) -> Value {
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return schemas.get(name).map_or(Value::Null, |named| named["examples"][0].clone());
    }
    if let Some(items) = schema.get("items") {
        return json!([example(items, schemas)]);
    }
    let member = example(&schema["additionalProperties"], schemas);
    let name = member["name"].as_str().unwrap_or("name").to_owned();
    Value::Object([(name, member)].into_iter().collect())
}
