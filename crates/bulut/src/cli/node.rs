//! Room: the command line. `bulut node list`: the hosts of the cloud, and what is reserved on them.

use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use crate::domain::nodes;
use bulut_store::nodes::Node;
use clap::Subcommand;

/// Hosts of the cloud on this machine
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes, with what is reserved of what they hold
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        settings: Settings,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: NodeCommand) -> Result<()> {
    let NodeCommand::List { settings } = command;
    let nodes = nodes::list(&settings.open().await?).await?;
    if context.output.json {
        context.output.json(&nodes);
    } else {
        let rows = nodes.into_iter().map(row).collect();
        context.output.table(&["id", "name", "driver", "state", "cpu", "memory MiB", "disk GiB"], rows);
    }
    Ok(())
}

fn row(node: Node) -> Vec<String> {
    let (of, taken) = (node.capacity, node.reserved);
    vec![
        node.id.to_string(),
        node.name,
        node.driver,
        node.state,
        format!("{}/{}", taken.cpu, of.cpu),
        format!("{}/{}", taken.memory_mib, of.memory_mib),
        format!("{}/{}", taken.disk_gib, of.disk_gib),
    ]
}
