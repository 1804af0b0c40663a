//! Invoices and their lines. Written once; only being paid comes later.

use crate::session::{Failure, Row, Session};
use bulut_model::invoice::{Content, Invoice, Line, Quantity, Status};
use bulut_model::{AccountId, Error, InvoiceId, Micros, Result, ServerId, Timestamp};
use std::collections::HashMap;

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
            tax: Micros(row.int("tax_micros")?),
            total: Micros(row.int("total_micros")?),
            issued_at: Timestamp(row.int("issued_at")?),
            due_at: Timestamp(row.int("due_at")?),
            lines: Vec::new(),
        },
    })
}

fn line(row: &Row) -> Result<Line, Failure> {
    Ok(Line {
        description: row.text("description")?,
        quantity: Quantity(row.int("quantity_millionths")?),
        unit: row.text("unit")?,
        unit_price: Micros(row.int("unit_price_micros")?),
        amount: Micros(row.int("amount_micros")?),
        server: row.opt_int("server_id")?.map(ServerId),
    })
}

/// Writes an invoice with its lines. Run it in a transaction.
///
/// Errors: `AlreadyExists` when its number is taken.
pub async fn insert(s: &impl Session, content: &Content) -> Result<InvoiceId> {
    let inserted = s
        .one(
            "INSERT INTO invoice (account_id, number, period_start, period_end, status, currency, \
             subtotal_micros, tax_micros, total_micros, issued_at, due_at, paid_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
            vec![
                content.account.0.into(),
                content.number.clone().into(),
                content.period_start.0.into(),
                content.period_end.0.into(),
                content.status.as_str().into(),
                content.currency.clone().into(),
                content.subtotal.0.into(),
                content.tax.0.into(),
                content.total.0.into(),
                content.issued_at.0.into(),
                content.due_at.0.into(),
                content.status.paid_at().map(|at| at.0).into(),
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
        "INSERT INTO invoice_line (invoice_id, position, description, quantity_millionths, unit, \
         unit_price_micros, amount_micros, server_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vec![
            invoice.0.into(),
            position.into(),
            line.description.clone().into(),
            line.quantity.0.into(),
            line.unit.clone().into(),
            line.unit_price.0.into(),
            line.amount.0.into(),
            line.server.map(|id| id.0).into(),
        ],
    )
    .await?;
    Ok(())
}

/// The account's invoices with their lines, newest first.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<Invoice>> {
    let rows = s
        .all(
            "SELECT id, account_id, number, period_start, period_end, status, currency, subtotal_micros, \
             tax_micros, total_micros, issued_at, due_at, paid_at FROM invoice \
             WHERE account_id = $1 ORDER BY id DESC",
            vec![account.0.into()],
        )
        .await?;
    let mut invoices: Vec<Invoice> = rows.iter().map(invoice).collect::<Result<_, _>>()?;
    // In one statement: an account that is a few years old has some dozens of invoices.
    let rows = s
        .all(
            "SELECT invoice_line.invoice_id AS invoice_id, invoice_line.description AS description, \
             invoice_line.quantity_millionths AS quantity_millionths, invoice_line.unit AS unit, \
             invoice_line.unit_price_micros AS unit_price_micros, \
             invoice_line.amount_micros AS amount_micros, invoice_line.server_id AS server_id \
             FROM invoice_line JOIN invoice ON invoice.id = invoice_line.invoice_id \
             WHERE invoice.account_id = $1 ORDER BY invoice_line.invoice_id, invoice_line.position",
            vec![account.0.into()],
        )
        .await?;
    let mut lines: HashMap<i64, Vec<Line>> = HashMap::new();
    for row in &rows {
        lines.entry(row.int("invoice_id")?).or_default().push(line(row)?);
    }
    for invoice in &mut invoices {
        invoice.content.lines = lines.remove(&invoice.id.0).unwrap_or_default();
    }
    Ok(invoices)
}
