//! Pages that links in letters lead to: to confirm an address, and to choose a new password.
//!
//! ```text
//! GET, POST /account/verify/{token}         confirms the address
//! GET, POST /account/password/forgotten     asks for a letter with a link
//! GET, POST /account/password/{token}       chooses the new password
//! ```
//!
//! A link is used up by the button on its page, not by looking at it: programs that look at letters follow links, too.
//! No page says whether somebody has an account. Must not know: when a link opens, which is the domain's.

use super::pages::{form, notice};
use crate::api::arrival;
use crate::api::failure::Failure;
use crate::api::params::{Param, Params};
use crate::app::App;
use crate::domain::account_links;
use crate::domain::limits::{self, Class, Who};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bulut_model::account::LinkPurpose;
use bulut_model::error::Kind;
use bulut_model::{Error, Result};

const EMAIL: Param = Param::text(&["email"], "an e-mail address");
const PASSWORD: Param = Param::text(&["password"], "a password");
const AGAIN: Param = Param::text(&["again"], "the same password again");

/// `GET /account/verify/{token}`
pub async fn verify_page(State(app): State<App>, Path(token): Path<String>) -> Response {
    match account_links::peek(&app, LinkPurpose::Verification, &token).await {
        Ok(account) => form(StatusCode::OK, "verify.html", &[("email", &account.email)]),
        Err(error) => refused(&error),
    }
}

/// `POST /account/verify/{token}`
pub async fn verify(State(app): State<App>, Path(token): Path<String>) -> Response {
    match charged(&app, async || account_links::verify(&app, &token).await).await {
        Ok(_) => notice(StatusCode::OK, "Your address is confirmed", "Thank you. You may close this page."),
        Err(error) => refused(&error),
    }
}

/// `GET /account/password/forgotten`
pub async fn forgotten_page() -> Response {
    form(StatusCode::OK, "forgotten.html", &[])
}

/// `POST /account/password/forgotten`: answers the same, and as fast, whether there is such an account or not.
pub async fn forgotten(State(app): State<App>, request: Request) -> Response {
    let asked = async || {
        let email = Params::read(request).await?.required(&EMAIL)?;
        // Not the sign-in's own bucket: asking must not keep anybody from signing in.
        limits::charge_login(&app, arrival::address(), &format!("forgotten {email}"))?;
        Ok(email)
    };
    let email = match charged(&app, asked).await {
        Ok(email) => email,
        Err(error) => return refused(&error),
    };
    let own = app.clone();
    tokio::spawn(async move {
        if let Err(error) = account_links::request_reset(&own, &email).await {
            tracing::error!(%error, "a letter for a new password was not written");
        }
    });
    notice(
        StatusCode::OK,
        "Look into your mail",
        "If there is an account with this address, a letter with a link is on its way to it.",
    )
}

/// `GET /account/password/{token}`
pub async fn password_page(State(app): State<App>, Path(token): Path<String>) -> Response {
    choose(&app, &token, StatusCode::OK, "At least 8 characters.").await
}

async fn choose(app: &App, token: &str, status: StatusCode, sentence: &str) -> Response {
    match account_links::peek(app, LinkPurpose::PasswordReset, token).await {
        Ok(account) => form(status, "password.html", &[("email", &account.email), ("sentence", sentence)]),
        Err(error) => refused(&error),
    }
}

/// `POST /account/password/{token}`
pub async fn password(State(app): State<App>, Path(token): Path<String>, request: Request) -> Response {
    let changed = async || {
        let params = Params::read(request).await?;
        let password = params.required(&PASSWORD)?;
        if password != params.required(&AGAIN)? {
            return Err(Error::invalid("again", "The two passwords are not the same."));
        }
        account_links::reset(&app, &token, &password).await
    };
    match charged(&app, changed).await {
        Ok(_) => notice(
            StatusCode::OK,
            "Your password is changed",
            "Sign in with the new one. Every session under the old one has ended.",
        ),
        Err(Error { kind: Kind::Invalid { .. }, public, .. }) => {
            choose(&app, &token, StatusCode::BAD_REQUEST, &public).await
        }
        Err(error) => refused(&error),
    }
}

/// Does what a form asks for, as long as its sender's address may ask.
async fn charged<T>(app: &App, deed: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    if let Some(address) = arrival::address() {
        limits::charge(app, Who::Address(address), Class::Change)?;
    }
    deed().await
}

fn refused(error: &Error) -> Response {
    if error.kind == Kind::NotFound {
        return notice(StatusCode::NOT_FOUND, "This link does not work any more", &error.public);
    }
    super::answer(&Failure::Domain(error.clone()))
}
