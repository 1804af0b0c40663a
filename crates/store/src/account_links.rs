//! Links of letters: to confirm an address, and to choose a new password. Only digests of their tokens are kept, so that
//! whoever reads the database can open nothing.

use crate::session::{Failure, Row, Session};
use bulut_model::account::LinkPurpose;
use bulut_model::{AccountId, Result, Timestamp};

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Keyed digest of its token.
    pub token_digest: String,
    /// Whose it is.
    pub account: AccountId,
    /// What it is for.
    pub purpose: LinkPurpose,
    /// The account's address when it was made.
    pub email: String,
    /// The account's token epoch when it was made.
    pub token_epoch: i64,
    /// Until when it opens.
    pub expires_at: Timestamp,
}

const COLUMNS: &str = "token_digest, account_id, purpose, email, token_epoch, expires_at";

fn link(row: &Row) -> Result<Link, Failure> {
    let purpose = row.text("purpose")?;
    Ok(Link {
        token_digest: row.text("token_digest")?,
        account: AccountId(row.int("account_id")?),
        purpose: LinkPurpose::from_word(&purpose)
            .ok_or_else(|| Failure::Fault(format!("a link's purpose {purpose} is unknown")))?,
        email: row.text("email")?,
        token_epoch: row.int("token_epoch")?,
        expires_at: Timestamp(row.int("expires_at")?),
    })
}

/// Makes a link.
pub async fn insert(s: &impl Session, link: &Link, now: Timestamp) -> Result<()> {
    s.execute(
        "INSERT INTO account_link (token_digest, account_id, purpose, email, token_epoch, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            link.token_digest.clone().into(),
            link.account.0.into(),
            link.purpose.as_str().into(),
            link.email.clone().into(),
            link.token_epoch.into(),
            now.0.into(),
            link.expires_at.0.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The link that opens now.
pub async fn find(
    s: &impl Session,
    digest: &str,
    purpose: LinkPurpose,
    now: Timestamp,
) -> Result<Option<Link>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account_link \
         WHERE token_digest = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3"
    );
    let row = s.one(&sql, vec![digest.into(), purpose.as_str().into(), now.0.into()]).await?;
    Ok(row.as_ref().map(link).transpose()?)
}

/// Opens the link, which nobody can do again.
pub async fn take(
    s: &impl Session,
    digest: &str,
    purpose: LinkPurpose,
    now: Timestamp,
) -> Result<Option<Link>> {
    let sql = format!(
        "UPDATE account_link SET used_at = $3 \
         WHERE token_digest = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 RETURNING {COLUMNS}"
    );
    let row = s.one(&sql, vec![digest.into(), purpose.as_str().into(), now.0.into()]).await?;
    Ok(row.as_ref().map(link).transpose()?)
}

/// Ends all links of an account for a purpose.
pub async fn end_all(
    s: &impl Session,
    account: AccountId,
    purpose: LinkPurpose,
    now: Timestamp,
) -> Result<u64> {
    Ok(s.execute(
        "UPDATE account_link SET used_at = $3 WHERE account_id = $1 AND purpose = $2 AND used_at IS NULL",
        vec![account.0.into(), purpose.as_str().into(), now.0.into()],
    )
    .await?)
}

/// Forgets links that ended before `before`, at most `limit` of them; answers how many.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM account_link WHERE token_digest IN \
         (SELECT token_digest FROM account_link WHERE expires_at < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
