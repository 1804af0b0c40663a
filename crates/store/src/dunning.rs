//! Dunning: how far accounts are whose balance runs out, which of their servers were running then, and what they were
//! told.

use crate::session::{Failure, Row, Session};
use bulut_model::dunning::{Dunning, Stage};
use bulut_model::{AccountId, Micros, Result, ServerId, Timestamp};

/// Something that happened to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    /// Its id.
    pub id: i64,
    /// What: `balance_low`, `suspended`, `deletion_announced`, `deletion_taken_back`, `deleted` or `resumed`.
    pub kind: String,
    /// The same for a person.
    pub message: String,
    /// When.
    pub created_at: Timestamp,
}

/// An account's dunning.
pub async fn find(s: &impl Session, account: AccountId) -> Result<Dunning> {
    let sql = "SELECT stage, round, entered_at, due_at FROM dunning WHERE account_id = $1";
    let row = s.one(sql, vec![account.0.into()]).await?;
    let Some(row) = row else { return Ok(Dunning::NONE) };
    let stage = row.text("stage")?;
    Ok(Dunning {
        stage: Stage::from_word(&stage)
            .ok_or_else(|| Failure::Fault(format!("dunning stage {stage} is unknown")))?,
        round: row.int("round")?,
        entered_at: Timestamp(row.int("entered_at")?),
        due_at: row.opt_int("due_at")?.map(Timestamp),
    })
}

/// Sets an account's dunning, and whether it may change anything. Run it with the account held.
pub async fn set(s: &impl Session, account: AccountId, dunning: &Dunning) -> Result<()> {
    s.execute(
        "INSERT INTO dunning (account_id, stage, round, entered_at, due_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (account_id) DO UPDATE SET stage = excluded.stage, round = excluded.round, \
         entered_at = excluded.entered_at, due_at = excluded.due_at",
        vec![
            account.0.into(),
            dunning.stage.as_str().into(),
            dunning.round.into(),
            dunning.entered_at.0.into(),
            dunning.due_at.map(|at| at.0).into(),
        ],
    )
    .await?;
    let lacks = i64::from(dunning.stage.is_suspended());
    let sql = "UPDATE account SET lacks_funds = $2 WHERE id = $1";
    s.execute(sql, vec![account.0.into(), lacks.into()]).await?;
    Ok(())
}

/// Accounts to look at: those that are at some stage, and those with servers or snapshots whose books say less than
/// `limit`. By id, after `after`, at most `count`.
pub async fn candidates(
    s: &impl Session,
    limit: Micros,
    after: AccountId,
    count: i64,
) -> Result<Vec<AccountId>> {
    let rows = s
        .all(
            "SELECT account.id AS id FROM account LEFT JOIN dunning ON dunning.account_id = account.id \
             WHERE account.id > $2 AND (COALESCE(dunning.stage, 'fine') <> 'fine' \
             OR EXISTS (SELECT 1 FROM dunning_server WHERE dunning_server.account_id = account.id) \
             OR ((EXISTS (SELECT 1 FROM server WHERE server.account_id = account.id \
             AND server.phase <> 'destroyed' AND server.in_pool = 0) \
             OR EXISTS (SELECT 1 FROM snapshot WHERE snapshot.account_id = account.id \
             AND snapshot.phase <> 'destroyed')) \
             AND (SELECT COALESCE(SUM(amount_micros), 0) FROM ledger_entry \
             WHERE ledger_entry.account_id = account.id AND book = 'customer') < $1)) \
             ORDER BY account.id LIMIT $3",
            vec![limit.0.into(), after.0.into(), count.into()],
        )
        .await?;
    Ok(rows.iter().map(|row| row.int("id").map(AccountId)).collect::<Result<_, Failure>>()?)
}

/// The last look's time, and remembers this one's. Run it in a transaction: looks of several processes wait for each
/// other here.
pub async fn tick(s: &impl Session, now: Timestamp) -> Result<Timestamp> {
    const NAME: &str = "dunning_looked_at";
    s.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        vec![NAME.into(), now.0.to_string().into()],
    )
    .await?;
    let row = s.one("SELECT value FROM setting WHERE name = $1 {lock}", vec![NAME.into()]).await?;
    let before = row.map(|row| row.text("value")).transpose()?.and_then(|text| text.parse().ok());
    let sql = "UPDATE setting SET value = $2 WHERE name = $1";
    s.execute(sql, vec![NAME.into(), now.0.to_string().into()]).await?;
    Ok(before.map_or(now, Timestamp))
}

/// Moves all that waits by so many microseconds: into the future, or below zero into the past.
pub async fn shift(s: &impl Session, micros: i64) -> Result<u64> {
    let sql = "UPDATE dunning SET entered_at = entered_at + $1, due_at = due_at + $1 WHERE stage <> 'fine'";
    Ok(s.execute(sql, vec![micros.into()]).await?)
}

/// Remembers that the server was running when its account was suspended.
pub async fn remember(s: &impl Session, account: AccountId, server: ServerId) -> Result<()> {
    s.execute(
        "INSERT INTO dunning_server (server_id, account_id) VALUES ($1, $2) ON CONFLICT (server_id) DO NOTHING",
        vec![server.0.into(), account.0.into()],
    )
    .await?;
    Ok(())
}

/// The servers that were running when the account was suspended.
pub async fn remembered(s: &impl Session, account: AccountId) -> Result<Vec<ServerId>> {
    let sql = "SELECT server_id FROM dunning_server WHERE account_id = $1 ORDER BY server_id";
    let rows = s.all(sql, vec![account.0.into()]).await?;
    Ok(rows.iter().map(|row| row.int("server_id").map(ServerId)).collect::<Result<_, Failure>>()?)
}

/// Forgets that the server was running then.
pub async fn forget(s: &impl Session, server: ServerId) -> Result<()> {
    s.execute("DELETE FROM dunning_server WHERE server_id = $1", vec![server.0.into()]).await?;
    Ok(())
}

/// Writes down what happened to an account.
pub async fn tell(
    s: &impl Session,
    account: AccountId,
    kind: &str,
    message: &str,
    now: Timestamp,
) -> Result<()> {
    s.execute(
        "INSERT INTO account_event (account_id, kind, message, created_at) VALUES ($1, $2, $3, $4)",
        vec![account.0.into(), kind.into(), message.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

fn event(row: &Row) -> Result<AccountEvent, Failure> {
    Ok(AccountEvent {
        id: row.int("id")?,
        kind: row.text("kind")?,
        message: row.text("message")?,
        created_at: Timestamp(row.int("created_at")?),
    })
}

/// What happened to an account, newest first, at most `limit`.
pub async fn events(s: &impl Session, account: AccountId, limit: i64) -> Result<Vec<AccountEvent>> {
    let rows = s
        .all(
            "SELECT id, kind, message, created_at FROM account_event WHERE account_id = $1 \
             ORDER BY id DESC LIMIT $2",
            vec![account.0.into(), limit.into()],
        )
        .await?;
    Ok(rows.iter().map(event).collect::<Result<_, _>>()?)
}
