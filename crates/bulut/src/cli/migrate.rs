//! Room: the command line. `bulut migrate`: brings the database up to date without serving.

use super::context::Context;
use super::failure::Result;
use super::serve;
use super::settings::Settings;
use serde_json::json;

/// Runs the command.
pub async fn run(context: &Context, settings: &Settings) -> Result<()> {
    let applied = serve::migrate(settings.load()?).await?;
    if context.output.json {
        context.output.json(&json!({ "applied": applied }));
    } else if applied.is_empty() {
        context.output.note("The database is up to date.");
    } else {
        context.output.note(&format!("Migrated the database: {}.", applied.join(", ")));
    }
    Ok(())
}
