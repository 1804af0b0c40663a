//! Room: the command line. `bulut dns show|retell`: the zones that this cloud serves, and what another server of names
//! was told.

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::app::App;
use crate::reconcile::names::{self, Shown};
use bulut_dns::{Data, Record};
use bulut_store::names::Published;
use clap::Subcommand;
use serde_json::{Value, json};

/// Names of servers and addresses
#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    /// Show the zones, or the records of one, and what another server of names has not agreed to
    Show {
        /// Show the records of this zone
        #[arg(long, value_name = "NAME")]
        zone: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Tell the other server of names everything again, in case it has forgotten
    Retell(Settings),
}

/// Runs the command.
pub async fn run(context: &Context, command: DnsCommand) -> Result<()> {
    match command {
        DnsCommand::Show { zone, settings } => {
            let app = settings.open().await?;
            match zone {
                Some(zone) => show_zone(context, &app, &zone).await,
                None => show_all(context, &app).await,
            }
        }
        DnsCommand::Retell(settings) => {
            let app = settings.open().await?;
            let hint = "set dns.update_server (BULUT_DNS_UPDATE_SERVER)";
            let records = names::tell_again(&app).await.map_err(|error| Failure::from(error).hint(hint))?;
            if context.output.json {
                context.output.json(&json!({ "records": records }));
            } else {
                context.output.line(&format!("{records} records are told again"));
            }
            Ok(())
        }
    }
}

async fn show_all(context: &Context, app: &App) -> Result<()> {
    let zones = names::show(app).await?;
    let told = bulut_store::names::published(app.store()).await?;
    let waiting: Vec<&Published> = told.iter().filter(|record| !record.agreed).collect();
    let settings = &app.config().dns;
    if context.output.json {
        let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
        let other = settings.update_server.map(|server| {
            json!({
                "server": server.to_string(),
                "agreed": told.len() - waiting.len(),
                "waiting": waiting.iter().map(|record| published(record)).collect::<Vec<_>>(),
            })
        });
        let zones: Vec<Value> = zones.iter().map(zone_json).collect();
        context.output.json(&json!({ "listen": listen, "zones": zones, "update": other }));
        return Ok(());
    }
    if settings.listen.is_empty() {
        context.output.note("Names are not served here: dns.listen (BULUT_DNS_LISTEN) is not set.");
    }
    let row = |zone: &Shown| {
        let serial = zone.serial.map_or_else(String::new, |serial| serial.to_string());
        let changed = zone.changed_at.map_or_else(String::new, |at| at.wire());
        vec![zone.content.origin.clone(), serial, zone.content.records.len().to_string(), changed]
    };
    context.output.table(&["zone", "serial", "records", "changed"], zones.iter().map(row).collect());
    if let Some(server) = settings.update_server {
        context.output.note(&format!("{server} has agreed to {} records.", told.len() - waiting.len()));
        if !waiting.is_empty() {
            let row = |record: &&Published| {
                vec![
                    record.owner.clone(),
                    record.kind.clone(),
                    record.value.clone().unwrap_or_else(|| "to go".to_owned()),
                    record.last_error.clone().unwrap_or_default(),
                ]
            };
            let rows = waiting.iter().map(row).collect();
            context.output.table(&["not agreed", "type", "value", "why"], rows);
        }
    }
    Ok(())
}

async fn show_zone(context: &Context, app: &App, name: &str) -> Result<()> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let zones = names::show(app).await?;
    let zone = zones
        .iter()
        .find(|zone| zone.content.origin == name)
        .ok_or_else(|| Failure::refused(format!("this cloud has no zone {name:?}")).hint("bulut dns show"))?;
    if context.output.json {
        let mut shown = zone_json(zone);
        shown["records"] = zone.content.records.iter().map(record_json).collect();
        context.output.json(&shown);
        return Ok(());
    }
    let rows = zone.content.records.iter().map(|record| {
        let (kind, value) = parts(record);
        vec![record.owner.clone(), kind.to_owned(), value]
    });
    context.output.table(&["name", "type", "value"], rows.collect());
    Ok(())
}

fn zone_json(zone: &Shown) -> Value {
    json!({
        "zone": zone.content.origin,
        "serial": zone.serial,
        "records": zone.content.records.len(),
        "changed_at": zone.changed_at.map(|at| at.wire()),
        "nameservers": zone.content.nameservers,
        "contact": zone.content.contact,
    })
}

fn record_json(record: &Record) -> Value {
    let (kind, value) = parts(record);
    json!({ "name": record.owner, "type": kind, "value": value })
}

fn parts(record: &Record) -> (&'static str, String) {
    match &record.data {
        Data::Ptr(target) => ("PTR", target.clone()),
        Data::A(address) => ("A", address.to_string()),
        Data::Aaaa(address) => ("AAAA", address.to_string()),
    }
}

fn published(record: &Published) -> Value {
    json!({
        "name": record.owner, "type": record.kind, "value": record.value,
        "failures": record.failures, "error": record.last_error,
    })
}
