//! Room: the command line. `bulut price …`, `bulut package price`: what things cost, on the box.

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::domain::prices::{self, NewPrice};
use bulut_model::Micros;
use bulut_model::price::{Price, WhenStopped};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Prices of the cloud on this machine; each change is another version
#[derive(Debug, Subcommand)]
pub enum PriceCommand {
    /// List the prices that hold
    #[command(visible_alias = "ls")]
    List {
        /// With all earlier versions
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Set the price of disk, snapshot, address or traffic
    Set(Set),
}

/// What costs how much.
#[derive(Debug, Args)]
pub struct Set {
    /// disk (of stopped servers) or snapshot: a GiB in an hour; address (a further one): an hour; traffic beyond packages: a GB
    what: String,
    /// The price, for example 0.00007
    price: String,
    /// The traffic of this package alone
    #[arg(long, value_name = "SLUG")]
    package: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Which package costs how much.
#[derive(Debug, Args)]
pub struct Package {
    /// Slug of the package
    package: String,
    /// What an hour costs
    #[arg(long, value_name = "PRICE")]
    hourly: Option<String>,
    /// Most that a calendar month costs
    #[arg(long, value_name = "PRICE")]
    monthly: Option<String>,
    /// What stopped servers cost: full, disk (their disk and address) or none; from their next stop on
    #[arg(long, value_name = "WHAT")]
    when_stopped: Option<String>,
    /// Servers that are there get the price too, from now on; without it they keep theirs until they are stopped, started
    /// or upgraded
    #[arg(long)]
    for_all: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: PriceCommand) -> Result<()> {
    match command {
        PriceCommand::List { all, settings } => {
            let listed = prices::list(&settings.open().await?, all).await?;
            print(context, listed);
            Ok(())
        }
        PriceCommand::Set(set) => {
            let price = amount("the price", &set.price)?;
            let app = set.settings.open().await?;
            let price = prices::set(&app, &set.what, set.package.as_deref(), price).await?;
            print(context, vec![(price, set.package)]);
            Ok(())
        }
    }
}

/// `bulut package price`.
pub async fn set_package(context: &Context, of: Package) -> Result<()> {
    let read = |name: &str, text: &Option<String>| text.as_deref().map(|text| amount(name, text)).transpose();
    let new = NewPrice {
        hourly: read("--hourly", &of.hourly)?,
        monthly: read("--monthly", &of.monthly)?,
        when_stopped: of.when_stopped.as_deref().map(WhenStopped::parse).transpose()?,
        for_all: of.for_all,
    };
    let app = of.settings.open().await?;
    let (price, when, exchanged) = prices::set_package(&app, &of.package, new).await?;
    if context.output.json {
        let mut told = value(&price, Some(&of.package));
        told["when_stopped"] = json!(when.as_str());
        told["exchanged"] = json!(exchanged);
        context.output.json(&told);
        return Ok(());
    }
    context.output.facts(&[
        ("package", of.package),
        ("hour", price.unit.to_string()),
        ("month at most", price.monthly.unwrap_or_default().to_string()),
        ("when stopped", when.as_str().to_owned()),
    ]);
    if of.for_all {
        context.output.note(&format!("{exchanged} servers have this price from now on."));
    }
    Ok(())
}

fn amount(name: &str, text: &str) -> Result<Micros> {
    Micros::parse(text).map_err(|why| Failure::refused(format!("{name}: {why}")).hint("for example 0.0150"))
}

fn value(price: &Price, package: Option<&String>) -> Value {
    json!({
        "id": price.id.0,
        "what": price.of.as_str(),
        "package": package,
        "price": price.unit.to_string(),
        "per": price.of.unit(),
        "monthly": price.monthly.map(|monthly| monthly.to_string()),
        "since": price.valid_from.wire(),
    })
}

fn print(context: &Context, listed: Vec<(Price, Option<String>)>) {
    if context.output.json {
        let all: Vec<Value> = listed.iter().map(|(price, package)| value(price, package.as_ref())).collect();
        context.output.json(&all);
        return;
    }
    let row = |(price, package): (Price, Option<String>)| {
        vec![
            price.of.as_str().to_owned(),
            package.unwrap_or_default(),
            price.unit.to_string(),
            price.of.unit().to_owned(),
            price.monthly.map(|monthly| monthly.to_string()).unwrap_or_default(),
            price.valid_from.wire(),
        ]
    };
    let head = ["what", "package", "price", "per", "month at most", "since"];
    context.output.table(&head, listed.into_iter().map(row).collect());
}
