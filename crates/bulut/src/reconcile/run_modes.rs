//! Run modes: machines are looked at every minute for what they use, new ones more often, and safe ones that have idled
//! for long enough are powered off.
//!
//! Promises: what was seen is in the database, so that a restart forgets nothing; a server that became busy, changed its
//! mode or is held by an operation in the last moment is left alone.

use crate::app::App;
use bulut_compute::{DriverError, GuestUsage, Usage};
use bulut_model::error::Kind;
use bulut_model::operation::OperationKind;
use bulut_model::run_mode::{Look, MachineUsage, RunMode};
use bulut_model::server::{Phase, Power, Server};
use bulut_model::{NodeId, Result, Timestamp};
use bulut_store::operations::Subject;
use bulut_store::{accounts, machine_usage, operations, servers};
use futures_util::StreamExt as _;

/// Machines of a node that are asked at the same time: one whose guest has no agent takes two seconds to show it.
const AT_ONCE: usize = 32;
/// Machines whose use is written in one transaction.
const BATCH: usize = 100;

/// Looks at those machines of all nodes of this process that are due.
pub async fn look(app: &App) -> Result<()> {
    for node in app.nodes() {
        if let Err(error) = look_at(app, node).await {
            tracing::warn!(node.id = node.0, %error, "the use of a node's machines was not seen");
        }
    }
    Ok(())
}

async fn look_at(app: &App, node: NodeId) -> Result<()> {
    let driver = app.driver(node)?;
    let seen = machine_usage::seen_on(app.store(), node).await?;
    let mut rows = servers::list_on_node(app.store(), node).await?;
    rows.retain(|server| {
        let runs = server.phase == Phase::Ready && server.power == Power::Running;
        runs && is_due(app, server, seen.get(&server.id).copied())
    });
    let asked = futures_util::stream::iter(rows).map(|server| {
        let driver = driver.clone();
        async move {
            let answer = driver.usage(server.id).await;
            // The moment that counts is when the counters were read.
            let at = app.clock().now();
            let guest = driver.guest_usage(server.id).await.unwrap_or_default();
            (at, server, answer.map(|usage| (usage, guest)))
        }
    });
    let mut seen: Vec<_> = asked
        .buffer_unordered(AT_ONCE)
        .filter_map(|(at, server, answer)| std::future::ready(looked(at, server, answer)))
        .collect()
        .await;
    // In one order everywhere, so that two who write the same rows wait for each other once.
    seen.sort_by_key(|(server, _)| server.id);
    let rules = app.config().idle.rules();
    let mut idle = Vec::new();
    for batch in seen.chunks(BATCH) {
        let tx = app.store().begin().await?;
        for (server, look) in batch {
            let usage = machine_usage::record(&tx, server.id, look.clone(), rules).await?;
            if server.run_mode == RunMode::Safe && has_idled(app, &usage) {
                idle.push(server);
            }
        }
        tx.commit().await?;
    }
    for server in idle {
        power_off(app, server).await?;
    }
    Ok(())
}

/// Whether it is time to look: after a while, at every opportunity while the server is new and somebody may look at it,
/// and when the clock was set back.
fn is_due(app: &App, server: &Server, seen_at: Option<Timestamp>) -> bool {
    let (now, every) = (app.clock().now(), app.config().idle.look_every());
    let is_new = now.since(server.created_at) < every * 2;
    seen_at.is_none_or(|seen_at| is_new || seen_at > now || now.since(seen_at) >= every)
}

fn looked(
    at: Timestamp,
    server: Server,
    answer: std::result::Result<(Usage, GuestUsage), DriverError>,
) -> Option<(Server, Look)> {
    let (usage, guest) = match answer {
        Ok(told) => told,
        // It is being made or removed.
        Err(DriverError::Gone(_)) => return None,
        Err(error) => {
            tracing::debug!(server.id = server.id.0, %error, "a machine does not tell what it uses");
            return None;
        }
    };
    let look = Look {
        epoch: usage.epoch,
        cpus: server.cpu,
        cpu_us: usage.cpu_us,
        traffic_bytes: usage.received_bytes.saturating_add(usage.sent_bytes),
        // The guest knows better than its machine, which never gives back what it once took.
        memory_bytes: guest.memory_bytes.unwrap_or(usage.memory_bytes),
        disk_bytes: guest.disk_bytes.unwrap_or(usage.disk_bytes),
        at,
    };
    Some((server, look))
}

fn has_idled(app: &App, usage: &MachineUsage) -> bool {
    usage.idle >= app.config().idle.limit()
}

/// Powers an idle server off, unless something has changed since it was looked at. Nobody asked, so nobody is refused:
/// an operation that holds the server decides, and the next look comes.
async fn power_off(app: &App, seen: &Server) -> Result<()> {
    let tx = app.store().begin().await?;
    accounts::hold(&tx, seen.account).await?;
    let server = servers::find_owned(&tx, seen.account, seen.id).await?;
    let usage = machine_usage::find(&tx, seen.id).await?;
    let still = server.is_some_and(|server| {
        server.run_mode == RunMode::Safe && server.phase == Phase::Ready && server.power == Power::Running
    });
    let Some(usage) = usage.filter(|usage| still && has_idled(app, usage)) else {
        return tx.rollback().await;
    };
    let subject = Subject { account: seen.account, server: seen.id, snapshot: None, node: seen.node };
    match operations::insert(&tx, OperationKind::ServerStop, subject, "{}", app.clock().now()).await {
        Ok(operation) => {
            // It has idled until it is started again: a stop that fails is ordered again at the next look.
            servers::set_power(&tx, seen.id, Power::Stopping).await?;
            tx.commit().await?;
            app.work().notify_one();
            let idle_s = usage.idle.as_secs();
            tracing::info!(
                server.id = seen.id.0,
                operation.id = operation.0,
                idle_s,
                "powering off an idle server"
            );
            Ok(())
        }
        Err(error) if error.kind == Kind::Conflict => tx.rollback().await,
        Err(error) => Err(error),
    }
}
