//! Issuing: what accounts were charged becomes invoices, once.
//!
//! Promises: an invoice covers a calendar month (UTC) or a part of one, and begins where the account's last one ended:
//! each charge stands on one invoice. The invoice, its number, the tax that it posts, how far the account is invoiced and
//! the letter about it are one transaction under the account's lock, so that several processes, a crash or a day of
//! downtime change nothing of what is on it. Must not know: how an invoice looks.

use crate::app::App;
use crate::domain::{charging, mails};
use crate::faults::Fault;
use bulut_model::account::Account;
use bulut_model::interval::{Interval, Subject};
use bulut_model::invoice::{BillingDetails, Content, Invoice, Party, Status};
use bulut_model::invoice_lines::{self, Names, Sums, add_up};
use bulut_model::mail::Letter;
use bulut_model::rating::hour_of;
use bulut_model::traffic_month::Month;
use bulut_model::{AccountId, Error, Micros, PackageId, Result, Timestamp};
use bulut_store::ledger::{self, Entry};
use bulut_store::{Session, Tx, accounts, billing_details, intervals, invoices};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};

/// Accounts in a batch.
const BATCH: i64 = 100;

/// Makes the invoices of all months that are over, of all accounts; answers how many. An account whose invoice cannot be
/// made holds up no other.
///
/// Errors: that of the last account that failed.
pub async fn run_due(app: &App) -> Result<usize> {
    if !app.config().billing.enabled || !app.config().invoice.monthly {
        return Ok(0);
    }
    let until = Month::of(app.clock().now().minus(app.config().invoice.delay())).begin();
    let (mut after, mut made, mut failure) = (AccountId(0), 0, None);
    loop {
        let batch = invoices::due(app.store(), until, after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = *last;
        for account in batch {
            match issue_until(app, account, until).await {
                Ok(invoices) => made += invoices.len(),
                Err(error) => {
                    tracing::error!(account.id = account.0, %error, "an invoice could not be made; trying again");
                    failure = Some(error);
                }
            }
        }
    }
    failure.map_or(Ok(made), Err)
}

/// Makes an account's invoices up to the last whole hour: what it has used and has no invoice for.
///
/// Errors: `Conflict` where there is no money (billing.enabled).
pub async fn issue_now(app: &App, account: AccountId) -> Result<Vec<Invoice>> {
    if !app.config().billing.enabled {
        return Err(Error::conflict("This cloud has no money: the setting billing.enabled is false."));
    }
    issue_until(app, account, hour_of(app.clock().now())).await
}

async fn issue_until(app: &App, id: AccountId, until: Timestamp) -> Result<Vec<Invoice>> {
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, id).await?;
    while charging::charge(&tx, id, until).await?.is_some_and(|charged| charged < until) {}
    let mut made = Vec::new();
    let mut from = begin(&tx, id, until).await?;
    while from < until {
        let end = Month::of(from).next().begin().min(until);
        made.extend(issue(app, &tx, &account, from, end).await?);
        from = end;
    }
    if invoices::invoiced_until(&tx, id).await? < until {
        invoices::set_invoiced_until(&tx, id, until).await?;
    }
    if app.faults().at("invoice.before_commit") == Some(Fault::Die) {
        return Err(Error::internal("dead right before an invoice was there"));
    }
    tx.commit().await?;
    for invoice in &made {
        let number = &invoice.content.number;
        tracing::info!(
            account.id = id.0,
            invoice = number,
            total = invoice.content.total.0,
            "invoice issued"
        );
    }
    Ok(made)
}

/// Where the next invoice begins: where the last one ended, or with the month in which something was first used since.
async fn begin(tx: &Tx, account: AccountId, until: Timestamp) -> Result<Timestamp> {
    let last = invoices::invoiced_until(tx, account).await?;
    let first = intervals::list(tx, account, last, until).await?.iter().map(|one| one.opened_at).min();
    Ok(first.map_or(until, |first| last.max(Month::of(first).begin())))
}

/// Makes one invoice; none where nothing had a price.
async fn issue(
    app: &App,
    tx: &Tx,
    account: &Account,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Invoice>> {
    let all = intervals::list(tx, account.id, Month::of(from).begin(), to).await?;
    let mut lines = invoice_lines::lines(&all, from, to, &names(tx, &all).await?);
    if lines.is_empty() {
        return Ok(None);
    }
    let settings = &app.config().invoice;
    let details = billing_details::get(tx, account.id).await?;
    let currency = app.config().billing.currency.clone();
    let tax_rate = details.tax_rate.unwrap_or_else(|| settings.tax_rate());
    let sums = add_up(&mut lines, &currency, tax_rate);
    let now = app.clock().now();
    let number = take_number(app, tx, now).await?;
    post(tx, account.id, &number, sums, now).await?;
    let is_covered = sums.total <= Micros::ZERO
        || (!account.is_postpaid && ledger::balance(tx, account.id).await? >= Micros::ZERO);
    let notes = [details.note.clone().unwrap_or_default(), settings.note.clone()];
    let content = Content {
        account: account.id,
        number,
        period_start: from,
        period_end: to,
        status: if is_covered { Status::Paid { at: now } } else { Status::Unpaid },
        currency,
        subtotal: sums.subtotal,
        tax_rate,
        tax: sums.tax,
        total: sums.total,
        issued_at: now,
        due_at: now.plus(settings.due_in()),
        issuer: settings.issuer(&app.config().mail.name),
        recipient: recipient(account, details),
        note: notes.into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("\n"),
        lines,
    };
    let id = invoices::insert(tx, &content, &digest(&content)).await?;
    let letter = Letter::Invoice {
        number: content.number.clone(),
        total: content.total,
        currency: content.currency.clone(),
        due_at: (!is_covered).then_some(content.due_at),
        link: None,
    };
    mails::enqueue(tx, account, letter, Some(&format!("invoice/{}", content.number)), now).await?;
    Ok(Some(Invoice { id, content }))
}

/// The next number, in the transaction of its invoice.
async fn take_number(app: &App, tx: &Tx, now: Timestamp) -> Result<String> {
    let form = app.config().invoice.number_form().map_err(Error::internal)?;
    let year: String = now.wire().chars().take(4).collect();
    let count = invoices::next_number(tx, &form.series(&year)).await?;
    Ok(form.number(&year, count))
}

/// Posts what the hours' charges did not: the tax, and the rounding to what can be paid.
async fn post(s: &impl Session, account: AccountId, number: &str, sums: Sums, now: Timestamp) -> Result<()> {
    let Sums { rounding, tax, .. } = sums;
    let mut entries = vec![Entry { book: "customer", account: Some(account), amount: -(tax + rounding) }];
    for (book, amount) in [("tax", tax), ("revenue", rounding)] {
        if amount != Micros::ZERO {
            entries.push(Entry { book, account: None, amount });
        }
    }
    if entries.len() == 1 {
        return Ok(());
    }
    let what = match (tax == Micros::ZERO, rounding == Micros::ZERO) {
        (false, false) => "Tax and rounding",
        (false, true) => "Tax",
        _ => "Rounding",
    };
    let key = format!("invoice/{number}");
    let description = format!("{what} of invoice {number}");
    ledger::post(s, &key, "invoice", &description, &key, &entries, now).await?;
    Ok(())
}

fn recipient(account: &Account, details: BillingDetails) -> Party {
    Party {
        name: details.name.unwrap_or_else(|| account.full_name()),
        address: if details.address.is_empty() { vec![account.email.clone()] } else { details.address },
        vat_id: details.vat_id.unwrap_or_default(),
    }
}

/// What the things and packages of these intervals are called now.
async fn names(s: &impl Session, all: &[Interval]) -> Result<Names> {
    let mut names = Names { packages: packages(s, all).await?, ..Names::default() };
    let subjects: BTreeSet<Subject> = all.iter().map(|interval| interval.subject).collect();
    for subject in subjects {
        names.subjects.insert(subject, invoices::label(s, subject).await?);
    }
    Ok(names)
}

/// The slugs of these intervals' packages, which never change.
pub(super) async fn packages(s: &impl Session, all: &[Interval]) -> Result<HashMap<PackageId, String>> {
    let ids: BTreeSet<PackageId> = all.iter().filter_map(|interval| interval.terms.package).collect();
    let mut packages = HashMap::new();
    for id in ids {
        packages.insert(id, invoices::package_label(s, id).await?);
    }
    Ok(packages)
}

/// The digest of all that an invoice says but whether it is paid.
pub(super) fn digest(content: &Content) -> String {
    Sha256::digest(content.text()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a thing was called when a line was written: by the subject of the line's intervals.
pub(super) fn labels_of(content: &Content, all: &[Interval]) -> HashMap<Subject, String> {
    let subjects: HashMap<_, _> = all.iter().map(|one| (one.id, one.subject)).collect();
    let labelled = content.lines.iter().flat_map(|line| {
        line.intervals.iter().filter_map(|id| Some((*subjects.get(id)?, line.label.clone())))
    });
    labelled.collect()
}
