//! Room: the command line. `bulut pool …`: what accounts may have in servers of free sizes. Set on the box, shown to
//! everybody of their own.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use super::wire::{Pool as Shown, Resources as ShownResources};
use crate::domain::pools::{self, NewTotal};
use bulut_model::account::Account;
use bulut_model::pool::{Pool, Resources};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Resource pools of accounts
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Set an account's pool; what is not said stays as it is
    Set(Set),
    /// Show your pool, or on the box that of an account
    Show(Show),
    /// List the pools of all accounts, on the box
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        settings: Settings,
    },
}

/// A pool's new size.
#[derive(Debug, Args)]
pub struct Set {
    /// E-mail address or user name
    account: String,
    /// Virtual CPUs
    #[arg(long)]
    cpu: Option<u64>,
    /// Memory, MB
    #[arg(long, value_name = "MB")]
    ram: Option<u64>,
    /// Disk, GB
    #[arg(long, value_name = "GB")]
    storage: Option<u64>,
    #[command(flatten)]
    settings: Settings,
}

/// Whose pool.
#[derive(Debug, Args)]
pub struct Show {
    /// On the box: e-mail address or user name; your own pool, through the API, if absent
    account: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: PoolCommand) -> Result<()> {
    match command {
        PoolCommand::Set(set) => {
            let app = set.settings.open().await?;
            let total = NewTotal { cpu: set.cpu, memory_mib: set.ram, disk_gib: set.storage };
            let (account, pool) = pools::set(&app, &set.account, total).await?;
            print(context, describe(Some(&account), &pool))
        }
        PoolCommand::Show(Show { account: Some(name), settings }) => {
            let (account, pool) = pools::get_named(&settings.open().await?, &name).await?;
            print(context, describe(Some(&account), &pool))
        }
        PoolCommand::Show(Show { account: None, .. }) => {
            let value = context.cloud().await?.get("/v2/pool", &[]).await?;
            print(context, value)
        }
        PoolCommand::List { settings } => list(context, pools::list(&settings.open().await?).await?),
    }
}

fn list(context: &Context, pools: Vec<(Account, Pool)>) -> Result<()> {
    let values = pools.iter().map(|(account, pool)| describe(Some(account), pool));
    if context.output.json {
        context.output.json(&values.collect::<Vec<_>>());
        return Ok(());
    }
    let rows = pools
        .iter()
        .map(|(account, pool)| {
            let of = |used: u64, total: u64| format!("{used} of {total}");
            vec![
                account.email.clone(),
                of(pool.used.cpu, pool.total.cpu),
                of(pool.used.memory_mib, pool.total.memory_mib),
                of(pool.used.disk_gib, pool.total.disk_gib),
            ]
        })
        .collect();
    context.output.table(&["account", "cpu", "ram MB", "storage GB"], rows);
    Ok(())
}

fn describe(account: Option<&Account>, pool: &Pool) -> Value {
    let resources =
        |of: Resources| json!({"cpu": of.cpu, "memory_mib": of.memory_mib, "disk_gib": of.disk_gib});
    let mut value = json!({"total": resources(pool.total), "used": resources(pool.used)});
    if let Some(account) = account {
        value["account"] = json!(account.email);
    }
    value
}

fn print(context: &Context, value: Value) -> Result<()> {
    if context.output.json {
        context.output.json(&value);
        return Ok(());
    }
    let pool: Shown = parse(value)?;
    let line =
        |of: &ShownResources| format!("{} CPU, {} MB memory, {} GB disk", of.cpu, of.memory_mib, of.disk_gib);
    let mut facts: Vec<_> = pool.account.iter().map(|account| ("account", account.clone())).collect();
    facts.extend([("total", line(&pool.total)), ("used", line(&pool.used))]);
    context.output.facts(&facts);
    Ok(())
}
