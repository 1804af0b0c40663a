//! Addresses of servers: what a new one gets is taken in the transaction that orders it, under the unique constraints
//! of the store, so that no address is given twice, whoever orders at the same time.
//!
//! Must not know: HTTP, SQL, or how an address gets to a machine.

use crate::app::App;
use bulut_model::error::Kind;
use bulut_model::{Error, RegionId, Result, ServerId, Timestamp};
use bulut_store::Tx;
use bulut_store::addresses::{self, TakenIpv6};

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
        return Err(full("The region has no free IPv4 address at the moment; try later."));
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
