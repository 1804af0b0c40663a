//! Accounts.

use crate::session::{Failure, Row, Session};
use bulut_model::account::{Account, Standing};
use bulut_model::{AccountId, Error, Result, Timestamp};

/// An account to be made; the password is hashed already.
#[derive(Debug, Clone)]
pub struct New {
    /// Lower case.
    pub email: String,
    /// Sign-in name, if it has one.
    pub user_name: Option<String>,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Argon2id in PHC form.
    pub password_hash: String,
    /// Whether it may use the operator's calls.
    pub is_operator: bool,
}

const COLUMNS: &str = "id, email, user_name, first_name, last_name, standing, is_operator, is_verified, \
                       lacks_funds, hides_secrets, is_postpaid, token_epoch, revision, created_at, last_login_at";

fn account(row: &Row) -> Result<Account, Failure> {
    Ok(Account {
        id: AccountId(row.int("id")?),
        email: row.text("email")?,
        user_name: row.opt_text("user_name")?,
        first_name: row.text("first_name")?,
        last_name: row.text("last_name")?,
        standing: match row.flag("lacks_funds")? {
            true => Standing::Suspended,
            false => Standing::from_word(&row.text("standing")?),
        },
        lacks_funds: row.flag("lacks_funds")?,
        is_operator: row.flag("is_operator")?,
        is_verified: row.flag("is_verified")?,
        hides_secrets: row.flag("hides_secrets")?,
        is_postpaid: row.flag("is_postpaid")?,
        token_epoch: row.int("token_epoch")?,
        revision: row.int("revision")?,
        created_at: Timestamp(row.int("created_at")?),
        last_login_at: row.opt_int("last_login_at")?.map(Timestamp),
    })
}

/// Makes an account.
///
/// Errors: `AlreadyExists` when the e-mail address or the user name is taken.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<Account> {
    let sql = format!(
        "INSERT INTO account (email, user_name, first_name, last_name, password_hash, standing, is_operator, \
         is_verified, token_epoch, revision, created_at) \
         VALUES ($1, $2, $3, $4, $5, 'active', $6, 0, 0, 0, $7) RETURNING {COLUMNS}"
    );
    let values = vec![
        new.email.clone().into(),
        new.user_name.clone().into(),
        new.first_name.clone().into(),
        new.last_name.clone().into(),
        new.password_hash.clone().into(),
        i64::from(new.is_operator).into(),
        now.0.into(),
    ];
    match s.one(&sql, values).await {
        Ok(Some(row)) => Ok(account(&row)?),
        Ok(None) => Err(Error::internal("an inserted account came back without a row")),
        Err(Failure::Unique) => {
            Err(Error::exists("An account with this e-mail address or user name exists already."))
        }
        Err(other) => Err(other.into()),
    }
}

/// The account with this id.
pub async fn find(s: &impl Session, id: AccountId) -> Result<Option<Account>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM account WHERE id = $1"), vec![id.0.into()]).await?;
    Ok(row.as_ref().map(account).transpose()?)
}

/// The account with this e-mail address (in any case) or user name, and its password hash.
pub async fn find_by_name(s: &impl Session, name: &str) -> Result<Option<(Account, String)>> {
    let sql = format!(
        "SELECT {COLUMNS}, password_hash FROM account WHERE email = $1 OR user_name = $2 ORDER BY id LIMIT 1"
    );
    let row = s.one(&sql, vec![name.to_lowercase().into(), name.into()]).await?;
    Ok(row.as_ref().map(|row| Ok::<_, Failure>((account(row)?, row.text("password_hash")?))).transpose()?)
}

/// All accounts, oldest first.
pub async fn list(s: &impl Session) -> Result<Vec<Account>> {
    let rows = s.all(&format!("SELECT {COLUMNS} FROM account ORDER BY id"), vec![]).await?;
    Ok(rows.iter().map(account).collect::<Result<_, _>>()?)
}

/// Takes the account for a change to what its lists show: raises its revision and, on PostgreSQL, holds its
/// row until the transaction ends. Every transaction that changes an account's things does this first, which
/// also gives all of them one order of locks.
pub async fn hold(s: &impl Session, id: AccountId) -> Result<Account> {
    let sql = format!("UPDATE account SET revision = revision + 1 WHERE id = $1 RETURNING {COLUMNS}");
    let row = s.one(&sql, vec![id.0.into()]).await?;
    let row = row.ok_or_else(|| Error::not_found(format!("There is no account with id {id}.")))?;
    Ok(account(&row)?)
}

/// Sets a new password hash, which ends every token given out before.
pub async fn set_password(s: &impl Session, id: AccountId, password_hash: &str) -> Result<()> {
    s.execute(
        "UPDATE account SET password_hash = $2, token_epoch = token_epoch + 1, revision = revision + 1 \
         WHERE id = $1",
        vec![id.0.into(), password_hash.into()],
    )
    .await?;
    Ok(())
}

/// Suspends an account or lets it act again.
pub async fn set_standing(s: &impl Session, id: AccountId, standing: Standing) -> Result<()> {
    s.execute(
        "UPDATE account SET standing = $2, revision = revision + 1 WHERE id = $1",
        vec![id.0.into(), standing.as_str().into()],
    )
    .await?;
    Ok(())
}

/// Remembers that the account's address is right.
pub async fn set_verified(s: &impl Session, id: AccountId) -> Result<()> {
    s.execute("UPDATE account SET is_verified = 1, revision = revision + 1 WHERE id = $1", vec![id.0.into()])
        .await?;
    Ok(())
}

/// Says whether lists of the account's servers leave their passwords out.
pub async fn set_hides_secrets(s: &impl Session, id: AccountId, hides: bool) -> Result<()> {
    s.execute(
        "UPDATE account SET hides_secrets = $2, revision = revision + 1 WHERE id = $1",
        vec![id.0.into(), i64::from(hides).into()],
    )
    .await?;
    Ok(())
}

/// Says whether the account pays after the month.
pub async fn set_postpaid(s: &impl Session, id: AccountId, is_postpaid: bool) -> Result<()> {
    s.execute(
        "UPDATE account SET is_postpaid = $2, revision = revision + 1 WHERE id = $1",
        vec![id.0.into(), i64::from(is_postpaid).into()],
    )
    .await?;
    Ok(())
}

/// Remembers a sign-in.
pub async fn set_last_login(s: &impl Session, id: AccountId, now: Timestamp) -> Result<()> {
    s.execute("UPDATE account SET last_login_at = $2 WHERE id = $1", vec![id.0.into(), now.0.into()]).await?;
    Ok(())
}
