//! The console's page: a link opens it once, a cookie keeps it open.
//!
//! ```text
//! GET /console/{id}/{token}   opens the link: the page, and the cookie that is the session
//! GET /console/{id}/view      the page again, for a browser that reloads it
//! GET /console/{id}/state     how the session and the server stand
//! GET /console/{id}/screen    websocket: the screen (RFB)
//! GET /console/{id}/serial    websocket: the serial line, its kept log first
//! ```
//!
//! The cookie names no path, so that browsers bind it to the directory of the link as they see it (RFC 6265, 5.1.4):
//! `/console/{id}` with whatever a reverse proxy has before it. Pages need no cookie, since one that is followed from
//! another site does not get it (SameSite=Strict); what they ask for and the sockets do.
//!
//! Must not know: when a session ends, which is the domain's.

mod hands;
pub mod seats;
pub mod socket;

use super::pages::{notice, page};
use crate::api::failure::Failure;
use crate::api::visitor::Visitor;
use crate::app::App;
use crate::domain::consoles::{self, Over, Redeemed, Session, State as Standing};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bulut_model::server::{Phase, Power};
use serde::Serialize;

/// Holds the session's secret.
const COOKIE_NAME: &str = "bulut_console";

/// `GET /console/{id}/{token}`: opens the link.
pub async fn open(
    State(app): State<App>,
    visitor: Visitor,
    method: Method,
    headers: HeaderMap,
    Path((id, token)): Path<(String, String)>,
) -> Response {
    // A link works once: it is kept for somebody who looks at the page.
    if method == Method::HEAD {
        return StatusCode::OK.into_response();
    }
    if headers.get("sec-purpose").is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch")) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match consoles::redeem(&app, &id, &token).await {
        Ok(Redeemed::Open { secret, .. }) => {
            let mut response = page(StatusCode::OK, "console.html", &[]);
            match HeaderValue::from_str(&cookie(&app, &visitor, &secret)) {
                Ok(cookie) => drop(response.headers_mut().insert(SET_COOKIE, cookie)),
                Err(why) => return super::answer(&Failure::fault(why)),
            }
            response
        }
        Ok(Redeemed::Over(over)) => {
            notice(status(over), "This console link does not work any more", &advice(over))
        }
        Err(error) => super::answer(&error.into()),
    }
}

fn advice(over: Over) -> String {
    let ask = "Ask for a new one where you got it from.";
    match over {
        Over::Unknown => format!("There is no such link. {ask}"),
        Over::ServerGone => over.sentence().to_owned(),
        Over::Used | Over::Expired | Over::AccountChanged | Over::Idle | Over::TimeUp => {
            format!("{} {ask}", over.sentence())
        }
    }
}

/// `GET /console/{id}/view`: the page again. Whether there is a session, it finds out itself.
pub async fn view() -> Response {
    page(StatusCode::OK, "console.html", &[])
}

/// How a console stands, for its page.
#[derive(Serialize)]
struct View {
    server: i64,
    name: String,
    hostname: String,
    phase: Phase,
    power: Power,
    /// UTC.
    ends_at: String,
}

impl From<&Session> for View {
    fn from(session: &Session) -> Self {
        Self {
            server: session.server.id.0,
            name: session.server.name.clone(),
            hostname: session.server.hostname.clone(),
            phase: session.server.phase,
            power: session.server.power,
            ends_at: session.ends_at.wire(),
        }
    }
}

/// Why there is none, for its page.
#[derive(Serialize)]
struct Ended {
    over: Over,
    sentence: &'static str,
}

/// `GET /console/{id}/state`
pub async fn state(State(app): State<App>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let answer = match consoles::resume(&app, &id, secret(&headers)).await {
        Ok(Standing::Open(session)) => Json(View::from(&*session)).into_response(),
        Ok(Standing::Over(over)) => {
            (status(over), Json(Ended { over, sentence: over.sentence() })).into_response()
        }
        Err(error) => super::answer(&error.into()),
    };
    ([(CACHE_CONTROL, "no-store")], answer).into_response()
}

const fn status(over: Over) -> StatusCode {
    match over {
        Over::Unknown => StatusCode::NOT_FOUND,
        Over::Used | Over::Expired | Over::ServerGone | Over::AccountChanged | Over::Idle | Over::TimeUp => {
            StatusCode::GONE
        }
    }
}

fn cookie(app: &App, visitor: &Visitor, secret: &str) -> String {
    let life = app.config().console_session_s;
    let secure = if visitor.is_secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={secret}; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
}

/// The session's secret that the browser sent; empty where it sent none, which opens nothing.
fn secret(headers: &HeaderMap) -> &str {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_found_among_other_cookies() {
        let of = |values: &[&'static str]| {
            let pairs = values.iter().map(|value| (COOKIE, HeaderValue::from_static(value)));
            secret(&pairs.collect()).to_owned()
        };
        assert_eq!(of(&["bulut_console=abc"]), "abc");
        assert_eq!(of(&["a=b; bulut_console=abc; c=d"]), "abc");
        assert_eq!(of(&["a=b", "bulut_console=abc"]), "abc");
        assert_eq!(of(&["xbulut_console=abc; bulut_consoles=d"]), "");
        assert_eq!(of(&[]), "");
    }
}
