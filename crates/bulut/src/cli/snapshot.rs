//! Room: the command line. `bulut snapshot list|create|destroy`: a customer's snapshots, through the public API only.

use super::cloud::{Cloud, parse};
use super::context::{self, Context};
use super::failure::{Failure, Result};
use super::server;
use super::server::wait;
use super::wire::{Began, Created, Snapshot};
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Snapshots of your servers' disks
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List your snapshots
    #[command(visible_alias = "ls")]
    List,
    /// Keep a server's disk as it is now; the server may run
    Create {
        /// The server's id, or its name if only one server has it
        server: String,
        /// A name for the snapshot
        #[arg(long)]
        name: String,
        /// Wait until it is whole
        #[arg(long)]
        wait: bool,
        /// Give up waiting after so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        timeout: u64,
    },
    /// Delete a snapshot for good
    Destroy {
        /// Its id
        snapshot: u64,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Wait until it is gone
        #[arg(long)]
        wait: bool,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: SnapshotCommand) -> Result<()> {
    let cloud = context.cloud().await?;
    match command {
        SnapshotCommand::List => list(context, &cloud).await,
        SnapshotCommand::Create { server, name, wait, timeout } => {
            let limit = wait.then(|| Duration::from_secs(timeout));
            create(context, &cloud, &server, name, limit).await
        }
        SnapshotCommand::Destroy { snapshot, yes, wait } => {
            destroy(context, &cloud, snapshot, yes, wait).await
        }
    }
}

async fn list(context: &Context, cloud: &Cloud) -> Result<()> {
    let answer = cloud.get("/v1/snapshot/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let snapshots: Vec<Snapshot> = parse(answer)?;
    if context.output.quiet {
        snapshots.iter().for_each(|snapshot| context.output.line(&snapshot.id.to_string()));
        return Ok(());
    }
    let rows = snapshots
        .into_iter()
        .map(|snapshot| {
            let state = match snapshot.progress.0.as_str() {
                "100" | "" => snapshot.consistency.0,
                percent => format!("{percent} % copied"),
            };
            vec![
                snapshot.id.to_string(),
                snapshot.name,
                snapshot.subscription_id.0,
                snapshot.disk.0,
                snapshot.size_mb.0,
                state,
                snapshot.created_at.0,
            ]
        })
        .collect();
    context.output.table(&["id", "name", "server", "disk GB", "size MB", "consistency", "created"], rows);
    Ok(())
}

async fn create(
    context: &Context,
    cloud: &Cloud,
    server: &str,
    name: String,
    limit: Option<Duration>,
) -> Result<()> {
    let server = server::find(cloud, server).await?;
    let form = [("id", server.id.to_string()), ("name", name.clone())];
    let created: Created = parse(cloud.change(Method::POST, "/v1/snapshot/create", &form).await?)?;
    if let Some(limit) = limit {
        let limit = wait::Deadline::after(limit);
        wait::until_done(context, cloud, created.event_id, "Taking the snapshot", limit).await?;
    }
    if context.output.json {
        context.output.json(&json!({"id": created.id, "event_id": created.event_id}));
    } else if context.output.quiet {
        context.output.line(&created.id.to_string());
    } else {
        let done = if limit.is_some() { "done" } else { "under way" };
        context.output.facts(&[
            ("id", created.id.to_string()),
            ("name", name),
            ("server", format!("{} {}", server.id, server.name)),
            ("event", format!("{} {done}", created.event_id)),
        ]);
    }
    Ok(())
}

async fn destroy(context: &Context, cloud: &Cloud, id: u64, yes: bool, wait: bool) -> Result<()> {
    if !yes {
        if !context::is_interactive() {
            return Err(Failure::refused(format!("snapshot {id} would be deleted for good"))
                .hint("add --yes if that is what you want"));
        }
        if !context::confirm(&format!("Delete snapshot {id} for good?"))? {
            return Err(Failure::refused("nothing was deleted"));
        }
    }
    let form = [("id", id.to_string())];
    let began: Began = parse(cloud.change(Method::DELETE, "/v1/snapshot/destroy", &form).await?)?;
    if wait {
        let limit = wait::Deadline::after(Duration::from_secs(300));
        wait::until_done(context, cloud, began.event_id, "Deleting the snapshot", limit).await?;
    }
    if context.output.json {
        context.output.json(&json!({"id": id, "event_id": began.event_id}));
    } else {
        let done = if wait { "is deleted" } else { "is being deleted" };
        context.output.note(&format!("Snapshot {id} {done}."));
    }
    Ok(())
}
