//! Machines: servers show what their machines do, and machines that no server owns are removed.
//!
//! Servers that an operation holds are left alone: the operation settles what is seen.

use crate::app::App;
use crate::domain::metering;
use crate::domain::servers::boot_again;
use bulut_compute::{Driver, Hint, Observed, Power as Seen};
use bulut_model::server::{Phase, Power, Server};
use bulut_model::{Error, NodeId, Result, ServerId};
use bulut_store::{accounts, operations, servers, settings};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// How often all machines of a node are looked at without a hint.
const EVERY: Duration = Duration::from_secs(10);

/// Watches the machines of all nodes of this process until `stop`.
pub async fn watch(app: App, stop: CancellationToken) {
    let mut nodes = tokio::task::JoinSet::new();
    for node in app.nodes() {
        nodes.spawn(watch_node(app.clone(), node, stop.clone()));
    }
    while nodes.join_next().await.is_some() {}
}

async fn watch_node(app: App, node: NodeId, stop: CancellationToken) {
    let Ok(driver) = app.driver(node) else { return };
    let mut hints = driver.watch();
    // Before the first look, which would show as stopped what the host's restart has ended.
    while let Err(error) = after_host_restart(&app, node, driver.as_ref()).await {
        tracing::warn!(node.id = node.0, %error, "cannot tell yet whether the host had restarted");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    while !stop.is_cancelled() {
        if let Err(error) = look(&app, node, &driver).await {
            tracing::warn!(node.id = node.0, %error, "the node cannot be looked at; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            hint = hints.recv() => match hint {
                Ok(Hint::NetworkMended(_)) => app.metrics().drifted(),
                Ok(Hint::Machine(_) | Hint::Resync) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => tokio::time::sleep(EVERY).await,
            },
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Looks at all machines of a node once and mends what differs. `Unreachable` changes nothing.
pub async fn look(app: &App, node: NodeId, driver: &Arc<dyn Driver>) -> Result<()> {
    // The order matters: a machine seen before its server's row was read may be newer than the row.
    let rows = servers::list_on_node(app.store(), node).await?;
    let seen = match driver.observe_all().await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(node.id = node.0, %error, "the node does not answer");
            return Ok(());
        }
    };
    // Read after the observation: an operation that began in between holds its server by now.
    let held: HashSet<ServerId> = operations::held_servers(app.store()).await?.into_iter().collect();
    let mut seen: HashMap<ServerId, _> = seen.into_iter().collect();
    for server in rows {
        let observed = match seen.remove(&server.id) {
            Some(Ok(observed)) => observed,
            Some(Err(error)) => {
                // Nothing is known of it, so nothing is changed.
                tracing::warn!(server.id = server.id.0, %error, "a machine cannot be looked at");
                continue;
            }
            None => Observed::Absent,
        };
        if server.phase == Phase::Ready && !held.contains(&server.id) {
            mend(app, &server, &observed).await?;
        }
    }
    for id in seen.into_keys().filter(|id| !held.contains(id)) {
        remove_orphan(app, driver, id).await?;
    }
    app.metrics().servers(&servers::count(app.store()).await?);
    Ok(())
}

/// Shows what was seen of a server's machine.
async fn mend(app: &App, server: &Server, observed: &Observed) -> Result<()> {
    let (power, reason) = match observed {
        Observed::Present(present) if present.power == Seen::Running => {
            (Power::Running, present.reason.as_str())
        }
        Observed::Present(present) => (Power::Stopped, present.reason.as_str()),
        Observed::Absent => (Power::Stopped, "the node has no machine for it"),
    };
    if power == server.power {
        return Ok(());
    }
    let tx = app.store().begin().await?;
    accounts::hold(&tx, server.account).await?;
    // An operation that began since holds the server now, and will settle what it sees itself.
    let held = operations::held_servers(&tx).await?.contains(&server.id);
    // One that has ended since the row was read has settled what it saw, which is newer than what we saw.
    let settled = servers::find(&tx, server.id).await?.is_none_or(|now| now.power != server.power);
    if held || settled {
        return tx.rollback().await;
    }
    servers::set_power(&tx, server.id, power).await?;
    metering::server(app, &tx, server.id, app.clock().now()).await?;
    tx.commit().await?;
    app.metrics().drifted();
    tracing::warn!(
        server.id = server.id.0,
        was = server.power.as_str(),
        is = power.as_str(),
        reason,
        "a machine changed by itself"
    );
    Ok(())
}

/// Removes a machine whose server is gone. One that no row knows at all is left alone: the database may be
/// the wrong one.
async fn remove_orphan(app: &App, driver: &Arc<dyn Driver>, id: ServerId) -> Result<()> {
    match servers::find(app.store(), id).await? {
        Some(server) if server.phase == Phase::Destroyed => {
            app.metrics().drifted();
            tracing::warn!(server.id = id.0, "a machine outlived its server; removing it");
            if let Err(error) = driver.remove(id).await {
                tracing::warn!(server.id = id.0, %error, "the machine could not be removed; trying again later");
            }
        }
        Some(_) => {}
        None => tracing::warn!(server.id = id.0, "the node has a machine that this database does not know"),
    }
    Ok(())
}

/// After the host itself restarted, its guests are gone though nobody stopped them: those that ran are started
/// again.
async fn after_host_restart(app: &App, node: NodeId, driver: &dyn Driver) -> Result<()> {
    let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return Ok(()) };
    let name = format!("host_boot/{node}");
    let before = settings::find(app.store(), &name).await?;
    if before.as_deref().is_some_and(|before| before != boot.trim()) {
        for server in servers::list_on_node(app.store(), node).await? {
            let ran = server.phase == Phase::Ready && server.power == Power::Running;
            let observed = driver
                .observe(server.id)
                .await
                .map_err(|error| Error::unavailable("The node does not answer.", error))?;
            let gone = matches!(observed, Observed::Present(present) if present.power == Seen::Stopped);
            if ran && gone {
                boot_again(app, &server).await?;
            }
        }
    }
    settings::set(app.store(), &name, boot.trim()).await
}
