//! Room: the command line. `bulut server start|stop|reboot`.

use super::wait;
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::wire::Began;
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Which server, and whether to wait.
#[derive(Debug, Args)]
pub struct Power {
    /// The server's id, or its name if only one server has it
    server: String,
    /// Wait until it is done; `--wait=reachable` until ssh answers too (start and reboot)
    #[arg(long, value_enum, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "running")]
    wait: Option<Stage>,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// How far to wait: cloud-init runs at the first boot only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// The event is done
    #[value(alias = "done")]
    Running,
    /// The ssh server answers
    Reachable,
}

/// What to do with the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// On.
    Start,
    /// Off.
    Stop,
    /// Off and on.
    Reboot,
}

impl Verb {
    /// The word in the path.
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
        }
    }

    const fn doing(self) -> &'static str {
        match self {
            Self::Start => "Starting",
            Self::Stop => "Stopping",
            Self::Reboot => "Restarting",
        }
    }
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, verb: Verb, which: Power) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    let path = format!("/v1/server/{}/{}", server.id, verb.word());
    let began: Began = parse(cloud.change(Method::POST, &path, &[]).await?)?;
    if let Some(stage) = which.wait {
        let limit = wait::Deadline::after(Duration::from_secs(which.timeout));
        let what = format!("{} server {}", verb.doing(), server.id);
        wait::until_done(context, cloud, began.event_id, &what, limit).await?;
        if stage == Stage::Reachable && verb != Verb::Stop {
            wait::until_reachable(context, cloud, server.id, limit).await?;
        }
    }
    if context.output.json {
        context.output.json(&json!({"id": server.id, "event_id": began.event_id}));
    } else if context.output.quiet {
        context.output.line(&began.event_id.to_string());
    } else {
        let done = if which.wait.is_some() { "done" } else { "under way" };
        context.output.facts(&[
            ("server", format!("{} {}", server.id, server.name)),
            ("event", format!("{} {done}", began.event_id)),
        ]);
    }
    Ok(())
}
