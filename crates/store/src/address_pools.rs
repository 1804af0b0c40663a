//! Address pools as their operator sees them: what is free, used, reserved and resting, and which pool gives addresses.

use crate::addresses::{POOL, Pool, parsed, pool};
use crate::session::{Failure, Row, Session};
use bulut_model::address_pool::{IPV6_GATEWAY, ROUTED, networks_end, routed_address};
use bulut_model::{Result, ServerId, Timestamp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A pool with what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// The pool.
    pub pool: Pool,
    /// Slug of its region.
    pub region: String,
    /// It gives no new addresses.
    pub is_draining: bool,
    /// Length of the prefix that each server gets.
    pub per_server: u8,
    /// The first and the last IPv4 address of it, which need not be those of its network.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses or networks that can be given; none where they never run out.
    pub total: Option<u64>,
    /// Those that servers have.
    pub used: u64,
    /// Those that are kept from servers.
    pub reserved: u64,
    /// Those that were released and rest.
    pub resting: u64,
}

impl Stock {
    /// What could be given now; none where it never runs out.
    pub fn free(&self) -> Option<u64> {
        let gone = self.used + self.reserved + self.resting;
        self.total.map(|total| if self.is_draining { 0 } else { total.saturating_sub(gone) })
    }
}

/// An address of a pool that is not free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub server: Option<ServerId>,
    /// It is kept from servers, for this reason where one was given.
    pub reserved: bool,
    /// Why.
    pub note: Option<String>,
    /// When it was released, if it was.
    pub released_at: Option<Timestamp>,
}

/// What is gone of one pool.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    total: u64,
    used: u64,
    reserved: u64,
    resting: u64,
}

/// All pools, oldest first. What was released after `rested` rests.
pub async fn list(s: &impl Session, rested: Timestamp) -> Result<Vec<Stock>> {
    // Of the two columns of owners one at most is set.
    let sql = "SELECT pool_id, COUNT(*) AS total, COUNT(server_id) + COUNT(further_server_id) AS used, \
         CAST(SUM(CASE WHEN server_id IS NULL AND further_server_id IS NULL AND reserved = 1 \
         THEN 1 ELSE 0 END) AS BIGINT) AS reserved, \
         CAST(SUM(CASE WHEN server_id IS NULL AND further_server_id IS NULL AND reserved = 0 \
         AND released_at > $1 THEN 1 ELSE 0 END) AS BIGINT) AS resting FROM address GROUP BY pool_id";
    let addresses = gone(s, sql, vec![rested.0.into()]).await?;
    let sql = "SELECT pool_id, COUNT(*) AS total, COUNT(server_id) AS used, CAST(0 AS BIGINT) AS reserved, \
         CAST(SUM(CASE WHEN server_id IS NULL AND released_at > $1 THEN 1 ELSE 0 END) AS BIGINT) AS resting \
         FROM address_prefix GROUP BY pool_id";
    let prefixes = gone(s, sql, vec![rested.0.into()]).await?;
    let sql = "SELECT ipv6_pool_id AS pool_id, COUNT(*) AS total, COUNT(*) AS used, CAST(0 AS BIGINT) AS reserved, \
         CAST(0 AS BIGINT) AS resting FROM server WHERE ipv6_pool_id IS NOT NULL GROUP BY ipv6_pool_id";
    let singles = gone(s, sql, vec![]).await?;
    // A pool's addresses are inserted in their order.
    let (first, last) = (ends(s, "MIN").await?, ends(s, "MAX").await?);
    let sql = format!(
        "SELECT {}, state, per_server, region.slug AS region FROM address_pool \
         JOIN region ON region.id = address_pool.region_id ORDER BY address_pool.id",
        POOL
    );
    let mut stocks = Vec::new();
    for row in s.all(&sql, vec![]).await? {
        let pool = pool(&row)?;
        let per_server = per_server(&row, &pool)?;
        let of = |counted: &HashMap<i64, Gone>| counted.get(&pool.id).copied().unwrap_or_default();
        let (gone, total) = match (pool.network, per_server) {
            (IpAddr::V4(_), _) => (of(&addresses), Some(of(&addresses).total)),
            (IpAddr::V6(_), ROUTED) => (of(&prefixes), u64::try_from(networks_end(pool.prefix) - 1).ok()),
            (IpAddr::V6(_), _) => (of(&singles), None),
        };
        stocks.push(Stock {
            region: row.text("region")?,
            is_draining: row.text("state")? != "ready",
            per_server,
            range: first.get(&pool.id).copied().zip(last.get(&pool.id).copied()),
            total,
            used: if pool.network.is_ipv6() { of(&singles).used } else { gone.used },
            reserved: gone.reserved,
            resting: gone.resting,
            pool,
        });
    }
    Ok(stocks)
}

async fn ends(s: &impl Session, which: &str) -> Result<HashMap<i64, Ipv4Addr>, Failure> {
    let sql = format!(
        "SELECT pool_id, address FROM address WHERE id IN (SELECT {which}(id) FROM address GROUP BY pool_id)"
    );
    s.all(&sql, vec![]).await?.iter().map(|row| Ok((row.int("pool_id")?, parsed(row, "address")?))).collect()
}

fn per_server(row: &Row, pool: &Pool) -> Result<u8, Failure> {
    if pool.network.is_ipv4() {
        return Ok(32);
    }
    u8::try_from(row.int("per_server")?).map_err(|_| Failure::Fault("a prefix is out of range".into()))
}

async fn gone(
    s: &impl Session,
    sql: &str,
    values: Vec<sea_orm::Value>,
) -> Result<HashMap<i64, Gone>, Failure> {
    let mut counted = HashMap::new();
    for row in s.all(sql, values).await? {
        let gone = Gone {
            total: row.unsigned("total")?,
            used: row.unsigned("used")?,
            reserved: row.unsigned("reserved")?,
            resting: row.unsigned("resting")?,
        };
        counted.insert(row.int("pool_id")?, gone);
    }
    Ok(counted)
}

/// The addresses of a pool that are not free, in their order. What was released after `rested` rests.
pub async fn entries(s: &impl Session, pool: i64, rested: Timestamp) -> Result<Vec<Entry>> {
    let rows = s
        .all(
            "SELECT address, COALESCE(server_id, further_server_id) AS server_id, reserved, note, released_at \
             FROM address WHERE pool_id = $1 AND (server_id IS NOT NULL OR further_server_id IS NOT NULL \
             OR reserved = 1 OR released_at > $2) ORDER BY id",
            vec![pool.into(), rested.0.into()],
        )
        .await?;
    let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT ipv6 AS address, id AS server_id FROM server WHERE ipv6_pool_id = $1 AND ipv6 IS NOT NULL \
         ORDER BY id";
    for row in s.all(sql, vec![pool.into()]).await? {
        entries.push(Entry {
            address: parsed(&row, "address")?,
            server: Some(ServerId(row.int("server_id")?)),
            reserved: false,
            note: None,
            released_at: None,
        });
    }
    entries.extend(resting_networks(s, pool, rested).await?);
    Ok(entries)
}

/// The networks of an IPv6 pool that rest, by the address that a server would have of each.
async fn resting_networks(s: &impl Session, pool: i64, rested: Timestamp) -> Result<Vec<Entry>, Failure> {
    let sql = "SELECT network, number, released_at FROM address_prefix \
         JOIN address_pool ON address_pool.id = address_prefix.pool_id \
         WHERE pool_id = $1 AND server_id IS NULL AND released_at > $2 ORDER BY number";
    let resting = |row: &Row| {
        let network: Ipv6Addr = parsed(row, "network")?;
        // Its gateway is not told.
        let routed = routed_address(network, row.int("number")?, IPV6_GATEWAY);
        Ok(Entry {
            address: routed.address.into(),
            server: None,
            reserved: false,
            note: None,
            released_at: Some(Timestamp(row.int("released_at")?)),
        })
    };
    s.all(sql, vec![pool.into(), rested.0.into()]).await?.iter().map(resting).collect()
}

fn entry(row: &Row) -> Result<Entry, Failure> {
    let released_at = Timestamp(row.int("released_at")?);
    Ok(Entry {
        address: parsed(row, "address")?,
        server: row.opt_int("server_id")?.map(ServerId),
        reserved: row.flag("reserved")?,
        note: row.opt_text("note")?,
        released_at: (released_at != Timestamp::default()).then_some(released_at),
    })
}

/// Sets whether a pool gives new addresses. `false`: there is no such pool.
pub async fn set_draining(s: &impl Session, pool: i64, draining: bool) -> Result<bool> {
    let state = if draining { "draining" } else { "ready" };
    let sql = "UPDATE address_pool SET state = $2 WHERE id = $1";
    Ok(s.execute(sql, vec![pool.into(), state.into()]).await? > 0)
}

/// Removes a pool of which nothing is used. `false`: something is; then the transaction is to be given up. Run it
/// in a transaction, after [`crate::addresses::lock_pools`], and on a pool that is draining.
pub async fn remove(s: &impl Session, pool: i64) -> Result<bool> {
    s.one("SELECT id FROM address_pool WHERE id = $1 {lock}", vec![pool.into()]).await?;
    for sql in [
        "DELETE FROM address WHERE pool_id = $1 AND server_id IS NULL AND further_server_id IS NULL",
        "DELETE FROM address_prefix WHERE pool_id = $1 AND server_id IS NULL",
    ] {
        s.execute(sql, vec![pool.into()]).await?;
    }
    for sql in [
        "SELECT 1 AS used FROM address WHERE pool_id = $1 LIMIT 1",
        "SELECT 1 AS used FROM address_prefix WHERE pool_id = $1 LIMIT 1",
        "SELECT 1 AS used FROM server WHERE ipv6_pool_id = $1 LIMIT 1",
    ] {
        if s.one(sql, vec![pool.into()]).await?.is_some() {
            return Ok(false);
        }
    }
    s.execute("DELETE FROM address_pool WHERE id = $1", vec![pool.into()]).await?;
    Ok(true)
}

/// The pool that an IPv4 address is a row of.
pub async fn find_holding(s: &impl Session, address: Ipv4Addr) -> Result<Option<Pool>> {
    let sql = format!(
        "SELECT {} FROM address JOIN address_pool ON address_pool.id = address.pool_id WHERE address = $1",
        POOL
    );
    let row = s.one(&sql, vec![address.to_string().into()]).await?;
    Ok(row.as_ref().map(pool).transpose()?)
}

/// Sets whether an address is kept from servers, and why. A server that has it keeps it.
pub async fn set_reserved(
    s: &impl Session,
    address: Ipv4Addr,
    reserved: bool,
    note: Option<&str>,
) -> Result<()> {
    s.execute(
        "UPDATE address SET reserved = $2, note = $3 WHERE address = $1",
        vec![address.to_string().into(), i64::from(reserved).into(), note.into()],
    )
    .await?;
    Ok(())
}
