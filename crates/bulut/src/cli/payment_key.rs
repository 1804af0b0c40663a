//! Room: the command line. `bulut payment-key …`: keys of payment providers and billing systems, on the box.
//!
//! Promises: a secret is shown once, when it is made.

use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use crate::domain::payments;
use bulut_model::PaymentKeyId;
use bulut_model::payment::PaymentKey;
use clap::Subcommand;
use serde_json::{Value, json};

/// Keys that may credit accounts through the API
#[derive(Debug, Subcommand)]
pub enum PaymentKeyCommand {
    /// Make a key; its secret is shown this once
    Add {
        /// What to call it, for example the payment provider's name
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// List the keys
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove a key: what it signs is refused from now on
    Remove {
        /// The key's id
        id: i64,
        #[command(flatten)]
        settings: Settings,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: PaymentKeyCommand) -> Result<()> {
    match command {
        PaymentKeyCommand::Add { name, settings } => {
            let (key, secret) = payments::add_key(&settings.open().await?, &name).await?;
            if context.output.json {
                let mut value = describe(&key);
                value["secret"] = json!(secret);
                context.output.json(&value);
            } else {
                context.output.note("The secret is shown this once.");
                context.output.facts(&[("id", key.id.to_string()), ("name", key.name), ("secret", secret)]);
            }
        }
        PaymentKeyCommand::List { settings } => {
            let keys = payments::list_keys(&settings.open().await?).await?;
            if context.output.json {
                context.output.json(&keys.iter().map(describe).collect::<Vec<_>>());
                return Ok(());
            }
            let rows = keys
                .into_iter()
                .map(|key| {
                    let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.wire());
                    let removed = key.removed_at.map(|at| at.wire()).unwrap_or_default();
                    vec![key.id.to_string(), key.name, key.created_at.wire(), used, removed]
                })
                .collect();
            context.output.table(&["id", "name", "made", "last used", "removed"], rows);
        }
        PaymentKeyCommand::Remove { id, settings } => {
            payments::remove_key(&settings.open().await?, PaymentKeyId(id)).await?;
            if context.output.json {
                context.output.json(&json!({ "removed": id }));
            } else {
                context.output.note(&format!("Key {id} is removed."));
            }
        }
    }
    Ok(())
}

fn describe(key: &PaymentKey) -> Value {
    json!({
        "id": key.id.0,
        "name": key.name,
        "created_at": key.created_at.wire(),
        "last_used_at": key.last_used_at.map(|at| at.wire()),
        "removed_at": key.removed_at.map(|at| at.wire()),
    })
}
