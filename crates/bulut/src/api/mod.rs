//! The HTTP dialects, one folder each, and the plumbing that they share.
//!
//! A handler does four things: extract, one domain verb, convert, status. Must not know: SQL, drivers, rules.

mod bearer;
pub mod cloude;
mod cors;
mod dialect;
mod failure;
mod http;
pub mod native;
mod openapi;
pub mod params;

use crate::app::App;
use axum::Router;

use cors::Cors;

/// All dialects over one application.
pub fn router(app: App) -> Router {
    let cors = Cors::new(app.config().cors_origins.clone());
    let routes = cloude::router(app.clone()).merge(native::router(app.clone()));
    let observe = move |method: &str, route: &str, status, took| {
        app.metrics().request(method, route, status, took);
    };
    http::plumb(routes, cors, Box::new(observe))
}
