//! Room: the command line. `bulut server …`: a customer's servers, through the public API only.
//!
//! Promises: a server is named by its id or by its name, where only one has it. Must not know: the domain; what these
//! commands can do, any client can.

pub mod address;
pub mod change;
pub mod console;
pub mod create;
pub mod destroy;
pub mod firewall;
pub mod hostname;
pub mod list;
pub mod log;
pub mod mode;
pub mod power;
pub mod show;
pub mod ssh;
pub mod wait;

use super::cloud::{Cloud, parse};
use super::context::Context;
use super::failure::{Failure, Result};
use super::wire::Server;
use clap::Subcommand;

/// Servers
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Order a server
    Create(create::Create),
    /// List your servers
    #[command(visible_alias = "ls")]
    List,
    /// Show a server
    Show(One),
    /// Power a server on
    Start(power::Power),
    /// Power a server off: gracefully first, by force after a time limit
    Stop(power::Power),
    /// Restart a server
    Reboot(power::Power),
    /// Say what becomes of a server that idles
    Mode(mode::SetMode),
    /// Give a server another name
    Rename(mode::Rename),
    /// Give root another password
    Password(change::Password),
    /// Give a server another package
    Upgrade(change::Upgrade),
    /// Give a server the disk of a snapshot; its address and keys stay
    Restore(change::Restore),
    /// Install a server anew from an image; its address and keys stay
    Reinstall(change::Reinstall),
    /// Call a server by another name, or show what it is called
    Hostname(hostname::Hostname),
    /// Say who may begin to speak to a server, and to whom it may
    #[command(subcommand)]
    Firewall(firewall::FirewallCommand),
    /// List the addresses of a server, give it one more, or take one back
    #[command(subcommand)]
    Address(address::AddressCommand),
    /// Delete a server and its disk for good
    Destroy(destroy::Destroy),
    /// Log in to a server by ssh, or run a command there
    Ssh(ssh::Ssh),
    /// Open a server's serial console here, or print a link to its screen
    Console(console::Open),
    /// Print what a server's serial console showed
    Log(One),
}

/// One server.
#[derive(Debug, Clone, clap::Args)]
pub struct One {
    /// The server's id, or its name if only one server has it
    #[arg(value_name = "SERVER")]
    pub server: String,
}

/// Runs the command.
pub async fn run(context: &Context, command: ServerCommand) -> Result<()> {
    let cloud = context.cloud().await?;
    match command {
        ServerCommand::Create(order) => create::run(context, &cloud, order).await,
        ServerCommand::List => list::run(context, &cloud).await,
        ServerCommand::Show(one) => show::run(context, &cloud, &one).await,
        ServerCommand::Start(which) => power::run(context, &cloud, power::Verb::Start, which).await,
        ServerCommand::Stop(which) => power::run(context, &cloud, power::Verb::Stop, which).await,
        ServerCommand::Reboot(which) => power::run(context, &cloud, power::Verb::Reboot, which).await,
        ServerCommand::Mode(which) => mode::run(context, &cloud, which).await,
        ServerCommand::Rename(which) => mode::rename(context, &cloud, which).await,
        ServerCommand::Password(which) => change::password(context, &cloud, which).await,
        ServerCommand::Upgrade(which) => change::upgrade(context, &cloud, which).await,
        ServerCommand::Restore(which) => change::restore(context, &cloud, which).await,
        ServerCommand::Reinstall(which) => change::reinstall(context, &cloud, which).await,
        ServerCommand::Hostname(which) => hostname::run(context, &cloud, which).await,
        ServerCommand::Firewall(command) => firewall::run(context, &cloud, command).await,
        ServerCommand::Address(command) => address::run(context, &cloud, command).await,
        ServerCommand::Destroy(which) => destroy::run(context, &cloud, which).await,
        ServerCommand::Ssh(ssh) => ssh::run(context, &cloud, ssh).await,
        ServerCommand::Console(open) => console::run(context, &cloud, &open).await,
        ServerCommand::Log(one) => log::run(context, &cloud, &one).await,
    }
}

/// The server that a person means.
///
/// Digits are an id, even when a server has such a name: what a script says must not change its meaning when
/// somebody renames something.
pub async fn find(cloud: &Cloud, given: &str) -> Result<Server> {
    if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit()) {
        return by_id(cloud, given).await;
    }
    let servers = cloud.read::<Vec<Server>>("/v1/server/list").await?;
    choose(servers, given)
}

async fn by_id(cloud: &Cloud, id: impl std::fmt::Display) -> Result<Server> {
    let answer = cloud.get(&format!("/v1/server/{id}"), &[]).await?;
    let servers: Vec<Server> = parse(answer)?;
    servers.into_iter().next().ok_or_else(|| missing(&format!("with id {id}")))
}

fn choose(servers: Vec<Server>, name: &str) -> Result<Server> {
    let mut named: Vec<Server> = servers.into_iter().filter(|server| server.name == name).collect();
    match named.len() {
        0 => Err(missing(&format!("named {name:?}"))),
        1 => Ok(named.remove(0)),
        count => {
            let ids = named.iter().map(|server| server.id.to_string()).collect::<Vec<_>>().join(", ");
            Err(Failure::refused(format!("{count} servers are named {name:?}"))
                .hint(format!("use an id: {ids}")))
        }
    }
}

fn missing(which: &str) -> Failure {
    Failure::refused(format!("you have no server {which}")).hint("bulut server list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: u64, name: &str) -> Server {
        serde_json::from_value(serde_json::json!({"id": id, "name": name, "state": "Running"})).unwrap()
    }

    #[test]
    fn a_name_is_taken_when_one_server_has_it() {
        let servers = vec![server(1, "web"), server(2, "db"), server(3, "web")];
        assert_eq!(choose(servers.clone(), "db").unwrap().id, 2);
        assert_eq!(choose(servers.clone(), "web").unwrap_err().hint.unwrap(), "use an id: 1, 3");
        assert!(choose(servers, "mail").unwrap_err().message.contains("mail"));
    }
}
