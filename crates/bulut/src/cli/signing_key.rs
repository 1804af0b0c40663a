//! Room: the command line. `bulut signing-key rotate`: a new key signs tokens from now on.

use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use crate::domain::tokens;
use clap::Subcommand;
use serde_json::json;

/// Keys that sign access and refresh tokens
#[derive(Debug, Subcommand)]
pub enum SigningKeyCommand {
    /// Sign with a new key within a minute; tokens of the old one stay good until they expire
    Rotate {
        #[command(flatten)]
        settings: Settings,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: SigningKeyCommand) -> Result<()> {
    let SigningKeyCommand::Rotate { settings } = command;
    let kid = tokens::rotate(&settings.open().await?).await?;
    if context.output.json {
        context.output.json(&json!({ "kid": kid }));
    } else {
        context.output.note(&format!(
            "The key {kid} signs tokens now; those of the old key stay good until they expire."
        ));
    }
    Ok(())
}
