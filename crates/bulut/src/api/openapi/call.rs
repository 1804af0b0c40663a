//! One call: what it takes, what it answers, and how it can fail.
//!
//! The operations are written as JSON rather than by attributes on the handlers: one call is registered at
//! several paths, and its parameters come from the same constants that its handler reads them with.

use super::answers::{Header, done};
use super::requests::{body, outside};
use crate::api::params::Param;
use axum::routing::MethodFilter;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, schema::Schema};

/// What the document says about one call.
#[derive(Clone)]
pub struct Call {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    summary: &'static str,
    access: Access,
    costs: bool,
    parameters: Vec<(Param, bool)>,
    answer: Value,
    /// Where in the data an id stands, and the parameter that takes it.
    pub(super) gives: Vec<(&'static str, Param)>,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Whoever bears a token.
    Token,
    /// Anybody.
    Public,
    /// Anybody who knows a secret, which comes as a parameter.
    SignIn,
    /// The same, or as Bearer.
    Refresh,
}

/// Parameters of a call, and whether it needs them.
type Params<'a> = Vec<&'a (Param, bool)>;

impl Call {
    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            access: Access::Token,
            costs: false,
            parameters: Vec::new(),
            answer: json!({"const": true}),
            gives: Vec::new(),
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
        self.access = Access::Public;
        self
    }

    /// It needs no token, but a secret among its parameters.
    #[must_use]
    pub fn signs_in(mut self) -> Self {
        self.access = Access::SignIn;
        self
    }

    /// It needs a refresh token, as a parameter or as Bearer.
    #[must_use]
    pub fn refreshes(mut self) -> Self {
        self.access = Access::Refresh;
        self
    }

    /// It needs money.
    #[must_use]
    pub fn costs(mut self) -> Self {
        self.costs = true;
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

    /// The data of its success is an array with one `T`.
    #[must_use]
    pub fn answers_only<T: ToSchema>(mut self) -> Self {
        self.answer = json!({"type": "array", "items": self.reference::<T>(), "minItems": 1, "maxItems": 1});
        self
    }

    /// The data of its success is an object with a `T` for each name.
    #[must_use]
    pub fn answers_map<T: ToSchema>(mut self) -> Self {
        self.answer = json!({"type": "object", "additionalProperties": self.reference::<T>()});
        self
    }

    /// The member `pointer` of its data is what `parameter` of other calls takes.
    #[must_use]
    pub fn gives(mut self, pointer: &'static str, parameter: Param) -> Self {
        self.gives.push((pointer, parameter));
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Value {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    }

    pub(super) fn filter(&self) -> MethodFilter {
        match self.method {
            "post" => MethodFilter::POST,
            "put" => MethodFilter::PUT,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }

    /// Its first word after the version, by which calls are grouped.
    pub(super) fn tag(&self) -> &'static str {
        self.path.split('/').nth(2).unwrap_or_default()
    }

    /// Its name, which changes only with its method or path.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
        words.fold(self.method.to_owned(), |id, word| format!("{id}_{word}"))
    }

    fn is_in_path(&self, parameter: &Param) -> bool {
        self.path.contains(&format!("{{{}}}", parameter.name()))
    }

    fn has_body(&self) -> bool {
        self.method != "get"
    }

    /// Whether it changes something of an account, so that it can be repeated under a key.
    fn changes(&self) -> bool {
        self.has_body() && self.access == Access::Token
    }

    /// The statuses that it may answer besides 200.
    pub(super) fn refusals(&self) -> Vec<u16> {
        let finds = self.parameters.iter().any(|(parameter, _)| parameter.facts.names_a_thing);
        let may = [
            (400, self.has_body() || !self.parameters.is_empty()),
            (401, self.access != Access::Public),
            (402, self.costs),
            (403, self.changes()),
            (404, finds),
            (408, self.has_body()),
            (409, self.changes()),
            (413, self.has_body()),
            (429, true),
            (500, true),
            (503, true),
        ];
        may.into_iter().filter(|(_, may)| *may).map(|(status, _)| status).collect()
    }

    /// Where this call takes the parameter, in the words of a link; none if it does not need it.
    pub(super) fn takes_from(&self, parameter: &Param, value: &str) -> Option<Value> {
        let needed = self.parameters.iter().any(|(it, required)| it == parameter && *required);
        if !needed {
            return None;
        }
        let operation = json!({"operationId": self.id()});
        let name = parameter.name();
        let (key, taken) = if self.is_in_path(parameter) {
            ("parameters", json!({format!("path.{name}"): value}))
        } else if self.has_body() {
            ("requestBody", json!({name: value}))
        } else {
            ("parameters", json!({format!("query.{name}"): value}))
        };
        let mut link = operation;
        link[key] = taken;
        Some(link)
    }

    /// What the document says of it, but for the ways to fail.
    pub(super) fn operation(&self, always: &[Header], schemas: &Map<String, Value>) -> Value {
        let (in_path, elsewhere): (Params<'_>, Params<'_>) =
            self.parameters.iter().partition(|(parameter, _)| self.is_in_path(parameter));
        let mut parameters: Vec<Value> =
            in_path.into_iter().map(|(parameter, _)| outside("path", parameter, true)).collect();
        let mut operation = json!({
            "operationId": self.id(),
            "tags": [self.tag()],
            "summary": self.summary,
            "responses": {"200": done(&self.answer, always, schemas)},
        });
        if !self.has_body() {
            let in_query =
                elsewhere.iter().map(|(parameter, required)| outside("query", parameter, *required));
            parameters.extend(in_query);
        } else if !elsewhere.is_empty() {
            operation["requestBody"] = body(&elsewhere);
        }
        if self.changes() {
            parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
        }
        operation["parameters"] = Value::Array(parameters);
        match self.access {
            Access::Token => {}
            Access::Public | Access::SignIn => operation["security"] = json!([]),
            Access::Refresh => operation["security"] = json!([{}, {"refresh": []}]),
        }
        operation
    }
}
