//! The check of the books: what they say is told again from intervals, and must be the same.

use crate::app::App;
use bulut_model::account::Account;
use bulut_model::interval::disorders;
use bulut_model::rating;
use bulut_model::traffic_month::Month;
use bulut_model::{Micros, Result, Timestamp};
use bulut_store::{Session, accounts, charging, holds, intervals, ledger};
use std::collections::BTreeMap;

/// Most sentences about one account.
const SAID_MAX: usize = 20;

/// What is wrong, one sentence each; none in sound books: postings add up to zero, no intervals overlap or leave gaps or
/// say what is not so, no order that has ended holds a balance, and each hour was charged what its intervals cost.
pub async fn check(app: &App) -> Result<Vec<String>> {
    check_store(app.store(), app.config().billing.enabled).await
}

/// The same of a database. `is_metered`: what costs something has an open interval, as it is where there is money.
pub async fn check_store(s: &impl Session, is_metered: bool) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let said = |id: i64| format!("posting {id} does not add up to zero");
    found.extend(ledger::unbalanced(s).await?.into_iter().map(said));
    found
        .extend(intervals::untrue(s).await?.iter().map(|id| format!("interval {id} is open, and is not so")));
    found.extend(
        holds::stale(s).await?.iter().map(|id| format!("operation {id} has ended and holds a balance")),
    );
    if is_metered {
        let unmetered = intervals::unmetered(s).await?;
        let said = |subject: &bulut_model::interval::Subject| {
            format!("{} {} costs something and has no open interval", subject.kind(), subject.id())
        };
        found.extend(unmetered.iter().map(|(_, subject)| said(subject)));
    }
    for account in accounts::list(s).await? {
        found.extend(check_account(s, &account).await?);
    }
    Ok(found)
}

async fn check_account(s: &impl Session, account: &Account) -> Result<Vec<String>> {
    let all = intervals::list_all(s, account.id).await?;
    let until = charging::charged_until(s, account.id).await?;
    let mut posted: BTreeMap<String, Micros> = BTreeMap::new();
    for (reference, amount) in ledger::charges(s, account.id).await? {
        let sum = posted.entry(reference).or_default();
        *sum = *sum + amount;
    }
    let mut found = disorders(&all);
    let Some(first) = all.iter().map(|interval| interval.opened_at).min() else { return Ok(found) };
    let mut from = rating::hour_of(first);
    while from < until {
        let end = Month::of(from).next().begin().min(until);
        for (hour, amount) in rating::charges(&all, from, end) {
            let was = posted.remove(&reference(hour)).unwrap_or_default();
            if was != amount {
                found.push(format!(
                    "account {}: the hour from {} was charged {was}, and costs {amount}",
                    account.id,
                    hour.wire()
                ));
            }
        }
        from = end;
    }
    let beyond = |(reference, amount): (&String, &Micros)| {
        format!("account {}: {reference} charged {amount} for nothing", account.id)
    };
    found.extend(posted.iter().filter(|(_, amount)| **amount != Micros::ZERO).map(beyond));
    found.truncate(SAID_MAX);
    Ok(found)
}

/// How the charge of an hour is called.
pub(super) fn reference(hour: Timestamp) -> String {
    format!("charge/{}", hour.wire())
}
