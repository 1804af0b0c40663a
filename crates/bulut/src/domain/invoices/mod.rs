//! Invoices: as their account sees them, and their being paid. `issuing.rs` makes them, `replay.rs` makes them again.
//!
//! Promises: an invoice never changes but from unpaid to paid. A postpaid account's is paid when the operator says so, a
//! prepaid one's from its balance. Must not know: HTTP, or how an invoice looks.

pub mod issuing;
pub mod replay;

use crate::app::App;
use crate::domain::access::Caller;
use bulut_model::account::Account;
use bulut_model::interval::Interval;
use bulut_model::invoice::{Invoice, Status};
use bulut_model::{AccountId, Error, InvoiceId, Micros, Result};
use bulut_store::ledger::{self, Entry};
use bulut_store::{accounts, intervals, invoices};

/// Accounts in a batch.
const BATCH: i64 = 100;

/// The account's invoices, newest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Invoice>> {
    invoices::list(app.store(), caller.account.id).await
}

/// One of the account's invoices.
///
/// Errors: `NotFound`, also for another account's.
pub async fn get(app: &App, caller: &Caller, number: &str) -> Result<Invoice> {
    let found = invoices::find(app.store(), number).await?;
    found.filter(|invoice| invoice.content.account == caller.account.id).ok_or_else(|| unknown(number))
}

/// One of the account's invoices, with the intervals that its lines are made from.
///
/// Errors: `NotFound`, also for another account's.
pub async fn explain(app: &App, caller: &Caller, number: &str) -> Result<(Invoice, Vec<Interval>)> {
    let invoice = get(app, caller, number).await?;
    let content = &invoice.content;
    let all = intervals::list(app.store(), content.account, content.period_start, content.period_end).await?;
    Ok((invoice, all))
}

/// Anybody's invoice: for the operator's verbs.
///
/// Errors: `NotFound`.
pub async fn find(app: &App, number: &str) -> Result<Invoice> {
    invoices::find(app.store(), number).await?.ok_or_else(|| unknown(number))
}

/// Everybody's invoices, oldest first: those behind `after`, some at a time.
pub async fn list_all(app: &App, after: InvoiceId) -> Result<Vec<Invoice>> {
    invoices::list_all(app.store(), after, BATCH).await
}

fn unknown(number: &str) -> Error {
    Error::not_found(format!("There is no invoice {number}."))
}

/// A postpaid account's invoice was paid: the payment is posted, and the invoice says since when it is paid.
///
/// Errors: `NotFound`; `Conflict` for one that is paid, and for a prepaid account, which pays from its balance.
pub async fn pay(app: &App, number: &str) -> Result<Invoice> {
    let owner = find(app, number).await?.content.account;
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, owner).await?;
    let mut invoice = invoices::find(&tx, number).await?.ok_or_else(|| unknown(number))?;
    if let Status::Paid { at } = invoice.content.status {
        return Err(Error::conflict(format!("Invoice {number} is paid since {}.", at.wire())));
    }
    if !account.is_postpaid {
        return Err(Error::conflict(format!(
            "The account of invoice {number} is prepaid: its invoices are paid from its balance as soon as that is not \
             below zero. Credit the account."
        )));
    }
    let total = invoice.content.total;
    let entries = [
        Entry { book: "customer", account: Some(owner), amount: total },
        Entry { book: "payments", account: None, amount: -total },
    ];
    let (reference, description) = (format!("invoice/{number}"), format!("Payment of invoice {number}"));
    let key = format!("invoice/{number}/payment");
    ledger::post(&tx, &key, "payment", &description, &reference, &entries, now).await?;
    invoices::set_paid(&tx, invoice.id, now).await?;
    tx.commit().await?;
    invoice.content.status = Status::Paid { at: now };
    tracing::info!(account.id = owner.0, invoice = number, "invoice paid");
    Ok(invoice)
}

/// Marks the unpaid invoices of prepaid accounts as paid whose balance is not below zero any more; answers how many.
pub async fn settle(app: &App) -> Result<usize> {
    let (mut after, mut settled) = (AccountId(0), 0);
    loop {
        let batch = invoices::with_unpaid(app.store(), after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(settled) };
        after = *last;
        for account in batch {
            settled += settle_account(app, account).await?;
        }
    }
}

async fn settle_account(app: &App, id: AccountId) -> Result<usize> {
    let tx = app.store().begin().await?;
    let account: Account = accounts::hold(&tx, id).await?;
    if account.is_postpaid || ledger::balance(&tx, id).await? < Micros::ZERO {
        tx.rollback().await?;
        return Ok(0);
    }
    let now = app.clock().now();
    let mut settled = 0;
    for invoice in invoices::list(&tx, id).await? {
        if invoices::set_paid(&tx, invoice.id, now).await? {
            settled += 1;
        }
    }
    tx.commit().await?;
    Ok(settled)
}
