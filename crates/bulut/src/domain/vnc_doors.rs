//! Direct VNC: a port and a password for each server's screen, where the operator wants that.
//!
//! Promises: no two servers of a node share a port; a password is made by us, stored sealed, and shown to the server's
//! account alone, unless it wants no secrets shown. Must not know: the protocol.

use crate::app::App;
use crate::clock::random_bytes;
use crate::domain::access::Caller;
use bulut_model::{NodeId, Result, ServerId};
use bulut_store::vnc_doors::{self, Door};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Servers that get their ports in one transaction.
const BATCH: i64 = 100;
/// The length that the protocol's passwords have (RFC 6143, 7.2.2).
pub const PASSWORD_LENGTH: usize = 8;
/// 64 letters, so that each random byte gives one without preferring any. All of them can be typed anywhere.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A door that may be open.
pub struct OpenDoor {
    /// Whose screen it leads to.
    pub server: ServerId,
    /// At which port.
    pub port: u16,
    /// What opens it.
    pub password: [u8; PASSWORD_LENGTH],
}

impl fmt::Debug for OpenDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDoor")
            .field("server", &self.server)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn place(server: ServerId) -> String {
    format!("vnc_door/{server}/password")
}

fn new_password() -> [u8; PASSWORD_LENGTH] {
    random_bytes::<PASSWORD_LENGTH>().map(|byte| LETTERS[usize::from(byte % 64)])
}

/// Port and password of each of the caller's servers that has them; none where direct VNC is off.
pub async fn shown(app: &App, caller: &Caller) -> Result<HashMap<ServerId, (u16, String)>> {
    if !app.config().vnc.direct || caller.account.hides_secrets {
        return Ok(HashMap::new());
    }
    let doors = vnc_doors::list(app.store(), caller.account.id).await?;
    let open = |door: Door| {
        let password = app.vault().open_sealed(&place(door.server), &door.sealed_password)?;
        Ok((door.server, (door.port, String::from_utf8_lossy(&password).into_owned())))
    };
    doors.into_iter().map(open).collect()
}

/// The doors that may be open on a node now, after each of its servers that had none has got one. `unusable` are ports
/// that something else holds: what has one of them gets another.
pub async fn open_on(app: &App, node: NodeId, unusable: &BTreeSet<u16>) -> Result<Vec<OpenDoor>> {
    let mut doors = vnc_doors::open_on(app.store(), node).await?;
    // Looked at without a transaction first: nearly always there is nothing to do.
    let all_stay = doors.iter().all(|door| may_stay(app, door.port, unusable));
    if !all_stay || !vnc_doors::without(app.store(), node, 1).await?.is_empty() {
        give(app, node, unusable).await?;
        doors = vnc_doors::open_on(app.store(), node).await?;
    }
    let open = |door: Door| {
        let sealed = app.vault().open_sealed(&place(door.server), &door.sealed_password)?;
        let mut password = [0; PASSWORD_LENGTH];
        for (letter, byte) in password.iter_mut().zip(sealed.iter()) {
            *letter = *byte;
        }
        Ok(OpenDoor { server: door.server, port: door.port, password })
    };
    doors.into_iter().map(open).collect()
}

/// Whether a port can be kept: nothing else holds it, and the range has not been changed.
fn may_stay(app: &App, port: u16, unusable: &BTreeSet<u16>) -> bool {
    !unusable.contains(&port) && app.config().vnc.ports().contains(&port)
}

async fn give(app: &App, node: NodeId, unusable: &BTreeSet<u16>) -> Result<()> {
    let tx = app.store().begin().await?;
    for door in vnc_doors::open_on(&tx, node).await? {
        if !may_stay(app, door.port, unusable) {
            vnc_doors::remove(&tx, door.server).await?;
        }
    }
    let servers = vnc_doors::without(&tx, node, BATCH).await?;
    if servers.is_empty() {
        return tx.commit().await;
    }
    let taken: BTreeSet<u16> = vnc_doors::ports(&tx, node).await?.into_iter().collect();
    let free = app.config().vnc.ports().filter(|port| !taken.contains(port) && !unusable.contains(port));
    let mut given = 0;
    for (server, port) in servers.iter().zip(free) {
        let sealed_password = app.vault().seal(&place(*server), &new_password())?;
        // A port that another process gave away in the same moment is passed by; there is a next time.
        vnc_doors::insert(&tx, node, &Door { server: *server, port, sealed_password }).await?;
        given += 1;
    }
    tx.commit().await?;
    if given < servers.len() {
        tracing::warn!(node.id = node.0, "all ports for direct VNC are taken: vnc.last_port is too low");
    }
    Ok(())
}
