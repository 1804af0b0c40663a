//! The description of the Cloude dialect as a judge: every answer that a test gets is held against it.
//!
//! Promises: an answer that the description does not allow fails the test that got it, whatever the test itself looks
//! at; which call answered is found by the description alone. Must not know: the routes, or what any test is about.

use axum::http::{HeaderMap, Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The description, and the validators that were needed so far.
struct Contract {
    document: Value,
    /// What schemas refer to.
    schemas: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Panics if the description does not allow this answer to a request for `path`, which may have a query.
/// Paths of other dialects are none of its business.
pub fn check(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap, body: &str) {
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let ours = segments.first() == Some(&"v1") && segments != ["v1", "openapi.json"];
    if !ours || method == Method::OPTIONS {
        return;
    }
    let contract = CONTRACT.get_or_init(Contract::open);
    if let Err(why) = contract.allows(method, &segments, status, headers, body) {
        panic!(
            "{method} {path} answered what the description does not allow: {why}\n{status} {headers:?}\n{body}"
        );
    }
}

static CONTRACT: OnceLock<Contract> = OnceLock::new();

impl Contract {
    fn open() -> Self {
        let document = bulut::api::cloude::openapi();
        let schemas = document["components"]["schemas"].clone();
        Self { document, schemas, validators: Mutex::default() }
    }

    fn allows(
        &self,
        method: &Method,
        segments: &[&str],
        status: StatusCode,
        headers: &HeaderMap,
        body: &str,
    ) -> Result<(), String> {
        let (pointer, head) = self.response(method, segments, status)?;
        let response = self.document.pointer(&pointer).ok_or("the description has a broken reference")?;
        let mut described = response["headers"].as_object().into_iter().flatten().map(|(name, _)| name);
        if let Some(name) = described.find(|name| !headers.contains_key(name.as_str())) {
            return Err(format!("the header {name} is missing"));
        }
        let media = headers.get("content-type").and_then(|media| media.to_str().ok()).unwrap_or_default();
        if response["content"].get(media).is_none() {
            return Err(format!("the content type '{media}' is not described"));
        }
        // HEAD answers with the headers of GET and nothing else.
        if head {
            return if body.is_empty() { Ok(()) } else { Err("an answer to HEAD has a body".into()) };
        }
        let body = serde_json::from_str(body).map_err(|why| format!("it is not JSON: {why}"))?;
        let validator = self.validator(&pointer, &response["content"][media]["schema"])?;
        let errors: Vec<String> =
            validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// Where the description tells of this answer; and whether it is one without a body.
    fn response(
        &self,
        method: &Method,
        segments: &[&str],
        status: StatusCode,
    ) -> Result<(String, bool), String> {
        let named = |name: &str| Ok((format!("/components/responses/{name}"), false));
        let Some(template) = self.template(segments) else {
            return if status == 404 {
                named("NotFound")
            } else {
                Err("there is no call at this path".into())
            };
        };
        let head = method == Method::HEAD;
        let verb = if head { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
        let call = format!("/paths/{}/{verb}", template.replace('~', "~0").replace('/', "~1"));
        if self.document.pointer(&call).is_none() {
            return if status == 405 {
                named("MethodNotAllowed")
            } else {
                Err("it takes no such method".into())
            };
        }
        let pointer = format!("{call}/responses/{}", status.as_u16());
        let response = self.document.pointer(&pointer).ok_or("the status is not described")?;
        match response["$ref"].as_str() {
            Some(reference) => Ok((reference.trim_start_matches('#').to_owned(), head)),
            None => Ok((pointer, head)),
        }
    }

    /// The path of the call: one without parameters goes before one with them.
    fn template(&self, segments: &[&str]) -> Option<&str> {
        let paths = self.document["paths"].as_object()?;
        let fits = |template: &&String| {
            let wanted: Vec<&str> = template.split('/').skip(1).collect();
            let mut pairs = wanted.iter().zip(segments);
            wanted.len() == segments.len()
                && pairs.all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
        };
        paths.keys().filter(fits).min_by_key(|template| template.matches('{').count()).map(String::as_str)
    }

    fn validator(&self, pointer: &str, schema: &Value) -> Result<Arc<Validator>, String> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = validators.get(pointer) {
            return Ok(Arc::clone(validator));
        }
        let whole = json!({"allOf": [schema], "components": {"schemas": self.schemas}});
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = Arc::new(options.build(&whole).map_err(|why| format!("a schema is broken: {why}"))?);
        validators.insert(pointer.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: &str = r#"{"status":"success","data":[{"slug":"ist2","name":"İstanbul","country":"TR","status":true}],"message":null}"#;
    const REFUSED: &str = r#"{"status":"error","data":null,"message":"No.","error":{"errorMessage":"No.","errorDev":"not_found"}}"#;

    fn judged(method: Method, path: &str, status: u16, body: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().expect("a value"));
        headers.insert("x-request-id", "1".parse().expect("a value"));
        headers.insert("allow", "GET".parse().expect("a value"));
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let status = StatusCode::from_u16(status).expect("a status");
        Contract::open().allows(&method, &segments, status, &headers, body)
    }

    #[test]
    fn what_the_description_allows_passes() {
        judged(Method::GET, "/v1/region/list", 200, REGIONS).unwrap();
        judged(Method::HEAD, "/v1//region/list/", 200, "").unwrap();
        judged(Method::GET, "/v1/nothing/here", 404, REFUSED).unwrap();
        judged(Method::GET, "/v1/server/7", 404, REFUSED).unwrap();
        let other = REFUSED.replace("not_found", "method_not_allowed");
        judged(Method::PATCH, "/v1/server/start", 405, &other).unwrap();
    }

    #[test]
    fn what_it_does_not_allow_is_told() {
        let get = |path, status, body: &str| judged(Method::GET, path, status, body).unwrap_err();
        let told = get("/v1/region/list", 200, &REGIONS.replace("true", "\"yes\""));
        assert!(told.contains("/data/0/status"), "{told}");
        let told = get("/v1/region/list", 200, &REGIONS.replace("\"slug\"", "\"extra\":1,\"slug\""));
        assert!(told.contains("extra"), "{told}");
        get("/v1/region/list", 200, &REGIONS.replace("null", "\"well\""));
        get("/v1/region/list", 200, "");
        get("/v1/region/list", 404, REFUSED);
        get("/v1/region/list", 418, REGIONS);
        get("/v1/nothing/here", 400, REFUSED);
        // The word has to be one of those that come with the status.
        get("/v1/server/7", 401, REFUSED);
        get("/v1/server/7", 404, &REFUSED.replace("not_found", "validation"));
        judged(Method::HEAD, "/v1/region/list", 200, REGIONS).unwrap_err();
        judged(Method::PATCH, "/v1/server/start", 200, REGIONS).unwrap_err();
    }
}
