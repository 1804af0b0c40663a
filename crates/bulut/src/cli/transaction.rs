//! Room: the command line. `bulut transaction list`: how the balance became what it is.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::wire::Transaction;
use clap::Subcommand;

/// Changes of your balance
#[derive(Debug, Subcommand)]
pub enum TransactionCommand {
    /// List the changes, newest first
    #[command(visible_alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Those before this one
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: TransactionCommand) -> Result<()> {
    let TransactionCommand::List { limit, before } = command;
    let (limit, before) = (limit.to_string(), before.map(|id| id.to_string()).unwrap_or_default());
    let query = [("limit", limit.as_str()), ("before", before.as_str())];
    let answer = context.cloud().await?.get("/v1/transaction/list", &query).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let row = |it: Transaction| {
        vec![it.id.0, it.created_at.0, it.kind.0, it.amount.0, it.balance_after.0, it.description.0]
    };
    let rows = parse::<Vec<Transaction>>(answer)?.into_iter().map(row).collect();
    context.output.table(&["id", "when", "type", "amount", "balance", "description"], rows);
    Ok(())
}
