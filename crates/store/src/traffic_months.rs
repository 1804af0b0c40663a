//! Traffic of calendar months against what packages include, and what the house did at the limit.

use crate::session::{Failure, Row, Session};
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB, Month, MonthUse};
use bulut_model::{AccountId, Error, NodeId, Result, ServerId, Timestamp};

/// A server's month, as the operator's list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server, which may be gone by now.
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// E-mail address of its account.
    pub account: String,
    /// Slug of its package.
    pub package: String,
    /// What it used.
    pub used: MonthUse,
    /// When the house stopped it for that, if it did.
    pub stopped_at: Option<Timestamp>,
    /// When the house slowed it down for that, if it did.
    pub slowed_at: Option<Timestamp>,
    /// Frames that were dropped because it had no right to send them, of all its life.
    pub forged_frames: u64,
    /// When the server was destroyed, if it was.
    pub destroyed_at: Option<Timestamp>,
}

const USE: &str = "server.traffic_tb AS traffic_tb, package.at_traffic_limit AS at_traffic_limit, \
     COALESCE(traffic_month.received_bytes, 0) AS received_bytes, \
     COALESCE(traffic_month.sent_bytes, 0) AS sent_bytes, \
     COALESCE(traffic_month.is_allowed_more, 0) AS is_allowed_more";

fn month_use(row: &Row, month: Month) -> Result<MonthUse> {
    let at_limit = AtLimit::parse(&row.text("at_traffic_limit")?);
    Ok(MonthUse {
        month,
        received_bytes: row.unsigned("received_bytes")?,
        sent_bytes: row.unsigned("sent_bytes")?,
        traffic_tb: row.unsigned("traffic_tb")?,
        at_limit: at_limit.map_err(|error| Error::internal(error.public))?,
        is_allowed_more: row.flag("is_allowed_more")?,
    })
}

/// What a server used of a month; none for one that never was.
pub async fn find(s: &impl Session, server: ServerId, month: Month) -> Result<Option<MonthUse>> {
    let sql = format!(
        "SELECT {USE} FROM server JOIN package ON package.id = server.package_id \
         LEFT JOIN traffic_month ON traffic_month.server_id = server.id AND traffic_month.month = $2 \
         WHERE server.id = $1"
    );
    let row = s.one(&sql, vec![server.0.into(), month.0.into()]).await?;
    row.as_ref().map(|row| month_use(row, month)).transpose()
}

/// All servers that moved or forged anything in a month, those first that moved most.
pub async fn list(s: &impl Session, month: Month) -> Result<Vec<Line>> {
    let sql = format!(
        "SELECT {USE}, server.id AS id, server.name AS name, account.email AS email, package.slug AS package, \
         traffic_month.stopped_at AS stopped_at, traffic_month.slowed_at AS slowed_at, \
         server.forged_frames AS forged_frames, server.destroyed_at AS destroyed_at FROM traffic_month \
         JOIN server ON server.id = traffic_month.server_id JOIN package ON package.id = server.package_id \
         JOIN account ON account.id = server.account_id WHERE traffic_month.month = $1 \
         ORDER BY traffic_month.received_bytes + traffic_month.sent_bytes DESC, server.id"
    );
    let line = |row: &Row| {
        Ok(Line {
            server: ServerId(row.int("id")?),
            name: row.text("name")?,
            account: row.text("email")?,
            package: row.text("package")?,
            used: month_use(row, month)?,
            stopped_at: row.opt_int("stopped_at")?.map(Timestamp),
            slowed_at: row.opt_int("slowed_at")?.map(Timestamp),
            forged_frames: row.unsigned("forged_frames")?,
            destroyed_at: row.opt_int("destroyed_at")?.map(Timestamp),
        })
    };
    s.all(&sql, vec![month.0.into()]).await?.iter().map(line).collect()
}

/// The running servers of a node that must not run any more in this month (see [`MonthUse::must_stop`]), with whose
/// they are; at most `limit`, and none that an operation holds.
pub async fn list_to_stop(
    s: &impl Session,
    node: NodeId,
    month: Month,
    limit: i64,
) -> Result<Vec<(ServerId, AccountId)>> {
    let sql = format!(
        "SELECT server.id AS id, server.account_id AS account_id FROM traffic_month \
         JOIN server ON server.id = traffic_month.server_id JOIN package ON package.id = server.package_id \
         WHERE traffic_month.month = $2 AND server.node_id = $1 AND server.phase = 'ready' \
         AND server.power = 'running' AND package.at_traffic_limit = 'stop' AND traffic_month.is_allowed_more = 0 \
         AND server.traffic_tb > 0 \
         AND traffic_month.received_bytes + traffic_month.sent_bytes >= server.traffic_tb * {BYTES_PER_TB} \
         AND NOT EXISTS (SELECT 1 FROM operation WHERE operation.server_id = server.id \
         AND operation.status = 0 AND operation.holds_server = 1) ORDER BY server.id LIMIT $3"
    );
    let rows = s.all(&sql, vec![node.0.into(), month.0.into(), limit.into()]).await?;
    let found = |row: &Row| Ok((ServerId(row.int("id")?), AccountId(row.int("account_id")?)));
    Ok(rows.iter().map(found).collect::<Result<_, Failure>>()?)
}

/// The servers of a node whose traffic beyond their package is billed and that have some in this month (see
/// [`MonthUse::billable_bytes`]), with whose they are and how many bytes.
pub async fn list_to_bill(
    s: &impl Session,
    node: NodeId,
    month: Month,
) -> Result<Vec<(ServerId, AccountId, MonthUse)>> {
    let sql = format!(
        "SELECT {USE}, server.id AS id, server.account_id AS account_id FROM traffic_month \
         JOIN server ON server.id = traffic_month.server_id JOIN package ON package.id = server.package_id \
         WHERE traffic_month.month = $2 AND server.node_id = $1 AND server.in_pool = 0 \
         AND package.at_traffic_limit = 'bill' AND traffic_month.is_allowed_more = 0 AND server.traffic_tb > 0 \
         AND traffic_month.received_bytes + traffic_month.sent_bytes > server.traffic_tb * {BYTES_PER_TB} \
         ORDER BY server.id"
    );
    let found =
        |row: &Row| Ok((ServerId(row.int("id")?), AccountId(row.int("account_id")?), month_use(row, month)?));
    s.all(&sql, vec![node.0.into(), month.0.into()]).await?.iter().map(found).collect()
}

/// When the house last stopped a server in a month for having used all, and when it last slowed it down.
pub async fn acted(
    s: &impl Session,
    server: ServerId,
    month: Month,
) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let sql = "SELECT stopped_at, slowed_at FROM traffic_month WHERE server_id = $1 AND month = $2";
    let Some(row) = s.one(sql, vec![server.0.into(), month.0.into()]).await? else { return Ok((None, None)) };
    Ok((row.opt_int("stopped_at")?.map(Timestamp), row.opt_int("slowed_at")?.map(Timestamp)))
}

/// Remembers that the house stopped a server.
pub async fn set_stopped(s: &impl Session, server: ServerId, month: Month, now: Timestamp) -> Result<()> {
    let sql = "UPDATE traffic_month SET stopped_at = $3 WHERE server_id = $1 AND month = $2";
    s.execute(sql, vec![server.0.into(), month.0.into(), now.0.into()]).await?;
    Ok(())
}

/// Remembers that the house slowed a server down.
pub async fn set_slowed(s: &impl Session, server: ServerId, month: Month, now: Timestamp) -> Result<()> {
    let sql = "UPDATE traffic_month SET slowed_at = $3 WHERE server_id = $1 AND month = $2";
    s.execute(sql, vec![server.0.into(), month.0.into(), now.0.into()]).await?;
    Ok(())
}

/// Sets whether a server may use more than its package includes in this month.
pub async fn set_allowed(s: &impl Session, server: ServerId, month: Month, allowed: bool) -> Result<()> {
    s.execute(
        "INSERT INTO traffic_month (server_id, month, received_bytes, sent_bytes, is_allowed_more) \
         VALUES ($1, $2, 0, 0, $3) ON CONFLICT (server_id, month) \
         DO UPDATE SET is_allowed_more = excluded.is_allowed_more",
        vec![server.0.into(), month.0.into(), i64::from(allowed).into()],
    )
    .await?;
    Ok(())
}

/// Sets what becomes of servers of a package that have used all. `false`: there is no such package.
pub async fn set_at_limit(s: &impl Session, package: &str, action: AtLimit) -> Result<bool> {
    let sql = "UPDATE package SET at_traffic_limit = $2 WHERE slug = $1";
    Ok(s.execute(sql, vec![package.into(), action.as_str().into()]).await? > 0)
}

/// What becomes of servers of each package, in the packages' order.
pub async fn at_limits(s: &impl Session) -> Result<Vec<(String, u64, AtLimit)>> {
    let sql = "SELECT slug, traffic_tb, at_traffic_limit FROM package ORDER BY position, id";
    let one = |row: &Row| {
        let action = AtLimit::parse(&row.text("at_traffic_limit")?);
        let action = action.map_err(|error| Error::internal(error.public))?;
        Ok((row.text("slug")?, row.unsigned("traffic_tb")?, action))
    };
    s.all(sql, vec![]).await?.iter().map(one).collect()
}
