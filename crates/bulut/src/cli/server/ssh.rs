//! Room: the command line. `bulut server ssh`: becomes the system's ssh, with the right address and host key.
//!
//! Promises: host keys are kept by server, not by address, because an address is given to another server later; they
//! are kept in a file of our own, so that the person's known_hosts stays as it is.

use super::show::ssh_endpoint;
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::wire::Endpoint;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which server, as whom, and what to run.
#[derive(Debug, Args)]
pub struct Ssh {
    /// The server's id, or its name if only one server has it
    server: String,
    /// The private key to log in with
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The user to log in as
    #[arg(long, default_value = "root")]
    user: String,
    /// A command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command. When all goes well this process is ssh, and its exit code is ssh's.
pub async fn run(context: &Context, cloud: &Cloud, ssh: Ssh) -> Result<()> {
    let server = super::find(cloud, &ssh.server).await?;
    let endpoint = ssh_endpoint(cloud, server.id).await?.ok_or_else(|| {
        Failure::refused(format!("server {} has no ssh address yet", server.id))
            .hint(format!("its state is {}; bulut server show {}", server.state, server.id))
    })?;
    if server.state == "Stopped" {
        return Err(Failure::refused(format!("server {} is off", server.id))
            .hint(format!("bulut server start {} --wait=reachable", server.id)));
    }
    context.home.ensure()?;
    let alias = host_key_alias(cloud.url(), server.id);
    let arguments = arguments(&ssh, &endpoint, &alias, &context.home.known_hosts()?);
    let why = Command::new("ssh").args(arguments).exec();
    Err(Failure::refused(format!("cannot run ssh: {why}"))
        .hint("install an ssh client, such as the package openssh-client"))
}

fn arguments(ssh: &Ssh, endpoint: &Endpoint, alias: &str, known_hosts: &Path) -> Vec<OsString> {
    let mut hosts_file = OsString::from("UserKnownHostsFile=\"");
    hosts_file.push(known_hosts);
    hosts_file.push("\"");
    let mut arguments: Vec<OsString> = vec![
        "-o".into(),
        hosts_file,
        "-o".into(),
        "StrictHostKeyChecking=accept-new".into(),
        "-o".into(),
        format!("HostKeyAlias={alias}").into(),
        // Addresses and forwarded ports go from one server to the next; only the alias tells them apart.
        "-o".into(),
        "CheckHostIP=no".into(),
        "-p".into(),
        endpoint.port.to_string().into(),
        "-l".into(),
        ssh.user.clone().into(),
    ];
    if let Some(identity) = &ssh.identity {
        arguments.extend(["-i".into(), identity.into(), "-o".into(), "IdentitiesOnly=yes".into()]);
    }
    arguments.push("--".into());
    arguments.push(endpoint.host.clone().into());
    arguments.extend(ssh.command.iter().cloned());
    arguments
}

/// One name for a server of a cloud: ids are never reused within one, and two clouds may have the same ids.
fn host_key_alias(url: &str, id: u64) -> String {
    let cloud: String =
        url.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("bulut-{cloud}-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_gets_the_address_the_alias_and_the_command_as_they_are() {
        let ssh = Ssh {
            server: "7".into(),
            identity: Some("/k/id".into()),
            user: "root".into(),
            command: vec!["echo".into(), "a b".into()],
        };
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 2207 };
        let alias = host_key_alias("http://127.0.0.1:8080", 7);
        let line = arguments(&ssh, &endpoint, &alias, Path::new("/home/a b/known_hosts"));
        let line: Vec<_> = line.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            line,
            [
                "-o",
                "UserKnownHostsFile=\"/home/a b/known_hosts\"",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "HostKeyAlias=bulut-http---127.0.0.1-8080-7",
                "-o",
                "CheckHostIP=no",
                "-p",
                "2207",
                "-l",
                "root",
                "-i",
                "/k/id",
                "-o",
                "IdentitiesOnly=yes",
                "--",
                "127.0.0.1",
                "echo",
                "a b",
            ]
        );
    }
}
