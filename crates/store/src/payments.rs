//! Payments, and the keys of those who send them.

use crate::session::{Failure, Row, Session};
use bulut_model::payment::{Payment, PaymentKey};
use bulut_model::{AccountId, Error, Micros, PaymentId, PaymentKeyId, Result, Timestamp};

const KEY_COLUMNS: &str = "id, name, created_at, last_used_at, removed_at";
const COLUMNS: &str = "id, account_id, amount_micros, balance_micros, reference, created_at";

fn key(row: &Row) -> Result<PaymentKey, Failure> {
    Ok(PaymentKey {
        id: PaymentKeyId(row.int("id")?),
        name: row.text("name")?,
        created_at: Timestamp(row.int("created_at")?),
        last_used_at: row.opt_int("last_used_at")?.map(Timestamp),
        removed_at: row.opt_int("removed_at")?.map(Timestamp),
    })
}

fn payment(row: &Row) -> Result<Payment, Failure> {
    Ok(Payment {
        id: PaymentId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        amount: Micros(row.int("amount_micros")?),
        balance: Micros(row.int("balance_micros")?),
        reference: row.text("reference")?,
        created_at: Timestamp(row.int("created_at")?),
    })
}

/// Makes a key, as yet without a secret: that is sealed for its id, by [`set_secret`] in the same transaction.
pub async fn insert_key(s: &impl Session, name: &str, now: Timestamp) -> Result<PaymentKey> {
    let sql = format!(
        "INSERT INTO payment_key (name, sealed_secret, created_at) VALUES ($1, '', $2) RETURNING {KEY_COLUMNS}"
    );
    let row = s.one(&sql, vec![name.into(), now.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal("an inserted payment key came back without a row"))?;
    Ok(key(&row)?)
}

/// Gives a key its secret.
pub async fn set_secret(s: &impl Session, id: PaymentKeyId, sealed_secret: &str) -> Result<()> {
    let sql = "UPDATE payment_key SET sealed_secret = $2 WHERE id = $1";
    s.execute(sql, vec![id.0.into(), sealed_secret.into()]).await?;
    Ok(())
}

/// All keys, oldest first, removed ones too.
pub async fn list_keys(s: &impl Session) -> Result<Vec<PaymentKey>> {
    let rows = s.all(&format!("SELECT {KEY_COLUMNS} FROM payment_key ORDER BY id"), vec![]).await?;
    Ok(rows.iter().map(key).collect::<Result<_, _>>()?)
}

/// A key that was not removed, and its secret, sealed.
pub async fn find_key(s: &impl Session, id: PaymentKeyId) -> Result<Option<(PaymentKey, String)>> {
    let sql =
        format!("SELECT {KEY_COLUMNS}, sealed_secret FROM payment_key WHERE id = $1 AND removed_at IS NULL");
    let row = s.one(&sql, vec![id.0.into()]).await?;
    Ok(row.as_ref().map(|row| Ok::<_, Failure>((key(row)?, row.text("sealed_secret")?))).transpose()?)
}

/// Removes a key and forgets its secret; what was paid with it stays. `false`: there is none.
pub async fn remove_key(s: &impl Session, id: PaymentKeyId, now: Timestamp) -> Result<bool> {
    let sql =
        "UPDATE payment_key SET removed_at = $2, sealed_secret = '' WHERE id = $1 AND removed_at IS NULL";
    Ok(s.execute(sql, vec![id.0.into(), now.0.into()]).await? > 0)
}

/// A payment that was made before under the sender's own name for it, and the digest of what it said.
pub async fn find(
    s: &impl Session,
    key: PaymentKeyId,
    idempotency_key: &str,
) -> Result<Option<(Payment, String)>> {
    let sql = format!(
        "SELECT {COLUMNS}, fingerprint FROM payment WHERE payment_key_id = $1 AND idempotency_key = $2"
    );
    let row = s.one(&sql, vec![key.0.into(), idempotency_key.into()]).await?;
    Ok(row.as_ref().map(|row| Ok::<_, Failure>((payment(row)?, row.text("fingerprint")?))).transpose()?)
}

/// A payment to be written down.
#[derive(Debug, Clone)]
pub struct New {
    /// Who sent it.
    pub key: PaymentKeyId,
    /// The sender's own name for it.
    pub idempotency_key: String,
    /// Digest of what it said.
    pub fingerprint: String,
    /// To which account.
    pub account: AccountId,
    /// How much.
    pub amount: Micros,
    /// The balance right after it.
    pub balance: Micros,
    /// What it is called where it came from.
    pub reference: String,
}

/// Writes a payment down, and that its key was used.
///
/// Errors: `Conflict` when the sender gave its name to another one at the same time.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<Payment> {
    let sql = format!(
        "INSERT INTO payment (payment_key_id, idempotency_key, fingerprint, account_id, amount_micros, \
         balance_micros, reference, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"
    );
    let values = vec![
        new.key.0.into(),
        new.idempotency_key.clone().into(),
        new.fingerprint.clone().into(),
        new.account.0.into(),
        new.amount.0.into(),
        new.balance.0.into(),
        new.reference.clone().into(),
        now.0.into(),
    ];
    let row = match s.one(&sql, values).await {
        Ok(row) => row.ok_or_else(|| Error::internal("an inserted payment came back without a row"))?,
        Err(Failure::Unique) => {
            return Err(Error::conflict("This Idempotency-Key is in use at this moment."));
        }
        Err(other) => return Err(other.into()),
    };
    let sql = "UPDATE payment_key SET last_used_at = $2 WHERE id = $1";
    s.execute(sql, vec![new.key.0.into(), now.0.into()]).await?;
    Ok(payment(&row)?)
}
