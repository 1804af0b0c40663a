//! The native API, and the paths of the process itself (health, readiness, metrics, the page at `/`).
//!
//! Promises: plain JSON; failures are problems as in RFC 9457. Must not know: rules, which are the domain's.

mod accounts;
mod addresses;
mod api_keys;
mod consoles;
pub mod error;
mod extract;
mod firewalls;
mod health;
mod hostnames;
mod invoices;
mod payments;
mod pools;
mod servers;
pub mod wire;

use crate::app::App;
use axum::Router;
use axum::routing::{delete, get, post, put};

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(health::landing))
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v2/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/v2/api-keys/{id}", put(api_keys::update).delete(api_keys::revoke))
        .route("/v2/invoices", get(invoices::list))
        .route("/v2/invoices/{number}", get(invoices::get))
        .route("/v2/account/events", get(accounts::events))
        .route("/v2/account/verification", post(accounts::verification))
        .route("/v2/payments", post(payments::create))
        .route("/v2/pool", get(pools::get))
        .route("/v2/servers/{id}", get(servers::get).put(servers::rename))
        .route("/v2/servers/{id}/run-mode", put(servers::set_run_mode))
        .route("/v2/servers/{id}/hostname", get(hostnames::get).put(hostnames::put))
        .route("/v2/servers/{id}/addresses", get(addresses::list).post(addresses::add))
        .route("/v2/servers/{id}/addresses/{address}", delete(addresses::remove))
        .route("/v2/servers/{id}/firewall", get(firewalls::list).put(firewalls::set).post(firewalls::add))
        .route("/v2/servers/{id}/firewall/{number}", delete(firewalls::remove))
        .route("/v2/servers/{id}/setup", get(servers::setup))
        .route("/v2/servers/{id}/serial-log", get(servers::serial_log))
        .route("/v2/servers/{id}/console", post(consoles::open))
        .route("/v2/servers/{id}/console/serial", get(consoles::serial))
        .with_state(app)
}
