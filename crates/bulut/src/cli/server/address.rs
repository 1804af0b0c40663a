//! Room: the command line. `bulut server address …`: the addresses of a server, and further ones.

use super::One;
use super::firewall::Patience;
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use std::net::Ipv4Addr;

/// A further address leads to the server at once; its guest takes it at its next boot, or when it is set there.
#[derive(Debug, Subcommand)]
pub enum AddressCommand {
    /// List the addresses of a server
    #[command(visible_alias = "ls")]
    List(One),
    /// Give a server one IPv4 address more
    Add(Add),
    /// Take a further address from a server
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Which server.
#[derive(Debug, Args)]
pub struct Add {
    /// The server's id, or its name if only one server has it
    server: String,
    #[command(flatten)]
    patience: Patience,
}

/// Which address.
#[derive(Debug, Args)]
pub struct Remove {
    /// The server's id, or its name if only one server has it
    server: String,
    /// A further address of the server
    address: Ipv4Addr,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Deserialize)]
struct Addresses {
    addresses: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    address: String,
    prefix: u8,
    gateway: String,
    further: bool,
}

#[derive(Deserialize)]
struct Ordered {
    event_id: u64,
    address: String,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, command: AddressCommand) -> Result<()> {
    match command {
        AddressCommand::List(one) => {
            let server = super::find(cloud, &one.server).await?;
            let answer = cloud.get(&format!("/v2/servers/{}/addresses", server.id), &[]).await?;
            show(context, answer)
        }
        AddressCommand::Add(add) => {
            let server = super::find(cloud, &add.server).await?;
            let path = format!("/v2/servers/{}/addresses", server.id);
            let answer = cloud.change(Method::POST, &path, &[]).await?;
            let what = format!("Giving server {} an address", server.id);
            let address = settle(context, cloud, answer, &what, &add.patience).await?;
            let hint = format!("In the guest: ip address add {address}/32 dev eth0, or restart it.");
            context.output.note(&hint);
            Ok(())
        }
        AddressCommand::Remove(remove) => {
            let server = super::find(cloud, &remove.server).await?;
            let path = format!("/v2/servers/{}/addresses/{}", server.id, remove.address);
            let answer = cloud.change(Method::DELETE, &path, &[]).await?;
            let what = format!("Taking {} from server {}", remove.address, server.id);
            settle(context, cloud, answer, &what, &remove.patience).await.map(drop)
        }
    }
}

fn show(context: &Context, answer: Value) -> Result<()> {
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let row = |it: Address| {
        let kind = if it.further { "further" } else { "own" };
        vec![format!("{}/{}", it.address, it.prefix), it.gateway, kind.to_owned()]
    };
    let rows = parse::<Addresses>(answer)?.addresses.into_iter().map(row).collect();
    context.output.table(&["address", "gateway", "kind"], rows);
    Ok(())
}

async fn settle(
    context: &Context,
    cloud: &Cloud,
    answer: Value,
    what: &str,
    patience: &Patience,
) -> Result<String> {
    let ordered: Ordered = parse(answer.clone())?;
    patience.wait(context, cloud, ordered.event_id, what).await?;
    if context.output.json {
        context.output.json(&answer);
    } else if context.output.quiet {
        context.output.line(&ordered.address);
    } else {
        context.output.facts(&[
            ("address", ordered.address.clone()),
            ("event", format!("{} {}", ordered.event_id, patience.word())),
        ]);
    }
    Ok(ordered.address)
}
