//! The HTTP dialects, one folder each, and the plumbing that they share.
//!
//! A handler does four things: extract, one domain verb, convert, status. Must not know: SQL, drivers, rules.

pub(crate) mod arrival;
mod bearer;
pub mod cac;
mod client_address;
pub mod cloude;
pub mod connections;
mod cors;
mod dialect;
pub mod failure;
mod http;
mod idempotency;
pub mod native;
mod openapi;
pub mod params;
pub mod visitor;

use crate::app::App;
use crate::panel;
use axum::Router;

use cors::Cors;

/// All dialects and the panel over one application.
pub fn router(app: App) -> Router {
    let cors = Cors::new(app.config().cors_origins.clone());
    let routes = cloude::router(app.clone()).merge(native::router(app.clone()));
    let routes = routes.merge(panel::router(app.clone())).merge(cac::router(app.clone()));
    let gate = arrival::gate(app.clone());
    let observe = move |method: &str, route: &str, status, took| {
        app.metrics().request(method, route, status, took);
    };
    http::plumb(routes, cors, Box::new(observe), gate)
}
