//! Room: the command line. `bulut ledger export`: the books of the cloud on this machine.

use super::context::Context;
use super::export::{Export, Row};
use super::failure::Result;
use super::settings::Settings;
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
}

/// Runs the command.
pub async fn run(context: &Context, command: LedgerCommand) -> Result<()> {
    let LedgerCommand::Export { export, settings } = command;
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
