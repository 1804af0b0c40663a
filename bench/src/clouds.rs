//! The program under test on a simulated node with room for thousands of servers.
//!
//! Promises: what is ordered here has ended before anything is measured on top of it. Must not know: what is
//! measured.

use anyhow::{Context as _, ensure};
use bulut_model::Timestamp;
use bulut_model::address::Ipv4Network;
use bulut_store::{Store, addresses, regions};
use bulut_testkit::Database;
use bulut_testkit::program::Program;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The log's filter: the program's own default, since the tests' is louder.
pub const LOG: &str = "info,sqlx=warn";

/// Cores, MiB and GiB of the node.
const NODE: &str = "8192,33554432,1048576";
/// Besides the seeded pool of 250 addresses.
const POOL: &str = "10.90.0.0/20";
/// Connections that order and destroy what is not measured.
const HANDS: usize = 8;
/// How long all operations together may take to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts the program on a fresh database.
pub async fn start(binary: &str, database: Database) -> anyhow::Result<Program> {
    let mut settings = vec![
        ("BULUT_DRIVER", "simulated".to_owned()),
        ("BULUT_SIMULATED_SIZE", NODE.to_owned()),
        ("BULUT_LOG", LOG.to_owned()),
        // What is measured is how much it can, not how much a client may.
        ("BULUT_RATE_LIMITS", "false".to_owned()),
        // Nor how much its balance covers.
        ("BULUT_BILLING_COVER_HOURS", "0".to_owned()),
    ];
    if database == Database::Postgres {
        settings.push(("BULUT_DATABASE", database.fresh(&std::env::temp_dir()).await));
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(binary, "tiny", None, &settings).await;
    add_addresses(&program).await.context("the larger pool")?;
    Ok(program)
}

async fn add_addresses(program: &Program) -> anyhow::Result<()> {
    let store = Store::open(&program.database(), 1).await?;
    let region = regions::find(&store, "ist2").await?.context("the seeds have no region ist2")?;
    let network = Ipv4Network::parse(POOL).map_err(anyhow::Error::msg)?;
    let gateway = network.first();
    let addresses: Vec<_> =
        network.hosts().map(|it| (it, (it == gateway).then_some("the gateway"))).collect();
    let tx = store.begin().await?;
    addresses::ensure_pool(
        &tx,
        region.id,
        network.network.into(),
        network.prefix,
        gateway.into(),
        &[],
        &addresses,
        Timestamp::default(),
    )
    .await?;
    tx.commit().await?;
    store.close().await?;
    Ok(())
}

/// What a customer orders.
pub fn order(name: &str) -> [(&'static str, String); 4] {
    [
        ("name", name.to_owned()),
        ("region", "ist2".into()),
        ("package", "eos1".into()),
        ("image", "tiny".into()),
    ]
}

/// Orders so many servers, and waits until all of them run.
pub async fn fill(program: &Program, servers: usize) -> anyhow::Result<()> {
    let orders = stream::iter(0..servers).map(|number| async move {
        let order = order(&format!("server-{number}"));
        let form: Vec<(&str, &str)> = order.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = program.call("POST", "/v1/server/create", &form).await;
        ensure!(answer["status"] == "success", "an order was refused: {answer}");
        Ok(())
    });
    orders.buffer_unordered(HANDS).try_collect::<()>().await?;
    settled(program, servers).await
}

/// Waits until there are so many servers, all of them running and with nothing under way.
pub async fn settled(program: &Program, servers: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let list = list(program).await?;
        let idle = |server: &Value| {
            server["state"] == "Running" && server["active_events"].as_array().is_some_and(Vec::is_empty)
        };
        if list.len() == servers && list.iter().all(idle) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the operations do not end:\n{}", program.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Destroys all servers, and waits until they are gone.
pub async fn empty(program: &Program) -> anyhow::Result<()> {
    let ids: Vec<i64> = list(program).await?.iter().filter_map(|server| server["id"].as_i64()).collect();
    let ends = stream::iter(ids).map(|id| async move {
        let answer = program.call("DELETE", &format!("/v1/server/{id}/destroy"), &[]).await;
        ensure!(answer["status"] == "success", "server {id} was not destroyed: {answer}");
        Ok(())
    });
    ends.buffer_unordered(HANDS).try_collect::<()>().await?;
    settled(program, 0).await
}

async fn list(program: &Program) -> anyhow::Result<Vec<Value>> {
    match program.data("GET", "/v1/server/list", &[]).await {
        Value::Array(servers) => Ok(servers),
        other => anyhow::bail!("server/list answered {other}"),
    }
}
