//! Room: the command line. `bulut event list|show`: what happened and is under way.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::server::wait;
use super::wire::Event;
use clap::Subcommand;
use std::time::Duration;

/// Events: changes that take time
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// List the last day's events, newest last
    #[command(visible_alias = "ls")]
    List,
    /// Show one event
    Show {
        /// The event's id
        id: u64,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
        /// Give up waiting after so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u64,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: EventCommand) -> Result<()> {
    let cloud = context.cloud().await?;
    match command {
        EventCommand::List => {
            let answer = cloud.get("/v1/event/list", &[]).await?;
            if context.output.json {
                context.output.json(&answer);
                return Ok(());
            }
            let rows = parse::<Vec<Event>>(answer)?.into_iter().map(row).collect();
            context.output.table(&["id", "event", "server", "status", "began", "ended", "message"], rows);
        }
        EventCommand::Show { id, wait, timeout } => {
            if wait {
                let limit = wait::Deadline::after(Duration::from_secs(timeout));
                wait::until_done(context, &cloud, id, &format!("Event {id}"), limit).await?;
            }
            let answer = cloud.get(&format!("/v1/event/{id}"), &[]).await?;
            if context.output.json {
                context.output.json(&answer);
                return Ok(());
            }
            let event: Event = parse(answer)?;
            let names = ["id", "event", "server", "status", "began", "ended", "message"];
            let facts: Vec<_> =
                names.into_iter().zip(row(event)).filter(|(_, value)| !value.is_empty()).collect();
            context.output.facts(&facts);
        }
    }
    Ok(())
}

fn row(event: Event) -> Vec<String> {
    let status = event.word().to_owned();
    vec![
        event.id.to_string(),
        event.event,
        event.subscription_id.0,
        status,
        event.created_at.0,
        event.completed_at.0,
        event.message.0,
    ]
}
