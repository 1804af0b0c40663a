//! Address pools and the addresses in them. A row per IPv4 address; IPv6 addresses are computed, from the server's id or
//! from the number of the network that it was given.

use crate::session::{Failure, Row, Session};
use crate::{names, servers, settings};
use bulut_model::address::ServerIpv6;
use bulut_model::address_pool::{NewPool, ROUTED, networks_end, routed_address, single_address};
use bulut_model::{AddressId, Error, RegionId, Result, ServerId, Timestamp};
use std::collections::HashMap;
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
    /// The id of its row.
    pub id: AddressId,
    /// The address.
    pub address: Ipv4Addr,
    /// Its pool.
    pub pool: Pool,
}

pub(crate) fn parsed<T: std::str::FromStr>(row: &Row, column: &str) -> Result<T, Failure> {
    let text = row.text(column)?;
    text.parse().map_err(|_| Failure::Fault(format!("column {column} holds no address: {text}")))
}

pub(crate) fn pool(row: &Row) -> Result<Pool, Failure> {
    Ok(Pool {
        id: row.int("pool_id")?,
        network: parsed(row, "network")?,
        prefix: u8::try_from(row.int("prefix")?)
            .map_err(|_| Failure::Fault("a prefix is out of range".into()))?,
        gateway: parsed(row, "gateway")?,
        resolvers: row.json("resolvers")?,
    })
}

pub(crate) const POOL: &str = "address_pool.id AS pool_id, network, prefix, gateway, resolvers";

/// Adds a pool with its addresses, unless the network is there already. Those with a note are reserved: they are never
/// given. Run it in a transaction.
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
    addresses: &[(Ipv4Addr, Option<&str>)],
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
    insert_addresses(s, row.int("id")?, (network, prefix), addresses).await
}

/// Rows of addresses that one statement inserts.
const ROWS: usize = 1000;

async fn insert_addresses(
    s: &impl Session,
    pool: i64,
    (network, prefix): (IpAddr, u8),
    addresses: &[(Ipv4Addr, Option<&str>)],
) -> Result<()> {
    for part in addresses.chunks(ROWS) {
        let places: Vec<String> = (0..part.len())
            .map(|i| format!("($1, ${}, ${}, ${}, 0)", 3 * i + 2, 3 * i + 3, 3 * i + 4))
            .collect();
        let mut values = vec![pool.into()];
        for (address, note) in part {
            values.push(address.to_string().into());
            values.push(i64::from(note.is_some()).into());
            values.push((*note).into());
        }
        let sql = format!(
            "INSERT INTO address (pool_id, address, reserved, note, released_at) VALUES {}",
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

/// Lets nobody else add or remove pools until the transaction ends, and answers those that there are.
pub async fn lock_pools(s: &impl Session) -> Result<Vec<Pool>> {
    // A row that is always there to be locked, also before there are pools.
    settings::ensure(s, "address_pools", "locked by whoever adds or removes one").await?;
    s.one("SELECT value FROM setting WHERE name = 'address_pools' {lock}", vec![]).await?;
    all_pools(s).await
}

/// Adds a pool with its addresses; those that it keeps are reserved. Answers its id. Run it in a transaction, after
/// [`lock_pools`] and a look that no other pool overlaps it.
pub async fn insert_pool(s: &impl Session, region: RegionId, new: &NewPool, now: Timestamp) -> Result<i64> {
    let family: i64 = if new.network.is_ipv4() { 4 } else { 6 };
    let row = s
        .one(
            "INSERT INTO address_pool (region_id, family, network, prefix, gateway, resolvers, state, per_server, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, 'ready', $7, $8) RETURNING id",
            vec![
                region.0.into(),
                family.into(),
                new.network.to_string().into(),
                i64::from(new.prefix).into(),
                new.gateway.to_string().into(),
                crate::session::to_json(&new.resolvers)?.into(),
                i64::from(new.per_server).into(),
                now.0.into(),
            ],
        )
        .await?;
    let row = row.ok_or_else(|| Failure::Fault("a new pool came back without its id".into()))?;
    let id = row.int("id")?;
    let kept: HashMap<Ipv4Addr, &str> = new.kept.iter().copied().collect();
    let all: Vec<(Ipv4Addr, Option<&str>)> =
        new.addresses().map(|address| (address, kept.get(&address).copied())).collect();
    insert_addresses(s, id, (new.network, new.prefix), &all).await?;
    Ok(id)
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
    let taken = take(s, "server_id", region, server, now.minus(quarantine)).await?;
    Ok(taken.map(|(_, address)| address))
}

/// Takes a free IPv4 address of a region for a server that has one, as [`take_ipv4`] does; its names change with it.
/// Run it in a transaction.
pub async fn take_further(
    s: &impl Session,
    region: RegionId,
    server: ServerId,
    now: Timestamp,
    quarantine: Duration,
) -> Result<Option<(AddressId, Ipv4Addr)>> {
    let taken = take(s, "further_server_id", region, server, now.minus(quarantine)).await?;
    if taken.is_some() {
        names::revise(s, server).await?;
    }
    Ok(taken)
}

async fn take(
    s: &impl Session,
    column: &str,
    region: RegionId,
    server: ServerId,
    rested: Timestamp,
) -> Result<Option<(AddressId, Ipv4Addr)>> {
    let sql = format!(
        "UPDATE address SET {column} = $2 WHERE id = (SELECT id FROM address WHERE pool_id IN \
         (SELECT id FROM address_pool WHERE region_id = $1 AND family = 4 AND state = 'ready') \
         AND server_id IS NULL AND further_server_id IS NULL AND reserved = 0 \
         AND (released_at = 0 OR released_at <= $3) \
         ORDER BY released_at, id LIMIT 1 {{skip_locked}}) RETURNING id, address"
    );
    let row = s.one(&sql, vec![region.0.into(), server.0.into(), rested.0.into()]).await?;
    let taken = |row: &Row| Ok::<_, Failure>((AddressId(row.int("id")?), parsed(row, "address")?));
    Ok(row.as_ref().map(taken).transpose()?)
}

/// When the first of a region's resting IPv4 addresses was released; `None` when none rests.
pub async fn first_resting_ipv4(s: &impl Session, region: RegionId) -> Result<Option<Timestamp>> {
    let sql = "SELECT MIN(released_at) AS released_at FROM address WHERE pool_id IN \
         (SELECT id FROM address_pool WHERE region_id = $1 AND family = 4 AND state = 'ready') \
         AND server_id IS NULL AND further_server_id IS NULL AND reserved = 0 AND released_at > 0";
    let row = s.one(sql, vec![region.0.into()]).await?;
    let released = row.map(|row| row.opt_int("released_at")).transpose()?;
    Ok(released.flatten().map(Timestamp))
}

/// What a region had to give of IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenIpv6 {
    /// No pool gives any.
    NoPool,
    /// All networks of all pools are taken or rest.
    Full,
    /// This; it stands with the server.
    Taken(ServerIpv6),
}

/// Takes an IPv6 address of a region for a server, or a network of its own where its pool gives those. A network rests
/// for `quarantine` after it was released; never used ones come first, then the longest rested. Run it in a transaction.
pub async fn take_ipv6(
    s: &impl Session,
    region: RegionId,
    server: ServerId,
    now: Timestamp,
    quarantine: Duration,
) -> Result<TakenIpv6> {
    let sql = format!(
        "SELECT {POOL}, per_server FROM address_pool WHERE region_id = $1 AND family = 6 AND state = 'ready' \
         ORDER BY id"
    );
    let rows = s.all(&sql, vec![region.0.into()]).await?;
    for row in &rows {
        let pool = pool(row)?;
        let (IpAddr::V6(network), IpAddr::V6(gateway)) = (pool.network, pool.gateway) else {
            return Err(Error::internal(format!("the IPv6 pool {} has an IPv4 address", pool.id)));
        };
        let taken = if row.int("per_server")? == i64::from(ROUTED) {
            take_number(s, &pool, server, now.minus(quarantine))
                .await?
                .map(|number| routed_address(network, number, gateway))
        } else {
            Some(single_address(network, server, gateway))
        };
        let Some(taken) = taken else { continue };
        servers::set_ipv6(s, server, &taken).await?;
        let sql = "UPDATE server SET ipv6_pool_id = $2 WHERE id = $1";
        s.execute(sql, vec![server.0.into(), pool.id.into()]).await?;
        return Ok(TakenIpv6::Taken(taken));
    }
    Ok(if rows.is_empty() { TakenIpv6::NoPool } else { TakenIpv6::Full })
}

/// Takes the number of a network of the pool: the next that was never given, or one that was released before `rested`.
async fn take_number(
    s: &impl Session,
    pool: &Pool,
    server: ServerId,
    rested: Timestamp,
) -> Result<Option<i64>> {
    let fresh = s
        .one(
            "UPDATE address_pool SET next_number = next_number + 1 WHERE id = $1 AND next_number < $2 \
             RETURNING next_number - 1 AS number",
            vec![pool.id.into(), networks_end(pool.prefix).into()],
        )
        .await?;
    if let Some(row) = fresh {
        let number = row.int("number")?;
        let sql =
            "INSERT INTO address_prefix (pool_id, number, server_id, released_at) VALUES ($1, $2, $3, 0)";
        s.execute(sql, vec![pool.id.into(), number.into(), server.0.into()]).await?;
        return Ok(Some(number));
    }
    let again = s
        .one(
            "UPDATE address_prefix SET server_id = $2 WHERE pool_id = $1 AND number = (SELECT number \
             FROM address_prefix WHERE pool_id = $1 AND server_id IS NULL AND released_at <= $3 \
             ORDER BY released_at, number LIMIT 1 {skip_locked}) RETURNING number",
            vec![pool.id.into(), server.0.into(), rested.0.into()],
        )
        .await?;
    Ok(again.map(|row| row.int("number")).transpose()?)
}

/// Whether a region has a pool of IPv4 addresses, in whatever state: its servers have one then.
pub async fn has_ipv4(s: &impl Session, region: RegionId) -> Result<bool> {
    let sql = "SELECT id FROM address_pool WHERE region_id = $1 AND family = 4 LIMIT 1";
    Ok(s.one(sql, vec![region.0.into()]).await?.is_some())
}

/// Lets go of a server's addresses; their rest begins now.
pub async fn release(s: &impl Session, server: ServerId, now: Timestamp) -> Result<()> {
    for table in ["address", "address_prefix"] {
        let sql = format!("UPDATE {table} SET server_id = NULL, released_at = $2 WHERE server_id = $1");
        s.execute(&sql, vec![server.0.into(), now.0.into()]).await?;
    }
    let sql = "UPDATE address SET further_server_id = NULL, released_at = $2 WHERE further_server_id = $1";
    s.execute(sql, vec![server.0.into(), now.0.into()]).await?;
    s.execute("UPDATE server SET ipv6_pool_id = NULL WHERE id = $1", vec![server.0.into()]).await?;
    Ok(())
}

/// Lets go of a further address of a server; its rest begins now, and the server's names change. None: it has not got it.
/// Run it in a transaction.
pub async fn release_further(
    s: &impl Session,
    server: ServerId,
    address: Ipv4Addr,
    now: Timestamp,
) -> Result<Option<AddressId>> {
    let sql = "UPDATE address SET further_server_id = NULL, released_at = $3 \
               WHERE further_server_id = $1 AND address = $2 RETURNING id";
    let row = s.one(sql, vec![server.0.into(), address.to_string().into(), now.0.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    names::revise(s, server).await?;
    Ok(Some(AddressId(row.int("id")?)))
}

/// The IPv4 address of a server with its pool.
pub async fn find_ipv4(s: &impl Session, server: ServerId) -> Result<Option<Taken>> {
    let row = s.one(&held("server_id"), vec![server.0.into()]).await?;
    Ok(row.as_ref().map(taken_row).transpose()?)
}

/// The IPv4 addresses that a server has besides its own, in the order of their rows.
pub async fn further(s: &impl Session, server: ServerId) -> Result<Vec<Taken>> {
    let rows = s.all(&held("further_server_id"), vec![server.0.into()]).await?;
    Ok(rows.iter().map(taken_row).collect::<Result<_, _>>()?)
}

fn held(column: &str) -> String {
    format!(
        "SELECT address.id AS address_id, address, {POOL} FROM address \
         JOIN address_pool ON address_pool.id = address.pool_id WHERE {column} = $1 ORDER BY address.id"
    )
}

fn taken_row(row: &Row) -> Result<Taken, Failure> {
    Ok(Taken { id: AddressId(row.int("address_id")?), address: parsed(row, "address")?, pool: pool(row)? })
}

/// The further IPv4 addresses of a server by their rows, for metering.
pub async fn further_ids(s: &impl Session, server: ServerId) -> Result<Vec<AddressId>> {
    let sql = "SELECT id FROM address WHERE further_server_id = $1 ORDER BY id";
    let rows = s.all(sql, vec![server.0.into()]).await?;
    Ok(rows.iter().map(|row| row.int("id").map(AddressId)).collect::<Result<_, Failure>>()?)
}

/// The pool of a server's IPv6 address.
pub async fn find_ipv6_pool(s: &impl Session, server: ServerId) -> Result<Option<Pool>> {
    let sql = format!(
        "SELECT {POOL} FROM address_pool JOIN server ON server.ipv6_pool_id = address_pool.id WHERE server.id = $1"
    );
    let row = s.one(&sql, vec![server.0.into()]).await?;
    Ok(row.as_ref().map(pool).transpose()?)
}

/// The pools of one family in a region that give addresses, oldest first.
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
    let row = s.one("SELECT COUNT(*) AS taken FROM address WHERE server_id IS NOT NULL OR further_server_id IS NOT NULL", vec![]).await?;
    Ok(row.map(|row| row.unsigned("taken")).transpose()?.unwrap_or(0))
}

/// An IPv6 address as stored with a server.
pub(crate) fn ipv6(text: &str) -> Result<Ipv6Addr, Failure> {
    text.parse().map_err(|_| Failure::Fault(format!("{text} is no IPv6 address")))
}
