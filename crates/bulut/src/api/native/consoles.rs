//! A server's consoles: a link to the page in a browser, and the serial line over a websocket, where binary frames both
//! ways are the line's bytes.
//!
//! Promises: who may look is settled before the upgrade, so that a refusal is an ordinary answer; when either
//! end goes, the other is closed. Must not know: terminals, or what runs the machine.

use crate::api::native::error::Error;
use crate::api::native::servers::Target;
use crate::api::native::wire::ConsoleLink;
use crate::api::visitor::Visitor;
use crate::app::App;
use crate::domain::{consoles, servers};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bulut_compute::{Console, ConsoleStream};
use bulut_model::Error as ModelError;
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Largest frame that a client may send.
const FRAME_MAX: usize = 64 * 1024;

/// How often a quiet line is tried, so that a client that vanished does not hold the console for ever.
const PING_EVERY: Duration = Duration::from_secs(30);

/// `POST /v2/servers/{id}/console`: a link to the console's page, which works once.
pub async fn open(
    State(app): State<App>,
    visitor: Visitor,
    target: Target,
) -> Result<Json<ConsoleLink>, Error> {
    let ticket = consoles::open(&app, &target.caller, target.server).await?;
    let url = format!("{}{}", visitor.base(app.config()), ticket.path);
    Ok(Json(ConsoleLink { url, expires_at: ticket.expires_at.wire() }))
}

/// `GET /v2/servers/{id}/console/serial`
pub async fn serial(
    State(app): State<App>,
    target: Target,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let upgrade = upgrade.map_err(|rejection| {
        ModelError::invalid("upgrade", "This call is a websocket: send the headers of a websocket handshake.")
            .with_internal(rejection)
    })?;
    let console = servers::console(&app, &target.caller, target.server, Console::Serial).await?;
    let upgrade = upgrade.max_message_size(FRAME_MAX).max_frame_size(FRAME_MAX);
    let (account, server) = (target.caller.account.id, target.server);
    Ok(upgrade.on_upgrade(async move |socket| {
        tracing::info!(account.id = account.0, server.id = server.0, "serial console opened");
        bridge(socket, console).await;
        tracing::info!(account.id = account.0, server.id = server.0, "serial console closed");
    }))
}

/// Carries bytes until one end is done.
async fn bridge(socket: WebSocket, console: Box<dyn ConsoleStream>) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_guest, mut to_guest) = tokio::io::split(console);
    let outward = async {
        let mut buffer = vec![0; 4096];
        loop {
            // A ping fails once the client is gone; its pong needs no attention.
            let message = match tokio::time::timeout(PING_EVERY, from_guest.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(length)) => Message::Binary(Bytes::copy_from_slice(&buffer[..length])),
                Err(_) => Message::Ping(Bytes::new()),
            };
            if to_client.send(message).await.is_err() {
                return;
            }
        }
        // The guest's end is gone: say good-bye. If even that fails, the client went first.
        let _ = to_client.send(Message::Close(None)).await;
    };
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_guest.write_all(&bytes).await.is_err() || to_guest.flush().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
