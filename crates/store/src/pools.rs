//! Resource pools of accounts: what there is, and what servers take of it.

use crate::nodes::Size;
use crate::session::{Failure, Row, Session};
use bulut_model::pool::{Pool, Resources};
use bulut_model::{AccountId, Result};

const COLUMNS: &str = "cpu_total, memory_mib_total, disk_gib_total, cpu_used, memory_mib_used, disk_gib_used";

fn pool(row: &Row) -> Result<Pool, Failure> {
    Ok(Pool {
        total: Resources {
            cpu: row.unsigned("cpu_total")?,
            memory_mib: row.unsigned("memory_mib_total")?,
            disk_gib: row.unsigned("disk_gib_total")?,
        },
        used: Resources {
            cpu: row.unsigned("cpu_used")?,
            memory_mib: row.unsigned("memory_mib_used")?,
            disk_gib: row.unsigned("disk_gib_used")?,
        },
    })
}

/// Gives an account a pool of this size, or its pool this size. What is taken from it stays taken, also when that is
/// more than the pool has from now on.
pub async fn set(s: &impl Session, account: AccountId, total: Size) -> Result<Pool> {
    let sql = format!(
        "INSERT INTO resource_pool (account_id, {COLUMNS}) VALUES ($1, $2, $3, $4, 0, 0, 0) \
         ON CONFLICT (account_id) DO UPDATE SET cpu_total = excluded.cpu_total, \
         memory_mib_total = excluded.memory_mib_total, disk_gib_total = excluded.disk_gib_total \
         RETURNING {COLUMNS}"
    );
    let values = vec![account.0.into(), total.cpu.into(), total.memory_mib.into(), total.disk_gib.into()];
    let row = s.one(&sql, values).await?;
    let row = row.ok_or_else(|| Failure::Fault(format!("the pool of account {account} vanished")))?;
    Ok(pool(&row)?)
}

/// The account's pool; an empty one where it never got any.
pub async fn find(s: &impl Session, account: AccountId) -> Result<Pool> {
    let sql = format!("SELECT {COLUMNS} FROM resource_pool WHERE account_id = $1");
    let row = s.one(&sql, vec![account.0.into()]).await?;
    Ok(row.as_ref().map(pool).transpose()?.unwrap_or_default())
}

/// The pools of all accounts that have one.
pub async fn list(s: &impl Session) -> Result<Vec<(AccountId, Pool)>> {
    let sql = format!("SELECT account_id, {COLUMNS} FROM resource_pool ORDER BY account_id");
    let rows = s.all(&sql, vec![]).await?;
    let one = |row: &Row| Ok((AccountId(row.int("account_id")?), pool(row)?));
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// Takes from the account's pool; false when it has not enough left. The check and the taking are one statement, so
/// that parallel orders never take more than there is.
pub async fn take(s: &impl Session, account: AccountId, size: Size) -> Result<bool> {
    let taken = s
        .execute(
            "UPDATE resource_pool SET cpu_used = cpu_used + $2, memory_mib_used = memory_mib_used + $3, \
             disk_gib_used = disk_gib_used + $4 WHERE account_id = $1 AND cpu_used + $2 <= cpu_total \
             AND memory_mib_used + $3 <= memory_mib_total AND disk_gib_used + $4 <= disk_gib_total",
            vec![account.0.into(), size.cpu.into(), size.memory_mib.into(), size.disk_gib.into()],
        )
        .await?;
    Ok(taken > 0)
}

/// Gives back to the account's pool. Called once per server, under its `reserved` flag.
pub(crate) async fn release(s: &impl Session, account: AccountId, size: Size) -> Result<()> {
    s.execute(
        "UPDATE resource_pool SET cpu_used = cpu_used - $2, memory_mib_used = memory_mib_used - $3, \
         disk_gib_used = disk_gib_used - $4 WHERE account_id = $1",
        vec![account.0.into(), size.cpu.into(), size.memory_mib.into(), size.disk_gib.into()],
    )
    .await?;
    Ok(())
}
