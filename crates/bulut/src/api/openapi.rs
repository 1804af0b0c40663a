//! Routes that describe themselves: what is registered is what the OpenAPI document says, by construction.
//!
//! Promises: OpenAPI 3.1; schemas come from the wire types. Must not know: single calls.
//!
//! The operations are written as JSON rather than by attributes on the handlers: one call is registered at
//! several paths, and its parameters come from the same constants that its handler reads them with.

use crate::api::params::{Param, Shape};
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, schema::Schema};

/// What the document says about one call.
#[derive(Clone)]
pub struct Call {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    is_public: bool,
    parameters: Vec<(Param, bool)>,
    answer: Value,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Call {
    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            is_public: false,
            parameters: Vec::new(),
            answer: json!({"const": true}),
            schemas: Vec::new(),
        }
    }

    /// A call by GET; unless it says otherwise it needs a token and answers `true`.
    pub fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, summary)
    }

    /// A call by POST.
    pub fn post(path: &'static str, summary: &'static str) -> Self {
        Self::new("post", path, summary)
    }

    /// A call by PUT.
    pub fn put(path: &'static str, summary: &'static str) -> Self {
        Self::new("put", path, summary)
    }

    /// A call by DELETE.
    pub fn delete(path: &'static str, summary: &'static str) -> Self {
        Self::new("delete", path, summary)
    }

    /// It needs no token.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Parameters that it needs.
    #[must_use]
    pub fn needs(mut self, parameters: &[Param]) -> Self {
        self.parameters.extend(parameters.iter().map(|parameter| (*parameter, true)));
        self
    }

    /// Parameters that it takes.
    #[must_use]
    pub fn takes(mut self, parameters: &[Param]) -> Self {
        self.parameters.extend(parameters.iter().map(|parameter| (*parameter, false)));
        self
    }

    /// The data of its success is a `T`.
    #[must_use]
    pub fn answers<T: ToSchema>(mut self) -> Self {
        self.answer = self.reference::<T>();
        self
    }

    /// The data of its success is an array of `T`.
    #[must_use]
    pub fn answers_array<T: ToSchema>(mut self) -> Self {
        self.answer = json!({"type": "array", "items": self.reference::<T>()});
        self
    }

    /// The data of its success is an object with a `T` for each name.
    #[must_use]
    pub fn answers_map<T: ToSchema>(mut self) -> Self {
        self.answer = json!({"type": "object", "additionalProperties": self.reference::<T>()});
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Value {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    }

    fn filter(&self) -> MethodFilter {
        match self.method {
            "post" => MethodFilter::POST,
            "put" => MethodFilter::PUT,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }

    fn is_in_path(&self, parameter: &Param) -> bool {
        self.path.contains(&format!("{{{}}}", parameter.name()))
    }

    fn operation(&self) -> Value {
        let (in_path, elsewhere): (Vec<_>, Vec<_>) =
            self.parameters.iter().partition(|(parameter, _)| self.is_in_path(parameter));
        let described = |place: &str, (parameter, required): &(Param, bool)| {
            json!({
                "name": parameter.name(),
                "in": place,
                "required": *required,
                "description": description(parameter),
                "schema": schema(parameter),
            })
        };
        let mut parameters: Vec<Value> = in_path.into_iter().map(|it| described("path", it)).collect();
        let mut operation = json!({
            "operationId": self.id(),
            "tags": [self.path.split('/').nth(2).unwrap_or_default()],
            "summary": self.summary,
            "responses": {
                "200": {"description": "Done.", "content": {"application/json": {"schema": self.success()}}},
                "default": {"$ref": "#/components/responses/Failed"},
            },
        });
        if self.method == "get" {
            parameters.extend(elsewhere.into_iter().map(|it| described("query", it)));
        } else if !elsewhere.is_empty() {
            operation["requestBody"] = body(&elsewhere);
        }
        operation["parameters"] = Value::Array(parameters);
        if self.is_public {
            operation["security"] = json!([]);
        }
        operation
    }

    fn id(&self) -> String {
        let words = self.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
        words.fold(self.method.to_owned(), |id, word| format!("{id}_{word}"))
    }

    fn success(&self) -> Value {
        json!({
            "type": "object",
            "required": ["status", "data", "message"],
            "properties": {
                "status": {"const": "success"},
                "data": self.answer,
                "message": {"type": "null"},
            },
        })
    }
}

fn description(parameter: &Param) -> String {
    match parameter.names {
        [] | [_] => parameter.accepted.to_owned(),
        [_, others @ ..] => format!("{}; also accepted as {}", parameter.accepted, others.join(", ")),
    }
}

fn schema(parameter: &Param) -> Value {
    match parameter.shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Integer => json!({"type": "integer", "format": "int64"}),
        Shape::List => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        Shape::Integers => {
            let integer = json!({"type": "integer", "format": "int64"});
            json!({"anyOf": [integer, {"type": "string"}, {"type": "array", "items": integer}]})
        }
        Shape::Time => {
            json!({"anyOf": [{"type": "integer", "format": "int64"}, {"type": "string", "format": "date-time"}]})
        }
    }
}

/// One schema, three encodings: a parameter means the same in each.
fn body(parameters: &[&(Param, bool)]) -> Value {
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|(parameter, _)| {
            let mut schema = schema(parameter);
            schema["description"] = description(parameter).into();
            (parameter.name().to_owned(), schema)
        })
        .collect();
    let required: Vec<_> =
        parameters.iter().filter(|(_, required)| *required).map(|(parameter, _)| parameter.name()).collect();
    let content = json!({"schema": {"type": "object", "required": required, "properties": properties}});
    json!({
        "required": !required.is_empty(),
        "content": {
            "application/x-www-form-urlencoded": content,
            "application/json": content,
            "multipart/form-data": content,
        },
    })
}

/// Routes of one dialect with their description.
pub struct Routes<S> {
    router: Router<S>,
    calls: Vec<Call>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    pub fn new() -> Self {
        Self { router: Router::new(), calls: Vec::new() }
    }

    /// Registers a call.
    #[must_use]
    pub fn add<H, T>(mut self, call: Call, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(call.path, on(call.filter(), handler));
        self.calls.push(call);
        self
    }

    /// The router, and the description of what is in it. `Failed` is what failures look like.
    pub fn finish<Failed: ToSchema>(self, info: Value) -> (Router<S>, Value) {
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let mut schemas = vec![(Failed::name().into_owned(), Failed::schema())];
        Failed::schemas(&mut schemas);
        for call in &self.calls {
            paths.entry(call.path).or_default().insert(call.method.to_owned(), call.operation());
            schemas.extend(call.schemas.iter().cloned());
        }
        let schemas: BTreeMap<_, _> = schemas.into_iter().collect();
        let failed = json!({
            "description": "Refused (4xx) or broken (5xx).",
            "content": {"application/json": {"schema": {
                "$ref": format!("#/components/schemas/{}", Failed::name()),
            }}},
        });
        let document = json!({
            "openapi": "3.1.0",
            "info": info,
            "paths": paths,
            "security": [{"token": []}],
            "components": {
                "schemas": schemas,
                "responses": {"Failed": failed},
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                },
            },
        });
        (self.router, document)
    }
}
