//! Rates: what packages give, and what servers' machines were last told.

use crate::packages::signed;
use crate::session::{Failure, Row, Session};
use crate::traffic_months;
use bulut_model::rate::Rates;
use bulut_model::traffic_month::{BYTES_PER_TB, Month};
use bulut_model::{AccountId, Error, NodeId, PackageId, Result, ServerId};

/// What a package gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRates {
    /// Slug of the package.
    pub package: String,
    /// What its servers have.
    pub rates: Rates,
    /// What those have at most, in each direction, that are slowed down, bits per second.
    pub slow_bps: u64,
}

/// What a server should have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The rates.
    pub rates: Rates,
    /// They are less than the package's, since the server is slowed down.
    pub is_slow: bool,
}

fn rates(row: &Row) -> Result<Rates, Failure> {
    Ok(Rates { down_bps: row.unsigned("rate_down_bps")?, up_bps: row.unsigned("rate_up_bps")? })
}

/// All packages, in their order.
pub async fn list(s: &impl Session) -> Result<Vec<PackageRates>> {
    let sql = "SELECT slug, rate_down_bps, rate_up_bps, slow_bps FROM package ORDER BY position, id";
    let one = |row: &Row| {
        Ok(PackageRates {
            package: row.text("slug")?,
            rates: rates(row)?,
            slow_bps: row.unsigned("slow_bps")?,
        })
    };
    Ok(s.all(sql, vec![]).await?.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// What servers of a package have.
pub async fn of_package(s: &impl Session, package: PackageId) -> Result<Rates> {
    let sql = "SELECT rate_down_bps, rate_up_bps FROM package WHERE id = $1";
    let row = s.one(sql, vec![package.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("package {package} has no row")))?;
    Ok(rates(&row)?)
}

/// Sets what servers of a package have. `false`: there is no such package.
pub async fn set(s: &impl Session, package: &str, rates: Rates) -> Result<bool> {
    let sql = "UPDATE package SET rate_down_bps = $2, rate_up_bps = $3 WHERE slug = $1";
    let values = vec![package.into(), signed(rates.down_bps)?.into(), signed(rates.up_bps)?.into()];
    Ok(s.execute(sql, values).await? > 0)
}

/// Sets what servers of a package have at most when they are slowed down. `false`: there is no such package.
pub async fn set_slow(s: &impl Session, package: &str, bps: u64) -> Result<bool> {
    let sql = "UPDATE package SET slow_bps = $2 WHERE slug = $1";
    Ok(s.execute(sql, vec![package.into(), signed(bps)?.into()]).await? > 0)
}

/// What a server's machine was last told.
pub async fn of_server(s: &impl Session, server: ServerId) -> Result<Rates> {
    let sql = "SELECT rate_down_bps, rate_up_bps FROM server WHERE id = $1";
    let row = s.one(sql, vec![server.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("server {server} has no row")))?;
    Ok(rates(&row)?)
}

/// Remembers what a server's machine was told.
pub async fn set_of_server(s: &impl Session, server: ServerId, rates: Rates) -> Result<()> {
    let sql = "UPDATE server SET rate_down_bps = $2, rate_up_bps = $3 WHERE id = $1";
    let values = vec![server.0.into(), signed(rates.down_bps)?.into(), signed(rates.up_bps)?.into()];
    s.execute(sql, values).await?;
    Ok(())
}

/// What a server should have in this month; none for one that never was.
pub async fn wanted(s: &impl Session, server: ServerId, month: Month) -> Result<Option<Wanted>> {
    let Some(used) = traffic_months::find(s, server, month).await? else { return Ok(None) };
    let sql = "SELECT package.rate_down_bps AS rate_down_bps, package.rate_up_bps AS rate_up_bps, \
               package.slow_bps AS slow_bps FROM server JOIN package ON package.id = server.package_id \
               WHERE server.id = $1";
    let Some(row) = s.one(sql, vec![server.0.into()]).await? else { return Ok(None) };
    let full = rates(&row)?;
    let rates = if used.must_slow() { full.at_most(row.unsigned("slow_bps")?) } else { full };
    Ok(Some(Wanted { rates, is_slow: rates != full }))
}

/// The servers of a node whose machines were told other rates than they should have in this month (see [`wanted`]), with
/// whose they are; at most `limit`, and none that an operation holds.
pub async fn list_to_tell(
    s: &impl Session,
    node: NodeId,
    month: Month,
    limit: i64,
) -> Result<Vec<(ServerId, AccountId)>> {
    let is_slow = format!(
        "package.at_traffic_limit = 'slow' AND package.slow_bps > 0 AND COALESCE(traffic_month.is_allowed_more, 0) = 0 \
         AND server.traffic_tb > 0 AND COALESCE(traffic_month.received_bytes, 0) + \
         COALESCE(traffic_month.sent_bytes, 0) >= server.traffic_tb * {BYTES_PER_TB}"
    );
    let wanted = |column: &str| {
        format!(
            "CASE WHEN {is_slow} AND (package.{column} = 0 OR package.slow_bps < package.{column}) \
             THEN package.slow_bps ELSE package.{column} END"
        )
    };
    let sql = format!(
        "SELECT server.id AS id, server.account_id AS account_id FROM server \
         JOIN package ON package.id = server.package_id LEFT JOIN traffic_month \
         ON traffic_month.server_id = server.id AND traffic_month.month = $2 \
         WHERE server.node_id = $1 AND server.phase = 'ready' \
         AND (server.rate_down_bps <> {} OR server.rate_up_bps <> {}) \
         AND NOT EXISTS (SELECT 1 FROM operation WHERE operation.server_id = server.id \
         AND operation.status = 0 AND operation.holds_server = 1) ORDER BY server.id LIMIT $3",
        wanted("rate_down_bps"),
        wanted("rate_up_bps")
    );
    let rows = s.all(&sql, vec![node.0.into(), month.0.into(), limit.into()]).await?;
    let found = |row: &Row| Ok((ServerId(row.int("id")?), AccountId(row.int("account_id")?)));
    Ok(rows.iter().map(found).collect::<Result<_, Failure>>()?)
}
