//! Nodes: this host as a member of the cloud.

use crate::app::App;
use crate::config::Config;
use anyhow::Context as _;
use bulut_compute::{Driver, Probe};
use bulut_model::Result;
use bulut_store::nodes::{self, Node, Size};
use bulut_store::regions;
use std::sync::Arc;

/// All nodes with what is reserved on them.
pub async fn list(app: &App) -> Result<Vec<Node>> {
    nodes::list(app.store()).await
}

/// Makes this host a node: registers its capacity and gives this process its driver.
pub async fn join(app: &App, driver: Arc<dyn Driver>) -> anyhow::Result<Node> {
    let config = app.config();
    let probe = driver.probe().await?;
    let region = regions::find(app.store(), &config.region).await?;
    let region = region
        .with_context(|| format!("the setting region names '{}', which does not exist", config.region))?;
    let now = app.clock().now();
    let node =
        nodes::ensure(app.store(), region.id, &config.node, &config.driver, capacity(config, &probe), now)
            .await?;
    tracing::info!(
        node.id = node.id.0,
        engine = probe.engine,
        acceleration = probe.acceleration,
        reason = probe.reason,
        cpu = node.capacity.cpu,
        memory_mib = node.capacity.memory_mib,
        disk_gib = node.capacity.disk_gib,
        "node joined"
    );
    app.attach(node.id, driver);
    Ok(node)
}

/// What may be reserved on a host of this size.
fn capacity(config: &Config, probe: &Probe) -> Size {
    let percent = |amount: u64, percent: u32| {
        i64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(i64::MAX)
    };
    Size {
        cpu: percent(u64::from(probe.cpu), config.cpu_overcommit_percent),
        memory_mib: percent(probe.memory_mib, config.memory_overcommit_percent),
        disk_gib: percent(probe.disk_gib, config.disk_overcommit_percent),
    }
}
