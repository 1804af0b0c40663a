//! Holds: what operations under way will cost by the hour, counted against the balance until their ends open intervals.

use crate::session::Session;
use bulut_model::{AccountId, Micros, OperationId, Result};

/// Remembers what an operation will cost by the hour from its end on, more than now.
pub async fn insert(
    s: &impl Session,
    operation: OperationId,
    account: AccountId,
    hourly: Micros,
) -> Result<()> {
    s.execute(
        "INSERT INTO spending_hold (operation_id, account_id, hourly_micros) VALUES ($1, $2, $3)",
        vec![operation.0.into(), account.0.into(), hourly.0.into()],
    )
    .await?;
    Ok(())
}

/// Forgets it, with the operation's end.
pub async fn remove(s: &impl Session, operation: OperationId) -> Result<()> {
    s.execute("DELETE FROM spending_hold WHERE operation_id = $1", vec![operation.0.into()]).await?;
    Ok(())
}

/// What all operations of an account will cost by the hour.
pub async fn hourly(s: &impl Session, account: AccountId) -> Result<Micros> {
    let sql = "SELECT CAST(COALESCE(SUM(hourly_micros), 0) AS BIGINT) AS hourly FROM spending_hold \
               WHERE account_id = $1";
    let row = s.one(sql, vec![account.0.into()]).await?;
    Ok(Micros(row.map(|row| row.int("hourly")).transpose()?.unwrap_or(0)))
}

/// Holds of operations that have ended; a sound database has none.
pub async fn stale(s: &impl Session) -> Result<Vec<OperationId>> {
    let sql = "SELECT operation_id FROM spending_hold JOIN operation ON operation.id = spending_hold.operation_id \
               WHERE operation.status <> 0 ORDER BY operation_id";
    let rows = s.all(sql, vec![]).await?;
    let one = |row: &crate::session::Row| row.int("operation_id").map(OperationId);
    Ok(rows.iter().map(one).collect::<Result<_, _>>()?)
}
