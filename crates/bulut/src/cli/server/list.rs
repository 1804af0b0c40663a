//! Room: the command line. `bulut server list`.

use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::wire::Server;

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud) -> Result<()> {
    let answer = cloud.get("/v1/server/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let servers: Vec<Server> = parse(answer)?;
    if context.output.quiet {
        servers.iter().for_each(|server| context.output.line(&server.id.to_string()));
        return Ok(());
    }
    let rows = servers.into_iter().map(row).collect();
    context.output.table(&["id", "name", "state", "address", "image", "package", "region", "created"], rows);
    Ok(())
}

fn row(server: Server) -> Vec<String> {
    let state = if server.active_events.is_empty() { server.state } else { format!("{} …", server.state) };
    let address =
        if server.networks.v4.ip.is_empty() { server.networks.v6.ip } else { server.networks.v4.ip };
    vec![
        server.id.to_string(),
        server.name,
        state,
        address,
        server.image,
        server.package,
        server.region,
        server.created_at.0,
    ]
}
