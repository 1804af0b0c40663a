//! Firewalls of servers: the owner's rules, which hold on the running machine when their operation has ended, and stay
//! with the server whatever becomes of its disk.
//!
//! Must not know: HTTP, SQL, or how rules get to a tap.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::networks;
use crate::domain::plans::NetworkPlan;
use crate::domain::servers::{self, find_ready};
use bulut_model::firewall::{FirewallRule, check_all};
use bulut_model::{Error, OperationId, Result, ServerId};
use bulut_store::firewalls;
use serde::{Deserialize, Serialize};

/// What a change of the rules answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ordered {
    /// The operation that makes them hold.
    pub operation: OperationId,
    /// All rules, as they will be.
    pub rules: Vec<FirewallRule>,
}

/// The rules of a server of the caller, in their order.
///
/// Errors: `NotFound`.
pub async fn list(app: &App, caller: &Caller, id: ServerId) -> Result<Vec<FirewallRule>> {
    let server = servers::get(app, caller, id).await?;
    firewalls::list(app.store(), server.id).await
}

/// Makes the rules of a server exactly these.
///
/// Errors: `Invalid` naming what is wrong; `NotFound`; `Conflict` where the host has no firewalls, and while another
/// operation holds the server.
pub async fn set(app: &App, caller: &Caller, id: ServerId, rules: Vec<FirewallRule>) -> Result<Ordered> {
    change(app, caller, id, |_| Ok(rules)).await
}

/// Puts a rule among the others: at this place, counted from 1, or behind all.
///
/// Errors: as [`set`]; `Invalid` naming `position`.
pub async fn add(
    app: &App,
    caller: &Caller,
    id: ServerId,
    rule: FirewallRule,
    position: Option<i64>,
) -> Result<Ordered> {
    change(app, caller, id, |mut rules| {
        let last = rules.len() + 1;
        let place = match position {
            None => last,
            Some(position) => {
                usize::try_from(position).ok().filter(|it| (1..=last).contains(it)).ok_or_else(|| {
                    let why = format!(
                        "The position {position} must be 1 to {last}: the server has {} rules.",
                        last - 1
                    );
                    Error::invalid("position", why)
                })?
            }
        };
        rules.insert(place - 1, rule);
        Ok(rules)
    })
    .await
}

/// Takes a rule away, by its number as in [`list`], counted from 1.
///
/// Errors: as [`set`]; `NotFound` for a number that no rule has.
pub async fn remove(app: &App, caller: &Caller, id: ServerId, number: i64) -> Result<Ordered> {
    change(app, caller, id, |mut rules| {
        let place = usize::try_from(number).ok().filter(|it| (1..=rules.len()).contains(it));
        let place = place.ok_or_else(|| {
            let why = format!("The firewall of server {id} has no rule {number}; it has {}.", rules.len());
            Error::not_found(why)
        })?;
        rules.remove(place - 1);
        Ok(rules)
    })
    .await
}

async fn change(
    app: &App,
    caller: &Caller,
    id: ServerId,
    next: impl FnOnce(Vec<FirewallRule>) -> Result<Vec<FirewallRule>>,
) -> Result<Ordered> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    let rules = next(firewalls::list(&change.tx, id).await?)?;
    check_all(&rules)?;
    networks::check_filters(app, server.node)?;
    let plan = NetworkPlan { firewall: Some(rules.clone()), ..NetworkPlan::default() };
    let operation = networks::queue(&change, &server, plan).await?;
    change.commit(Ordered { operation, rules }).await
}
