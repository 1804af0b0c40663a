//! SSH public keys of accounts.

use crate::session::{Failure, Row, Session};
use bulut_model::ssh_key::{PublicKey, SshKey};
use bulut_model::{AccountId, Error, Result, SshKeyId, Timestamp};

fn ssh_key(row: &Row) -> Result<SshKey, Failure> {
    Ok(SshKey {
        id: SshKeyId(row.int("id")?),
        name: row.text("name")?,
        public_key: row.text("public_key")?,
        fingerprint: row.text("fingerprint")?,
        created_at: Timestamp(row.int("created_at")?),
    })
}

/// Adds a key.
///
/// Errors: `AlreadyExists` when the account has a key of that name, or the same key under another name.
pub async fn insert(
    s: &impl Session,
    account: AccountId,
    name: &str,
    key: &PublicKey,
    now: Timestamp,
) -> Result<SshKey> {
    let inserted = s
        .one(
            "INSERT INTO ssh_key (account_id, name, public_key, fingerprint, created_at) \
             VALUES ($1, $2, $3, $4, $5) RETURNING id, name, public_key, fingerprint, created_at",
            vec![
                account.0.into(),
                name.into(),
                key.line.clone().into(),
                key.fingerprint.clone().into(),
                now.0.into(),
            ],
        )
        .await;
    match inserted {
        Ok(Some(row)) => Ok(ssh_key(&row)?),
        Ok(None) => Err(Error::internal("an inserted key came back without a row")),
        Err(Failure::Unique) => Err(Error::exists(format!(
            "The account has an SSH key named '{name}' already, or this very key ({}) under another name.",
            key.fingerprint
        ))),
        Err(other) => Err(other.into()),
    }
}

/// The account's keys, oldest first.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<SshKey>> {
    let rows = s
        .all(
            "SELECT id, name, public_key, fingerprint, created_at FROM ssh_key \
             WHERE account_id = $1 ORDER BY id",
            vec![account.0.into()],
        )
        .await?;
    Ok(rows.iter().map(ssh_key).collect::<Result<_, _>>()?)
}

/// Gives a key of the account another name.
///
/// Errors: `AlreadyExists` when another key of the account has it.
pub async fn rename(s: &impl Session, account: AccountId, id: SshKeyId, name: &str) -> Result<()> {
    let renamed = s
        .execute(
            "UPDATE ssh_key SET name = $3 WHERE id = $2 AND account_id = $1",
            vec![account.0.into(), id.0.into(), name.into()],
        )
        .await;
    match renamed {
        Ok(_) => Ok(()),
        Err(Failure::Unique) => {
            Err(Error::exists(format!("The account has another SSH key named '{name}' already.")))
        }
        Err(other) => Err(other.into()),
    }
}

/// Removes a key of the account; absent is fine. Servers that it was put on keep it.
pub async fn remove(s: &impl Session, account: AccountId, id: SshKeyId) -> Result<()> {
    s.execute("DELETE FROM ssh_key WHERE id = $2 AND account_id = $1", vec![account.0.into(), id.0.into()])
        .await?;
    Ok(())
}
