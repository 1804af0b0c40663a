//! Routes that describe themselves: what is registered is what the OpenAPI document says, by construction.
//!
//! Promises: OpenAPI 3.1; schemas come from the wire types, parameters from the constants that handlers read them
//! with. Must not know: single calls.

mod answers;
mod call;
mod requests;

pub use answers::{Header, Refusal};
pub use call::Call;

use axum::Router;
use axum::handler::Handler;
use axum::routing::on;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, schema::Schema};

/// What is said of a dialect as a whole.
pub struct About {
    /// Title, version and prose.
    pub info: Value,
    /// What the groups of calls are about, by their tags.
    pub tags: &'static [(&'static str, &'static str)],
    /// The ways to fail.
    pub refusals: &'static [Refusal],
    /// Headers of every answer.
    pub headers: &'static [Header],
    /// The header by which a client names a request that it may repeat: its description as a parameter.
    pub idempotency_key: Value,
    /// The ways to prove who calls, by name: `token`, and `refresh` where a call takes that.
    pub security: Value,
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
    pub fn finish<Failed: ToSchema>(self, about: &About) -> (Router<S>, Value) {
        let schemas = self.schemas::<Failed>();
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let mut links = Map::new();
        for call in &self.calls {
            let mut operation = call.operation(about.headers, &schemas);
            for refusal in about.refusals.iter().filter(|it| call.refusals().contains(&it.status)) {
                operation["responses"][refusal.status.to_string()] =
                    json!({"$ref": format!("#/components/responses/{}", refusal.name)});
            }
            let following = self.links(call, &mut links);
            if !following.is_empty() {
                operation["responses"]["200"]["links"] = Value::Object(following);
            }
            paths.entry(call.path).or_default().insert(call.method.to_owned(), operation);
        }
        let tags: Vec<Value> =
            about.tags.iter().map(|(name, about)| json!({"name": name, "description": about})).collect();
        let document = json!({
            "openapi": "3.1.0",
            "info": about.info,
            "servers": [{"url": "/"}],
            "tags": tags,
            "paths": paths,
            "security": [{"token": []}],
            "components": {
                "responses": refusals::<Failed>(about, &schemas),
                "schemas": schemas,
                "headers": headers(about),
                "parameters": {"IdempotencyKey": about.idempotency_key},
                "links": links,
                "securitySchemes": about.security,
            },
        });
        (self.router, document)
    }

    /// Every schema that a call or a failure refers to, closed: an object has the members that are named, no others.
    fn schemas<Failed: ToSchema>(&self) -> Map<String, Value> {
        let mut all: Vec<(String, RefOr<Schema>)> = vec![(Failed::name().into_owned(), Failed::schema())];
        Failed::schemas(&mut all);
        all.extend(self.calls.iter().flat_map(|call| call.schemas.iter().cloned()));
        let closed = all.into_iter().map(|(name, schema)| {
            let mut schema = json!(schema);
            if schema.get("properties").is_some() {
                schema["additionalProperties"] = false.into();
            }
            (name, schema)
        });
        closed.collect()
    }

    /// Which calls can follow one, by what it gives; what they take is written down once in `all`.
    fn links(&self, call: &Call, all: &mut Map<String, Value>) -> Map<String, Value> {
        let mut following = Map::new();
        for (pointer, parameter) in &call.gives {
            let value = format!("$response.body#/data/{pointer}");
            for next in &self.calls {
                if let Some(link) = next.takes_from(parameter, &value) {
                    let name = format!("{}_by_{}", next.id(), pointer.replace('/', "_"));
                    following.insert(next.id(), json!({"$ref": format!("#/components/links/{name}")}));
                    all.insert(name, link);
                }
            }
        }
        following
    }
}

/// Every header of an answer, by name.
fn headers(about: &About) -> Map<String, Value> {
    let all = about.headers.iter().chain(about.refusals.iter().flat_map(|refusal| refusal.headers));
    all.map(|header| (header.name.to_owned(), answers::header(header))).collect()
}

fn refusals<Failed: ToSchema>(about: &About, schemas: &Map<String, Value>) -> Map<String, Value> {
    let name = Failed::name();
    let schema = format!("#/components/schemas/{name}");
    let shown = schemas.get(name.as_ref()).map_or(Value::Null, |failed| failed["examples"][0].clone());
    let refused = |refusal: &Refusal| answers::refused(refusal, about.headers, &schema, &shown);
    about.refusals.iter().map(|refusal| (refusal.name.to_owned(), refused(refusal))).collect()
}
