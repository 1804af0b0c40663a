//! Traffic of servers: bytes by the minute, and the machines' counters that they were taken from.
//!
//! Each epoch of a machine has counters of its own, and the last ones that were seen stand here: whatever they have
//! grown by since is new, and is added in the same transaction in which the counters are written down. So no byte is
//! counted twice or lost, whoever reads the counters, how often, and whatever restarts in between. The sum of the month
//! grows in the same transaction, so that rolling minutes up, or forgetting them, takes nothing from it.

use crate::session::{Failure, Row, Session};
use bulut_model::traffic::{Minute, Reading, Sample, Window};
use bulut_model::traffic_month::Month;
use bulut_model::{Result, ServerId, Timestamp};

fn sample(row: &Row) -> Result<Sample, Failure> {
    Ok(Sample {
        minute: Minute(row.int("first_minute")?),
        received_bytes: row.unsigned("received_bytes")?,
        sent_bytes: row.unsigned("sent_bytes")?,
    })
}

/// Adds bytes to a minute of a server and to its month. Run it in a transaction.
pub async fn add(s: &impl Session, server: ServerId, sample: &Sample) -> Result<()> {
    add_to(s, "traffic_sample", "minute", sample.minute.0, server, sample).await?;
    add_to(s, "traffic_month", "month", Month::of_minute(sample.minute).0, server, sample).await
}

async fn add_to(
    s: &impl Session,
    table: &str,
    column: &str,
    number: i64,
    server: ServerId,
    sample: &Sample,
) -> Result<()> {
    let sql = format!(
        "INSERT INTO {table} (server_id, {column}, received_bytes, sent_bytes) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (server_id, {column}) DO UPDATE SET \
         received_bytes = {table}.received_bytes + excluded.received_bytes, \
         sent_bytes = {table}.sent_bytes + excluded.sent_bytes"
    );
    s.execute(
        &sql,
        vec![
            server.0.into(),
            number.into(),
            sample.received_bytes.cast_signed().into(),
            sample.sent_bytes.cast_signed().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Rolls up the samples of all servers from `from` until before `to` into one for each `step` minutes, at most `limit`
/// of them; answers how many. Every row that goes is in the sum that comes, also when two do this at once: a row is
/// deleted by one of them only. Both bounds are multiples of `step`. Run it in a transaction.
pub async fn roll_up(s: &impl Session, from: Minute, to: Minute, step: i64, limit: i64) -> Result<u64> {
    let found = s
        .all(
            "SELECT DISTINCT server_id, minute / $3 * $3 AS first_minute FROM traffic_sample \
             WHERE minute >= $1 AND minute < $2 AND minute % $3 <> 0 ORDER BY server_id, first_minute LIMIT $4",
            vec![from.0.into(), to.0.into(), step.into(), limit.into()],
        )
        .await?;
    for row in &found {
        let (server, first) = (ServerId(row.int("server_id")?), row.int("first_minute")?);
        let gone = s
            .all(
                "DELETE FROM traffic_sample WHERE server_id = $1 AND minute >= $2 AND minute < $3 \
                 RETURNING minute AS first_minute, received_bytes, sent_bytes",
                vec![server.0.into(), first.into(), (first + step).into()],
            )
            .await?;
        let mut sum = Sample { minute: Minute(first), received_bytes: 0, sent_bytes: 0 };
        for row in &gone {
            let sample = sample(row)?;
            sum.received_bytes += sample.received_bytes;
            sum.sent_bytes += sample.sent_bytes;
        }
        add_to(s, "traffic_sample", "minute", first, server, &sum).await?;
    }
    Ok(found.len() as u64)
}

/// Forgets samples before `before`, at most `limit`. Answers how many.
pub async fn forget_samples(s: &impl Session, before: Minute, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM traffic_sample WHERE (server_id, minute) IN \
         (SELECT server_id, minute FROM traffic_sample WHERE minute < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}

/// The first `limit` samples of a window, oldest first, added up by its step. Minutes without traffic have none.
pub async fn list(s: &impl Session, server: ServerId, window: &Window, limit: usize) -> Result<Vec<Sample>> {
    let rows = s
        .all(
            "SELECT first_minute, CAST(SUM(received_bytes) AS BIGINT) AS received_bytes, \
             CAST(SUM(sent_bytes) AS BIGINT) AS sent_bytes FROM \
             (SELECT minute / $4 * $4 AS first_minute, received_bytes, sent_bytes FROM traffic_sample \
             WHERE server_id = $1 AND minute >= $2 AND minute < $3) AS stepped \
             GROUP BY first_minute ORDER BY first_minute LIMIT $5",
            vec![
                server.0.into(),
                window.from.0.into(),
                window.to.0.into(),
                window.step.minutes().into(),
                i64::try_from(limit).unwrap_or(i64::MAX).into(),
            ],
        )
        .await?;
    Ok(rows.iter().map(sample).collect::<Result<_, _>>()?)
}

/// By how much a machine's counters have grown since they were last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Bytes.
    pub sample: Sample,
    /// Frames that were dropped because the guest had no right to send them.
    pub forged_frames: u64,
}

/// Takes note of a machine's counters, and adds what they have grown by to `minute`; answers that. Counters below
/// those that were seen before are an older reading that was overtaken, and add nothing. Run it in a transaction.
pub async fn record(
    s: &impl Session,
    server: ServerId,
    reading: &Reading,
    minute: Minute,
    now: Timestamp,
) -> Result<Grown> {
    let nothing = Sample { minute, received_bytes: 0, sent_bytes: 0 };
    if reading.epoch.is_empty() {
        // It has never been started.
        return Ok(Grown { sample: nothing, forged_frames: 0 });
    }
    s.execute(
        "INSERT INTO traffic_counter (server_id, epoch, received_bytes, sent_bytes, created_at, forged_frames) \
         VALUES ($1, $2, 0, 0, $3, 0) ON CONFLICT DO NOTHING",
        vec![server.0.into(), reading.epoch.clone().into(), now.0.into()],
    )
    .await?;
    let seen = s
        .one(
            "SELECT received_bytes, sent_bytes, forged_frames FROM traffic_counter \
             WHERE server_id = $1 AND epoch = $2 {lock}",
            vec![server.0.into(), reading.epoch.clone().into()],
        )
        .await?
        .ok_or_else(|| Failure::Fault(format!("the counters of server {server} vanished")))?;
    let (received, sent) = (seen.unsigned("received_bytes")?, seen.unsigned("sent_bytes")?);
    let forged = reading.forged_frames.saturating_sub(seen.unsigned("forged_frames")?);
    if forged > 0 {
        add_forged(s, server, &reading.epoch, forged).await?;
        // Operators find it among the servers of the month also when it moved nothing that is counted.
        add_to(s, "traffic_month", "month", Month::of_minute(minute).0, server, &nothing).await?;
    }
    let grown = Sample {
        minute,
        received_bytes: reading.received_bytes.saturating_sub(received),
        sent_bytes: reading.sent_bytes.saturating_sub(sent),
    };
    let answer = Grown { sample: grown, forged_frames: forged };
    if grown == nothing {
        return Ok(answer);
    }
    s.execute(
        "UPDATE traffic_counter SET received_bytes = $3, sent_bytes = $4 WHERE server_id = $1 AND epoch = $2",
        vec![
            server.0.into(),
            reading.epoch.clone().into(),
            (received + grown.received_bytes).cast_signed().into(),
            (sent + grown.sent_bytes).cast_signed().into(),
        ],
    )
    .await?;
    add(s, server, &grown).await?;
    Ok(answer)
}

/// Adds frames that were dropped as forged, to those of the epoch and to all of the server's.
async fn add_forged(s: &impl Session, server: ServerId, epoch: &str, frames: u64) -> Result<()> {
    let sql =
        "UPDATE traffic_counter SET forged_frames = forged_frames + $3 WHERE server_id = $1 AND epoch = $2";
    s.execute(sql, vec![server.0.into(), epoch.into(), frames.cast_signed().into()]).await?;
    let sql = "UPDATE server SET forged_frames = forged_frames + $2 WHERE id = $1";
    s.execute(sql, vec![server.0.into(), frames.cast_signed().into()]).await?;
    Ok(())
}

/// Frames that a server's machine had no right to send, of all its life, and that were dropped.
pub async fn forged_frames(s: &impl Session, server: ServerId) -> Result<u64> {
    let row = s.one("SELECT forged_frames FROM server WHERE id = $1", vec![server.0.into()]).await?;
    Ok(row.map(|row| row.unsigned("forged_frames")).transpose()?.unwrap_or(0))
}

/// The counters of these epochs as they were last seen, for who reads them often and finds most of them unchanged:
/// those of all servers that exist on a node.
pub async fn seen_on(s: &impl Session, node: bulut_model::NodeId) -> Result<Vec<(ServerId, Reading)>> {
    let rows = s
        .all(
            "SELECT traffic_counter.server_id AS server_id, traffic_counter.epoch AS epoch, \
             traffic_counter.forged_frames AS forged_frames, \
             traffic_counter.received_bytes AS received_bytes, traffic_counter.sent_bytes AS sent_bytes \
             FROM traffic_counter JOIN server ON server.id = traffic_counter.server_id \
             WHERE server.node_id = $1 AND server.phase <> 'destroyed'",
            vec![node.0.into()],
        )
        .await?;
    let seen = |row: &Row| {
        Ok((
            ServerId(row.int("server_id")?),
            Reading {
                epoch: row.text("epoch")?,
                received_bytes: row.unsigned("received_bytes")?,
                sent_bytes: row.unsigned("sent_bytes")?,
                forged_frames: row.unsigned("forged_frames")?,
            },
        ))
    };
    Ok(rows.iter().map(seen).collect::<Result<_, Failure>>()?)
}

/// Forgets counters that nobody will read again, at most `limit`: those of machines that are gone, and of epochs
/// that another one followed before `before`. Answers how many.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM traffic_counter WHERE (server_id, epoch) IN \
         (SELECT past.server_id, past.epoch FROM traffic_counter AS past WHERE \
         EXISTS (SELECT 1 FROM traffic_counter AS later WHERE later.server_id = past.server_id \
         AND later.created_at > past.created_at AND later.created_at < $1) \
         OR EXISTS (SELECT 1 FROM server WHERE server.id = past.server_id AND server.phase = 'destroyed' \
         AND server.destroyed_at < $1) LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
