//! Room: the command line. `bulut invoice issue, pay, replay, export`: the operator's verbs on invoices, on the box.

use crate::cli::context::Context;
use crate::cli::export::{Export, Row};
use crate::cli::failure::{Failure, Result};
use crate::cli::settings::Settings;
use crate::domain::invoices::issuing;
use crate::domain::invoices::replay::{self, Difference};
use crate::domain::{accounts, invoices};
use bulut_model::InvoiceId;
use bulut_model::Micros;
use bulut_model::invoice::Invoice;
use clap::Args;
use serde_json::{Value, json};

/// Whose invoices are made.
#[derive(Debug, Args)]
pub struct Issue {
    /// E-mail address or user name: what this account has used up to the last whole hour. Without, the invoices of all
    /// accounts for all months that are over
    account: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// One invoice.
#[derive(Debug, Args)]
pub struct One {
    /// The invoice's number
    number: String,
    #[command(flatten)]
    settings: Settings,
}

/// How and where to.
#[derive(Debug, Args)]
pub struct ExportInvoices {
    /// A row for each line instead of each invoice
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    export: Export,
    #[command(flatten)]
    settings: Settings,
}

/// `bulut invoice issue`
pub async fn issue(context: &Context, issue: Issue) -> Result<()> {
    let app = issue.settings.open().await?;
    let Some(name) = issue.account else {
        let made = issuing::run_due(&app).await?;
        if context.output.json {
            context.output.json(&json!({ "invoices": made }));
        } else {
            context.output.line(&format!("{made} invoices are made"));
        }
        return Ok(());
    };
    let account = accounts::named(&app, &name).await?;
    let made = issuing::issue_now(&app, account.id).await?;
    if context.output.json {
        context.output.json(&made.iter().map(brief).collect::<Vec<_>>());
        return Ok(());
    }
    if made.is_empty() {
        context.output.note("Nothing was used that costs and has no invoice yet.");
    }
    for invoice in &made {
        let content = &invoice.content;
        let status = content.status.as_str();
        context.output.line(&format!("{}  {} {}  {status}", content.number, content.total, content.currency));
    }
    Ok(())
}

fn brief(invoice: &Invoice) -> Value {
    let content = &invoice.content;
    json!({
        "number": content.number,
        "period_start": content.period_start.wire(),
        "period_end": content.period_end.wire(),
        "status": content.status.as_str(),
        "total": content.total.decimal(),
        "currency": content.currency,
    })
}

/// `bulut invoice pay`
pub async fn pay(context: &Context, one: One) -> Result<()> {
    let invoice = invoices::pay(&one.settings.open().await?, &one.number).await?;
    if context.output.json {
        context.output.json(&brief(&invoice));
        return Ok(());
    }
    let content = &invoice.content;
    context.output.line(&format!("{}  {} {}  paid", content.number, content.total, content.currency));
    Ok(())
}

/// `bulut invoice replay`
pub async fn replay(context: &Context, one: One) -> Result<()> {
    let replay = replay::replay(&one.settings.open().await?, &one.number).await?;
    let number = &replay.invoice.content.number;
    let Some(difference) = &replay.difference else {
        if context.output.json {
            context.output.json(&json!({
                "number": number, "identical": true, "lines": replay.lines, "intervals": replay.intervals,
                "digest": replay.digest,
            }));
        } else {
            context.output.line(&format!(
                "{number} is byte-identical: {} lines from {} intervals, sha256 {}",
                replay.lines, replay.intervals, replay.digest
            ));
        }
        return Ok(());
    };
    let told = told(difference);
    if context.output.json {
        context.output.json(&json!({ "number": number, "identical": false, "difference": told }));
    }
    Err(Failure::refused(format!("invoice {number} is not what its intervals say: {told}")))
}

fn told(difference: &Difference) -> String {
    match difference {
        Difference::Line { number, kept, replayed } => {
            let text = |line: &Option<String>| line.clone().unwrap_or_else(|| "nothing".to_owned());
            format!("line {number} is kept as [{}], but comes out as [{}]", text(kept), text(replayed))
        }
        Difference::Digest { written } => {
            format!("it was changed after it was written; its digest was {written}")
        }
        Difference::Charges { charged, invoiced } => {
            format!("the ledger's charges come to {charged}, but its lines to {invoiced}")
        }
    }
}

const HEAD: [&str; 16] = [
    "number",
    "account_id",
    "issued_at",
    "period_start",
    "period_end",
    "status",
    "due_at",
    "paid_at",
    "recipient",
    "vat_id",
    "currency",
    "subtotal",
    "tax_percent",
    "tax",
    "total",
    "note",
];

const LINE_HEAD: [&str; 11] = [
    "number",
    "account_id",
    "position",
    "description",
    "details",
    "quantity",
    "unit",
    "unit_price",
    "amount",
    "server_id",
    "interval_ids",
];

/// `bulut invoice export`
pub async fn export(context: &Context, command: ExportInvoices) -> Result<()> {
    let app = command.settings.open().await?;
    let (mut rows, mut after) = (Vec::new(), InvoiceId(0));
    loop {
        let batch = invoices::list_all(&app, after).await?;
        let Some(last) = batch.last() else { break };
        after = last.id;
        for invoice in &batch {
            if command.lines {
                rows.extend(line_rows(invoice));
            } else {
                rows.push(row(invoice));
            }
        }
    }
    let head: &[&str] = if command.lines { &LINE_HEAD } else { &HEAD };
    command.export.write(context, head, rows)
}

fn row(invoice: &Invoice) -> Row {
    let it = &invoice.content;
    vec![
        json!(it.number),
        json!(it.account.0),
        json!(it.issued_at.wire()),
        json!(it.period_start.wire()),
        json!(it.period_end.wire()),
        json!(it.status.as_str()),
        json!(it.due_at.wire()),
        json!(it.status.paid_at().map(|at| at.wire())),
        json!(it.recipient.name),
        json!(it.recipient.vat_id),
        json!(it.currency),
        json!(it.subtotal.decimal()),
        json!(it.tax_rate.percent()),
        json!(it.tax.decimal()),
        json!(it.total.decimal()),
        json!(it.note),
    ]
}

fn line_rows(invoice: &Invoice) -> Vec<Row> {
    let it = &invoice.content;
    let row = |(position, line): (i64, &bulut_model::invoice::Line)| {
        let intervals: Vec<String> = line.intervals.iter().map(ToString::to_string).collect();
        vec![
            json!(it.number),
            json!(it.account.0),
            json!(position),
            json!(line.description),
            json!(line.details),
            json!(Micros(line.quantity.0).decimal()),
            json!(line.unit),
            json!(line.unit_price.decimal()),
            json!(line.amount.decimal()),
            json!(line.server.map(|id| id.0)),
            json!(intervals.join(" ")),
        ]
    };
    (1..).zip(&it.lines).map(row).collect()
}
