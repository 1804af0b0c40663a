//! The console's websockets: bytes of the screen or of the serial line, both ways.
//!
//! Promises: only a page of ours with the session's cookie gets one; it ends within seconds of the session, and says
//! why; a client that does not read holds up nobody but itself, and one that is gone is noticed. No byte of screen,
//! line or keyboard reaches a log. Must not know: what a session is.

use super::hands::Hands;
use super::seats::{Seat, Seats};
use super::{secret, status};
use crate::api::visitor::Visitor;
use crate::app::App;
use crate::domain::consoles::{self, Over, Session, State as Standing};
use crate::domain::servers;
use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bulut_compute::Console;
use bulut_model::error::Kind;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, interval_at, timeout};

/// Largest frame that a client may send.
const FRAME_MAX: usize = 64 * 1024;
/// What is read from the machine at once; a client that is slow makes the machine wait after that much.
const CHUNK: usize = 32 * 1024;
/// How much of the kept log is shown.
const LOG_MAX: usize = 256 * 1024;
/// How often it is looked whether the session is still open.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the client is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a client may be silent, and how long the database may be away before the session counts as over.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often at most it is written down that a console is used.
const NOTE_EVERY: Duration = Duration::from_secs(30);
/// How long a client that is told good-bye has to take it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a socket ends. The numbers go over the wire: they are free for applications (RFC 6455, 7.4.2).
enum End {
    /// The client left.
    Left,
    /// The client has not been heard of.
    Silent,
    /// The machine does not run.
    Off,
    /// The machine runs, but does not answer now.
    Away,
    /// The session is over.
    Over(Over),
}

impl End {
    const fn frame(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Left | Self::Silent => None,
            Self::Off => Some((4001, "The server is off.")),
            Self::Away => Some((4002, "The machine does not answer at the moment.")),
            Self::Over(over) => Some((4003, over.sentence())),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Left => "the client left",
            Self::Silent => "the client fell silent",
            Self::Off => "the machine stopped",
            Self::Away => "the machine does not answer",
            Self::Over(_) => "the session is over",
        }
    }
}

/// Who is connected to what.
struct Line {
    app: App,
    session: Session,
    secret: String,
    console: Console,
    _seat: Seat,
}

/// What the client does, as far as it matters for keeping its socket open.
#[derive(Default)]
struct Signs {
    /// Something came from it.
    life: AtomicBool,
    /// Something came from its hands.
    hands: AtomicBool,
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `GET /console/{id}/screen`
pub async fn screen(
    state: (State<App>, State<Seats>),
    visitor: Visitor,
    headers: HeaderMap,
    path: Path<String>,
    upgrade: Upgrade,
) -> Response {
    connect(state, &visitor, &headers, path, upgrade, Console::Vnc).await
}

/// `GET /console/{id}/serial`: the kept log in binary frames, a text frame (`live` or `off`), then the line.
pub async fn serial(
    state: (State<App>, State<Seats>),
    visitor: Visitor,
    headers: HeaderMap,
    path: Path<String>,
    upgrade: Upgrade,
) -> Response {
    connect(state, &visitor, &headers, path, upgrade, Console::Serial).await
}

async fn connect(
    (State(app), State(seats)): (State<App>, State<Seats>),
    visitor: &Visitor,
    headers: &HeaderMap,
    Path(id): Path<String>,
    upgrade: Upgrade,
    console: Console,
) -> Response {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    // Browsers send cookies of ours with whatever page asks; the origin says which page it was.
    if !origin.is_some_and(|origin| visitor.is_at(origin)) {
        return refuse(StatusCode::FORBIDDEN, "Only the console's own page may open this.");
    }
    let secret = secret(headers).to_owned();
    let session = match consoles::resume(&app, &id, &secret).await {
        Ok(Standing::Open(session)) => *session,
        Ok(Standing::Over(over)) => return refuse(status(over), over.sentence()),
        Err(error) => return super::super::answer(&error.into()),
    };
    let Ok(upgrade) = upgrade else {
        return refuse(StatusCode::BAD_REQUEST, "This call is a websocket.");
    };
    let Some(seat) = seats.take(session.account.id) else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "Too many consoles of this account are open.");
    };
    let line = Line { app, session, secret, console, _seat: seat };
    upgrade
        .protocols(["binary"])
        .max_message_size(FRAME_MAX)
        .max_frame_size(FRAME_MAX)
        .on_upgrade(move |socket| line.serve(socket))
}

fn refuse(status: StatusCode, sentence: &'static str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

impl Line {
    async fn serve(self, socket: WebSocket) {
        let (account, server) = (self.session.account.id.0, self.session.server.id.0);
        let (console, which) = (&self.session.id, self.console);
        tracing::info!(account.id = account, server.id = server, console.id = console, ?which, "connected");
        let (mut sink, stream) = socket.split();
        let end = self.carry(&mut sink, stream).await;
        tracing::info!(
            account.id = account,
            server.id = server,
            console.id = console,
            ?which,
            why = end.word(),
            "disconnected"
        );
        if let Some((code, reason)) = end.frame() {
            let goodbye = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            // A client that is gone as well has nothing to be told.
            let _ = timeout(GOODBYE, sink.send(goodbye)).await;
        }
    }

    async fn carry(&self, sink: &mut SplitSink<WebSocket, Message>, stream: SplitStream<WebSocket>) -> End {
        let signs = Signs::default();
        tokio::select! {
            end = self.talk(sink, stream, &signs) => end,
            end = self.watch(&signs) => end,
        }
    }

    /// Connects to the machine and carries bytes until one side is done.
    async fn talk(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        stream: SplitStream<WebSocket>,
        signs: &Signs,
    ) -> End {
        let caller = self.session.caller();
        // The line is taken before its log is read: what the guest says in between comes twice rather than not at all.
        let opened = servers::console(&self.app, &caller, self.session.server.id, self.console).await;
        if self.console == Console::Serial && self.show_log(sink, opened.is_ok()).await.is_err() {
            return End::Left;
        }
        let machine = match opened {
            Ok(machine) => machine,
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => return End::Off,
            Err(error) => {
                tracing::debug!(cause = %error.internal, "a console cannot be opened");
                return End::Away;
            }
        };
        let (from_machine, to_machine) = tokio::io::split(machine);
        tokio::select! {
            end = outward(from_machine, sink) => end,
            end = self.inward(stream, to_machine, signs) => end,
        }
    }

    /// Sends the kept log, and whether the line follows it.
    async fn show_log(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        live: bool,
    ) -> Result<(), axum::Error> {
        let caller = self.session.caller();
        // Where there is no machine yet, there is no log either.
        let log = servers::serial_log(&self.app, &caller, self.session.server.id, LOG_MAX).await;
        let log = whole_lines(log.unwrap_or_default());
        let mut at = 0;
        while at < log.len() {
            let end = (at + CHUNK).min(log.len());
            sink.send(Message::Binary(log.slice(at..end))).await?;
            at = end;
        }
        sink.send(Message::Text(if live { "live" } else { "off" }.into())).await
    }

    /// Carries what the client sends.
    async fn inward(
        &self,
        mut stream: SplitStream<WebSocket>,
        mut to_machine: impl AsyncWrite + Unpin,
        signs: &Signs,
    ) -> End {
        let mut hands = Hands::default();
        while let Some(Ok(message)) = stream.next().await {
            signs.life.store(true, Ordering::Relaxed);
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if self.console == Console::Serial || hands.see(&bytes) {
                signs.hands.store(true, Ordering::Relaxed);
            }
            if to_machine.write_all(&bytes).await.is_err() || to_machine.flush().await.is_err() {
                return End::Off;
            }
        }
        End::Left
    }

    /// Returns when the session is over or the client has fallen silent.
    async fn watch(&self, signs: &Signs) -> End {
        let note_every = NOTE_EVERY.min(self.app.config().console_idle_limit() / 4);
        let (mut heard, mut seen, mut noted) = (Instant::now(), Instant::now(), None::<Instant>);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Instant::now();
            if signs.life.swap(false, Ordering::Relaxed) {
                heard = now;
            }
            if now - heard > PATIENCE {
                return End::Silent;
            }
            // The session is looked at first: what is over is not prolonged.
            match consoles::resume(&self.app, &self.session.id, &self.secret).await {
                Ok(Standing::Open(_)) => seen = now,
                Ok(Standing::Over(over)) => return End::Over(over),
                Err(error) if now - seen > PATIENCE => {
                    tracing::warn!(cause = %error.internal, "whether a console is open cannot be seen; it is closed");
                    return End::Away;
                }
                Err(_) => continue,
            }
            let due = noted.is_none_or(|noted| now - noted >= note_every);
            if due && signs.hands.swap(false, Ordering::Relaxed) {
                noted = Some(now);
                if let Err(error) = consoles::touch(&self.app, &self.session).await {
                    tracing::debug!(cause = %error.internal, "the use of a console could not be noted");
                    signs.hands.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Carries what the machine says, and asks a client now and then whether it is there. Each frame waits until the
/// client has taken the one before it.
async fn outward(mut from_machine: impl AsyncRead + Unpin, sink: &mut SplitSink<WebSocket, Message>) -> End {
    let mut buffer = vec![0; CHUNK];
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let message = tokio::select! {
            read = from_machine.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return End::Off,
                Ok(length) => Message::Binary(Bytes::copy_from_slice(&buffer[..length])),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return End::Left;
        }
    }
}

/// A log that was cut off at its beginning begins with its first whole line.
fn whole_lines(log: Bytes) -> Bytes {
    if log.len() < LOG_MAX {
        return log;
    }
    let after = log.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    log.slice(after..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_fits_into_a_closing_frame() {
        let overs = [
            Over::Unknown,
            Over::Used,
            Over::Expired,
            Over::ServerGone,
            Over::AccountChanged,
            Over::Idle,
            Over::TimeUp,
        ];
        let ends = overs.into_iter().map(End::Over).chain([End::Off, End::Away]);
        for (code, reason) in ends.filter_map(|end| end.frame()) {
            // RFC 6455, 5.5: control frames carry 125 bytes, two of which are the code.
            assert!((4000..5000).contains(&code) && reason.len() <= 123, "{reason}");
        }
    }

    #[test]
    fn a_log_begins_with_a_whole_line() {
        assert_eq!(whole_lines(Bytes::from_static(b"short\nlog")), "short\nlog");
        let mut long = vec![b'x'; LOG_MAX - 4];
        long.extend(b"\nend");
        assert_eq!(whole_lines(long.into()), "end");
        assert_eq!(
            whole_lines(vec![b'x'; LOG_MAX].into()).len(),
            LOG_MAX,
            "one endless line is better than none"
        );
    }
}
