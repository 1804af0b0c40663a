//! Room: the command line. `bulut ledger …`: the books of the cloud on this machine, exported and told again.

use super::context::Context;
use super::export::{Export, Row};
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::domain::books;
use bulut_model::TransactionId;
use bulut_store::ledger::{self, Booked};
use clap::Subcommand;
use serde_json::json;

/// Entries that are read at once.
const BATCH: i64 = 1000;

const HEAD: [&str; 10] = [
    "entry",
    "posting",
    "created_at",
    "kind",
    "book",
    "account_id",
    "amount",
    "description",
    "reference",
    "idempotency_key",
];

/// The books: each posting's entries add up to zero
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Write all entries of all books, oldest first
    Export {
        #[command(flatten)]
        export: Export,
        #[command(flatten)]
        settings: Settings,
    },
    /// Check that postings add up to zero, that intervals neither overlap nor leave gaps, and that each hour was charged
    /// what its intervals cost
    Check(Settings),
}

/// Runs the command.
pub async fn run(context: &Context, command: LedgerCommand) -> Result<()> {
    match command {
        LedgerCommand::Export { export, settings } => run_export(context, export, settings).await,
        LedgerCommand::Check(settings) => check(context, settings).await,
    }
}

async fn run_export(context: &Context, export: Export, settings: Settings) -> Result<()> {
    let app = settings.open().await?;
    let (mut rows, mut after) = (Vec::new(), TransactionId(0));
    loop {
        let batch = ledger::list_all(app.store(), after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = last.id;
        rows.extend(batch.into_iter().map(row));
    }
    export.write(context, &HEAD, rows)
}

async fn check(context: &Context, settings: Settings) -> Result<()> {
    let found = books::check(&settings.open().await?).await?;
    if context.output.json {
        context.output.json(&found);
    } else {
        found.iter().for_each(|line| context.output.line(line));
    }
    if found.is_empty() {
        context.output.note("The books are in order.");
        return Ok(());
    }
    Err(Failure::refused(format!("{} things are wrong with the books", found.len()))
        .hint("write down what the log says of those hours before anything is changed"))
}

fn row(entry: Booked) -> Row {
    vec![
        json!(entry.id.0),
        json!(entry.posting),
        json!(entry.created_at.wire()),
        json!(entry.kind),
        json!(entry.book),
        json!(entry.account.map(|id| id.0)),
        json!(entry.amount.decimal()),
        json!(entry.description),
        json!(entry.reference),
        json!(entry.key),
    ]
}
