//! Direct VNC: a TCP port for each server's screen on its node, for VNC programs, where the operator wants that.
//!
//! Promises: a port opens and closes within seconds of its server, its account's suspension included, and takes those who
//! are connected with it; who does not know the password learns nothing of the screen. No byte of screen or keyboard
//! reaches a log. Must not know: who may see which password.

mod handshake;

use crate::app::App;
use crate::domain::vnc_doors::{self, OpenDoor};
use bulut_compute::Console;
use bulut_model::{NodeId, ServerId};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How often doors are compared with servers.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a client may take to show the password.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Connections to one screen at the same time, those under way to the password included.
const VISITORS: usize = 8;
/// The pause after a connection could not be taken, as when the process has too many files open.
const BREATH: Duration = Duration::from_millis(200);

/// A port that is open.
struct Listening {
    port: u16,
    close: CancellationToken,
}

/// Opens and closes ports as servers come and go, until `stop`.
pub async fn serve(app: App, stop: CancellationToken) {
    if !app.config().vnc.direct {
        return;
    }
    let mut nodes: HashMap<NodeId, Doors> = HashMap::new();
    while !stop.is_cancelled() {
        for node in app.nodes() {
            let doors = nodes.entry(node).or_default();
            if let Err(error) = doors.follow(&app, node).await {
                tracing::warn!(node.id = node.0, %error, "screens for VNC programs are as they were");
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The open ports of a node.
#[derive(Default)]
struct Doors {
    open: HashMap<ServerId, Listening>,
    /// Ports that something else holds.
    unusable: BTreeSet<u16>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        for listening in self.open.values() {
            listening.close.cancel();
        }
    }
}

impl Doors {
    async fn follow(&mut self, app: &App, node: NodeId) -> bulut_model::Result<()> {
        let wanted = vnc_doors::open_on(app, node, &self.unusable).await?;
        let ports: HashMap<ServerId, u16> = wanted.iter().map(|door| (door.server, door.port)).collect();
        self.open.retain(|server, listening| {
            let stays = ports.get(server) == Some(&listening.port);
            if !stays {
                listening.close.cancel();
            }
            stays
        });
        for door in wanted {
            if !self.open.contains_key(&door.server) {
                self.open(app, node, door).await;
            }
        }
        Ok(())
    }

    async fn open(&mut self, app: &App, node: NodeId, door: OpenDoor) {
        let at = SocketAddr::new(app.config().vnc.listen, door.port);
        let listener = match TcpListener::bind(at).await {
            Ok(listener) => listener,
            Err(why) => {
                tracing::warn!(address = %at, %why, "a port for VNC programs cannot be taken; the server gets another");
                // An address that is not ours would make every port unusable.
                if why.kind() == io::ErrorKind::AddrInUse {
                    self.unusable.insert(door.port);
                }
                return;
            }
        };
        let close = CancellationToken::new();
        self.open.insert(door.server, Listening { port: door.port, close: close.clone() });
        tokio::spawn(take_visitors(app.clone(), node, door, listener, close));
    }
}

async fn take_visitors(
    app: App,
    node: NodeId,
    door: OpenDoor,
    listener: TcpListener,
    close: CancellationToken,
) {
    let (door, seats) = (Arc::new(door), Arc::new(Semaphore::new(VISITORS)));
    loop {
        let taken = tokio::select! {
            () = close.cancelled() => return,
            taken = listener.accept() => taken,
        };
        let Ok((client, _)) = taken else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // Who finds no seat is hung up on.
        let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
        let (app, door, close) = (app.clone(), Arc::clone(&door), close.clone());
        tokio::spawn(async move {
            let server = door.server.0;
            tokio::select! {
                () = close.cancelled() => {}
                ended = visit(&app, node, &door, client) => if let Err(why) = ended {
                    tracing::debug!(server.id = server, %why, "a VNC program was cut off");
                }
            }
            drop(seat);
        });
    }
}

/// A connection from its first byte to its last.
async fn visit(app: &App, node: NodeId, door: &OpenDoor, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = door.server.0;
    let admitted = tokio::time::timeout(HANDSHAKE, handshake::admit(&mut client, door.password)).await;
    if !admitted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        let peer = client.peer_addr().ok();
        tracing::info!(
            server.id = server,
            peer = peer.map(tracing::field::display),
            "a VNC program gave a wrong password"
        );
        return Ok(());
    }
    let driver = app.driver(node).map_err(io::Error::other)?;
    let mut machine = driver.console(door.server, Console::Vnc).await.map_err(io::Error::other)?;
    tokio::time::timeout(HANDSHAKE, handshake::greet(&mut machine))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tracing::info!(server.id = server, "a VNC program is connected");
    let carried = tokio::io::copy_bidirectional(&mut client, &mut machine).await;
    tracing::info!(server.id = server, "a VNC program is gone");
    carried.map(|_| ())
}
