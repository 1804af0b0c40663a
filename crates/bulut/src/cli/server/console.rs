//! Room: the command line. `bulut server console`: a server's serial console in this terminal, or a link to its screen.
//!
//! Promises: the terminal is given back as it was found, however this ends: escape key, lost connection, signal,
//! panic. Must not know: how the cloud gets the bytes.

use super::{One, log};
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Output, plain};
use crate::cli::wire::{ConsoleLink, Server};
use futures_util::{SinkExt as _, StreamExt as _};
use nix::sys::termios::{self, SetArg, Termios};
use reqwest::Method;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

/// Ctrl-], as in telnet and virsh: few programs want it.
const ESCAPE: u8 = 0x1d;
/// How much of what was shown before is shown again.
const TAIL: usize = 2_000;

/// Which console.
#[derive(Debug, clap::Args)]
pub struct Open {
    /// Print a URL that opens the screen and the serial line in a browser; it works once, and not for long
    #[arg(long)]
    pub web: bool,
    #[command(flatten)]
    one: One,
}

/// How a console session ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The person pressed the escape key.
    Escaped,
    /// The other side closed: the server is off, or the cloud stopped.
    Closed,
    /// A signal asks this process to end.
    Signal,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, open: &Open) -> Result<()> {
    let server = super::find(cloud, &open.one.server).await?;
    if open.web {
        return link(context, cloud, &server).await;
    }
    let connection = cloud.websocket(&format!("/v2/servers/{}/console/serial", server.id)).await?;
    let socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
    context.output.note(&format!("Console of server {} ({}). Ctrl-] leaves it.", server.id, server.name));
    // Old bytes lose their escape sequences: a terminal would answer old questions, and type that into the guest.
    let tail = tail(&plain(&log::read(cloud, server.id).await?));
    context.output.raw(tail.as_bytes());
    let keys = keys()?;
    let terminal = RawTerminal::enter()?;
    let end = tokio::select! {
        end = talk(socket, keys, context.output) => end,
        end = told_to_end() => end,
    };
    drop(terminal);
    context.output.note("");
    match end? {
        End::Escaped => context.output.note("Left the console; the server goes on."),
        End::Closed => context.output.note("The console was closed."),
        End::Signal => return Err(Failure::broken("ended by a signal")),
    }
    Ok(())
}

/// Prints the link.
async fn link(context: &Context, cloud: &Cloud, server: &Server) -> Result<()> {
    let path = format!("/v2/servers/{}/console", server.id);
    let link: ConsoleLink = parse(cloud.change(Method::POST, &path, &[]).await?)?;
    if context.output.json {
        context.output.json(&link);
    } else {
        context.output.line(&link.url);
        context.output.note(&format!(
            "It opens the console of server {} ({}) once, until {}.",
            server.id, server.name, link.expires_at
        ));
    }
    Ok(())
}

/// Stdin for the runtime: it is read on a thread of its own, which the end of the program does not wait for.
fn keys() -> Result<tokio::fs::File> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|why| Failure::broken(format!("cannot read stdin: {why}")))?;
    Ok(tokio::fs::File::from_std(stdin.into()))
}

/// Carries bytes both ways until one side has enough.
async fn talk<S>(
    mut socket: WebSocketStream<S>,
    mut keys: impl AsyncRead + Unpin,
    output: Output,
) -> Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost =
        |why: &dyn std::fmt::Display| Failure::broken(format!("the console's connection was lost: {why}"));
    let mut buffer = [0; 1024];
    let mut typing = true;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => output.raw(&bytes),
                Some(Ok(Message::Text(text))) => output.raw(text.as_bytes()),
                Some(Ok(Message::Close(_))) | None => return Ok(End::Closed),
                // Pings are answered by the library.
                Some(Ok(_)) => {}
                Some(Err(why)) => return Err(lost(&why)),
            },
            count = keys.read(&mut buffer), if typing => {
                let typed = &buffer[..count.map_err(|why| lost(&why))?];
                // The end of a pipe is no reason to leave: the guest's answer to what was piped is still to come.
                typing = !typed.is_empty();
                let (typed, escaped) = until_escape(typed);
                if !typed.is_empty() {
                    socket.send(Message::binary(typed.to_vec())).await.map_err(|why| lost(&why))?;
                }
                if escaped {
                    // The other side hears of it in any case, when the connection ends.
                    drop(socket.close(None).await);
                    return Ok(End::Escaped);
                }
            }
        }
    }
}

/// What comes before the escape key, and whether it was pressed.
fn until_escape(typed: &[u8]) -> (&[u8], bool) {
    match typed.iter().position(|byte| *byte == ESCAPE) {
        Some(at) => (&typed[..at], true),
        None => (typed, false),
    }
}

/// The last whole lines, and no more than [`TAIL`] bytes.
fn tail(text: &str) -> String {
    let mut start = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let kept = &text[start..];
    if start == 0 {
        kept.to_owned()
    } else {
        kept.split_once('\n').map_or(kept, |(_, whole)| whole).to_owned()
    }
}

async fn told_to_end() -> Result<End> {
    let listen =
        |kind| signal(kind).map_err(|why| Failure::broken(format!("cannot listen for signals: {why}")));
    let (mut term, mut hup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let mut int = listen(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = hup.recv() => {}
        _ = int.recv() => {}
    }
    Ok(End::Signal)
}

/// The terminal in raw mode, as long as this lives. Without a terminal nothing changes.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let failed = |why: nix::Error| Failure::broken(format!("cannot change the terminal's mode: {why}"));
        let before = termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody left to tell when this fails.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_before_the_escape_key_still_goes_out() {
        assert_eq!(until_escape(b"ls\r"), (b"ls\r".as_slice(), false));
        assert_eq!(until_escape(b"ls\x1dmore"), (b"ls".as_slice(), true));
    }

    #[test]
    fn the_tail_begins_at_a_line_and_at_a_character() {
        assert_eq!(tail("short\n"), "short\n");
        let long = format!("{}\nçok uzun\nson\n", "ş".repeat(TAIL));
        assert_eq!(tail(&long), "çok uzun\nson\n");
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_escape_key() {
        let (here, there) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut socket = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
            let mut heard = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Binary(bytes) = message {
                    heard.extend_from_slice(&bytes);
                }
            }
            heard
        });
        let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        let end = talk(socket, &b"root\r\x1d"[..], Output::default()).await.unwrap();
        assert_eq!(end, End::Escaped);
        assert_eq!(server.await.unwrap(), b"root\r");
    }

    #[tokio::test]
    async fn a_pipe_that_ends_leaves_the_console_open_until_the_server_closes_it() {
        let (here, there) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut socket = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
            let first = socket.next().await;
            socket.close(None).await.unwrap();
            first.unwrap().unwrap().into_data()
        });
        let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        assert_eq!(talk(socket, &b"x"[..], Output::default()).await.unwrap(), End::Closed);
        assert_eq!(server.await.unwrap().as_ref(), b"x");
    }
}
