//! The panel: what people see in a browser. Pages, the files that they load, and the sockets that they open.
//!
//! Promises: pages run no script but ours and stand in nobody's frame; every link in them is relative, so that they
//! work behind a reverse proxy, also under a path of its. Must not know: rules, which are the domain's.

mod accounts;
mod assets;
mod console;
mod pages;

use crate::app::App;
use axum::Router;
use axum::extract::FromRef;
use axum::routing::get;
use console::seats::Seats;

pub use pages::answer;

/// What handlers need.
#[derive(Clone)]
struct Panel {
    app: App,
    seats: Seats,
}

impl FromRef<Panel> for App {
    fn from_ref(panel: &Panel) -> Self {
        panel.app.clone()
    }
}

impl FromRef<Panel> for Seats {
    fn from_ref(panel: &Panel) -> Self {
        panel.seats.clone()
    }
}

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/assets/{name}", get(assets::get))
        .route("/account/verify/{token}", get(accounts::verify_page).post(accounts::verify))
        .route("/account/password/forgotten", get(accounts::forgotten_page).post(accounts::forgotten))
        .route("/account/password/{token}", get(accounts::password_page).post(accounts::password))
        .route("/console/{id}/{token}", get(console::open))
        .route("/console/{id}/view", get(console::view))
        .route("/console/{id}/state", get(console::state))
        .route("/console/{id}/screen", get(console::socket::screen))
        .route("/console/{id}/serial", get(console::socket::serial))
        .with_state(Panel { app, seats: Seats::default() })
}

/// Whether a path is the panel's.
pub fn is_at(path: &str) -> bool {
    ["/account/", "/console/", "/assets/"].iter().any(|own| path.starts_with(own))
}
