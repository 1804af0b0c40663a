//! Prices, as the operator sets them: each change is another version, which holds for what begins after it.

use crate::app::App;
use crate::domain::metering;
use bulut_model::price::{Price, Priced, WhenStopped, check_price};
use bulut_model::{Error, Micros, PackageId, Result};
use bulut_store::{packages, prices};
use std::collections::HashMap;

/// What of a package's price is to change.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewPrice {
    /// Of an hour.
    pub hourly: Option<Micros>,
    /// Most that a calendar month costs.
    pub monthly: Option<Micros>,
    /// What a stopped server costs, from its next stop on.
    pub when_stopped: Option<WhenStopped>,
    /// Servers that are there get it too, from now on.
    pub for_all: bool,
}

async fn package_id(app: &App, slug: &str) -> Result<PackageId> {
    let found = packages::find(app.store(), slug).await?;
    found.map(|package| package.id).ok_or_else(|| Error::not_found(format!("There is no package '{slug}'.")))
}

/// Sets what servers of a package cost. Answers its price, and how many servers have exchanged theirs.
///
/// Errors: `NotFound`, `Invalid`.
pub async fn set_package(app: &App, slug: &str, new: NewPrice) -> Result<(Price, WhenStopped, usize)> {
    for (field, price) in [("hourly", new.hourly), ("monthly", new.monthly)] {
        price.map_or(Ok(()), |price| check_price(field, price))?;
    }
    let id = package_id(app, slug).await?;
    let tx = app.store().begin().await?;
    let old = prices::get(&tx, Priced::Package(id)).await?;
    if let Some(when) = new.when_stopped {
        prices::set_when_stopped(&tx, id, when).await?;
    }
    let (hourly, monthly) = (new.hourly.unwrap_or(old.unit), new.monthly.or(old.monthly).unwrap_or_default());
    if hourly != old.unit || Some(monthly) != old.monthly {
        prices::set_package(&tx, id, hourly, monthly, app.clock().now()).await?;
        tracing::info!(package = slug, %hourly, %monthly, "price set");
    }
    let (price, when) = (prices::get(&tx, Priced::Package(id)).await?, prices::when_stopped(&tx, id).await?);
    tx.commit().await?;
    let exchanged = if new.for_all { metering::reprice(app, id).await? } else { 0 };
    Ok((price, when, exchanged))
}

/// Sets the price of disk, snapshot, address or traffic; of traffic also that of one package.
///
/// Errors: `NotFound` for the package; `Invalid` for what has no price, and for prices that are none.
pub async fn set(app: &App, what: &str, package: Option<&str>, price: Micros) -> Result<Price> {
    check_price("price", price)?;
    let package = match package {
        Some(slug) => Some(package_id(app, slug).await?),
        None => None,
    };
    let of = Priced::from_word(what, package).filter(|of| !matches!(of, Priced::Package(_)));
    let of = of.ok_or_else(|| {
        Error::invalid(
            "what",
            "What has a price must be disk, snapshot, address or traffic; only traffic may have one of a package.",
        )
    })?;
    prices::insert(app.store(), of, price, None, app.clock().now()).await?;
    tracing::info!(what, %price, "price set");
    prices::get(app.store(), of).await
}

/// What a GB of a package's traffic costs beyond what it includes.
///
/// Errors: `NotFound` for the package.
pub async fn traffic_of(app: &App, package: &str) -> Result<Micros> {
    let package = package_id(app, package).await?;
    Ok(prices::get(app.store(), Priced::Traffic(Some(package))).await?.unit)
}

/// All prices with their packages' slugs, oldest first: those that hold now, or all versions.
pub async fn list(app: &App, all_versions: bool) -> Result<Vec<(Price, Option<String>)>> {
    let slugs: HashMap<PackageId, String> =
        packages::list(app.store()).await?.into_iter().map(|package| (package.id, package.slug)).collect();
    let all = prices::list(app.store()).await?;
    let last: HashMap<Priced, Price> = all.iter().map(|price| (price.of, *price)).collect();
    let holds = |price: &Price| last.get(&price.of).is_some_and(|last| last.id == price.id);
    let slug = |price: Price| (price, price.of.package().and_then(|id| slugs.get(&id).cloned()));
    Ok(all.into_iter().filter(|price| all_versions || holds(price)).map(slug).collect())
}
