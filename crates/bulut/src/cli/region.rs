//! Room: the command line. `bulut region list`: where servers can be.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::wire::Region;
use clap::Subcommand;

/// Regions of the cloud
#[derive(Debug, Subcommand)]
pub enum RegionCommand {
    /// List the regions
    #[command(visible_alias = "ls")]
    List,
}

/// Runs the command.
pub async fn run(context: &Context, command: RegionCommand) -> Result<()> {
    let RegionCommand::List = command;
    let answer = context.public_cloud()?.get("/v1/region/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let rows = parse::<Vec<Region>>(answer)?
        .into_iter()
        .map(|r| vec![r.slug, r.name, r.country, if r.status { "active" } else { "inactive" }.to_owned()])
        .collect();
    context.output.table(&["slug", "name", "country", "status"], rows);
    Ok(())
}
