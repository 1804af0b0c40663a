//! Room: the command line. `bulut package list`: sizes and prices; `bulut package rate`: how fast servers are, on the box.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use super::wire::Package;
use crate::domain::rates;
use bulut_model::rate::{Bps, parse_bps};
use bulut_store::rates::PackageRates;
use clap::{Args, Subcommand};
use serde_json::json;

/// Packages (sizes and prices) of the cloud
#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// List the packages that can be ordered
    #[command(visible_alias = "ls")]
    List,
    /// Show or set how fast servers of a package are, on the box; those that are there follow within a minute
    Rate(Rate),
    /// Set what servers of a package cost, on the box; those that run keep their price unless told otherwise
    Price(super::price::Package),
}

/// Which package, and how fast.
#[derive(Debug, Args)]
pub struct Rate {
    /// Slug of the package; all packages are shown if absent
    package: Option<String>,
    /// What servers receive, bits per second: 512k, 100M, 1G; unlimited or 0 for as fast as it goes
    #[arg(long, value_name = "RATE", requires = "package")]
    down: Option<String>,
    /// What servers send
    #[arg(long, value_name = "RATE", requires = "package")]
    up: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: PackageCommand) -> Result<()> {
    match command {
        PackageCommand::List => list(context).await,
        PackageCommand::Rate(of) => rate(context, of).await,
        PackageCommand::Price(of) => super::price::set_package(context, of).await,
    }
}

async fn rate(context: &Context, of: Rate) -> Result<()> {
    let app = of.settings.open().await?;
    let read = |field, text: &Option<String>| text.as_deref().map(|text| parse_bps(field, text)).transpose();
    let (down, up) = (read("down", &of.down)?, read("up", &of.up)?);
    let shown = match &of.package {
        Some(package) if down.is_some() || up.is_some() => vec![rates::set(&app, package, down, up).await?],
        Some(package) => vec![rates::find(&app, package).await?],
        None => rates::list(&app).await?,
    };
    if context.output.json {
        let value = |of: &PackageRates| {
            json!({
                "package": of.package, "down_bps": of.rates.down_bps, "up_bps": of.rates.up_bps, "slow_bps": of.slow_bps
            })
        };
        context.output.json(&shown.iter().map(value).collect::<Vec<_>>());
        return Ok(());
    }
    let row = |of: PackageRates| {
        let bps = |bps: u64| Bps(bps).to_string();
        vec![of.package, bps(of.rates.down_bps), bps(of.rates.up_bps), bps(of.slow_bps)]
    };
    let head = ["package", "down", "up", "when slowed down"];
    context.output.table(&head, shown.into_iter().map(row).collect());
    Ok(())
}

async fn list(context: &Context) -> Result<()> {
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
