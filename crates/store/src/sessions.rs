//! Sign-in sessions: families of refresh tokens of which only the newest is good.

use crate::session::Session;
use bulut_model::{AccountId, Result, Timestamp};

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Whose it is.
    pub account: AccountId,
    /// The account's token epoch when it began; a changed password raises the account's.
    pub token_epoch: i64,
    /// Whether it was ended, or its last token has expired.
    pub over: bool,
}

/// What became of a try to rotate a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The token was the newest; the given one has taken its place.
    Rotated(SignIn),
    /// The token had been used before: the whole family is revoked now.
    Reused,
    /// There is no such session, or it is over.
    Over,
}

/// Begins a session.
pub async fn insert(
    s: &impl Session,
    id: &str,
    account: AccountId,
    token: &str,
    token_epoch: i64,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    s.execute(
        "INSERT INTO session (id, account_id, current_token, token_epoch, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        vec![
            id.into(),
            account.0.into(),
            token.into(),
            token_epoch.into(),
            now.0.into(),
            expires_at.0.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Puts `next` in the place of `token`, if that is the session's newest. Two that come with the same token at
/// the same time: one rotates, the other is a reuse.
pub async fn rotate(
    s: &impl Session,
    id: &str,
    token: &str,
    next: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Rotation> {
    let rotated = s
        .one(
            "UPDATE session SET current_token = $3, expires_at = $5 \
             WHERE id = $1 AND current_token = $2 AND revoked_at IS NULL AND expires_at > $4 \
             RETURNING account_id, token_epoch",
            vec![id.into(), token.into(), next.into(), now.0.into(), expires_at.0.into()],
        )
        .await?;
    if let Some(row) = rotated {
        return Ok(Rotation::Rotated(SignIn {
            account: AccountId(row.int("account_id")?),
            token_epoch: row.int("token_epoch")?,
            over: false,
        }));
    }
    let revoked = s
        .execute(
            "UPDATE session SET revoked_at = $3 WHERE id = $1 AND current_token <> $2 AND revoked_at IS NULL",
            vec![id.into(), token.into(), now.0.into()],
        )
        .await?;
    Ok(if revoked > 0 { Rotation::Reused } else { Rotation::Over })
}

/// Ends all sessions of an account.
pub async fn revoke_all(s: &impl Session, account: AccountId, now: Timestamp) -> Result<u64> {
    Ok(s.execute(
        "UPDATE session SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL",
        vec![account.0.into(), now.0.into()],
    )
    .await?)
}

/// Forgets sessions that ended before `before`, at most `limit` of them; answers how many.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
