//! Room: the command line. Waiting for a server: until its event is done, until ssh answers, until its own set-up
//! is done.
//!
//! Promises: every wait has an end; what failed is told in the cloud's words. Must not know: why somebody waits.

use super::show::ssh_endpoint;
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::wire::{Endpoint, Event, Setup};
use clap::ValueEnum;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long between two looks. A look costs the cloud well under a millisecond.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt at the ssh port may take. A forwarded port accepts long before the guest answers.
const BANNER_LIMIT: Duration = Duration::from_secs(5);

/// How far to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The server runs
    Running,
    /// Its ssh server answers
    Reachable,
    /// Its own first set-up (cloud-init) is done
    CloudInit,
}

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    span: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(span: Duration) -> Self {
        Self { at: Instant::now() + span, span }
    }

    /// Waits for the next look, or fails when the time is up.
    async fn pause(self, what: &str) -> Result<()> {
        if Instant::now() + PAUSE > self.at {
            return Err(Failure::broken(format!("{what} after {} s", self.span.as_secs()))
                .hint("it may still get there; --timeout SECONDS waits longer"));
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

/// Waits until an event has ended well.
pub async fn until_done(
    context: &Context,
    cloud: &Cloud,
    id: u64,
    what: &str,
    limit: Deadline,
) -> Result<()> {
    let progress = context.output.spinner(&format!("{what} …"));
    loop {
        let event: Event = cloud.read(&format!("/v1/event/{id}")).await?;
        match event.status {
            0 => limit.pause(&format!("event {id} ({}) is still under way", event.event)).await?,
            1 => break,
            _ => {
                drop(progress);
                let why =
                    if event.message.0.is_empty() { "no reason given" } else { event.message.0.as_str() };
                return Err(Failure::broken(format!("{} failed: {why}", event.event))
                    .hint(format!("bulut event show {id}")));
            }
        }
    }
    Ok(())
}

/// Waits until the server's ssh port greets as an ssh server does.
pub async fn until_reachable(context: &Context, cloud: &Cloud, id: u64, limit: Deadline) -> Result<Endpoint> {
    let progress = context.output.spinner("Waiting for ssh …");
    let mut told = None;
    loop {
        let what = match ssh_endpoint(cloud, id).await? {
            None => format!("server {id} has no ssh address yet"),
            Some(ssh) => match greets(&ssh).await {
                Ok(()) => return Ok(ssh),
                Err(why) => {
                    if told.as_ref() != Some(&ssh) {
                        progress.say(&format!("Waiting for ssh at {ssh} …"));
                        told = Some(ssh.clone());
                    }
                    format!("no ssh server answers at {ssh} ({why})")
                }
            },
        };
        limit.pause(&what).await?;
    }
}

/// Waits until the guest says that its own set-up is done.
pub async fn until_set_up(context: &Context, cloud: &Cloud, id: u64, limit: Deadline) -> Result<()> {
    let _progress = context.output.spinner("Waiting for cloud-init …");
    loop {
        let setup: Setup = cloud.read(&format!("/v2/servers/{id}/setup")).await?;
        match setup.status.as_str() {
            "done" => return Ok(()),
            "failed" => {
                return Err(Failure::broken("cloud-init ended with errors")
                    .hint(format!("bulut server ssh {id} -- cloud-init status --long")));
            }
            "unknown" => limit.pause("the guest's agent says nothing about cloud-init").await?,
            _ => limit.pause("cloud-init is still at work").await?,
        }
    }
}

/// Reads the first bytes of an ssh server. To connect alone proves nothing: a forwarded port accepts at once.
async fn greets(ssh: &Endpoint) -> std::result::Result<(), String> {
    let attempt = async {
        let mut stream =
            TcpStream::connect((ssh.host.as_str(), ssh.port)).await.map_err(|why| why.to_string())?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).await.map_err(|_| "it closes the connection".to_owned())?;
        if &banner == b"SSH-" { Ok(()) } else { Err("something else answers".to_owned()) }
    };
    timeout(BANNER_LIMIT, attempt).await.unwrap_or_else(|_| Err("no answer".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    async fn port_that_says(words: &'static [u8]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(words).await;
            }
        });
        Endpoint { host: "127.0.0.1".into(), port }
    }

    #[tokio::test]
    async fn only_an_ssh_banner_is_a_greeting() {
        assert_eq!(greets(&port_that_says(b"SSH-2.0-dropbear\r\n").await).await, Ok(()));
        assert_eq!(greets(&port_that_says(b"").await).await, Err("it closes the connection".into()));
        assert_eq!(
            greets(&port_that_says(b"HTTP/1.1 200\r\n").await).await,
            Err("something else answers".into())
        );
    }

    #[tokio::test]
    async fn a_deadline_is_told_with_its_length() {
        let failure = Deadline::after(Duration::ZERO).pause("no ssh server answers").await.unwrap_err();
        assert_eq!(failure.message, "no ssh server answers after 0 s");
        assert_eq!(failure.exit_code(), 2);
    }
}
