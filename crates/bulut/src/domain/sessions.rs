//! Signing in: a pair of tokens for a password, a new pair for a refresh token.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::tokens::{self, Claims, REFRESH_LIFE, Use};
use crate::domain::{callers, passwords};
use bulut_model::account::Account;
use bulut_model::{Error, Result};
use bulut_store::sessions::Rotation;
use bulut_store::{accounts, sessions};

/// A pair of tokens.
#[derive(Clone)]
pub struct Tokens {
    /// Access token (JWT), good for 45 minutes.
    pub token: String,
    /// Refresh token (JWT), good for a day and for one use.
    pub refresh_token: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// Signs in with an e-mail address or user name. A suspended account may sign in, to look at its things.
///
/// Errors: `Unauthenticated`, whether the account or the password is wrong.
pub async fn login(app: &App, username: &str, password: &str) -> Result<Tokens> {
    let found = accounts::find_by_name(app.store(), username.trim()).await?;
    let hash = found.as_ref().map(|(_, hash)| hash.as_str());
    let matches = passwords::verify(app, password, hash).await?;
    let Some((account, _)) = found.filter(|_| matches) else {
        return Err(Error::unauthenticated("The username or the password is wrong."));
    };
    let now = app.clock().now();
    let session = uuid::Uuid::new_v4().to_string();
    let refresh = Claims::new(&account, Use::Refresh, Some(&session), now);
    let pair = pair(app, &account, &refresh).await?;
    let tx = app.store().begin().await?;
    sessions::insert(
        &tx,
        &session,
        account.id,
        &refresh.jti,
        account.token_epoch,
        now,
        now.plus(REFRESH_LIFE),
    )
    .await?;
    accounts::set_last_login(&tx, account.id, now).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, "signed in");
    Ok(pair)
}

async fn pair(app: &App, account: &Account, refresh: &Claims) -> Result<Tokens> {
    let access = Claims::new(account, Use::Access, None, app.clock().now());
    Ok(Tokens { token: tokens::sign(app, &access).await?, refresh_token: tokens::sign(app, refresh).await? })
}

/// Trades a refresh token for a new pair. A token that was used before revokes its whole family: either its
/// bearer or whoever used it first is a thief.
///
/// Errors: `Unauthenticated`.
pub async fn refresh(app: &App, refresh_token: &str) -> Result<Tokens> {
    let over = || Error::unauthenticated("The refresh token is invalid or has expired; sign in again.");
    let claims = tokens::verify(app, refresh_token, Use::Refresh).await?;
    let session = claims.sid.as_deref().ok_or_else(over)?;
    let account = accounts::find(app.store(), claims.id).await?.ok_or_else(over)?;
    if claims.epoch != account.token_epoch {
        return Err(over());
    }
    let now = app.clock().now();
    let next = Claims::new(&account, Use::Refresh, Some(session), now);
    let tx = app.store().begin().await?;
    let rotation =
        sessions::rotate(&tx, session, &claims.jti, &next.jti, now, now.plus(REFRESH_LIFE)).await?;
    tx.commit().await?;
    match rotation {
        Rotation::Rotated(sign_in)
            if sign_in.account == account.id && sign_in.token_epoch == account.token_epoch =>
        {
            pair(app, &account, &next).await
        }
        Rotation::Reused => {
            tracing::warn!(
                account.id = account.id.0,
                "a used refresh token came back; its family is revoked"
            );
            Err(over())
        }
        Rotation::Rotated(_) | Rotation::Over => Err(over()),
    }
}

/// Who bears this access token.
///
/// Errors: `Unauthenticated` for one that is invalid, expired, or older than the account's password.
pub async fn authenticate(app: &App, bearer: &str) -> Result<Caller> {
    let claims = tokens::verify(app, bearer, Use::Access).await?;
    let account = callers::find(app, claims.id).await?;
    match account {
        Some(account) if account.token_epoch == claims.epoch => Ok(Caller::new(account)),
        _ => Err(Error::unauthenticated("The token is no longer valid; sign in again.")),
    }
}
