//! Addresses of servers: what a new one gets is taken in the transaction that orders it, under the unique constraints
//! of the store, so that no address is given twice, whoever orders at the same time. Further addresses are taken in the
//! transaction that orders them, and given back when nothing leads to the machine by them any more.
//!
//! `take_further` and `release_further` are the only places where a server gets and loses a further address while it
//! lives. Must not know: HTTP, SQL, or how an address gets to a machine.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::charging;
use crate::domain::metering;
use crate::domain::networks;
use crate::domain::plans::NetworkPlan;
use crate::domain::servers::{self, find_ready};
use bulut_model::error::Kind;
use bulut_model::server::Server;
use bulut_model::{Error, Micros, OperationId, RegionId, Result, ServerId, Timestamp};
use bulut_store::Tx;
use bulut_store::addresses::{self, TakenIpv6};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Takes for a new server what its region's pools give: an IPv4 address where the region has any, and IPv6 besides. A
/// region with IPv6 pools alone makes servers without IPv4; one whose IPv4 addresses have run out makes none.
///
/// Errors: `Capacity` when there is nothing to take.
pub(super) async fn take(
    app: &App,
    tx: &Tx,
    region: RegionId,
    server: ServerId,
    now: Timestamp,
) -> Result<()> {
    let quarantine = app.config().address_quarantine();
    let ipv4 = addresses::take_ipv4(tx, region, server, now, quarantine).await?;
    if ipv4.is_none() && addresses::has_ipv4(tx, region).await? {
        return Err(no_ipv4(app, tx, region).await?);
    }
    match addresses::take_ipv6(tx, region, server, now, quarantine).await? {
        TakenIpv6::Taken(_) => Ok(()),
        TakenIpv6::NoPool if ipv4.is_some() => Ok(()),
        TakenIpv6::NoPool => Err(full("The region has no addresses for new servers; choose another one.")),
        TakenIpv6::Full => Err(full("The region has no free IPv6 network at the moment; try later.")),
    }
}

fn full(why: &str) -> Error {
    Error::new(Kind::Capacity, why)
}

/// What is said to whom no IPv4 address could be given: when the next one has rested, or that all are taken.
async fn no_ipv4(app: &App, tx: &Tx, region: RegionId) -> Result<Error> {
    let when = match addresses::first_resting_ipv4(tx, region).await? {
        Some(released) => {
            let rested = released.plus(app.config().address_quarantine());
            format!("the next one is free again at {}", rested.wire())
        }
        None => "try later".to_owned(),
    };
    Ok(full(&format!("The region has no free IPv4 address at the moment; {when}.")))
}

/// An address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix that the guest configures.
    pub prefix: u8,
    /// The gateway.
    pub gateway: IpAddr,
    /// The server was not made with it, and can give it back.
    pub is_further: bool,
}

/// What ordering a further address answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ordered {
    /// The operation that leads it to the machine, or away from it.
    pub operation: OperationId,
    /// The address.
    pub address: Ipv4Addr,
}

/// All addresses of a server: those that it was made with, then the further ones.
///
/// Errors: `NotFound`.
pub async fn list(app: &App, caller: &Caller, id: ServerId) -> Result<Vec<Held>> {
    let server = servers::get(app, caller, id).await?;
    let own = |address, prefix, gateway| Held { address, prefix, gateway, is_further: false };
    let ipv4 = server.ipv4.as_ref().map(|v4| own(v4.address.into(), v4.prefix, v4.gateway.into()));
    let ipv6 = server.ipv6.as_ref().map(|v6| own(v6.address.into(), v6.prefix, v6.gateway.into()));
    let gateway = server.ipv4.as_ref().map(|v4| v4.gateway);
    let further = addresses::further(app.store(), id).await?.into_iter().map(|taken| Held {
        address: taken.address.into(),
        prefix: 32,
        // It is routed to the machine by itself, and what it sends takes the way of the server's own address.
        gateway: gateway.map_or(taken.pool.gateway, IpAddr::V4),
        is_further: true,
    });
    Ok(ipv4.into_iter().chain(ipv6).chain(further).collect())
}

/// Gives a server one IPv4 address more. It leads to the machine when the operation has ended; the guest takes it at its
/// next boot, or when its owner sets it there.
///
/// Errors: `Conflict` where the server has no IPv4 address or its host cannot route one, and while another operation holds
/// it; `Quota`; `Capacity`; `NotFound`; `Funds`.
pub async fn add(app: &App, caller: &Caller, id: ServerId) -> Result<Ordered> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    networks::check_filters(app, server.node)?;
    if server.ipv4.is_none() {
        let why = format!("Server {id} has no IPv4 address of its own, which further ones need.");
        return Err(Error::conflict(why));
    }
    let hourly = if server.in_pool { Micros::ZERO } else { metering::address_hourly(&change.tx).await? };
    charging::check_covers(app, &change.tx, &change.account, hourly, change.now).await?;
    let address = take_further(app, &change.tx, &server, change.now).await?;
    let plan = NetworkPlan { takes: Some(address), ..NetworkPlan::default() };
    let operation = networks::queue(&change, &server, plan).await?;
    charging::hold(app, &change.tx, operation, change.account.id, hourly).await?;
    change.commit(Ordered { operation, address }).await
}

/// Takes a further address from a server. It rests when the operation has ended.
///
/// Errors: `NotFound` for the server; `Invalid` naming `address` for one that it has not, or was made with; `Conflict` while
/// another operation holds the server.
pub async fn remove(app: &App, caller: &Caller, id: ServerId, address: Ipv4Addr) -> Result<Ordered> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    if server.ipv4.as_ref().is_some_and(|own| own.address == address) {
        let why = format!("The address {address} is the one that server {id} was made with; it stays.");
        return Err(Error::invalid("address", why));
    }
    if addresses::further(&change.tx, id).await?.iter().all(|taken| taken.address != address) {
        let why = format!("Server {id} has no further address {address}.");
        return Err(Error::invalid("address", why));
    }
    let plan = NetworkPlan { gives_back: Some(address), ..NetworkPlan::default() };
    let operation = networks::queue(&change, &server, plan).await?;
    change.commit(Ordered { operation, address }).await
}

/// Takes a further address for a server of the account.
async fn take_further(app: &App, tx: &Tx, server: &Server, now: Timestamp) -> Result<Ipv4Addr> {
    let most = app.config().further_addresses_max;
    let has = addresses::further(tx, server.id).await?.len();
    if u64::try_from(has).unwrap_or(u64::MAX) >= most {
        let why = format!("Server {} has {has} further addresses; a server can have {most}.", server.id);
        return Err(Error::new(Kind::Quota, why));
    }
    let quarantine = app.config().address_quarantine();
    let taken = addresses::take_further(tx, server.region, server.id, now, quarantine).await?;
    match taken {
        Some((_, address)) => Ok(address),
        None => Err(no_ipv4(app, tx, server.region).await?),
    }
}

/// A server lets go of a further address; its rest begins. What it has not got is none to let go of.
pub async fn release_further(tx: &Tx, server: ServerId, address: Ipv4Addr, now: Timestamp) -> Result<()> {
    addresses::release_further(tx, server, address, now).await.map(drop)
}
