//! Operations: the public event and the private lease in one row.
//!
//! The attempt counts at the claim. Every later write of the claimer is guarded by its fence, (owner,
//! attempt): one that lost its lease changes nothing any more. An expired lease makes the row claimable again.

use crate::forks::{Backend, CHANNEL};
use crate::session::{Failure, Row, Session};
use bulut_model::operation::{Operation, OperationKind, Status};
use bulut_model::{AccountId, Error, NodeId, OperationId, Result, ServerId, SnapshotId, Timestamp};

/// Which way the steps are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Doing.
    Forward,
    /// Undoing what was begun.
    Undo,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Undo => "undo",
        }
    }

    fn from_word(word: &str) -> Self {
        if word == "undo" { Self::Undo } else { Self::Forward }
    }
}

/// An operation that this process holds the lease of.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What its owner sees.
    pub operation: Operation,
    /// The node that it works on.
    pub node: NodeId,
    /// What the verb stored for its steps, JSON.
    pub params: String,
    /// Which way.
    pub direction: Direction,
    /// Forward: steps done. Undo: steps that still have to be undone.
    pub step: usize,
    /// The fence, together with the owner.
    pub attempt: i64,
    /// Tries of the present step that failed.
    pub failures: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The owner's half of the fence, and what it was given.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The operation.
    pub id: OperationId,
    /// Unique per process start.
    pub owner: String,
    /// The claim's attempt.
    pub attempt: i64,
}

const PUBLIC: &str =
    "id, account_id, server_id, snapshot_id, kind, status, message, created_at, completed_at";

fn operation(row: &Row) -> Result<Operation, Failure> {
    let kind = row.text("kind")?;
    Ok(Operation {
        id: OperationId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        server: ServerId(row.int("server_id")?),
        snapshot: row.opt_int("snapshot_id")?.map(SnapshotId),
        kind: OperationKind::from_word(&kind)
            .ok_or_else(|| Failure::Fault(format!("operation kind {kind} is unknown")))?,
        status: Status::from_code(row.int("status")?),
        message: row.opt_text("message")?,
        created_at: Timestamp(row.int("created_at")?),
        completed_at: row.opt_int("completed_at")?.map(Timestamp),
    })
}

fn claimed(row: &Row) -> Result<Claimed, Failure> {
    Ok(Claimed {
        operation: operation(row)?,
        node: NodeId(row.int("node_id")?),
        params: row.text("params")?,
        direction: Direction::from_word(&row.text("direction")?),
        step: usize::try_from(row.int("step")?)
            .map_err(|_| Failure::Fault("an operation's step is negative".into()))?,
        attempt: row.int("attempt")?,
        failures: row.int("failures")?,
        last_error: row.opt_text("last_error")?,
    })
}

/// What an operation is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Whose it is.
    pub account: AccountId,
    /// The server that it is about.
    pub server: ServerId,
    /// The snapshot that it makes, uses or removes.
    pub snapshot: Option<SnapshotId>,
    /// The node that carries it out.
    pub node: NodeId,
}

/// Queues an operation, in the transaction that writes what it is to carry out, and wakes the replicas.
///
/// Errors: `Conflict` when another operation holds the server.
pub async fn insert(
    s: &impl Session,
    kind: OperationKind,
    subject: Subject,
    params: &str,
    now: Timestamp,
) -> Result<OperationId> {
    let server = subject.server;
    let inserted = s
        .one(
            "INSERT INTO operation (account_id, server_id, snapshot_id, holds_server, node_id, kind, status, \
             params, direction, step, attempt, failures, run_at, lease_until, created_at) \
             VALUES ($1, $2, $7, $8, $3, $4, 0, $5, 'forward', 0, 0, 0, $6, 0, $6) RETURNING id",
            vec![
                subject.account.0.into(),
                server.0.into(),
                subject.node.0.into(),
                kind.as_str().into(),
                params.into(),
                now.0.into(),
                subject.snapshot.map(|snapshot| snapshot.0).into(),
                i64::from(kind.holds_server()).into(),
            ],
        )
        .await;
    let row = match inserted {
        Ok(Some(row)) => row,
        Ok(None) => return Err(Error::internal("an inserted operation came back without a row")),
        Err(Failure::Unique) => {
            return Err(Error::conflict(format!(
                "Another operation holds server {server}; wait until it has ended (see event/list) and try again."
            )));
        }
        Err(other) => return Err(other.into()),
    };
    if s.backend() == Backend::Postgres {
        s.one("SELECT pg_notify($1, '')", vec![CHANNEL.into()]).await?;
    }
    Ok(OperationId(row.int("id")?))
}

/// The account's operations since `since`, newest last.
pub async fn list(s: &impl Session, account: AccountId, since: Timestamp) -> Result<Vec<Operation>> {
    let sql =
        format!("SELECT {PUBLIC} FROM operation WHERE account_id = $1 AND created_at >= $2 ORDER BY id");
    let rows = s.all(&sql, vec![account.0.into(), since.0.into()]).await?;
    Ok(rows.iter().map(operation).collect::<Result<_, _>>()?)
}

/// One operation of an account.
pub async fn find_owned(s: &impl Session, account: AccountId, id: OperationId) -> Result<Option<Operation>> {
    let sql = format!("SELECT {PUBLIC} FROM operation WHERE id = $1 AND account_id = $2");
    let row = s.one(&sql, vec![id.0.into(), account.0.into()]).await?;
    Ok(row.as_ref().map(operation).transpose()?)
}

/// Claims the operation that has been due longest, on one of `nodes`, whose lease is free or has run out.
pub async fn claim(
    s: &impl Session,
    nodes: &[NodeId],
    owner: &str,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<Claimed>> {
    if nodes.is_empty() {
        return Ok(None);
    }
    let places: Vec<String> = (0..nodes.len()).map(|i| format!("${}", i + 4)).collect();
    let sql = format!(
        "UPDATE operation SET owner = $1, lease_until = $3, attempt = attempt + 1 WHERE id = \
         (SELECT id FROM operation WHERE status = 0 AND run_at <= $2 AND lease_until <= $2 \
         AND node_id IN ({}) ORDER BY run_at, id LIMIT 1 {{skip_locked}}) \
         RETURNING {PUBLIC}, node_id, params, direction, step, attempt, failures, last_error",
        places.join(", ")
    );
    let mut values = vec![owner.into(), now.0.into(), lease_until.0.into()];
    values.extend(nodes.iter().map(|node| node.0.into()));
    let row = s.one(&sql, values).await?;
    Ok(row.as_ref().map(claimed).transpose()?)
}

/// When the next operation of any node becomes claimable, if one waits.
pub async fn next_due(s: &impl Session) -> Result<Option<Timestamp>> {
    let row = s
        .one(
            "SELECT MIN(CASE WHEN run_at > lease_until THEN run_at ELSE lease_until END) AS due \
             FROM operation WHERE status = 0",
            vec![],
        )
        .await?;
    Ok(row.map(|row| row.opt_int("due")).transpose()?.flatten().map(Timestamp))
}

async fn fenced(
    s: &impl Session,
    fence: &Fence,
    change: &str,
    mut values: Vec<sea_orm::Value>,
) -> Result<bool> {
    let n = values.len();
    let sql = format!(
        "UPDATE operation SET {change} WHERE id = ${} AND owner = ${} AND attempt = ${} AND status = 0",
        n + 1,
        n + 2,
        n + 3
    );
    values.extend([fence.id.0.into(), fence.owner.clone().into(), fence.attempt.into()]);
    Ok(s.execute(&sql, values).await? > 0)
}

/// Extends a lease. `false`: it is lost, stop all effects.
pub async fn renew(s: &impl Session, fence: &Fence, lease_until: Timestamp) -> Result<bool> {
    fenced(s, fence, "lease_until = $1", vec![lease_until.0.into()]).await
}

/// Remembers how far an operation is. `false`: the lease is lost.
pub async fn checkpoint(s: &impl Session, fence: &Fence, direction: Direction, step: usize) -> Result<bool> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let values = vec![direction.as_str().into(), step.into()];
    fenced(s, fence, "direction = $1, step = $2, failures = 0", values).await
}

/// Turns an operation around: from here on its steps are undone. `false`: the lease is lost.
pub async fn turn_around(
    s: &impl Session,
    fence: &Fence,
    step: usize,
    message: &str,
    internal: &str,
) -> Result<bool> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let values = vec![step.into(), message.into(), internal.into()];
    let change = "direction = 'undo', step = $1, failures = 0, message = $2, last_error = $3";
    fenced(s, fence, change, values).await
}

/// Gives an operation back to be tried again at `run_at`; the fence ends with it, so that a renewal still on its
/// way leases nothing. `false`: the lease is lost.
pub async fn retry_later(s: &impl Session, fence: &Fence, run_at: Timestamp, error: &str) -> Result<bool> {
    let values = vec![run_at.0.into(), error.into()];
    let change = "failures = failures + 1, run_at = $1, lease_until = 0, owner = NULL, last_error = $2";
    fenced(s, fence, change, values).await
}

/// Lets go of the lease, as a process that stops in order does; the fence ends with it. `false`: it is lost
/// already.
pub async fn let_go(s: &impl Session, fence: &Fence) -> Result<bool> {
    fenced(s, fence, "lease_until = 0, owner = NULL", vec![]).await
}

/// Ends an operation. `false`: the lease is lost, and the transaction must not be committed.
pub async fn settle(
    s: &impl Session,
    fence: &Fence,
    status: Status,
    message: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let values = vec![status.code().into(), message.into(), now.0.into()];
    // A success keeps what was remarked of it.
    let change = "status = $1, message = COALESCE($2, message), completed_at = $3, lease_until = 0";
    fenced(s, fence, change, values).await
}

/// What is to be said of an operation although it succeeds; an operation that fails says why instead.
pub async fn remark(s: &impl Session, id: OperationId, remark: Option<&str>) -> Result<()> {
    let sql = "UPDATE operation SET message = $2 WHERE id = $1 AND status = 0 AND direction = 'forward'";
    s.execute(sql, vec![id.0.into(), remark.into()]).await?;
    Ok(())
}

/// The servers that an operation holds now, for the reconciler, which leaves them alone.
pub async fn held_servers(s: &impl Session) -> Result<Vec<ServerId>> {
    let rows = s.all("SELECT server_id FROM operation WHERE status = 0 AND holds_server = 1", vec![]).await?;
    Ok(rows.iter().map(|row| row.int("server_id").map(ServerId)).collect::<Result<_, _>>()?)
}

/// How many operations of each kind ended how, and how many are under way, for the metrics.
pub async fn count(s: &impl Session) -> Result<Vec<(String, i64, u64)>> {
    let rows = s
        .all(
            "SELECT kind, status, COUNT(*) AS operations FROM operation GROUP BY kind, status \
             ORDER BY kind, status",
            vec![],
        )
        .await?;
    let counted = |row: &Row| Ok((row.text("kind")?, row.int("status")?, row.unsigned("operations")?));
    Ok(rows.iter().map(counted).collect::<Result<_, Failure>>()?)
}

/// The operations that have not ended.
pub async fn unfinished(s: &impl Session) -> Result<Vec<OperationId>> {
    let rows = s.all("SELECT id FROM operation WHERE status = 0 ORDER BY id", vec![]).await?;
    Ok(rows.iter().map(|row| row.int("id").map(OperationId)).collect::<Result<_, _>>()?)
}

/// Whether an operation that has not ended makes, uses or removes the snapshot.
pub async fn uses_snapshot(s: &impl Session, snapshot: SnapshotId) -> Result<bool> {
    let sql = "SELECT id FROM operation WHERE status = 0 AND snapshot_id = $1 LIMIT 1";
    Ok(s.one(sql, vec![snapshot.0.into()]).await?.is_some())
}
