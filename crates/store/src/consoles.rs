//! Consoles in a browser: links that open once, and the sessions that they become.
//!
//! Only digests of secrets are kept, so that whoever reads the database can open nothing.

use crate::session::{Failure, Row, Session};
use bulut_model::{AccountId, Result, ServerId, Timestamp};

/// A link to be made.
#[derive(Debug, Clone)]
pub struct New {
    /// Names the console in paths.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// Of which server.
    pub server: ServerId,
    /// The account's at this moment.
    pub token_epoch: i64,
    /// Digest of the secret in the link.
    pub token_hash: String,
    /// Until when the link opens.
    pub expires_at: Timestamp,
}

/// What a link became when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Digest of the session's secret.
    pub session_hash: String,
    /// When.
    pub at: Timestamp,
    /// When somebody last typed or pointed at something.
    pub used_at: Timestamp,
    /// Until when the session lasts at most.
    pub ends_at: Timestamp,
}

/// A console as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Names it in paths.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// Of which server.
    pub server: ServerId,
    /// The account's when the link was made.
    pub token_epoch: i64,
    /// Digest of the secret in the link.
    pub token_hash: String,
    /// Until when the link opens.
    pub expires_at: Timestamp,
    /// Its session, once the link was opened.
    pub opened: Option<Opened>,
    /// Whether it was ended before its time.
    pub revoked: bool,
}

const COLUMNS: &str = "id, account_id, server_id, token_epoch, token_hash, session_hash, expires_at, opened_at, \
                       used_at, ends_at, revoked_at";

fn console(row: &Row) -> Result<Console, Failure> {
    let time = |column| Ok::<_, Failure>(row.opt_int(column)?.map(Timestamp));
    let opened = match (row.opt_text("session_hash")?, time("opened_at")?, time("used_at")?, time("ends_at")?)
    {
        (Some(session_hash), Some(at), Some(used_at), Some(ends_at)) => {
            Some(Opened { session_hash, at, used_at, ends_at })
        }
        _ => None,
    };
    Ok(Console {
        id: row.text("id")?,
        account: AccountId(row.int("account_id")?),
        server: ServerId(row.int("server_id")?),
        token_epoch: row.int("token_epoch")?,
        token_hash: row.text("token_hash")?,
        expires_at: Timestamp(row.int("expires_at")?),
        opened,
        revoked: row.opt_int("revoked_at")?.is_some(),
    })
}

/// Makes a link.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<()> {
    s.execute(
        "INSERT INTO console (id, account_id, server_id, token_epoch, token_hash, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            new.id.clone().into(),
            new.account.0.into(),
            new.server.0.into(),
            new.token_epoch.into(),
            new.token_hash.clone().into(),
            now.0.into(),
            new.expires_at.0.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The console with this id.
pub async fn find(s: &impl Session, id: &str) -> Result<Option<Console>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM console WHERE id = $1"), vec![id.into()]).await?;
    Ok(row.as_ref().map(console).transpose()?)
}

/// Opens a link, if it still can be: of those who try at the same time, one does.
pub async fn open(
    s: &impl Session,
    id: &str,
    token_hash: &str,
    session_hash: &str,
    now: Timestamp,
    ends_at: Timestamp,
) -> Result<Option<Console>> {
    let sql = format!(
        "UPDATE console SET session_hash = $3, opened_at = $4, used_at = $4, ends_at = $5 \
         WHERE id = $1 AND token_hash = $2 AND opened_at IS NULL AND revoked_at IS NULL AND expires_at > $4 \
         RETURNING {COLUMNS}"
    );
    let values = vec![id.into(), token_hash.into(), session_hash.into(), now.0.into(), ends_at.0.into()];
    let row = s.one(&sql, values).await?;
    Ok(row.as_ref().map(console).transpose()?)
}

/// Notes that somebody types or points at something.
pub async fn set_used(s: &impl Session, id: &str, now: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE console SET used_at = $2 WHERE id = $1 AND used_at < $2",
        vec![id.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// Ends all consoles of an account, links that were not opened as well; answers how many.
pub async fn revoke_all(s: &impl Session, account: AccountId, now: Timestamp) -> Result<u64> {
    Ok(s.execute(
        "UPDATE console SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL",
        vec![account.0.into(), now.0.into()],
    )
    .await?)
}

/// How many links and sessions are remembered.
pub async fn count(s: &impl Session) -> Result<u64> {
    let row = s.one("SELECT COUNT(*) AS consoles FROM console", vec![]).await?;
    Ok(row.map(|row| row.unsigned("consoles")).transpose()?.unwrap_or(0))
}

/// Forgets consoles that were made before `before`, at most `limit` of them; answers how many.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM console WHERE id IN (SELECT id FROM console WHERE created_at < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
