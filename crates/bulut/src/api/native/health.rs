//! Is it up, is it ready, how does it do: for load balancers and monitoring. And the page at `/`.
//!
//! Must not know: accounts.

use crate::api::native::error::Error;
use crate::api::{arrival, bearer};
use crate::app::App;
use crate::config::Metrics;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse};
use bulut_model::Error as ModelError;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// `GET /healthz`: the process answers.
pub async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers too. What it said otherwise is for the log.
pub async fn ready(State(app): State<App>) -> impl IntoResponse {
    match app.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(cause) => {
            tracing::warn!(%cause, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

/// `GET /metrics`: OpenMetrics text, for those whom the settings let read it.
pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<impl IntoResponse, Error> {
    if !may_read_metrics(&app.config().metrics, arrival::address(), bearer::token(&headers)) {
        return Err(ModelError::forbidden(
            "The metrics are for the operator: ask from a network of the setting metrics.networks, or with its token.",
        )
        .into());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], app.metrics().render()))
}

fn may_read_metrics(settings: &Metrics, address: Option<IpAddr>, token: Option<&str>) -> bool {
    // Digests are compared, so that the time it takes tells nothing of the token itself.
    let is_it = |(known, said): (&str, &str)| Sha256::digest(known) == Sha256::digest(said);
    address.is_some_and(|address| settings.admits(address))
        || settings.token.as_deref().zip(token).is_some_and(is_it)
}

/// `GET /`: what this is and where to go on.
pub async fn landing() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    ([(CONTENT_SECURITY_POLICY, policy)], Html(include_str!("landing.html")))
}
