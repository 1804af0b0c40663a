//! Private networks: the pools whose addresses mean nothing outside, and which nodes therefore have to masquerade. A pool
//! that comes or goes is told to the nodes of this process; guests go on running meanwhile.

use crate::app::App;
use crate::domain::address_pools::is_private;
use bulut_model::{Error, NodeId, Result};
use bulut_store::addresses;
use std::collections::HashMap;
use std::net::IpAddr;
use tokio::sync::Mutex;

/// What each node was told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<NodeId, Vec<(IpAddr, u8)>>>);

/// Looks once, and tells the nodes that do not know it yet.
///
/// Errors: `Unavailable` when a node does not answer; the next look tells it.
pub async fn look(app: &App, told: &Told) -> Result<()> {
    let pools = addresses::all_pools(app.store()).await?;
    let private: Vec<(IpAddr, u8)> = pools
        .iter()
        .filter(|pool| is_private(pool.network))
        .map(|pool| (pool.network, pool.prefix))
        .collect();
    let mut told = told.0.lock().await;
    for node in app.nodes() {
        if told.get(&node) == Some(&private) {
            continue;
        }
        let away = |error| Error::unavailable("The node does not answer.", error);
        app.driver(node)?.masquerade(&private).await.map_err(away)?;
        tracing::info!(node.id = node.0, networks = private.len(), "private networks told to a node");
        told.insert(node, private.clone());
    }
    Ok(())
}
