//! Charging: each hour that has passed is charged once, and no order goes beyond what a balance covers.
//!
//! Promises: an hour's charges, and how far the account is charged, are one transaction; the amount of an hour depends
//! on the intervals alone, never on when or how often somebody charged. Must not know: invoices, HTTP.

use crate::app::App;
use crate::domain::books;
use bulut_model::account::Account;
use bulut_model::error::Kind;
use bulut_model::rating;
use bulut_model::traffic_month::Month;
use bulut_model::{AccountId, Error, Micros, OperationId, Result, Timestamp};
use bulut_store::ledger::{self, Entry};
use bulut_store::{Session, charging, holds, intervals};

/// Accounts that are charged in one transaction.
const BATCH: i64 = 32;

/// Charges all hours that have passed, of all accounts; answers how many accounts that were. An account that cannot be
/// charged holds up no other.
///
/// Errors: those of the last account that could not be charged.
pub async fn run_due(app: &App) -> Result<usize> {
    let mut charged = 0;
    if !app.config().billing.enabled {
        return Ok(charged);
    }
    let until = rating::hour_of(app.clock().now());
    let (mut last, mut failure) = (AccountId(0), None);
    loop {
        let due = charging::due(app.store(), until, last, BATCH).await?;
        let Some(end) = due.last() else { break };
        last = *end;
        if charge_all(app, &due, until).await.is_ok() {
            charged += due.len();
            continue;
        }
        for account in due {
            match charge_all(app, &[account], until).await {
                Ok(()) => charged += 1,
                Err(error) => {
                    tracing::error!(account.id = account.0, %error, "an account could not be charged; trying again");
                    failure = Some(error);
                }
            }
        }
    }
    failure.map_or(Ok(charged), Err)
}

/// Charges these accounts in one transaction.
async fn charge_all(app: &App, accounts: &[AccountId], until: Timestamp) -> Result<()> {
    let tx = app.store().begin().await?;
    for account in accounts {
        while charge(&tx, *account, until).await?.is_some_and(|charged| charged < until) {}
    }
    tx.commit().await
}

/// Charges an account up to `until`, the beginning of an hour, at most to the end of the month that it is charged to.
/// Answers up to when it is charged now. Run it in a transaction.
pub async fn charge(s: &impl Session, account: AccountId, until: Timestamp) -> Result<Option<Timestamp>> {
    let Some(from) = charging::hold_due(s, account, until).await? else { return Ok(None) };
    let month = Month::of(from);
    let until = until.min(month.next().begin());
    let all = intervals::list(s, account, month.begin(), until).await?;
    for (hour, amount) in rating::charges(&all, from, until) {
        if amount != Micros::ZERO {
            post(s, account, hour, amount).await?;
        }
    }
    charging::advance(s, account, until).await?;
    Ok(Some(until))
}

/// The charge of one hour of one account. Its time is the end of the hour, whenever it is made.
async fn post(s: &impl Session, account: AccountId, hour: Timestamp, amount: Micros) -> Result<()> {
    let reference = books::reference(hour);
    let key = format!("charge/{account}/{}", hour.wire());
    let entries = [
        Entry { book: "customer", account: Some(account), amount: -amount },
        Entry { book: "revenue", account: None, amount },
    ];
    let description = format!("Usage in the hour from {}", hour.wire());
    let posted =
        ledger::post(s, &key, "charge", &description, &reference, &entries, hour.plus(rating::HOUR)).await?;
    if posted == ledger::Posted::Before {
        return Err(Error::internal(format!("{key} was posted before, though it is due")));
    }
    Ok(())
}

/// What an account can spend: its balance without what has accrued since its last charge. Run it in a transaction that
/// holds the account, unless it is only to be shown.
pub async fn available(s: &impl Session, account: AccountId, now: Timestamp) -> Result<Micros> {
    let balance = ledger::balance(s, account).await?;
    let charged = charging::charged_until(s, account).await?;
    if charged >= now {
        return Ok(balance);
    }
    let all = intervals::list(s, account, Month::of(charged).begin(), now).await?;
    Ok(balance - rating::between(&all, charged, now))
}

/// Checks that the balance covers what the account has, what it has ordered, and so much more by the hour, for the time
/// that the settings ask for. Run it in the transaction of the order, which holds the account.
///
/// Errors: `Funds`, which names the missing amount.
pub async fn check_covers(
    app: &App,
    s: &impl Session,
    account: &Account,
    more: Micros,
    now: Timestamp,
) -> Result<()> {
    let billing = &app.config().billing;
    if !billing.enabled || account.is_postpaid || more <= Micros::ZERO {
        return Ok(());
    }
    let hourly = intervals::hourly(s, account.id).await? + holds::hourly(s, account.id).await? + more;
    let needed = Micros(hourly.0.saturating_mul(i64::from(billing.cover_hours)));
    let missing = Micros(needed.0.saturating_sub(available(s, account.id, now).await?.0));
    if missing <= Micros::ZERO {
        return Ok(());
    }
    Err(Error::new(
        Kind::Funds,
        format!(
            "The balance is too low: {missing} {} are missing. It must cover {} hours of what the account has together \
             with this order, {hourly} {} an hour.",
            billing.currency, billing.cover_hours, billing.currency
        ),
    ))
}

/// Counts what an operation will cost by the hour from its end on, so that orders at the same time do not spend the
/// same balance.
pub async fn hold(
    app: &App,
    s: &impl Session,
    operation: OperationId,
    account: AccountId,
    hourly: Micros,
) -> Result<()> {
    if !app.config().billing.enabled || hourly <= Micros::ZERO {
        return Ok(());
    }
    holds::insert(s, operation, account, hourly).await
}
