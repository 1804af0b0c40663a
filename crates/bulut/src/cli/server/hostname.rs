//! Room: the command line. `bulut server hostname`: what a server is called, in its guest and by its addresses.

use super::wait;
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::wire::Event;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Which server, and its new name.
#[derive(Debug, Args)]
pub struct Hostname {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The new host name, fully qualified, for example web1.example.com; shows the present one if absent
    hostname: Option<String>,
    /// Wait until it is done
    #[arg(long, requires = "hostname")]
    wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Deserialize)]
struct Called {
    hostname: String,
    reverse_name: Option<String>,
    default_name: Option<String>,
    warning: Option<String>,
}

#[derive(Deserialize)]
struct Ordered {
    event_id: u64,
    hostname: String,
    warning: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, which: Hostname) -> Result<()> {
    let server = super::find(cloud, &which.server).await?;
    let path = format!("/v2/servers/{}/hostname", server.id);
    let Some(hostname) = which.hostname else { return show(context, cloud, &path).await };
    let answer = cloud.change(Method::PUT, &path, &[("hostname", hostname)]).await?;
    let ordered: Ordered = parse(answer)?;
    let mut remark = None;
    if which.wait {
        let limit = wait::Deadline::after(Duration::from_secs(which.timeout));
        let what = format!("Calling server {} {}", server.id, ordered.hostname);
        wait::until_done(context, cloud, ordered.event_id, &what, limit).await?;
        let event: Event = cloud.read(&format!("/v1/event/{}", ordered.event_id)).await?;
        remark = Some(event.message.0).filter(|message| !message.is_empty());
    }
    if let Some(warning) = &ordered.warning {
        context.output.warn(warning);
    }
    if context.output.json {
        context.output.json(&json!({
            "id": server.id, "event_id": ordered.event_id, "hostname": ordered.hostname,
            "warning": ordered.warning, "message": remark
        }));
    } else if context.output.quiet {
        context.output.line(&ordered.event_id.to_string());
    } else {
        let done = if which.wait { "done" } else { "under way" };
        context.output.facts(&[
            ("server", format!("{} {}", server.id, server.name)),
            ("hostname", ordered.hostname),
            ("event", format!("{} {done}", ordered.event_id)),
        ]);
        if let Some(remark) = remark {
            context.output.note(&remark);
        }
    }
    Ok(())
}

async fn show(context: &Context, cloud: &Cloud, path: &str) -> Result<()> {
    let answer = cloud.get(path, &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let called: Called = parse(answer)?;
    if context.output.quiet {
        context.output.line(&called.hostname);
        return Ok(());
    }
    let none = || "none".to_owned();
    context.output.facts(&[
        ("hostname", called.hostname),
        ("reverse name", called.reverse_name.unwrap_or_else(none)),
        ("default name", called.default_name.unwrap_or_else(none)),
    ]);
    if let Some(warning) = called.warning {
        context.output.warn(&warning);
    }
    Ok(())
}
