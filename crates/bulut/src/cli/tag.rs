//! Room: the command line. `bulut tag list|add|set|remove`: words on servers.

use super::cloud::{Cloud, parse};
use super::context::Context;
use super::failure::{Failure, Result};
use super::server;
use super::wire::Tag;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

/// Tags on your servers
#[derive(Debug, Subcommand)]
pub enum TagCommand {
    /// List the tags and how many servers carry each
    #[command(visible_alias = "ls")]
    List,
    /// Put tags on servers; what is there stays
    Add {
        /// The tags, with commas between them
        #[arg(value_name = "TAGS")]
        tags: String,
        /// The servers, by id or name
        #[arg(value_name = "SERVER", required = true)]
        servers: Vec<String>,
    },
    /// Make the tags of a server exactly these
    Set {
        /// The server's id, or its name if only one server has it
        server: String,
        /// The tags
        #[arg(value_name = "TAG", required_unless_present = "none")]
        tags: Vec<String>,
        /// It shall have no tags
        #[arg(long, conflicts_with = "tags")]
        none: bool,
    },
    /// Take a tag off all your servers
    #[command(visible_alias = "rm")]
    Remove {
        /// The tag
        tag: String,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: TagCommand) -> Result<()> {
    let cloud = context.cloud().await?;
    match command {
        TagCommand::List => list(context, &cloud).await,
        TagCommand::Add { tags, servers } => add(context, &cloud, &tags, &servers).await,
        TagCommand::Set { server, tags, none: _ } => set(context, &cloud, &server, &tags).await,
        TagCommand::Remove { tag } => remove(context, &cloud, tag).await,
    }
}

async fn list(context: &Context, cloud: &Cloud) -> Result<()> {
    let answer = cloud.get("/v1/tags/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let row = |tag: Tag| vec![tag.tag, tag.count.0, tag.created_at.0];
    let rows = parse::<Vec<Tag>>(answer)?.into_iter().map(row).collect();
    context.output.table(&["tag", "servers", "since"], rows);
    Ok(())
}

async fn add(context: &Context, cloud: &Cloud, tags: &str, servers: &[String]) -> Result<()> {
    let mut form = Vec::with_capacity(servers.len() + 1);
    for given in servers {
        form.push(("sub_ids[]", server::find(cloud, given).await?.id.to_string()));
    }
    form.push(("tags", tags.to_owned()));
    cloud.change(Method::POST, "/v1/tags/create", &form).await?;
    context.output.note(&format!("The tags {tags} are on {}.", servers.join(", ")));
    Ok(())
}

async fn set(context: &Context, cloud: &Cloud, given: &str, tags: &[String]) -> Result<()> {
    let id = server::find(cloud, given).await?.id;
    // A form has no way to say that there shall be none.
    cloud.change_json(Method::PUT, "/v1/tags/update", &json!({"sub_id": id, "tags": tags})).await?;
    let tags = if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
    context.output.note(&format!("The tags of server {id} are now: {tags}."));
    Ok(())
}

async fn remove(context: &Context, cloud: &Cloud, tag: String) -> Result<()> {
    let look = |failure: Failure| failure.hint("bulut tag list");
    cloud.change(Method::DELETE, "/v1/tags/destroy", &[("tag", tag.clone())]).await.map_err(look)?;
    context.output.note(&format!("The tag {tag:?} is off all your servers."));
    Ok(())
}
