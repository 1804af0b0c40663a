//! Room: the command line. `bulut invoice …`: what there is to pay and what was paid, through the public API; and, in
//! `books.rs`, the operator's verbs on the box.

mod books;

use super::cloud::parse;
use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use super::wire::{Invoice, InvoiceDetails};
use crate::documents;
use crate::domain::invoices;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Invoices of your account; and, on the box, of all
#[derive(Debug, Subcommand)]
pub enum InvoiceCommand {
    /// List the invoices, newest first; --json has their lines too
    #[command(visible_alias = "ls")]
    List,
    /// Show an invoice; --json also has the intervals that its lines are made from
    Show {
        /// The invoice's number
        number: String,
    },
    /// Save an invoice as PDF
    Pdf(Save),
    /// Save an invoice as a page of HTML
    Html(Save),
    /// On the box: make the invoices that are due, or an account's up to the last whole hour
    Issue(books::Issue),
    /// On the box: a postpaid account has paid an invoice
    Pay(books::One),
    /// On the box: make an invoice again from its intervals, and say whether it is byte-identical
    Replay(books::One),
    /// On the box: write all invoices for other programs
    Export(books::ExportInvoices),
}

/// Which invoice, and where to.
#[derive(Debug, Args)]
pub struct Save {
    /// The invoice's number
    number: String,
    /// The file to write, - for stdout; invoice-NUMBER.pdf or .html if absent
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Anybody's invoice, on the box
    #[arg(long)]
    any: bool,
    #[command(flatten)]
    settings: Settings,
}

/// How an invoice is saved.
#[derive(Clone, Copy)]
enum Form {
    Pdf,
    Html,
}

impl Form {
    const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Html => "html",
        }
    }
}

/// Runs the command.
pub async fn run(context: &Context, command: InvoiceCommand) -> Result<()> {
    match command {
        InvoiceCommand::List => list(context).await,
        InvoiceCommand::Show { number } => show(context, &number).await,
        InvoiceCommand::Pdf(one) => save(context, one, Form::Pdf).await,
        InvoiceCommand::Html(one) => save(context, one, Form::Html).await,
        InvoiceCommand::Issue(issue) => books::issue(context, issue).await,
        InvoiceCommand::Pay(one) => books::pay(context, one).await,
        InvoiceCommand::Replay(one) => books::replay(context, one).await,
        InvoiceCommand::Export(export) => books::export(context, export).await,
    }
}

async fn list(context: &Context) -> Result<()> {
    let answer = context.cloud().await?.get("/v1/invoice/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let rows = parse::<Vec<Invoice>>(answer)?
        .into_iter()
        .map(|it| {
            let total = format!("{} {}", it.total, it.currency);
            vec![it.number.0, it.period_start.0, it.period_end.0, total, it.status.0, it.due_at.0]
        })
        .collect();
    context.output.table(&["number", "from", "to", "total", "status", "due"], rows);
    Ok(())
}

async fn show(context: &Context, number: &str) -> Result<()> {
    let answer = context.cloud().await?.get(&format!("/v2/invoices/{}", segment(number)?), &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let it = parse::<InvoiceDetails>(answer)?;
    let money = |amount: String| format!("{amount} {}", it.currency);
    let mut facts = vec![
        ("number", it.number.clone()),
        ("for", it.recipient.name.clone()),
        ("from", it.period_start.clone()),
        ("to", it.period_end.clone()),
        ("status", it.status.clone()),
        ("due", it.due_at.clone()),
    ];
    facts.extend(it.paid_at.clone().map(|at| ("paid", at)));
    facts.extend([
        ("subtotal", money(it.subtotal.clone())),
        ("tax", format!("{} ({} %)", money(it.tax.clone()), it.tax_percent)),
        ("total", money(it.total.clone())),
    ]);
    context.output.facts(&facts);
    context.output.line("");
    let rows = it
        .lines
        .into_iter()
        .map(|line| {
            vec![line.description, line.quantity, line.unit, line.unit_price, line.amount, line.details]
        })
        .collect();
    context.output.table(&["description", "quantity", "unit", "unit price", "amount", "details"], rows);
    Ok(())
}

async fn save(context: &Context, one: Save, form: Form) -> Result<()> {
    let (number, extension) = (&one.number, form.extension());
    let bytes = if one.any {
        let content = invoices::find(&one.settings.open().await?, number).await?.content;
        match form {
            Form::Pdf => documents::pdf(&content)?,
            Form::Html => documents::html(&content).into_bytes(),
        }
    } else {
        let path = format!("/v2/invoices/{}.{extension}", segment(number)?);
        context.cloud().await?.bytes(&path).await?
    };
    let path = one.out.unwrap_or_else(|| PathBuf::from(format!("invoice-{number}.{extension}")));
    if path == Path::new("-") {
        context.output.raw(&bytes);
        return Ok(());
    }
    std::fs::write(&path, bytes).map_err(|why| Failure::file("write", &path, &why))?;
    context.output.line(&path.display().to_string());
    Ok(())
}

/// A number as it stands in a path; numbers of invoices have nothing that would need an escape.
fn segment(number: &str) -> Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !number.is_empty() && number.chars().all(is_plain) {
        return Ok(number);
    }
    Err(Failure::refused(format!("there is no invoice {number}")).hint("bulut invoice list"))
}
