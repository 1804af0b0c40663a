//! Room: the command line. `bulut package list`: sizes and prices.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::wire::Package;
use clap::Subcommand;

/// Packages (sizes and prices) of the cloud
#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// List the packages that can be ordered
    #[command(visible_alias = "ls")]
    List,
}

/// Runs the command.
pub async fn run(context: &Context, command: PackageCommand) -> Result<()> {
    let PackageCommand::List = command;
    let answer = context.public_cloud()?.get("/v1/package/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let rows = parse::<Vec<Package>>(answer)?
        .into_iter()
        .map(|p| {
            vec![
                p.slug,
                p.cpu.0,
                format!("{} GB", p.ram),
                format!("{} GB", p.disk),
                format!("{} TB", p.bandwidth),
                p.hourly_price.0,
                p.monthly_price.0,
                p.regions.join(","),
            ]
        })
        .collect();
    context.output.table(&["slug", "cpu", "memory", "disk", "traffic", "hour", "month", "regions"], rows);
    Ok(())
}
