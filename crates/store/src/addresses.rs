//! Address pools and the addresses in them. A row per IPv4 address; IPv6 is derived from the server's id.

use crate::session::{Failure, Row, Session};
use bulut_model::{Error, RegionId, Result, ServerId, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// A pool as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its id.
    pub id: i64,
    /// The network's own address.
    pub network: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The gateway that guests use.
    pub gateway: IpAddr,
    /// DNS servers for guests.
    pub resolvers: Vec<IpAddr>,
}

/// An IPv4 address that a server has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The address.
    pub address: Ipv4Addr,
    /// Its pool.
    pub pool: Pool,
}

fn parsed<T: std::str::FromStr>(row: &Row, column: &str) -> Result<T, Failure> {
    let text = row.text(column)?;
    text.parse().map_err(|_| Failure::Fault(format!("column {column} holds no address: {text}")))
}

fn pool(row: &Row) -> Result<Pool, Failure> {
    Ok(Pool {
        id: row.int("pool_id")?,
        network: parsed(row, "network")?,
        prefix: u8::try_from(row.int("prefix")?)
            .map_err(|_| Failure::Fault("a prefix is out of range".into()))?,
        gateway: parsed(row, "gateway")?,
        resolvers: row.json("resolvers")?,
    })
}

const POOL: &str = "address_pool.id AS pool_id, network, prefix, gateway, resolvers";

/// Adds a pool with its addresses, unless the network is there already. `reserved` ones are never given.
/// Run it in a transaction.
///
/// Errors: `AlreadyExists` when one of the addresses is in another pool.
#[expect(clippy::too_many_arguments, reason = "a pool is its columns; a struct would only rename them")]
pub async fn ensure_pool(
    s: &impl Session,
    region: RegionId,
    network: IpAddr,
    prefix: u8,
    gateway: IpAddr,
    resolvers: &[IpAddr],
    addresses: &[(Ipv4Addr, bool)],
    now: Timestamp,
) -> Result<()> {
    let family: i64 = if network.is_ipv4() { 4 } else { 6 };
    let row = s
        .one(
            "INSERT INTO address_pool (region_id, family, network, prefix, gateway, resolvers, state, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 'ready', $7) ON CONFLICT (network) DO NOTHING RETURNING id",
            vec![
                region.0.into(),
                family.into(),
                network.to_string().into(),
                i64::from(prefix).into(),
                gateway.to_string().into(),
                crate::session::to_json(&resolvers)?.into(),
                now.0.into(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    let id = row.int("id")?;
    for part in addresses.chunks(200) {
        let places: Vec<String> =
            (0..part.len()).map(|i| format!("($1, ${}, ${}, 0)", 2 * i + 2, 2 * i + 3)).collect();
        let mut values = vec![id.into()];
        for (address, reserved) in part {
            values.push(address.to_string().into());
            values.push(i64::from(*reserved).into());
        }
        let sql = format!(
            "INSERT INTO address (pool_id, address, reserved, released_at) VALUES {}",
            places.join(", ")
        );
        s.execute(&sql, values).await.map_err(|failure| match failure {
            Failure::Unique => Error::exists(format!(
                "The network {network}/{prefix} has addresses that another pool has already."
            )),
            other => other.into(),
        })?;
    }
    Ok(())
}

/// Takes a free IPv4 address of a region for a server; `None` when none is free. An address rests for
/// `quarantine` after it was released; never used ones come first, then the longest rested.
pub async fn take_ipv4(
    s: &impl Session,
    region: RegionId,
    server: ServerId,
    now: Timestamp,
    quarantine: Duration,
) -> Result<Option<Ipv4Addr>> {
    let row = s
        .one(
            "UPDATE address SET server_id = $2 WHERE id = (SELECT id FROM address WHERE pool_id IN \
             (SELECT id FROM address_pool WHERE region_id = $1 AND family = 4 AND state = 'ready') \
             AND server_id IS NULL AND reserved = 0 AND (released_at = 0 OR released_at <= $3) \
             ORDER BY released_at, id LIMIT 1 {skip_locked}) RETURNING address",
            vec![region.0.into(), server.0.into(), now.minus(quarantine).0.into()],
        )
        .await?;
    Ok(row.as_ref().map(|row| parsed(row, "address")).transpose()?)
}

/// Lets go of a server's addresses; their rest begins now.
pub async fn release(s: &impl Session, server: ServerId, now: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE address SET server_id = NULL, released_at = $2 WHERE server_id = $1",
        vec![server.0.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// The IPv4 address of a server with its pool.
pub async fn find_ipv4(s: &impl Session, server: ServerId) -> Result<Option<Taken>> {
    let sql = format!(
        "SELECT address, {POOL} FROM address JOIN address_pool ON address_pool.id = address.pool_id \
         WHERE server_id = $1"
    );
    let row = s.one(&sql, vec![server.0.into()]).await?;
    let taken = |row: &Row| -> Result<Taken, Failure> {
        Ok(Taken { address: parsed(row, "address")?, pool: pool(row)? })
    };
    Ok(row.as_ref().map(taken).transpose()?)
}

/// The pools of one family in a region, oldest first.
pub async fn pools(s: &impl Session, region: RegionId, family: i64) -> Result<Vec<Pool>> {
    let sql = format!(
        "SELECT {POOL} FROM address_pool WHERE region_id = $1 AND family = $2 AND state = 'ready' ORDER BY id"
    );
    let rows = s.all(&sql, vec![region.0.into(), family.into()]).await?;
    Ok(rows.iter().map(pool).collect::<Result<_, _>>()?)
}

/// All pools of all regions, for the host's own set-up.
pub async fn all_pools(s: &impl Session) -> Result<Vec<Pool>> {
    let rows = s.all(&format!("SELECT {POOL} FROM address_pool ORDER BY id"), vec![]).await?;
    Ok(rows.iter().map(pool).collect::<Result<_, _>>()?)
}

/// How many addresses servers hold.
pub async fn taken(s: &impl Session) -> Result<u64> {
    let row = s.one("SELECT COUNT(*) AS taken FROM address WHERE server_id IS NOT NULL", vec![]).await?;
    Ok(row.map(|row| row.unsigned("taken")).transpose()?.unwrap_or(0))
}

/// An IPv6 address as stored with a server.
pub(crate) fn ipv6(text: &str) -> Result<Ipv6Addr, Failure> {
    text.parse().map_err(|_| Failure::Fault(format!("{text} is no IPv6 address")))
}
