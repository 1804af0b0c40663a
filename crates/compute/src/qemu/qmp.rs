//! The client of QEMU's monitor protocol: one JSON value a line over a unix socket.
//!
//! One task owns the socket. Replies are matched by id, every command has a time limit, events are broadcast, and
//! fields that this client does not know are passed over, so that QEMU 7.2 and its successors all fit.
//! A lost socket means *unknown*: whoever holds the client looks at the process then.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::codec::{Framed, LinesCodec};

/// How long a command may take when the caller says nothing else.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// A longer line is not QMP, bytes.
const LINE_LIMIT: usize = 4 << 20;

/// What QEMU says unasked.
#[derive(Debug, Clone)]
pub struct Event {
    /// `SHUTDOWN`, `RESET`, …
    pub name: String,
    /// What belongs to it; `null` when nothing does.
    pub data: Value,
}

/// Why a command has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QmpError {
    /// The socket could not be reached or is gone: nothing is known about what the command did.
    #[error("QEMU's monitor is not connected")]
    Closed,
    /// No answer came within the limit.
    #[error("QEMU did not answer {0} in time")]
    Timeout(String),
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's own sentence.
        reason: String,
    },
}

impl From<QmpError> for crate::DriverError {
    fn from(e: QmpError) -> Self {
        Self::retry(e)
    }
}

type Reply = Result<Value, String>;

struct Request {
    command: String,
    arguments: Value,
    reply: oneshot::Sender<Reply>,
}

/// A connection to one QEMU's monitor. Its task ends when this is dropped or QEMU closes the socket.
#[derive(Debug)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
    closed: watch::Receiver<bool>,
}

impl Qmp {
    /// Connects and leaves the negotiation mode.
    ///
    /// # Errors
    /// `Closed` when nobody listens, `Timeout` when somebody else holds the monitor: QEMU greets one client at a time.
    pub async fn connect(path: &Path, limit: Duration) -> Result<Self, QmpError> {
        let lines = tokio::time::timeout(limit, greeted(path))
            .await
            .map_err(|_| QmpError::Timeout("its greeting".into()))??;
        let (requests, inbox) = mpsc::channel(16);
        let (events, _) = broadcast::channel(256);
        let (closing, closed) = watch::channel(false);
        tokio::spawn(own(lines, inbox, events.clone(), closing));
        let qmp = Self { requests, events, closed };
        qmp.execute_within("qmp_capabilities", Value::Null, limit).await?;
        Ok(qmp)
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Returns once the socket is gone and every event of it has been broadcast.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error says that the owner's task is gone, which is the same thing.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Runs a command without arguments.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn execute(&self, command: &str) -> Result<Value, QmpError> {
        self.execute_within(command, Value::Null, COMMAND_LIMIT).await
    }

    /// Runs a command with arguments (`null` for none) and a time limit.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command: command.to_owned(), arguments, reply };
        let ask = async {
            self.requests.send(request).await.map_err(|_| QmpError::Closed)?;
            answer.await.map_err(|_| QmpError::Closed)
        };
        match tokio::time::timeout(limit, ask).await {
            Err(_) => Err(QmpError::Timeout(command.to_owned())),
            Ok(Err(e)) => Err(e),
            Ok(Ok(Err(reason))) => Err(QmpError::Refused { command: command.to_owned(), reason }),
            Ok(Ok(Ok(value))) => Ok(value),
        }
    }
}

type Lines = Framed<UnixStream, LinesCodec>;

/// Connects and reads QEMU's greeting.
async fn greeted(path: &Path) -> Result<Lines, QmpError> {
    let stream = UnixStream::connect(path).await.map_err(|_| QmpError::Closed)?;
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LINE_LIMIT));
    while let Some(line) = lines.next().await {
        let line = line.map_err(|_| QmpError::Closed)?;
        if serde_json::from_str::<Value>(&line).is_ok_and(|v| v.get("QMP").is_some()) {
            return Ok(lines);
        }
    }
    Err(QmpError::Closed)
}

/// Owns the socket until it closes or nobody holds the client any more.
async fn own(
    mut lines: Lines,
    mut inbox: mpsc::Receiver<Request>,
    events: broadcast::Sender<Event>,
    closing: watch::Sender<bool>,
) {
    let mut waiting: HashMap<u64, oneshot::Sender<Reply>> = HashMap::new();
    let mut next_id = 0_u64;
    loop {
        tokio::select! {
            request = inbox.recv() => {
                let Some(Request { command, arguments, reply }) = request else { break };
                // Whoever stopped waiting has dropped the other half; its answer will be passed over.
                waiting.retain(|_, reply| !reply.is_closed());
                next_id += 1;
                let mut message = json!({ "execute": command, "id": next_id });
                if !arguments.is_null() {
                    message["arguments"] = arguments;
                }
                waiting.insert(next_id, reply);
                if lines.send(message.to_string()).await.is_err() {
                    break;
                }
            }
            line = lines.next() => {
                let Some(Ok(line)) = line else { break };
                take(&line, &mut waiting, &events);
            }
        }
    }
    let _ = closing.send(true);
}

/// Hands one line to whom it concerns.
fn take(line: &str, waiting: &mut HashMap<u64, oneshot::Sender<Reply>>, events: &broadcast::Sender<Event>) {
    let Ok(mut message) = serde_json::from_str::<Value>(line) else {
        tracing::warn!(length = line.len(), "QEMU sent a line that is not JSON");
        return;
    };
    if let Some(name) = message.get("event").and_then(Value::as_str) {
        let event =
            Event { name: name.to_owned(), data: message.get("data").cloned().unwrap_or(Value::Null) };
        // No receiver is no fault.
        let _ = events.send(event);
        return;
    }
    let reply = message.get("id").and_then(Value::as_u64).and_then(|id| waiting.remove(&id));
    let Some(reply) = reply else { return };
    let answer = match message.get("error") {
        Some(error) => Err(error.get("desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned()),
        None => Ok(message.get_mut("return").map(Value::take).unwrap_or(Value::Null)),
    };
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    /// A monitor that answers each line by what `answer` makes of it.
    fn monitor(path: &Path, answer: impl Fn(&Value) -> Vec<String> + Send + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            write
                .write_all(b"{\"QMP\":{\"version\":{\"new\":1},\"capabilities\":[\"oob\"]}}\r\n")
                .await
                .unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let asked: Value = serde_json::from_str(&line).unwrap();
                if asked["execute"] == "qmp_capabilities" {
                    let reply = json!({ "return": {}, "id": asked["id"] });
                    write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
                    continue;
                }
                for line in answer(&asked) {
                    if line == "EOF" {
                        return;
                    }
                    write.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
                }
            }
        });
    }

    #[tokio::test]
    async fn replies_are_matched_by_id_and_events_are_broadcast() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let held = std::sync::Mutex::new(None::<Value>);
        monitor(&path, move |asked| {
            let mut held = held.lock().unwrap();
            match asked["execute"].as_str().unwrap() {
                "first" => {
                    *held = Some(asked["id"].clone());
                    vec![json!({ "event": "RESET", "data": { "guest": true }, "timestamp": {} }).to_string()]
                }
                _ => vec![
                    json!({ "return": "second", "id": asked["id"], "unknown": 1 }).to_string(),
                    json!({ "return": "first", "id": held.take() }).to_string(),
                ],
            }
        });
        let qmp = Qmp::connect(&path, Duration::from_secs(5)).await.unwrap();
        let mut events = qmp.events();
        let (first, second) = tokio::join!(qmp.execute("first"), qmp.execute("second"));
        assert_eq!((first.unwrap(), second.unwrap()), (json!("first"), json!("second")));
        let event = events.recv().await.unwrap();
        assert_eq!((event.name.as_str(), &event.data["guest"]), ("RESET", &json!(true)));
    }

    #[tokio::test]
    async fn a_refusal_carries_qemus_words_and_silence_ends_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        monitor(&path, |asked| match asked["execute"].as_str().unwrap() {
            "silent" => vec!["not json".into()],
            _ => vec![
                json!({ "error": { "class": "GenericError", "desc": "no" }, "id": asked["id"] }).to_string(),
            ],
        });
        let qmp = Qmp::connect(&path, Duration::from_secs(5)).await.unwrap();
        let limit = Duration::from_millis(50);
        assert!(matches!(qmp.execute_within("silent", Value::Null, limit).await, Err(QmpError::Timeout(_))));
        match qmp.execute("bad").await {
            Err(QmpError::Refused { reason, .. }) => assert_eq!(reason, "no"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_end_of_the_socket_fails_what_waits_and_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        monitor(&path, |_| vec![json!({ "event": "SHUTDOWN", "data": {} }).to_string(), "EOF".into()]);
        let qmp = Qmp::connect(&path, Duration::from_secs(5)).await.unwrap();
        let mut events = qmp.events();
        assert!(matches!(qmp.execute("quit").await, Err(QmpError::Closed)));
        tokio::time::timeout(Duration::from_secs(5), qmp.closed()).await.unwrap();
        assert_eq!(events.try_recv().unwrap().name, "SHUTDOWN", "events come before the end");
        assert!(matches!(qmp.execute("quit").await, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn nobody_there_is_closed_and_a_taken_monitor_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        assert!(matches!(Qmp::connect(&path, Duration::from_secs(1)).await, Err(QmpError::Closed)));
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(Qmp::connect(&path, Duration::from_millis(50)).await, Err(QmpError::Timeout(_))));
    }
}
