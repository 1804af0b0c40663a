//! Signing in, and the caller's own account.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::{PASSWORD, REFRESH, USERNAME};
use crate::api::cloude::wire::{Amount, TokensAnswer, UserBalance, UserInfo};
use crate::api::{arrival, bearer};
use crate::app::App;
use crate::domain::sessions::Tokens;
use crate::domain::{accounts, limits, sessions};
use axum::extract::State;
use axum::http::HeaderMap;

/// `POST /v1/user/login`
pub async fn login(State(app): State<App>, Params(params): Params) -> Result<Envelope<TokensAnswer>, Error> {
    let (username, password) = (params.required(&USERNAME)?, params.required(&PASSWORD)?);
    let (username, address) = (username.trim(), arrival::address());
    limits::charge_login(&app, address, username)?;
    let tokens = sessions::login(&app, username, &password).await?;
    limits::login_succeeded(&app, address, username);
    Ok(answer(tokens, false))
}

/// `POST /v1/user/refreshtoken`
pub async fn refresh(
    State(app): State<App>,
    headers: HeaderMap,
    Params(params): Params,
) -> Result<Envelope<TokensAnswer>, Error> {
    // Clients that keep their old access token in the header send the refresh token as a parameter besides.
    let token = match params.optional(&REFRESH)? {
        Some(token) => token,
        None => match bearer::token(&headers) {
            Some(token) => token.to_owned(),
            None => params.required(&REFRESH)?,
        },
    };
    let tokens = sessions::refresh(&app, token.trim()).await?;
    Ok(answer(tokens, true))
}

fn answer(tokens: Tokens, refresh: bool) -> Envelope<TokensAnswer> {
    Envelope::new(TokensAnswer { token: tokens.token, refreshtoken: tokens.refresh_token, refresh })
}

/// `GET /v1/account/detail`, `GET /v1/user/info`
pub async fn detail(State(app): State<App>, Signed(caller): Signed) -> Result<Envelope<UserInfo>, Error> {
    let balance = accounts::balance(&app, &caller).await?;
    let account = caller.account;
    Ok(Envelope::new(UserInfo {
        name: account.full_name(),
        balance: Amount(balance),
        register_date: account.created_at.wire(),
        last_login_date: account.last_login_at.map(|at| at.wire()).unwrap_or_default(),
        is_verified: account.is_verified,
        email: account.email,
    }))
}

/// `GET /v1/account/user_balance`
pub async fn balance(State(app): State<App>, Signed(caller): Signed) -> Result<Envelope<UserBalance>, Error> {
    let balance = accounts::balance(&app, &caller).await?;
    Ok(Envelope::new(UserBalance { balance: Amount(balance) }))
}
