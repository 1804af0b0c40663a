//! Room: the command line. `bulut server destroy`: deletes a server for good, after a question.

use super::wait;
use crate::cli::cloud::Cloud;
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::wire::{Event, Server};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Which server, and whether to ask and to wait.
#[derive(Debug, Args)]
pub struct Destroy {
    /// The server's id, or its name if only one server has it
    server: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Wait until it is gone
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, which: Destroy) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    if !which.yes && !agreed(&server)? {
        return Err(Failure::refused("nothing was deleted"));
    }
    cloud.change(Method::DELETE, &format!("/v1/server/{}/destroy", server.id), &[]).await?;
    if which.wait {
        let limit = wait::Deadline::after(Duration::from_secs(which.timeout));
        let event = its_event(cloud, server.id).await?;
        wait::until_done(context, cloud, event, &format!("Deleting server {}", server.id), limit).await?;
    }
    if context.output.json {
        context.output.json(&json!({"id": server.id, "destroyed": true}));
    } else {
        let done = if which.wait { "is deleted" } else { "is being deleted" };
        context.output.note(&format!("Server {} ({}) {done}.", server.id, server.name));
    }
    Ok(())
}

fn agreed(server: &Server) -> Result<bool> {
    if !context::is_interactive() {
        return Err(Failure::refused(format!("server {} would be deleted with its disk", server.id))
            .hint("add --yes if that is what you want"));
    }
    context::confirm(&format!("Delete server {} ({}) and its disk for good?", server.id, server.name))
}

/// The documented answer to a destroy names no event, so it is looked up: the newest one of its kind and server.
async fn its_event(cloud: &Cloud, server: u64) -> Result<u64> {
    let events: Vec<Event> = cloud.read("/v1/event/list").await?;
    newest_destroy(&events, server).ok_or_else(|| {
        Failure::broken(format!("the cloud shows no event for the deletion of server {server}"))
    })
}

fn newest_destroy(events: &[Event], server: u64) -> Option<u64> {
    let server = server.to_string();
    events.iter().filter(|e| e.event == "VM.DESTROY" && e.subscription_id.0 == server).map(|e| e.id).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_destroy_of_that_server_is_the_one() {
        let events: Vec<Event> = serde_json::from_value(json!([
            {"id": 1, "event": "VM.DESTROY", "status": -1, "subscription_id": 7},
            {"id": 2, "event": "VM.STOP", "status": 1, "subscription_id": 7},
            {"id": 3, "event": "VM.DESTROY", "status": 0, "subscription_id": 7},
            {"id": 4, "event": "VM.DESTROY", "status": 0, "subscription_id": 8},
        ]))
        .unwrap();
        assert_eq!(newest_destroy(&events, 7), Some(3));
        assert_eq!(newest_destroy(&events, 9), None);
    }
}
