//! Address pools: the operator's verbs. A pool gives addresses from the moment on that it is there, without a restart;
//! the zones of its names follow it.
//!
//! Must not know: HTTP, SQL, or how addresses get to machines.

use crate::app::App;
use bulut_compute::PoolNetwork;
use bulut_dns::reverse;
use bulut_model::address_pool::{GATEWAY, Wanted, overlap};
use bulut_model::{Error, Result, Timestamp};
use bulut_store::address_pools::{self, Entry, Stock};
use bulut_store::addresses::{self, Pool};
use bulut_store::{Session, regions};
use std::net::{IpAddr, Ipv4Addr};

/// Longest note on a reserved address, characters.
const NOTE_MAX: usize = 200;

/// Adds a pool to a region.
///
/// Errors: `Invalid` naming what cannot be; `NotFound` for the region; `AlreadyExists` when it overlaps another pool.
pub async fn add(app: &App, region: &str, wanted: &Wanted) -> Result<Stock> {
    let new = wanted.check()?;
    let tx = app.store().begin().await?;
    let region = regions::find(&tx, region).await?.ok_or_else(|| {
        Error::not_found(format!(
            "There is no region '{region}'; `bulut region list` shows those that there are."
        ))
    })?;
    let there = addresses::lock_pools(&tx).await?;
    let ours = (new.network, new.prefix);
    if let Some(other) = there.iter().find(|pool| overlap(ours, (pool.network, pool.prefix))) {
        return Err(Error::exists(format!(
            "The network {}/{} overlaps the pool {} with {}/{}; a network belongs to one pool.",
            new.network, new.prefix, other.id, other.network, other.prefix
        )));
    }
    let id = addresses::insert_pool(&tx, region.id, &new, app.clock().now()).await?;
    tx.commit().await?;
    tracing::info!(pool.id = id, network = %new.network, prefix = new.prefix, region = region.slug, "address pool added");
    find(app, id).await
}

/// All pools, oldest first, with what is left of them.
pub async fn list(app: &App) -> Result<Vec<Stock>> {
    address_pools::list(app.store(), rested(app)).await
}

/// One pool.
///
/// Errors: `NotFound`.
pub async fn find(app: &App, id: i64) -> Result<Stock> {
    list(app).await?.into_iter().find(|stock| stock.pool.id == id).ok_or_else(|| not_found(id))
}

/// The addresses of a pool that are not free.
///
/// Errors: `NotFound`.
pub async fn entries(app: &App, id: i64) -> Result<Vec<Entry>> {
    let gateway = find(app, id).await?.pool.gateway;
    let mut entries = address_pools::entries(app.store(), id, rested(app)).await?;
    // Pools of earlier releases keep theirs without saying why.
    for entry in entries.iter_mut().filter(|entry| entry.address == gateway && entry.note.is_none()) {
        entry.note = Some(GATEWAY.into());
    }
    Ok(entries)
}

/// The zones that hold the names of a pool's addresses: those who delegate the network delegate them.
pub fn reverse_zones(app: &App, pool: &Pool) -> Vec<String> {
    let part = match pool.network {
        IpAddr::V4(network) => reverse::classless_zone(network, pool.prefix, app.config().dns.classless()),
        IpAddr::V6(_) => None,
    };
    part.map_or_else(|| reverse::zones(pool.network, pool.prefix), |zone| vec![zone])
}

/// Sets whether a pool gives new addresses. Those that servers have stay theirs.
///
/// Errors: `NotFound`.
pub async fn set_draining(app: &App, id: i64, draining: bool) -> Result<Stock> {
    if !address_pools::set_draining(app.store(), id, draining).await? {
        return Err(not_found(id));
    }
    tracing::info!(pool.id = id, draining, "address pool set");
    find(app, id).await
}

/// Removes a pool that is draining and of which no server has anything.
///
/// Errors: `NotFound`; `Conflict` otherwise.
pub async fn remove(app: &App, id: i64) -> Result<()> {
    let tx = app.store().begin().await?;
    addresses::lock_pools(&tx).await?;
    let stocks = address_pools::list(&tx, rested(app)).await?;
    let stock = stocks.into_iter().find(|stock| stock.pool.id == id).ok_or_else(|| not_found(id))?;
    if !stock.is_draining {
        return Err(Error::conflict(format!("The pool {id} still gives addresses; drain it first.")));
    }
    // Given anew at once by another pool, an address could still be somebody else's to its neighbours.
    if stock.resting > 0 {
        let why = format!(
            "{} addresses of the pool {id} still rest after their release; try later.",
            stock.resting
        );
        return Err(Error::conflict(why));
    }
    if !address_pools::remove(&tx, id).await? {
        let why =
            format!("Servers have {} addresses of the pool {id}; it goes when they are gone.", stock.used);
        return Err(Error::conflict(why));
    }
    tx.commit().await?;
    tracing::info!(pool.id = id, "address pool removed");
    Ok(())
}

/// Keeps IPv4 addresses from servers, or from those that come next where one has it: all of them or none.
///
/// Errors: `NotFound` for an address of no pool; `Invalid` for IPv6 or a note that is too long.
pub async fn reserve(app: &App, addresses: &[IpAddr], note: Option<&str>) -> Result<()> {
    if note.is_some_and(|note| note.chars().count() > NOTE_MAX || note.chars().any(char::is_control)) {
        let why = format!("The note must be at most {NOTE_MAX} characters on one line.");
        return Err(Error::invalid("note", why));
    }
    let tx = app.store().begin().await?;
    for address in addresses {
        let (address, _) = holding(&tx, *address).await?;
        address_pools::set_reserved(&tx, address, true, note).await?;
    }
    tx.commit().await
}

/// Lets servers have addresses again: all of them or none.
///
/// Errors: as [`reserve`]; `Invalid` for the gateway of a pool.
pub async fn unreserve(app: &App, addresses: &[IpAddr]) -> Result<()> {
    let tx = app.store().begin().await?;
    for address in addresses {
        let (address, pool) = holding(&tx, *address).await?;
        if pool.gateway == IpAddr::V4(address) {
            let why = format!("{address} is the gateway of the pool {}; no server can have it.", pool.id);
            return Err(Error::invalid("address", why));
        }
        address_pools::set_reserved(&tx, address, false, None).await?;
    }
    tx.commit().await
}

async fn holding(s: &impl Session, address: IpAddr) -> Result<(Ipv4Addr, Pool)> {
    let IpAddr::V4(address) = address else {
        let why = "IPv6 addresses are computed for each server; there are none to keep back.";
        return Err(Error::invalid("address", why));
    };
    let pool = address_pools::find_holding(s, address).await?;
    let pool = pool.ok_or_else(|| Error::not_found(format!("The address {address} is in no pool.")))?;
    Ok((address, pool))
}

/// The networks of pools, as nodes are told of them.
pub fn networks(pools: &[Pool]) -> Vec<PoolNetwork> {
    let network = |pool: &Pool| PoolNetwork {
        address: pool.network,
        prefix: pool.prefix,
        private: is_private(pool.network),
    };
    pools.iter().map(network).collect()
}

/// Whether addresses of a network mean nothing outside, so that they have to be masqueraded on their way out.
pub fn is_private(network: IpAddr) -> bool {
    match network {
        IpAddr::V4(v4) => {
            // Private use (RFC 1918) and shared address space (RFC 6598, 100.64.0.0/10).
            v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// What was released later than this rests.
fn rested(app: &App) -> Timestamp {
    app.clock().now().minus(app.config().address_quarantine())
}

fn not_found(id: i64) -> Error {
    Error::not_found(format!("There is no address pool with id {id}."))
}
