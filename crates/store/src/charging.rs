//! How far accounts are charged. What lies before that hour does not change any more: later events are written down as
//! of then at the earliest, whatever a clock says.

use crate::session::{Failure, Session};
use bulut_model::{AccountId, Error, Result, Timestamp};

/// The hour up to which the account's intervals are charged.
pub async fn charged_until(s: &impl Session, account: AccountId) -> Result<Timestamp> {
    let row = s.one("SELECT charged_until FROM account WHERE id = $1", vec![account.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("account {account} has no row")))?;
    Ok(Timestamp(row.int("charged_until")?))
}

/// The account has intervals from now on; one that had none is charged from `hour` on.
pub async fn begin(s: &impl Session, account: AccountId, hour: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE account SET is_metered = 1, \
         charged_until = CASE WHEN charged_until > $2 THEN charged_until ELSE $2 END \
         WHERE id = $1 AND is_metered = 0",
        vec![account.0.into(), hour.0.into()],
    )
    .await?;
    Ok(())
}

/// Some accounts that have something to be charged before `until`, those with ids above `after`, by their ids.
pub async fn due(s: &impl Session, until: Timestamp, after: AccountId, limit: i64) -> Result<Vec<AccountId>> {
    let sql =
        "SELECT id FROM account WHERE is_metered = 1 AND charged_until < $1 AND id > $2 ORDER BY id LIMIT $3";
    let rows = s.all(sql, vec![until.0.into(), after.0.into(), limit.into()]).await?;
    Ok(rows.iter().map(|row| row.int("id").map(AccountId)).collect::<Result<_, Failure>>()?)
}

/// Takes the account for a charge up to `until`, and answers up to where it is charged; none when it is already, or has
/// nothing to be charged. On PostgreSQL its row is held until the transaction ends.
pub async fn hold_due(s: &impl Session, account: AccountId, until: Timestamp) -> Result<Option<Timestamp>> {
    let sql =
        "SELECT charged_until FROM account WHERE id = $1 AND is_metered = 1 AND charged_until < $2 {lock}";
    let row = s.one(sql, vec![account.0.into(), until.0.into()]).await?;
    Ok(row.map(|row| row.int("charged_until")).transpose()?.map(Timestamp))
}

/// Its intervals are charged up to `until`. When all of them ended before that, it is looked at no more.
pub async fn advance(s: &impl Session, account: AccountId, until: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE account SET charged_until = $2, is_metered = CASE WHEN EXISTS \
         (SELECT 1 FROM usage_interval WHERE account_id = $1 AND closed_at IS NULL) OR EXISTS \
         (SELECT 1 FROM usage_interval WHERE account_id = $1 AND closed_at > $2) THEN 1 ELSE 0 END WHERE id = $1",
        vec![account.0.into(), until.0.into()],
    )
    .await?;
    Ok(())
}
