//! Dunning: looks at the accounts whose balance runs out, and takes the next step of each.
//!
//! Promises: time counts only while somebody looks. After a pause of more than an hour, and after a clock that was set
//! forward or back, all that waits is moved by as much, so that no step comes earlier than it was announced.

use crate::app::App;
use crate::domain::dunning::{is_on, look_at};
use bulut_model::{AccountId, Micros, Result};
use bulut_store::dunning;
use std::time::Duration;

/// Accounts that are looked up at once.
const BATCH: i64 = 200;
/// Looks that are further apart than this count for nothing.
const GAP_MAX: Duration = Duration::from_secs(3600);

/// Looks at all accounts that may need it.
pub async fn look(app: &App) -> Result<()> {
    if !is_on(app) {
        return resume_all(app).await;
    }
    mend_clock(app).await?;
    look_at_each(app, app.config().dunning.rules().warn_below).await
}

async fn look_at_each(app: &App, limit: Micros) -> Result<()> {
    let mut after = AccountId(0);
    loop {
        let accounts = dunning::candidates(app.store(), limit, after, BATCH).await?;
        let Some(last) = accounts.last() else { return Ok(()) };
        after = *last;
        for account in accounts {
            if let Err(error) = look_at(app, account).await {
                tracing::warn!(account.id = account.0, %error, "an account was not looked at; the next look does it");
            }
        }
    }
}

/// Lets those act again who were suspended before there was nothing to suspend them for any more.
async fn resume_all(app: &App) -> Result<()> {
    look_at_each(app, Micros(i64::MIN)).await
}

async fn mend_clock(app: &App) -> Result<()> {
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let before = dunning::tick(&tx, now).await?;
    let moved = now.0.saturating_sub(before.0);
    if i128::from(moved.unsigned_abs()) > i128::try_from(GAP_MAX.as_micros()).unwrap_or(i128::MAX) {
        let accounts = dunning::shift(&tx, moved).await?;
        tracing::warn!(
            accounts,
            moved_s = moved / 1_000_000,
            "nobody looked meanwhile, or the clock was set: deadlines move"
        );
    }
    tx.commit().await
}
