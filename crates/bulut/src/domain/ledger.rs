//! The ledger as its account sees it.

use crate::app::App;
use crate::domain::access::Caller;
use bulut_model::ledger::Transaction;
use bulut_model::{Error, Result, TransactionId};
use bulut_store::ledger;

/// Most entries in one answer, and how many there are unless less are asked for.
pub const PAGE_MAX: i64 = 1000;

/// The account's entries, newest first: those before `before`, at most `limit`.
///
/// Errors: `Invalid` for a limit that is none.
pub async fn list(
    app: &App,
    caller: &Caller,
    before: Option<TransactionId>,
    limit: Option<i64>,
) -> Result<Vec<Transaction>> {
    let limit = limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::invalid("limit", format!("The parameter limit must be from 1 to {PAGE_MAX}.")));
    }
    ledger::list(app.store(), caller.account.id, before, limit).await
}
