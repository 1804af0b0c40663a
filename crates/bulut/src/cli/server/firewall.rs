//! Room: the command line. `bulut server firewall …`: who may begin to speak to a server, and to whom it may.

use super::{One, wait};
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::wire::Server;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::PathBuf;

/// Rules are tried in their order; the first that fits decides, and what none fits is allowed. A rule has up to five words:
/// in or out, allow or deny, then tcp, udp, icmp or any, ports, and the network of the other side.
#[derive(Debug, Subcommand)]
pub enum FirewallCommand {
    /// List the rules of a server
    #[command(visible_alias = "ls")]
    List(One),
    /// Make the rules of a server exactly these
    Set(Set),
    /// Add a rule, behind the others unless told where
    Add(Add),
    /// Take a rule away
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// How long to wait.
#[derive(Debug, Args)]
pub struct Patience {
    /// Do not wait until it holds
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

impl Patience {
    /// Waits for an event, unless told not to.
    pub async fn wait(&self, context: &Context, cloud: &Cloud, event: u64, what: &str) -> Result<()> {
        if self.no_wait {
            return Ok(());
        }
        let limit = wait::Deadline::after(std::time::Duration::from_secs(self.timeout));
        wait::until_done(context, cloud, event, what, limit).await
    }

    /// How far an event is after that.
    pub fn word(&self) -> &'static str {
        if self.no_wait { "under way" } else { "done" }
    }
}

/// All rules.
#[derive(Debug, Args)]
pub struct Set {
    /// The server's id, or its name if only one server has it
    server: String,
    /// Rules, each in quotes: "in allow tcp 22 10.0.0.0/8" "in deny tcp"
    #[arg(value_name = "RULE", required_unless_present_any = ["file", "clear"], conflicts_with = "file")]
    rules: Vec<String>,
    /// Read the rules from a file, one a line, with # before what is no rule; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take all rules away
    #[arg(long, conflicts_with_all = ["rules", "file"])]
    clear: bool,
    #[command(flatten)]
    patience: Patience,
}

/// One rule.
#[derive(Debug, Args)]
pub struct Add {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The rule's words, such as: in allow tcp 22 10.0.0.0/8
    #[arg(value_name = "WORD", required = true, num_args = 2..=5)]
    words: Vec<String>,
    /// Its place among the others, counted from 1
    #[arg(long, value_name = "NUMBER")]
    position: Option<u64>,
    #[command(flatten)]
    patience: Patience,
}

/// Which rule.
#[derive(Debug, Args)]
pub struct Remove {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The rule's number, as `firewall list` shows it
    number: u64,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Deserialize)]
struct Firewall {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    number: u64,
    direction: String,
    action: String,
    protocol: String,
    ports: Option<String>,
    network: Option<String>,
}

#[derive(Deserialize)]
struct Ordered {
    event_id: u64,
    #[serde(flatten)]
    firewall: Firewall,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, command: FirewallCommand) -> Result<()> {
    match command {
        FirewallCommand::List(one) => {
            let server = super::find(cloud, &one.server).await?;
            let answer = cloud.get(&path(&server), &[]).await?;
            if context.output.json {
                context.output.json(&answer);
            } else {
                show(context, parse(answer)?);
            }
            Ok(())
        }
        FirewallCommand::Set(set) => {
            let rules = if set.clear { Vec::new() } else { wanted(&set)? };
            let server = super::find(cloud, &set.server).await?;
            let answer = cloud.change_json(Method::PUT, &path(&server), &json!({ "rules": rules })).await?;
            settle(context, cloud, &server, answer, &set.patience).await
        }
        FirewallCommand::Add(add) => {
            let server = super::find(cloud, &add.server).await?;
            let names = ["direction", "action", "protocol", "ports", "network"];
            let mut form: Vec<(&str, String)> = names.into_iter().zip(add.words).collect();
            form.extend(add.position.map(|position| ("position", position.to_string())));
            let answer = cloud.change(Method::POST, &path(&server), &form).await?;
            settle(context, cloud, &server, answer, &add.patience).await
        }
        FirewallCommand::Remove(remove) => {
            let server = super::find(cloud, &remove.server).await?;
            let path = format!("{}/{}", path(&server), remove.number);
            let answer = cloud.change(Method::DELETE, &path, &[]).await?;
            settle(context, cloud, &server, answer, &remove.patience).await
        }
    }
}

fn path(server: &Server) -> String {
    format!("/v2/servers/{}/firewall", server.id)
}

fn wanted(set: &Set) -> Result<Vec<String>> {
    let Some(file) = &set.file else { return Ok(set.rules.clone()) };
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|why| Failure::refused(format!("{} cannot be read: {why}", file.display())))?;
    let rules = lines(&text);
    if rules.is_empty() {
        return Err(
            Failure::refused(format!("{} holds no rule", file.display())).hint("--clear takes all away")
        );
    }
    Ok(rules)
}

fn lines(text: &str) -> Vec<String> {
    let bare = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    bare.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn settle(
    context: &Context,
    cloud: &Cloud,
    server: &Server,
    answer: Value,
    patience: &Patience,
) -> Result<()> {
    let ordered: Ordered = parse(answer.clone())?;
    let what = format!("Changing the firewall of server {}", server.id);
    patience.wait(context, cloud, ordered.event_id, &what).await?;
    if context.output.json {
        context.output.json(&answer);
    } else if context.output.quiet {
        context.output.line(&ordered.event_id.to_string());
    } else {
        show(context, ordered.firewall);
        context.output.note(&format!("Event {} is {}.", ordered.event_id, patience.word()));
    }
    Ok(())
}

fn show(context: &Context, firewall: Firewall) {
    let any = || "any".to_owned();
    let row = |rule: Rule| {
        vec![
            rule.number.to_string(),
            rule.direction,
            rule.action,
            rule.protocol,
            rule.ports.unwrap_or_else(any),
            rule.network.unwrap_or_else(any),
        ]
    };
    let head = ["number", "direction", "action", "protocol", "ports", "network"];
    context.output.table(&head, firewall.rules.into_iter().map(row).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_rule_on_each_line_that_says_something() {
        let text =
            "# ssh from the office\nin allow tcp 22 192.0.2.0/24\n\n  in deny tcp 22 # nobody else\n#\n";
        assert_eq!(lines(text), ["in allow tcp 22 192.0.2.0/24", "in deny tcp 22"]);
    }
}
