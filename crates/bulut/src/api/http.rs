//! What every request goes through before and after its handler, whatever the dialect.
//!
//! Promises: a request id, a span with route, status, latency and account; paths with trailing or doubled
//! slashes as if they were tidy; bodies of at most 1 MiB; a panic, an unknown path and a wrong method in the
//! dialect's own envelope; HEAD and OPTIONS answered; security headers. Neither tokens nor bodies nor query
//! values nor raw paths reach the log. Must not know: any call.

use crate::api::arrival::{self, Arrival};
use crate::api::cors::Cors;
use crate::api::dialect::Dialect;
use crate::api::failure::Failure;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceBuilder;
use tracing::Instrument as _;
use tracing::field::Empty;

/// Longest body, bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// How much of a body is read only to be thrown away. A client that is still sending when the connection
/// closes sees a broken pipe and never reads the answer that says why.
const DISCARD_MAX: usize = 16 * 1024 * 1024;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Names a request, in the log and in the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Told of every answer: method, pattern of the route (never the path), status, latency.
pub type Observer = Box<dyn Fn(&str, &str, u16, Duration) + Send + Sync>;

/// Asked about every request before it is dealt with: its arrival, and whether its sender may send it now.
pub type Gate = Box<dyn Fn(&Request) -> (Arrival, Result<(), Failure>) + Send + Sync>;

/// What the plumbing needs.
struct Plumbing {
    cors: Cors,
    observe: Observer,
    gate: Gate,
}

/// Puts the plumbing around all routes.
pub fn plumb(routes: Router, cors: Cors, observe: Observer, gate: Gate) -> Router {
    let routes = routes
        .fallback(async |request: Request| Dialect::of(request.uri().path()).answer(&Failure::UnknownPath))
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(routed));
    // Around the router as a whole, since what changes the path must come before the route is looked up.
    let around = middleware::from_fn_with_state(Arc::new(Plumbing { cors, observe, gate }), around);
    Router::new().fallback_service(ServiceBuilder::new().layer(around).service(routes))
}

/// There is a route, but not for this method: OPTIONS asks which there are, any other is refused.
async fn other_method(request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Dialect::of(request.uri().path()).answer(&Failure::MethodNotAllowed)
}

/// Runs the handler; a panic in it is a fault like any other. Whoever is around learns the route.
async fn routed(request: Request, next: Next) -> Response {
    let dialect = Dialect::of(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().cloned();
    if let Some(route) = &route {
        tracing::Span::current().record("http.route", route.as_str());
    }
    let mut response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| dialect.answer(&Failure::fault(format_args!("panic: {}", words(&*panic)))));
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

async fn around(State(plumbing): State<Arc<Plumbing>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    tidy(&mut request);
    let id = request_id(request.headers());
    let method = request.method().clone();
    let dialect = Dialect::of(request.uri().path());
    let origin = plumbing.cors.allowed(request.headers());
    let span = tracing::info_span!(
        "request",
        request.id = id.to_str().unwrap_or_default(),
        http.method = method.as_str(),
        http.route = Empty,
        account.id = Empty,
    );
    let preflight = plumbing.cors.preflight(&request);
    let (arrival, may) = (plumbing.gate)(&request);
    let reads = arrival.only_reads();
    let answered = async {
        if let Some(response) = preflight {
            return response;
        }
        // The body is read also where nobody will look at it: a client that is still sending would see no answer.
        let read = with_body(request, dialect.reads_bodies_of_gets(), BODY_TIME).await;
        match may.and(read) {
            Ok(request) => next.run(request).await,
            Err(failure) => dialect.answer(&failure),
        }
    };
    let (mut response, allowance) = arrival.within(answered).instrument(span.clone()).await;
    arrival::tell(allowance, response.headers_mut());
    plumbing.cors.mark(origin, response.headers_mut());
    finish(response.headers_mut(), id);
    let took = started.elapsed();
    span.in_scope(|| note_end(reads, response.status(), took));
    let route = response.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    (plumbing.observe)(known(&method), route, response.status().as_u16(), took);
    response
}

/// Clients may make up methods; the metrics must not grow with them.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}

/// One line a request. Reads are many, and counted by the metrics: they are worth a line to a developer only.
fn note_end(reads: bool, status: StatusCode, latency: Duration) {
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let status = status.as_u16();
    if reads {
        tracing::debug!(http.status = status, latency_us, "answered");
    } else {
        tracing::info!(http.status = status, latency_us, "answered");
    }
}

fn finish(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    // The router lists the methods that have a handler; OPTIONS is answered at every route.
    let allow = headers.get(ALLOW).and_then(|allow| allow.to_str().ok()).filter(|allow| !allow.is_empty());
    if let Some(Ok(all)) = allow.map(|allow| HeaderValue::from_str(&format!("{allow},OPTIONS"))) {
        headers.insert(ALLOW, all);
    }
}

/// The client's own id for the request if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |id: &&HeaderValue| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain)
    };
    headers.get(REQUEST_ID).filter(harmless).cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::now_v7();
        let mut text = uuid::Uuid::encode_buffer();
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut text))
            .unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Takes doubled and trailing slashes out of the path.
fn tidy(request: &mut Request) {
    let path = request.uri().path();
    if !path.contains("//") && (path.len() <= 1 || !path.ends_with('/')) {
        return;
    }
    let mut tidy = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        tidy.push('/');
        tidy.push_str(segment);
    }
    if tidy.is_empty() {
        tidy.push('/');
    }
    if let Some(query) = request.uri().query() {
        tidy.push('?');
        tidy.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(tidy).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Reads the body to its end, so that handlers get it whole and clients never write into a closed connection.
/// On GET and HEAD it does not count, unless the dialect says so, and is thrown away.
async fn with_body(request: Request, of_gets: bool, limit: Duration) -> Result<Request, Failure> {
    use axum::body::HttpBody as _;
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, body));
    }
    let is_get = matches!(parts.method, Method::GET | Method::HEAD);
    let keep = if is_get && !of_gets { 0 } else { BODY_MAX };
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if keep > 0 && declared.is_some_and(|length: usize| length > DISCARD_MAX) {
        return Err(Failure::TooLarge(BODY_MAX));
    }
    let read = tokio::time::timeout(limit, read(body, keep)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        _ if keep == 0 => Ok(Request::from_parts(parts, Body::empty())),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::TooSlow),
    }
}

/// Reads up to `keep` bytes; what is beyond is thrown away, up to a limit.
async fn read(body: Body, keep: usize) -> Result<Bytes, Failure> {
    let mut frames = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| {
            let told = bulut_model::Error::invalid("body", "The body broke off before its end.");
            Failure::Domain(told.with_internal(error))
        })?;
        length += frame.len();
        if length <= keep {
            kept.extend_from_slice(&frame);
        } else if length > DISCARD_MAX {
            break;
        }
    }
    if length > keep { Err(Failure::TooLarge(keep)) } else { Ok(kept.freeze()) }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests;
