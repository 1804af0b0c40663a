//! What changing requests with an idempotency key answered first.

use crate::session::Session;
use bulut_model::{AccountId, Result, Timestamp};

/// The first answer to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the request was.
    pub fingerprint: String,
    /// What it answered, sealed.
    pub sealed_answer: String,
}

/// The first answer to this key of the account, if it was given after `since`.
pub async fn find(s: &impl Session, account: AccountId, key: &str, since: Timestamp) -> Result<Option<Kept>> {
    let row = s
        .one(
            "SELECT fingerprint, sealed_answer FROM idempotency \
             WHERE account_id = $1 AND idempotency_key = $2 AND created_at > $3",
            vec![account.0.into(), key.into(), since.0.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Kept { fingerprint: row.text("fingerprint")?, sealed_answer: row.text("sealed_answer")? }))
}

/// Keeps an answer, in the transaction of the change that it tells of; one that has expired makes room. The account
/// is held, so nobody else keeps one under this key meanwhile.
pub async fn keep(
    s: &impl Session,
    account: AccountId,
    key: &str,
    kept: &Kept,
    now: Timestamp,
) -> Result<()> {
    s.execute(
        "INSERT INTO idempotency (account_id, idempotency_key, fingerprint, sealed_answer, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id, idempotency_key) DO UPDATE \
         SET fingerprint = excluded.fingerprint, sealed_answer = excluded.sealed_answer, \
         created_at = excluded.created_at",
        vec![
            account.0.into(),
            key.into(),
            kept.fingerprint.clone().into(),
            kept.sealed_answer.clone().into(),
            now.0.into(),
        ],
    )
    .await?;
    Ok(())
}

/// All that are kept, each with its account and key, for whoever looks what the database holds.
pub async fn all(s: &impl Session) -> Result<Vec<(AccountId, String, Kept)>> {
    let sql = "SELECT account_id, idempotency_key, fingerprint, sealed_answer FROM idempotency \
               ORDER BY account_id, idempotency_key";
    let mut kept = Vec::new();
    for row in s.all(sql, vec![]).await? {
        let answer =
            Kept { fingerprint: row.text("fingerprint")?, sealed_answer: row.text("sealed_answer")? };
        kept.push((AccountId(row.int("account_id")?), row.text("idempotency_key")?, answer));
    }
    Ok(kept)
}

/// Forgets answers given before `before`, at most `limit` of them; answers how many.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM idempotency WHERE (account_id, idempotency_key) IN \
         (SELECT account_id, idempotency_key FROM idempotency WHERE created_at < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
