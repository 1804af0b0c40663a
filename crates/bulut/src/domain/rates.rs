//! Rates: how fast servers are. A package says it, for its servers too that are there already; the action at the traffic
//! limit may say less until the month is over.
//!
//! Must not know: HTTP, SQL, or how a rate is held to.

use crate::app::App;
use crate::domain::plans::{NetworkPlan, Plan};
use crate::domain::traffic;
use bulut_model::operation::OperationKind;
use bulut_model::rate::Rates;
use bulut_model::traffic_month::Month;
use bulut_model::{AccountId, Error, OperationId, Result, ServerId};
use bulut_store::operations::{self, Subject};
use bulut_store::rates::{self, PackageRates};
use bulut_store::{accounts, servers, traffic_months};

/// What each package gives: the operator's verb.
pub async fn list(app: &App) -> Result<Vec<PackageRates>> {
    rates::list(app.store()).await
}

/// What one package gives.
///
/// Errors: `NotFound`.
pub async fn find(app: &App, package: &str) -> Result<PackageRates> {
    among(list(app).await?, package)
}

/// Sets what servers of a package have, from the next look at their traffic on; `None` stays as it is.
///
/// Errors: `NotFound`.
pub async fn set(
    app: &App,
    package: &str,
    down_bps: Option<u64>,
    up_bps: Option<u64>,
) -> Result<PackageRates> {
    let tx = app.store().begin().await?;
    let had = among(rates::list(&tx).await?, package)?.rates;
    let wanted = Rates { down_bps: down_bps.unwrap_or(had.down_bps), up_bps: up_bps.unwrap_or(had.up_bps) };
    rates::set(&tx, package, wanted).await?;
    let now = among(rates::list(&tx).await?, package)?;
    tx.commit().await?;
    tracing::info!(package, wanted.down_bps, wanted.up_bps, "rates of a package set");
    Ok(now)
}

/// Sets how fast servers of a package are that are slowed down at the traffic limit, bits per second.
///
/// Errors: `NotFound`; `Invalid` for no limit at all.
pub async fn set_slow(app: &App, package: &str, bps: u64) -> Result<()> {
    if bps == 0 {
        return Err(Error::invalid("rate", "The rate of servers that are slowed down cannot be unlimited."));
    }
    if !rates::set_slow(app.store(), package, bps).await? {
        return Err(not_found(package));
    }
    tracing::info!(package, bps, "rate at the traffic limit set");
    Ok(())
}

fn among(all: Vec<PackageRates>, package: &str) -> Result<PackageRates> {
    all.into_iter().find(|one| one.package == package).ok_or_else(|| not_found(package))
}

fn not_found(package: &str) -> Error {
    Error::not_found(format!("There is no package '{package}'."))
}

/// Orders that a server's machine is told the rates that it should have now; none if it has them, or something else holds
/// it. The house does this; its owner sees the event.
pub async fn tell(app: &App, id: ServerId, account: AccountId) -> Result<Option<OperationId>> {
    let tx = app.store().begin().await?;
    // As every change of the account's things.
    accounts::hold(&tx, account).await?;
    let now = app.clock().now();
    let month = Month::of(now);
    let wanted = rates::wanted(&tx, id, month).await?;
    let server = servers::find_owned(&tx, account, id).await?;
    let (Some(wanted), Some(server)) = (wanted, server) else { return Ok(None) };
    if !server.active_operations.is_empty() || rates::of_server(&tx, id).await? == wanted.rates {
        return Ok(None);
    }
    let network = NetworkPlan { rates: Some(wanted.rates), ..NetworkPlan::default() };
    let plan = Plan { network, ..Plan::of(&server) }.to_json()?;
    let subject = Subject { account, server: id, snapshot: None, node: server.node };
    let operation = operations::insert(&tx, OperationKind::ServerNetwork, subject, &plan, now).await?;
    let remark = match traffic_months::find(&tx, id, month).await? {
        Some(used) if wanted.is_slow => {
            traffic_months::set_slowed(&tx, id, month, now).await?;
            traffic::used_up(&used, "slowed down")
        }
        Some(_) | None => "The server has the rates of its package.".to_owned(),
    };
    operations::remark(&tx, operation, Some(&remark)).await?;
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(
        server.id = id.0,
        operation.id = operation.0,
        down_bps = wanted.rates.down_bps,
        up_bps = wanted.rates.up_bps,
        slowed = wanted.is_slow,
        "a server gets other rates"
    );
    Ok(Some(operation))
}
