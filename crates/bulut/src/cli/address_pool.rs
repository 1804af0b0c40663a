//! Room: the command line. `bulut address-pool …`: which addresses servers get, on the box.
//!
//! Promises: a change holds at once, without a restart.

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::app::App;
use crate::domain::address_pools;
use crate::host_addresses;
use bulut_model::address_pool::Wanted;
use bulut_store::address_pools::{Entry, Stock};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Address pools of the cloud on this machine
#[derive(Debug, Subcommand)]
pub enum AddressPoolCommand {
    /// Add addresses to a region; new servers get them at once
    Add(Box<Add>),
    /// List the pools with what is free, used, reserved and resting
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Show a pool, with the addresses that are not free
    Show(One),
    /// Give no new addresses from a pool; those that servers have stay theirs
    Drain(One),
    /// Let a pool that is draining give addresses again
    Resume(One),
    /// Remove a pool that is draining and that no server has addresses of
    #[command(visible_alias = "rm")]
    Remove(One),
    /// Keep IPv4 addresses from servers
    Reserve(Reserve),
    /// Let servers have reserved addresses again
    Unreserve(Unreserve),
}

/// What the pool is.
#[derive(Debug, Args)]
pub struct Add {
    /// 203.0.113.0/24, 203.0.113.10-203.0.113.99 with --netmask, or an IPv6 prefix like 2001:db8::/48
    addresses: String,
    /// Slug of the region
    #[arg(long, value_name = "REGION")]
    region: String,
    /// The network of a range: 24 or 255.255.255.0
    #[arg(long)]
    netmask: Option<String>,
    /// Gateway of the guests; the first address of an IPv4 network, fe80::1 for IPv6 if absent
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<IpAddr>,
    /// DNS server for the guests; one to three
    #[arg(long = "resolver", value_name = "ADDRESS", required = true)]
    resolvers: Vec<IpAddr>,
    /// IPv6: the prefix that each server gets, 64 (a network of its own) or 128; 64 if absent and the pool is a /48 or
    /// shorter
    #[arg(long, value_name = "LENGTH")]
    per_server: Option<u8>,
    #[command(flatten)]
    settings: Settings,
}

/// Which pool.
#[derive(Debug, Args)]
pub struct One {
    /// Its id, as `address-pool list` shows it
    id: i64,
    #[command(flatten)]
    settings: Settings,
}

/// Which addresses, and why.
#[derive(Debug, Args)]
pub struct Reserve {
    /// IPv4 addresses of a pool
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
    /// Why
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Which addresses.
#[derive(Debug, Args)]
pub struct Unreserve {
    /// IPv4 addresses of a pool
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: AddressPoolCommand) -> Result<()> {
    match command {
        AddressPoolCommand::Add(add) => run_add(context, *add).await,
        AddressPoolCommand::List { settings } => {
            let app = settings.open().await?;
            show_all(context, &app, &address_pools::list(&app).await?);
            Ok(())
        }
        AddressPoolCommand::Show(one) => show(context, &one).await,
        AddressPoolCommand::Drain(one) => set_draining(context, &one, true).await,
        AddressPoolCommand::Resume(one) => set_draining(context, &one, false).await,
        AddressPoolCommand::Remove(one) => {
            address_pools::remove(&one.settings.open().await?, one.id).await?;
            context.output.note(&format!("The pool {} is removed.", one.id));
            Ok(())
        }
        AddressPoolCommand::Reserve(reserve) => {
            let app = reserve.settings.open().await?;
            address_pools::reserve(&app, &reserve.addresses, reserve.note.as_deref()).await?;
            for address in &reserve.addresses {
                context.output.note(&format!("{address} is reserved."));
            }
            Ok(())
        }
        AddressPoolCommand::Unreserve(unreserve) => {
            let app = unreserve.settings.open().await?;
            address_pools::unreserve(&app, &unreserve.addresses).await?;
            for address in &unreserve.addresses {
                context.output.note(&format!("{address} can be given to servers."));
            }
            Ok(())
        }
    }
}

async fn run_add(context: &Context, add: Add) -> Result<()> {
    let app = add.settings.open().await?;
    let host = host_addresses::look()
        .map_err(|why| Failure::broken(format!("cannot look at this host's addresses: {why}")))?;
    let wanted = Wanted {
        addresses: add.addresses,
        netmask: add.netmask,
        gateway: add.gateway,
        resolvers: add.resolvers,
        per_server: add.per_server,
        host,
    };
    let stock = address_pools::add(&app, &add.region, &wanted).await?;
    if context.output.json {
        context.output.json(&value(&app, &stock));
    } else if context.output.quiet {
        context.output.line(&stock.pool.id.to_string());
    } else {
        context.output.facts(&facts(&app, &stock));
    }
    for entry in address_pools::entries(&app, stock.pool.id).await? {
        if let Some(note) = entry.note.filter(|_| entry.address != stock.pool.gateway) {
            context.output.note(&format!("{} is reserved: {note}.", entry.address));
        }
    }
    if address_pools::is_private(stock.pool.network) {
        context.output.note(
            "The network is private. With routed networking `bulut serve` translates its addresses on their way out within a \
             few seconds.",
        );
    }
    Ok(())
}

async fn set_draining(context: &Context, one: &One, draining: bool) -> Result<()> {
    let stock = address_pools::set_draining(&one.settings.open().await?, one.id, draining).await?;
    let note = if draining {
        format!("The pool {} gives no new addresses; servers have {} of it.", one.id, stock.used)
    } else {
        format!("The pool {} gives addresses again.", one.id)
    };
    context.output.note(&note);
    Ok(())
}

async fn show(context: &Context, one: &One) -> Result<()> {
    let app = one.settings.open().await?;
    let stock = address_pools::find(&app, one.id).await?;
    let entries = address_pools::entries(&app, one.id).await?;
    if context.output.json {
        let mut value = value(&app, &stock);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("addresses".into(), entries.iter().map(entry_value).collect());
        }
        context.output.json(&value);
        return Ok(());
    }
    context.output.facts(&facts(&app, &stock));
    let rows = entries.iter().map(entry_row).collect();
    context.output.table(&["address", "state", "server", "note"], rows);
    Ok(())
}

fn show_all(context: &Context, app: &App, stocks: &[Stock]) {
    if context.output.json {
        let values: Vec<Value> = stocks.iter().map(|stock| value(app, stock)).collect();
        context.output.json(&values);
        return;
    }
    let row = |stock: &Stock| {
        vec![
            stock.pool.id.to_string(),
            stock.region.clone(),
            range(stock).unwrap_or_else(|| network(stock)),
            per_server(stock),
            state(stock).to_owned(),
            count(stock.free()),
            stock.used.to_string(),
            utilisation(stock),
            stock.reserved.to_string(),
            stock.resting.to_string(),
        ]
    };
    let head =
        ["id", "region", "addresses", "per server", "state", "free", "used", "", "reserved", "resting"];
    context.output.table(&head, stocks.iter().map(row).collect());
}

fn state(stock: &Stock) -> &'static str {
    if stock.is_draining { "draining" } else { "ready" }
}

fn network(stock: &Stock) -> String {
    format!("{}/{}", stock.pool.network, stock.pool.prefix)
}

/// The addresses of a pool that has not all of its network.
fn range(stock: &Stock) -> Option<String> {
    let (IpAddr::V4(network), Some((first, last))) = (stock.pool.network, stock.range) else { return None };
    let hosts = u32::MAX.checked_shr(stock.pool.prefix.into()).unwrap_or(0);
    let (from, to) = (u32::from(network), u32::from(network) | hosts);
    // The address of the network itself and the one for all of it are no server's.
    let whole = u32::from(first) <= from + 1 && u32::from(last) >= to - 1;
    (!whole).then(|| format!("{first}-{last}"))
}

fn per_server(stock: &Stock) -> String {
    format!("/{}", stock.per_server)
}

/// A number of addresses; those of an IPv6 pool with single addresses never run out.
fn count(number: Option<u64>) -> String {
    number.map_or_else(|| "unlimited".to_owned(), |number| number.to_string())
}

/// How much of what servers could have is used; nothing for a pool that never runs out.
fn utilisation(stock: &Stock) -> String {
    let of = stock.total.map(|total| total.saturating_sub(stock.reserved)).filter(|of| *of > 0);
    of.map(|of| format!("{:.1} %", stock.used as f64 * 100.0 / of as f64)).unwrap_or_default()
}

fn join(parts: &[impl ToString]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn facts(app: &App, stock: &Stock) -> Vec<(&'static str, String)> {
    vec![
        ("id", stock.pool.id.to_string()),
        ("region", stock.region.clone()),
        ("network", network(stock)),
        ("addresses", range(stock).unwrap_or_else(|| "all of it".to_owned())),
        ("per server", per_server(stock)),
        ("gateway", stock.pool.gateway.to_string()),
        ("resolvers", join(&stock.pool.resolvers)),
        ("reverse zones", join(&address_pools::reverse_zones(app, &stock.pool))),
        ("state", state(stock).to_owned()),
        ("free", count(stock.free())),
        ("used", stock.used.to_string()),
        ("reserved", stock.reserved.to_string()),
        ("resting", stock.resting.to_string()),
    ]
}

fn value(app: &App, stock: &Stock) -> Value {
    json!({
        "id": stock.pool.id,
        "region": stock.region,
        "network": stock.pool.network,
        "prefix": stock.pool.prefix,
        "first_address": stock.range.map(|(first, _)| first),
        "last_address": stock.range.map(|(_, last)| last),
        "per_server": stock.per_server,
        "gateway": stock.pool.gateway,
        "resolvers": stock.pool.resolvers,
        "reverse_zones": address_pools::reverse_zones(app, &stock.pool),
        "state": state(stock),
        "total": stock.total,
        "free": stock.free(),
        "used": stock.used,
        "reserved": stock.reserved,
        "resting": stock.resting,
    })
}

/// The states of an address that is not free, one word each.
fn entry_state(entry: &Entry) -> &'static str {
    match (entry.server, entry.reserved) {
        (Some(_), false) => "used",
        (Some(_), true) => "used, reserved",
        (None, true) => "reserved",
        (None, false) => "resting",
    }
}

fn entry_row(entry: &Entry) -> Vec<String> {
    vec![
        entry.address.to_string(),
        entry_state(entry).to_owned(),
        entry.server.map(|server| server.to_string()).unwrap_or_default(),
        entry.note.clone().unwrap_or_default(),
    ]
}

fn entry_value(entry: &Entry) -> Value {
    json!({
        "address": entry.address,
        "state": entry_state(entry),
        "server_id": entry.server.map(|server| server.0),
        "note": entry.note,
        "released_at": entry.released_at.map(|released| released.wire()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulut_store::addresses::Pool;

    #[test]
    fn a_pool_of_a_part_of_its_network_shows_which_part() {
        let shown = |network: &str, prefix, ends: Option<(&str, &str)>| {
            let pool = Pool {
                id: 1,
                network: network.parse().unwrap(),
                prefix,
                gateway: network.parse().unwrap(),
                resolvers: vec![],
            };
            range(&Stock {
                pool,
                region: "ist2".into(),
                is_draining: false,
                per_server: 32,
                range: ends.map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap())),
                total: None,
                used: 0,
                reserved: 0,
                resting: 0,
            })
        };
        let part = shown("198.51.100.0", 24, Some(("198.51.100.10", "198.51.100.20")));
        assert_eq!(part.as_deref(), Some("198.51.100.10-198.51.100.20"));
        let half = shown("198.51.100.0", 24, Some(("198.51.100.1", "198.51.100.127")));
        assert_eq!(half.as_deref(), Some("198.51.100.1-198.51.100.127"));
        assert_eq!(shown("198.51.100.0", 24, Some(("198.51.100.1", "198.51.100.254"))), None);
        assert_eq!(shown("203.0.113.0", 30, Some(("203.0.113.1", "203.0.113.2"))), None);
        assert_eq!(shown("2001:db8::", 48, None), None);
    }
}
