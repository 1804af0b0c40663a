//! API keys: found by their public beginning; of the keys themselves only digests are stored.

use crate::session::{Failure, Row, Session, to_json};
use bulut_model::api_key::ApiKey;
use bulut_model::network::Network;
use bulut_model::{AccountId, ApiKeyId, Error, Result, Timestamp};

/// A key to be made.
#[derive(Clone)]
pub struct New {
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// The key's public beginning.
    pub prefix: String,
    /// The keyed digest of the whole key.
    pub digest: String,
    /// From where it may be used.
    pub networks: Vec<Network>,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "id, account_id, name, prefix, networks, created_at, expires_at, last_used_at, revoked_at";

fn api_key(row: &Row) -> Result<ApiKey, Failure> {
    Ok(ApiKey {
        id: ApiKeyId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        name: row.text("name")?,
        prefix: row.text("prefix")?,
        networks: row.json("networks")?,
        created_at: Timestamp(row.int("created_at")?),
        expires_at: row.opt_int("expires_at")?.map(Timestamp),
        last_used_at: row.opt_int("last_used_at")?.map(Timestamp),
        revoked_at: row.opt_int("revoked_at")?.map(Timestamp),
    })
}

/// Makes a key.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<ApiKey> {
    let sql = format!(
        "INSERT INTO api_key (account_id, name, prefix, digest, networks, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {COLUMNS}"
    );
    let values = vec![
        new.account.0.into(),
        new.name.clone().into(),
        new.prefix.clone().into(),
        new.digest.clone().into(),
        to_json(&new.networks)?.into(),
        now.0.into(),
        new.expires_at.map(|at| at.0).into(),
    ];
    let row = s.one(&sql, values).await?;
    let row = row.ok_or_else(|| Error::internal("an inserted API key came back without a row"))?;
    Ok(api_key(&row)?)
}

/// The account's keys, oldest first, ended ones too.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<ApiKey>> {
    let sql = format!("SELECT {COLUMNS} FROM api_key WHERE account_id = $1 ORDER BY id");
    let rows = s.all(&sql, vec![account.0.into()]).await?;
    Ok(rows.iter().map(api_key).collect::<Result<_, _>>()?)
}

/// The key that begins like this, and its digest.
pub async fn find_by_prefix(s: &impl Session, prefix: &str) -> Result<Option<(ApiKey, String)>> {
    let sql = format!("SELECT {COLUMNS}, digest FROM api_key WHERE prefix = $1");
    let row = s.one(&sql, vec![prefix.into()]).await?;
    Ok(row.as_ref().map(|row| Ok::<_, Failure>((api_key(row)?, row.text("digest")?))).transpose()?)
}

/// Sets from where a key of the account may be used; `None` when the account has no such key that was not ended.
pub async fn set_networks(
    s: &impl Session,
    account: AccountId,
    id: ApiKeyId,
    networks: &[Network],
) -> Result<Option<ApiKey>> {
    let sql = format!(
        "UPDATE api_key SET networks = $3 WHERE id = $1 AND account_id = $2 AND revoked_at IS NULL \
         RETURNING {COLUMNS}"
    );
    let row = s.one(&sql, vec![id.0.into(), account.0.into(), to_json(&networks)?.into()]).await?;
    Ok(row.as_ref().map(api_key).transpose()?)
}

/// Ends a key of the account; `None` when the account has no such key. One that was ended before stays ended since
/// then.
pub async fn revoke(
    s: &impl Session,
    account: AccountId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<ApiKey>> {
    let sql = format!(
        "UPDATE api_key SET revoked_at = COALESCE(revoked_at, $3) WHERE id = $1 AND account_id = $2 \
         RETURNING {COLUMNS}"
    );
    let row = s.one(&sql, vec![id.0.into(), account.0.into(), now.0.into()]).await?;
    Ok(row.as_ref().map(api_key).transpose()?)
}

/// Remembers a use, unless one was remembered since `since`.
pub async fn touch(s: &impl Session, id: ApiKeyId, since: Timestamp, now: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE api_key SET last_used_at = $3 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
        vec![id.0.into(), since.0.into(), now.0.into()],
    )
    .await?;
    Ok(())
}
