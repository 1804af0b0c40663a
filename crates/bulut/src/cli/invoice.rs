//! Room: the command line. `bulut invoice list`: what there is to pay, and what was paid.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::wire::Invoice;
use clap::Subcommand;

/// Invoices of your account
#[derive(Debug, Subcommand)]
pub enum InvoiceCommand {
    /// List the invoices, newest first; --json has their lines too
    #[command(visible_alias = "ls")]
    List,
}

/// Runs the command.
pub async fn run(context: &Context, command: InvoiceCommand) -> Result<()> {
    let InvoiceCommand::List = command;
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
