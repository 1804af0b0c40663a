//! Invoices and their lines, the numbers that they have, and how far accounts are invoiced. An invoice is written once;
//! only being paid comes later, and the database refuses anything else.

use crate::session::{Failure, Row, Session, to_json};
use bulut_model::interval::Subject;
use bulut_model::invoice::{Content, Invoice, Line, Quantity, Status};
use bulut_model::tax::TaxRate;
use bulut_model::{AccountId, Error, IntervalId, InvoiceId, Micros, PackageId, Result, ServerId, Timestamp};
use sea_orm::Value;
use std::collections::HashMap;

const COLUMNS: &str = "id, account_id, number, period_start, period_end, status, currency, subtotal_micros, \
                       tax_millionths, tax_micros, total_micros, issued_at, due_at, paid_at, issuer, recipient, note";

fn invoice(row: &Row) -> Result<Invoice, Failure> {
    let status = match (row.text("status")?.as_str(), row.opt_int("paid_at")?) {
        ("paid", Some(at)) => Status::Paid { at: Timestamp(at) },
        ("unpaid", None) => Status::Unpaid,
        (word, _) => return Err(Failure::Fault(format!("an invoice's status is {word}"))),
    };
    Ok(Invoice {
        id: InvoiceId(row.int("id")?),
        content: Content {
            account: AccountId(row.int("account_id")?),
            number: row.text("number")?,
            period_start: Timestamp(row.int("period_start")?),
            period_end: Timestamp(row.int("period_end")?),
            status,
            currency: row.text("currency")?,
            subtotal: Micros(row.int("subtotal_micros")?),
            tax_rate: TaxRate::from_millionths(row.int("tax_millionths")?)
                .ok_or_else(|| Failure::Fault("an invoice's rate of tax is none".into()))?,
            tax: Micros(row.int("tax_micros")?),
            total: Micros(row.int("total_micros")?),
            issued_at: Timestamp(row.int("issued_at")?),
            due_at: Timestamp(row.int("due_at")?),
            issuer: row.json("issuer")?,
            recipient: row.json("recipient")?,
            note: row.text("note")?,
            lines: Vec::new(),
        },
    })
}

fn line(row: &Row) -> Result<Line, Failure> {
    Ok(Line {
        description: row.text("description")?,
        details: row.text("details")?,
        label: row.text("label")?,
        quantity: Quantity(row.int("quantity_millionths")?),
        unit: row.text("unit")?,
        unit_price: Micros(row.int("unit_price_micros")?),
        amount: Micros(row.int("amount_micros")?),
        server: row.opt_int("server_id")?.map(ServerId),
        intervals: Vec::new(),
    })
}

/// Takes the next number of a series. Run it in the transaction of the invoice that gets it: who comes second waits for
/// the first, and a transaction that is undone gives its number back.
pub async fn next_number(s: &impl Session, series: &str) -> Result<i64> {
    let row = s
        .one(
            "INSERT INTO invoice_series (series, last) VALUES ($1, 1) \
             ON CONFLICT (series) DO UPDATE SET last = invoice_series.last + 1 RETURNING last",
            vec![series.into()],
        )
        .await?;
    let row = row.ok_or_else(|| Error::internal("a series of invoices came back without a row"))?;
    Ok(row.int("last")?)
}

/// Writes an invoice with its lines; `digest` is that of its text. Run it in a transaction.
///
/// Errors: `AlreadyExists` when its number is taken.
pub async fn insert(s: &impl Session, content: &Content, digest: &str) -> Result<InvoiceId> {
    let inserted = s
        .one(
            "INSERT INTO invoice (account_id, number, period_start, period_end, status, currency, \
             subtotal_micros, tax_millionths, tax_micros, total_micros, issued_at, due_at, paid_at, issuer, \
             recipient, note, digest) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING id",
            vec![
                content.account.0.into(),
                content.number.clone().into(),
                content.period_start.0.into(),
                content.period_end.0.into(),
                content.status.as_str().into(),
                content.currency.clone().into(),
                content.subtotal.0.into(),
                content.tax_rate.millionths().into(),
                content.tax.0.into(),
                content.total.0.into(),
                content.issued_at.0.into(),
                content.due_at.0.into(),
                content.status.paid_at().map(|at| at.0).into(),
                to_json(&content.issuer)?.into(),
                to_json(&content.recipient)?.into(),
                content.note.clone().into(),
                digest.into(),
            ],
        )
        .await;
    let id = match inserted {
        Ok(Some(row)) => InvoiceId(row.int("id")?),
        Ok(None) => return Err(Error::internal("an inserted invoice came back without a row")),
        Err(Failure::Unique) => {
            return Err(Error::exists(format!("There is an invoice {} already.", content.number)));
        }
        Err(other) => return Err(other.into()),
    };
    for (position, line) in (1_i64..).zip(&content.lines) {
        insert_line(s, id, position, line).await?;
    }
    Ok(id)
}

async fn insert_line(s: &impl Session, invoice: InvoiceId, position: i64, line: &Line) -> Result<()> {
    s.execute(
        "INSERT INTO invoice_line (invoice_id, position, description, details, label, quantity_millionths, unit, \
         unit_price_micros, amount_micros, server_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        vec![
            invoice.0.into(),
            position.into(),
            line.description.clone().into(),
            line.details.clone().into(),
            line.label.clone().into(),
            line.quantity.0.into(),
            line.unit.clone().into(),
            line.unit_price.0.into(),
            line.amount.0.into(),
            line.server.map(|id| id.0).into(),
        ],
    )
    .await?;
    for interval in &line.intervals {
        s.execute(
            "INSERT INTO invoice_line_interval (invoice_id, position, interval_id) VALUES ($1, $2, $3)",
            vec![invoice.0.into(), position.into(), interval.0.into()],
        )
        .await?;
    }
    Ok(())
}

/// The account's invoices with their lines, newest first.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<Invoice>> {
    read(s, "account_id = $1", vec![account.0.into()]).await
}

/// Everybody's invoices with their lines, oldest first: those behind `after`, at most `limit`.
pub async fn list_all(s: &impl Session, after: InvoiceId, limit: i64) -> Result<Vec<Invoice>> {
    let condition = "id IN (SELECT id FROM invoice WHERE id > $1 ORDER BY id LIMIT $2)";
    let mut invoices = read(s, condition, vec![after.0.into(), limit.into()]).await?;
    invoices.reverse();
    Ok(invoices)
}

/// The invoice with this number.
pub async fn find(s: &impl Session, number: &str) -> Result<Option<Invoice>> {
    Ok(read(s, "number = $1", vec![number.into()]).await?.pop())
}

/// The digest of an invoice's text when it was made; empty where none was kept.
pub async fn digest(s: &impl Session, id: InvoiceId) -> Result<String> {
    let row = s.one("SELECT digest FROM invoice WHERE id = $1", vec![id.0.into()]).await?;
    Ok(row.map(|row| row.text("digest")).transpose()?.unwrap_or_default())
}

/// Invoices with their lines, newest first.
async fn read(s: &impl Session, condition: &str, values: Vec<Value>) -> Result<Vec<Invoice>> {
    let chosen = format!("SELECT {COLUMNS} FROM invoice WHERE {condition} ORDER BY id DESC");
    let rows = s.all(&chosen, values.clone()).await?;
    let mut invoices: Vec<Invoice> = rows.iter().map(invoice).collect::<Result<_, _>>()?;
    // One statement for all: an account that is a few years old has some dozens of invoices.
    let of_chosen = format!("invoice_id IN (SELECT id FROM invoice WHERE {condition})");
    let sql = format!(
        "SELECT invoice_id, position, interval_id FROM invoice_line_interval WHERE {of_chosen} \
         ORDER BY invoice_id, position, interval_id"
    );
    let mut intervals: HashMap<(i64, i64), Vec<IntervalId>> = HashMap::new();
    for row in s.all(&sql, values.clone()).await? {
        let line = (row.int("invoice_id")?, row.int("position")?);
        intervals.entry(line).or_default().push(IntervalId(row.int("interval_id")?));
    }
    let sql = format!(
        "SELECT invoice_id, position, description, details, label, quantity_millionths, unit, unit_price_micros, \
         amount_micros, server_id FROM invoice_line WHERE {of_chosen} ORDER BY invoice_id, position"
    );
    let mut lines: HashMap<i64, Vec<Line>> = HashMap::new();
    for row in s.all(&sql, values).await? {
        let invoice = row.int("invoice_id")?;
        let intervals = intervals.remove(&(invoice, row.int("position")?)).unwrap_or_default();
        lines.entry(invoice).or_default().push(Line { intervals, ..line(&row)? });
    }
    for invoice in &mut invoices {
        invoice.content.lines = lines.remove(&invoice.id.0).unwrap_or_default();
    }
    Ok(invoices)
}

/// An invoice is paid; answers whether it was not before.
pub async fn set_paid(s: &impl Session, id: InvoiceId, now: Timestamp) -> Result<bool> {
    let changed = s
        .execute(
            "UPDATE invoice SET status = 'paid', paid_at = $2 WHERE id = $1 AND status = 'unpaid'",
            vec![id.0.into(), now.0.into()],
        )
        .await?;
    Ok(changed > 0)
}

/// What a thing is called: a server, a snapshot or an address by its own name, traffic by its server's. Also one that is
/// gone.
pub async fn label(s: &impl Session, subject: Subject) -> Result<String> {
    let sql = match subject {
        Subject::Server(_) | Subject::Traffic(_) => "SELECT name AS label FROM server WHERE id = $1",
        Subject::Snapshot(_) => "SELECT name AS label FROM snapshot WHERE id = $1",
        Subject::Address(_) => "SELECT address AS label FROM address WHERE id = $1",
    };
    labelled(s, sql, subject.id()).await
}

/// The slug of a package.
pub async fn package_label(s: &impl Session, package: PackageId) -> Result<String> {
    labelled(s, "SELECT slug AS label FROM package WHERE id = $1", package.0).await
}

async fn labelled(s: &impl Session, sql: &str, id: i64) -> Result<String> {
    let row = s.one(sql, vec![id.into()]).await?;
    Ok(row.map(|row| row.text("label")).transpose()?.unwrap_or_default())
}

/// The instant up to which the account is invoiced.
pub async fn invoiced_until(s: &impl Session, account: AccountId) -> Result<Timestamp> {
    let row = s.one("SELECT invoiced_until FROM account WHERE id = $1", vec![account.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("account {account} has no row")))?;
    Ok(Timestamp(row.int("invoiced_until")?))
}

/// The account is invoiced up to `until`.
pub async fn set_invoiced_until(s: &impl Session, account: AccountId, until: Timestamp) -> Result<()> {
    s.execute("UPDATE account SET invoiced_until = $2 WHERE id = $1", vec![account.0.into(), until.0.into()])
        .await?;
    Ok(())
}

/// Some accounts behind `after` that are invoiced up to before `until`.
pub async fn due(s: &impl Session, until: Timestamp, after: AccountId, limit: i64) -> Result<Vec<AccountId>> {
    accounts(
        s,
        "SELECT id AS account_id FROM account WHERE id > $2 AND invoiced_until < $1 ORDER BY id LIMIT $3",
        vec![until.0.into(), after.0.into(), limit.into()],
    )
    .await
}

/// Some prepaid accounts behind `after` that have unpaid invoices.
pub async fn with_unpaid(s: &impl Session, after: AccountId, limit: i64) -> Result<Vec<AccountId>> {
    accounts(
        s,
        "SELECT DISTINCT account_id FROM invoice JOIN account ON account.id = invoice.account_id \
         WHERE status = 'unpaid' AND is_postpaid = 0 AND account_id > $1 ORDER BY account_id LIMIT $2",
        vec![after.0.into(), limit.into()],
    )
    .await
}

async fn accounts(s: &impl Session, sql: &str, values: Vec<Value>) -> Result<Vec<AccountId>> {
    let rows = s.all(sql, values).await?;
    Ok(rows.iter().map(|row| row.int("account_id").map(AccountId)).collect::<Result<_, Failure>>()?)
}
