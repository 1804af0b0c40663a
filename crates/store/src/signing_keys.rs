//! Keys that sign tokens, sealed; the newest one signs, the others still verify until they are retired.

use crate::session::Session;
use bulut_model::{Result, Timestamp};

/// A signing key as stored.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Stands in the header of each token.
    pub kid: String,
    /// The secret, sealed with the master key.
    pub sealed: String,
}

/// The keys that verify, newest first.
pub async fn list(s: &impl Session) -> Result<Vec<SigningKey>> {
    let rows = s
        .all(
            "SELECT kid, sealed FROM signing_key WHERE retired_at IS NULL ORDER BY created_at DESC, kid DESC",
            vec![],
        )
        .await?;
    rows.iter().map(|row| Ok(SigningKey { kid: row.text("kid")?, sealed: row.text("sealed")? })).collect()
}

/// Adds a key.
pub async fn insert(s: &impl Session, kid: &str, sealed: &str, now: Timestamp) -> Result<()> {
    s.execute(
        "INSERT INTO signing_key (kid, sealed, created_at) VALUES ($1, $2, $3)",
        vec![kid.into(), sealed.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// Retires the keys that stopped signing before `before`: those with a newer key at least that old.
pub async fn retire(s: &impl Session, before: Timestamp, now: Timestamp) -> Result<u64> {
    Ok(s.execute(
        "UPDATE signing_key SET retired_at = $2 WHERE retired_at IS NULL AND created_at < \
         (SELECT MAX(created_at) FROM signing_key WHERE created_at <= $1)",
        vec![before.0.into(), now.0.into()],
    )
    .await?)
}
