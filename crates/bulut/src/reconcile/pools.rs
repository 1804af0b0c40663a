//! Networks of pools: nodes masquerade what leaves them from private ones, and refuse what is for addresses that no server
//! has. A pool that comes or goes is told to the nodes of this process; guests go on running meanwhile.

use crate::app::App;
use crate::domain::address_pools;
use bulut_compute::PoolNetwork;
use bulut_model::{Error, NodeId, Result};
use bulut_store::addresses;
use std::collections::HashMap;
use tokio::sync::Mutex;

/// What each node was told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<NodeId, Vec<PoolNetwork>>>);

/// Looks once, and tells the nodes that do not know it yet.
///
/// Errors: `Unavailable` when a node does not answer; the next look tells it.
pub async fn look(app: &App, told: &Told) -> Result<()> {
    let pools = address_pools::networks(&addresses::all_pools(app.store()).await?);
    let mut told = told.0.lock().await;
    for node in app.nodes() {
        if told.get(&node) == Some(&pools) {
            continue;
        }
        let away = |error| Error::unavailable("The node does not answer.", error);
        app.driver(node)?.set_pools(&pools).await.map_err(away)?;
        tracing::info!(node.id = node.0, pools = pools.len(), "the networks of pools told to a node");
        told.insert(node, pools.clone());
    }
    Ok(())
}
