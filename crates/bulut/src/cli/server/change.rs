//! Room: the command line. `bulut server password|upgrade|restore|reinstall`: changes that an event carries out.
//!
//! Promises: what cannot be taken back is asked about first. Must not know: what is allowed; the cloud says so.

use super::wait;
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::wire::{Began, NewPassword, Server};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::io::BufRead as _;
use std::time::Duration;

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub struct Waiting {
    /// Wait until it is done
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

/// Which server gets a new root password.
#[derive(Debug, Args)]
pub struct Password {
    /// The server's id, or its name if only one server has it
    server: String,
    /// Read the password from standard input instead of having one made
    #[arg(long)]
    stdin: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Which server gets which package.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The package (bulut package list)
    package: String,
    /// Change CPUs and memory only, so that there is a way back to a smaller package
    #[arg(long)]
    flexible: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Which server gets which snapshot's disk.
#[derive(Debug, Args)]
pub struct Restore {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The snapshot's id (bulut snapshot list)
    snapshot: u64,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Which server is installed anew with which image.
#[derive(Debug, Args)]
pub struct Reinstall {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The image (bulut image list)
    image: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Gives root another password and prints it.
pub async fn password(context: &Context, cloud: &Cloud, which: Password) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    let mut form = Vec::new();
    if which.stdin {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map_err(|why| Failure::broken(format!("standard input cannot be read: {why}")))?;
        form.push(("password", line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let path = format!("/v1/server/{}/change_password", server.id);
    let answer: NewPassword = parse(cloud.change(Method::POST, &path, &form).await?)?;
    wait(context, cloud, answer.event_id, "Changing the password", &which.waiting).await?;
    if context.output.json {
        context.output.json(&json!({
            "id": server.id, "event_id": answer.event_id, "password": answer.password
        }));
    } else if context.output.quiet {
        context.output.line(&answer.password);
    } else {
        let mut facts = told(&server, answer.event_id, &which.waiting);
        if !which.stdin {
            facts.push(("password", answer.password));
        }
        context.output.facts(&facts);
    }
    Ok(())
}

/// Gives a server another package.
pub async fn upgrade(context: &Context, cloud: &Cloud, which: Upgrade) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    let kind = if which.flexible { "flexible" } else { "full" };
    let form = [("package", which.package), ("type", kind.to_owned())];
    change(context, cloud, &server, "upgrade_package", &form, "Changing the package", &which.waiting).await
}

/// Gives a server the disk of a snapshot.
pub async fn restore(context: &Context, cloud: &Cloud, which: Restore) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    agree(which.yes, &server, &format!("with that of snapshot {}", which.snapshot))?;
    let form = [("snapshot_id", which.snapshot.to_string())];
    change(context, cloud, &server, "restore_from_snapshot", &form, "Restoring", &which.waiting).await
}

/// Installs a server anew.
pub async fn reinstall(context: &Context, cloud: &Cloud, which: Reinstall) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    agree(which.yes, &server, &format!("with a new one from {}", which.image))?;
    let form = [("image", which.image)];
    change(context, cloud, &server, "refresh_install", &form, "Installing anew", &which.waiting).await
}

fn agree(yes: bool, server: &Server, with: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !context::is_interactive() {
        return Err(Failure::refused(format!("the disk of server {} would be replaced {with}", server.id))
            .hint("add --yes if that is what you want"));
    }
    let question = format!("Replace the disk of server {} ({}) {with}?", server.id, server.name);
    if context::confirm(&question)? { Ok(()) } else { Err(Failure::refused("nothing was changed")) }
}

async fn change(
    context: &Context,
    cloud: &Cloud,
    server: &Server,
    call: &str,
    form: &[(&'static str, String)],
    doing: &str,
    waiting: &Waiting,
) -> Result<()> {
    let path = format!("/v1/server/{}/{call}", server.id);
    let began: Began = parse(cloud.change(Method::POST, &path, form).await?)?;
    wait(context, cloud, began.event_id, doing, waiting).await?;
    if context.output.json {
        context.output.json(&json!({"id": server.id, "event_id": began.event_id}));
    } else if context.output.quiet {
        context.output.line(&began.event_id.to_string());
    } else {
        context.output.facts(&told(server, began.event_id, waiting));
    }
    Ok(())
}

async fn wait(context: &Context, cloud: &Cloud, event: u64, doing: &str, waiting: &Waiting) -> Result<()> {
    if !waiting.wait {
        return Ok(());
    }
    let limit = wait::Deadline::after(Duration::from_secs(waiting.timeout));
    wait::until_done(context, cloud, event, doing, limit).await
}

fn told(server: &Server, event: u64, waiting: &Waiting) -> Vec<(&'static str, String)> {
    let done = if waiting.wait { "done" } else { "under way" };
    vec![("server", format!("{} {}", server.id, server.name)), ("event", format!("{event} {done}"))]
}
