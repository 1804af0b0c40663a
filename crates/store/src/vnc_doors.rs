//! Direct VNC: which port of its node leads to a server's screen. The unique constraint keeps two servers from one port.

use crate::session::{Failure, Row, Session};
use bulut_model::account::Standing;
use bulut_model::server::Phase;
use bulut_model::{AccountId, NodeId, Result, ServerId};

/// A server's port, and the password that opens its screen there, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The server.
    pub server: ServerId,
    /// A TCP port of its node.
    pub port: u16,
    /// The password, sealed for this server.
    pub sealed_password: String,
}

fn door(row: &Row) -> Result<Door, Failure> {
    Ok(Door {
        server: ServerId(row.int("server_id")?),
        port: row.int("port")?.try_into().map_err(|_| Failure::Fault("a port is none".into()))?,
        sealed_password: row.text("sealed_password")?,
    })
}

/// Gives a server a port. `false`: it has one already, or another server has this one.
pub async fn insert(s: &impl Session, node: NodeId, new: &Door) -> Result<bool> {
    let inserted = s
        .execute(
            "INSERT INTO vnc_door (server_id, node_id, port, sealed_password) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
            vec![
                new.server.0.into(),
                node.0.into(),
                i64::from(new.port).into(),
                new.sealed_password.clone().into(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Takes a server's port away.
pub async fn remove(s: &impl Session, server: ServerId) -> Result<()> {
    s.execute("DELETE FROM vnc_door WHERE server_id = $1", vec![server.0.into()]).await?;
    Ok(())
}

/// The doors of an account's servers.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<Door>> {
    let rows = s
        .all(
            "SELECT vnc_door.server_id AS server_id, vnc_door.port AS port, \
             vnc_door.sealed_password AS sealed_password FROM vnc_door \
             JOIN server ON server.id = vnc_door.server_id WHERE server.account_id = $1",
            vec![account.0.into()],
        )
        .await?;
    Ok(rows.iter().map(door).collect::<Result<_, _>>()?)
}

/// The ports that are taken on a node.
pub async fn ports(s: &impl Session, node: NodeId) -> Result<Vec<u16>> {
    let rows = s.all("SELECT port FROM vnc_door WHERE node_id = $1", vec![node.0.into()]).await?;
    let one = |row: &Row| -> Result<_, Failure> { Ok(u16::try_from(row.int("port")?).unwrap_or(0)) };
    Ok(rows.iter().map(one).collect::<Result<_, _>>()?)
}

/// The doors of a node that may be open: those of servers that are there, of accounts in good standing.
pub async fn open_on(s: &impl Session, node: NodeId) -> Result<Vec<Door>> {
    let rows = s
        .all(
            "SELECT vnc_door.server_id AS server_id, vnc_door.port AS port, \
             vnc_door.sealed_password AS sealed_password FROM vnc_door \
             JOIN server ON server.id = vnc_door.server_id JOIN account ON account.id = server.account_id \
             WHERE vnc_door.node_id = $1 AND server.phase IN ($2, $3) AND account.standing = $4 \
             AND account.lacks_funds = 0 ORDER BY vnc_door.server_id",
            vec![
                node.0.into(),
                Phase::Building.as_str().into(),
                Phase::Ready.as_str().into(),
                Standing::Active.as_str().into(),
            ],
        )
        .await?;
    Ok(rows.iter().map(door).collect::<Result<_, _>>()?)
}

/// Servers of a node that have no door, oldest first, at most `limit`.
pub async fn without(s: &impl Session, node: NodeId, limit: i64) -> Result<Vec<ServerId>> {
    let rows = s
        .all(
            "SELECT id FROM server WHERE node_id = $1 AND phase IN ($2, $3) \
             AND NOT EXISTS (SELECT 1 FROM vnc_door WHERE vnc_door.server_id = server.id) ORDER BY id LIMIT $4",
            vec![
                node.0.into(),
                Phase::Building.as_str().into(),
                Phase::Ready.as_str().into(),
                limit.into(),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| row.int("id").map(ServerId)).collect::<Result<_, _>>()?)
}
