//! Traffic: every minute the counters of all machines are read, and what they have grown by is added to the minute
//! that has passed; then servers are stopped or slowed down whose package wants that when its traffic is used up, and
//! those that should be faster or slower than they are told so. What is billed beyond packages is written down. Every hour old samples are rolled up.

use crate::app::App;
use crate::domain::forgeries;
use crate::domain::rates::tell;
use crate::domain::traffic::{bill_beyond, reading, stop_at_limit};
use bulut_compute::{DriverError, Usage};
use bulut_model::traffic::{Minute, Reading};
use bulut_model::traffic_month::Month;
use bulut_model::{NodeId, Result, ServerId};
use bulut_store::{rates, servers, traffic, traffic_months};
use futures_util::StreamExt as _;
use std::collections::HashSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Machines of a node that are asked at the same time.
const AT_ONCE: usize = 8;
/// Machines whose counters are written in one transaction.
const BATCH: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Servers of a node that are stopped, or told their rates, in one look.
const CHANGED_AT_ONCE: i64 = 100;
/// Hours or days that are made in one transaction.
const ROLLED_AT_ONCE: i64 = 200;
/// Samples that are forgotten by one statement.
const FORGOTTEN_AT_ONCE: i64 = 500;
/// Minutes of an hour and of a day.
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// Samples at the beginning of each minute until `stop`.
pub async fn watch(app: App, stop: CancellationToken) {
    loop {
        let into_minute = app.clock().now().since(Minute::of(app.clock().now()).begin());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MINUTE.saturating_sub(into_minute)) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = look(&app) => {}
        }
    }
}

async fn look(app: &App) {
    sample(app).await;
    if let Err(error) = hold_to_limits(app).await {
        tracing::warn!(%error, "servers were not held to their traffic; the next minute does it");
    }
    for node in app.nodes() {
        if let Err(error) = bill_beyond(app, node).await {
            tracing::warn!(node.id = node.0, %error, "traffic was not billed; the next minute does it");
        }
    }
    if let Err(error) = hold_to_rates(app).await {
        tracing::warn!(%error, "servers were not told their rates; the next minute does it");
    }
}

/// Tells the servers of this process's nodes their rates, where those are others than they had: what is slowed down until
/// the month is over, what need not be slow any more, and those whose package has changed.
pub async fn hold_to_rates(app: &App) -> Result<()> {
    let month = Month::of(app.clock().now());
    for node in app.nodes() {
        // Where rates mean nothing, nobody waits for one either.
        if !app.driver(node)?.abilities().filters {
            continue;
        }
        for (server, account) in rates::list_to_tell(app.store(), node, month, CHANGED_AT_ONCE).await? {
            if let Err(error) = tell(app, server, account).await {
                tracing::warn!(server.id = server.0, %error, "a server was not told its rates");
            }
        }
    }
    Ok(())
}

/// Stops the servers of this process's nodes that have used up their month, where their package wants that.
pub async fn hold_to_limits(app: &App) -> Result<()> {
    let month = Month::of(app.clock().now());
    for node in app.nodes() {
        for (server, account) in
            traffic_months::list_to_stop(app.store(), node, month, CHANGED_AT_ONCE).await?
        {
            if let Err(error) = stop_at_limit(app, server, account).await {
                tracing::warn!(server.id = server.0, %error, "a server beyond its traffic was not stopped");
            }
        }
    }
    Ok(())
}

/// Rolls up what is old: minutes into hours, hours into days, a batch at a time; and forgets what is older than that.
pub async fn roll_up(app: &App) -> Result<()> {
    let settings = &app.config().traffic;
    let before = |age, step: i64| Minute(Minute::of(app.clock().now().minus(age)).0 / step * step);
    let days = before(settings.hours_kept_for(), DAY);
    let hours = before(settings.minutes_kept_for(), HOUR);
    for (from, to, step) in [(Minute(0), days, DAY), (days, hours, HOUR)] {
        loop {
            let tx = app.store().begin().await?;
            let rolled = traffic::roll_up(&tx, from, to, step, ROLLED_AT_ONCE).await?;
            tx.commit().await?;
            if rolled == 0 {
                break;
            }
        }
    }
    let end = before(settings.days_kept_for(), DAY);
    while traffic::forget_samples(app.store(), end, FORGOTTEN_AT_ONCE).await? > 0 {}
    Ok(())
}

/// Samples all machines of this process's nodes. One that cannot be asked loses nothing: its counters go on, and the
/// next look finds all of it.
pub async fn sample(app: &App) {
    for node in app.nodes() {
        if let Err(error) = sample_node(app, node).await {
            tracing::warn!(node.id = node.0, %error, "the traffic of a node was not sampled; the next minute has it");
        }
    }
}

async fn sample_node(app: &App, node: NodeId) -> Result<()> {
    let driver = app.driver(node)?;
    let seen: HashSet<(ServerId, Reading)> = traffic::seen_on(app.store(), node).await?.into_iter().collect();
    let machines = servers::list_on_node(app.store(), node).await?.into_iter().map(|server| server.id);
    let asked = futures_util::stream::iter(machines).map(|id| {
        let driver = driver.clone();
        async move { (id, driver.usage(id).await) }
    });
    let mut grown: Vec<(ServerId, Reading)> = asked
        .buffer_unordered(AT_ONCE)
        .filter_map(|(id, answer)| std::future::ready(told(id, answer)))
        .filter(|found| std::future::ready(!seen.contains(found)))
        .collect()
        .await;
    // In one order everywhere, so that two who write the same rows wait for each other once.
    grown.sort_by_key(|(id, _)| *id);
    let now = app.clock().now();
    // The middle of what has passed since the last sample lies in the minute that has just ended.
    let minute = Minute::of(now.minus(MINUTE / 2));
    for batch in grown.chunks(BATCH) {
        let tx = app.store().begin().await?;
        let mut forged = Vec::new();
        for (id, reading) in batch {
            forged.push((*id, traffic::record(&tx, *id, reading, minute, now).await?.forged_frames));
        }
        tx.commit().await?;
        for (id, frames) in forged {
            forgeries::tell(app, id, frames);
        }
    }
    Ok(())
}

fn told(id: ServerId, answer: std::result::Result<Usage, DriverError>) -> Option<(ServerId, Reading)> {
    match answer {
        Ok(usage) => Some((id, reading(usage))),
        // It is being made or removed.
        Err(DriverError::Gone(_)) => None,
        Err(error) => {
            tracing::debug!(server.id = id.0, %error, "a machine does not tell its traffic");
            None
        }
    }
}
