//! What the description says of requests: schemas and examples of parameters.
//!
//! Promises: a schema says what a careful client sends; what the tolerant reader takes besides stands in prose.
//! Must not know: single calls.

use crate::api::params::{LAST_SECOND, Param, Shape};
use serde_json::{Map, Value, json};

/// How a body is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    /// JSON, which can say that an array is empty.
    Json,
    /// A form, in which an array of nothing is not there.
    Form,
}

/// The documents' way to write a time.
const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";

/// A sentence about a parameter.
pub fn description(parameter: &Param) -> String {
    let mut sentence = capitalised(parameter.accepted);
    if let [_, others @ ..] = parameter.names
        && !others.is_empty()
    {
        let others: Vec<String> = others.iter().map(|name| format!("`{name}`")).collect();
        sentence.push_str(&format!(". Also accepted as {}", others.join(", ")));
    }
    sentence.push('.');
    sentence
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// The schema of a parameter.
pub fn schema(parameter: &Param, spelled: Spelled) -> Value {
    match parameter.shape {
        Shape::Text => text(parameter),
        Shape::Integer => integer(parameter),
        Shape::List => array(parameter, text(parameter), spelled),
        Shape::Integers => array(parameter, integer(parameter), spelled),
        Shape::Time => json!({"anyOf": [
            {"type": "string", "format": "date-time", "pattern": TIME},
            {"type": "integer", "format": "int64", "minimum": 0, "maximum": LAST_SECOND},
        ]}),
    }
}

fn array(parameter: &Param, items: Value, spelled: Spelled) -> Value {
    let (least, most) = parameter.facts.count.unzip();
    let floor = if spelled == Spelled::Json { 0 } else { 1 };
    let mut schema = json!({"type": "array", "items": items, "minItems": least.unwrap_or(1).max(floor)});
    if let Some(most) = most {
        schema["maxItems"] = most.into();
    }
    schema
}

fn text(parameter: &Param) -> Value {
    let facts = parameter.facts;
    if !facts.words.is_empty() {
        let words = json!({"type": "string", "enum": facts.words});
        return if facts.range.is_some() { json!({"anyOf": [words, integer(parameter)]}) } else { words };
    }
    // Empty is the same as not given.
    let (least, most) = facts.length.unzip();
    let mut schema = json!({"type": "string", "minLength": least.unwrap_or(1).max(1)});
    if let Some(most) = most {
        schema["maxLength"] = most.into();
    }
    if let Some(pattern) = facts.pattern {
        schema["pattern"] = pattern.into();
    }
    if let Some(format) = facts.format {
        schema["format"] = format.into();
        if format == "byte" {
            schema["contentEncoding"] = "base64".into();
        }
    }
    schema
}

fn integer(parameter: &Param) -> Value {
    let mut schema = json!({"type": "integer", "format": "int64"});
    if let Some((least, most)) = parameter.facts.range {
        schema["minimum"] = least.into();
        schema["maximum"] = most.into();
    }
    if let Some(unit) = parameter.facts.multiple_of {
        schema["multipleOf"] = unit.into();
    }
    schema
}

/// A value of a parameter, for example.
pub fn example(parameter: &Param) -> Value {
    let text = parameter.facts.example;
    let integer = |text: &str| text.parse::<i64>().map_or(Value::Null, Value::from);
    match parameter.shape {
        Shape::Text | Shape::Time => text.into(),
        Shape::Integer => integer(text),
        Shape::List => text.split(',').collect::<Vec<_>>().into(),
        Shape::Integers => text.split(',').map(integer).collect::<Vec<_>>().into(),
    }
}

/// A parameter outside of the body.
pub fn outside(place: &str, parameter: &Param, required: bool) -> Value {
    let mut described = json!({
        "name": parameter.name(),
        "in": place,
        "required": required,
        "description": description(parameter),
        "schema": schema(parameter, Spelled::Form),
        "example": example(parameter),
    });
    if matches!(parameter.shape, Shape::List | Shape::Integers) {
        described["style"] = "form".into();
        described["explode"] = false.into();
    }
    described
}

/// A body that carries these parameters: in three encodings, in each of which they mean the same.
pub fn body(parameters: &[&(Param, bool)]) -> Value {
    let required: Vec<_> =
        parameters.iter().filter(|(_, required)| *required).map(|(parameter, _)| parameter.name()).collect();
    let values: Map<String, Value> =
        parameters.iter().map(|(it, _)| (it.name().to_owned(), example(it))).collect();
    let content = |spelled| {
        let properties: Map<String, Value> = parameters
            .iter()
            .map(|(parameter, _)| {
                let mut schema = schema(parameter, spelled);
                schema["description"] = description(parameter).into();
                (parameter.name().to_owned(), schema)
            })
            .collect();
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = required.clone().into();
        }
        json!({"schema": schema, "example": values})
    };
    json!({
        "required": !required.is_empty(),
        "content": {
            "application/x-www-form-urlencoded": content(Spelled::Form),
            "application/json": content(Spelled::Json),
            "multipart/form-data": content(Spelled::Form),
        },
    })
}
