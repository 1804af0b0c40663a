//! Traffic of the account's servers: telling it, counting it, and what becomes of a server that has used all that its
//! package includes.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::forgeries;
use crate::domain::metering;
use crate::domain::plans::Plan;
use crate::domain::servers;
use bulut_compute::{DriverError, Usage};
use bulut_model::error::Kind;
use bulut_model::operation::OperationKind;
use bulut_model::server::{Power, Server};
use bulut_model::traffic::{Minute, Reading, Sample, Step, Window};
use bulut_model::traffic_month::{AtLimit, Month, MonthUse};
use bulut_model::{AccountId, Error, NodeId, OperationId, Result, ServerId, Timestamp};
use bulut_store::operations::Subject;
use bulut_store::traffic_months::{self, Line};
use bulut_store::{Session, accounts, intervals, operations, rates, servers as server_rows, traffic};
use std::time::Duration;

/// Most points in one answer.
const POINTS_MAX: usize = 10_000;
/// How long a machine may take to tell its counters while something else waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which traffic somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// From when; a day before the end if nobody says.
    pub from: Option<Timestamp>,
    /// Until when; now if nobody says.
    pub to: Option<Timestamp>,
    /// What is added up.
    pub step: Step,
}

/// What a server of the account received and sent, oldest first. Minutes without traffic are left out.
///
/// Errors: `Invalid` for a span of time that is none or has too much to tell; `NotFound`, also for somebody else's.
pub async fn list(app: &App, caller: &Caller, id: ServerId, asked: Asked) -> Result<Vec<Sample>> {
    let window = Window::new(asked.from, asked.to, asked.step, app.clock().now())?;
    let server = servers::get(app, caller, id).await?;
    let samples = traffic::list(app.store(), server.id, &window, POINTS_MAX + 1).await?;
    if samples.len() <= POINTS_MAX {
        return Ok(samples);
    }
    Err(Error::invalid(
        "step",
        format!(
            "The parameter step is too short for this span of time, which has more than {POINTS_MAX} points: send a \
             longer one such as hour or day, or a later from."
        ),
    ))
}

/// What a driver tells, for the store.
pub fn reading(usage: Usage) -> Reading {
    Reading {
        epoch: usage.epoch,
        received_bytes: usage.received_bytes,
        sent_bytes: usage.sent_bytes,
        forged_frames: usage.forged_frames,
    }
}

/// Counts what a machine has moved until now: to be done when it has stopped and before it starts, since its counters
/// begin anew with the next start and end with the machine. What cannot be read stands in nobody's way.
pub async fn count(app: &App, node: NodeId, id: ServerId) {
    let counted = match tokio::time::timeout(PATIENCE, read(app, node, id)).await {
        Ok(counted) => counted,
        Err(_) => {
            Err(Error::unavailable("The machine does not answer.", "its counters were not read in time"))
        }
    };
    if let Err(error) = counted {
        tracing::warn!(server.id = id.0, %error, "the last traffic of a machine's run may be lost");
    }
}

async fn read(app: &App, node: NodeId, id: ServerId) -> Result<()> {
    let usage = match app.driver(node)?.usage(id).await {
        Ok(usage) => usage,
        // It was never made.
        Err(DriverError::Gone(_)) => return Ok(()),
        Err(error) => return Err(Error::unavailable("The machine does not answer.", error)),
    };
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let grown = traffic::record(&tx, id, &reading(usage), Minute::of(now), now).await?;
    tx.commit().await?;
    forgeries::tell(app, id, grown.forged_frames);
    Ok(())
}

/// What all servers moved in a month, those first that moved most: the operator's verb.
pub async fn month(app: &App, month: Option<Month>) -> Result<(Month, Vec<Line>)> {
    let month = month.unwrap_or_else(|| Month::of(app.clock().now()));
    Ok((month, traffic_months::list(app.store(), month).await?))
}

/// What each package includes, TB, and what becomes of its servers that have used all of it.
pub async fn at_limits(app: &App) -> Result<Vec<(String, u64, AtLimit)>> {
    traffic_months::at_limits(app.store()).await
}

/// Sets what becomes of servers of a package that have used all.
///
/// Errors: `NotFound`.
pub async fn set_at_limit(app: &App, package: &str, action: AtLimit) -> Result<()> {
    if !traffic_months::set_at_limit(app.store(), package, action).await? {
        return Err(Error::not_found(format!("There is no package '{package}'.")));
    }
    tracing::info!(package, action = action.as_str(), "action at the traffic limit set");
    Ok(())
}

/// Lets a server use more than its package includes until this month is over, or takes that back.
///
/// Errors: `NotFound`.
pub async fn set_allowed(app: &App, id: ServerId, allowed: bool) -> Result<Month> {
    let month = Month::of(app.clock().now());
    if traffic_months::find(app.store(), id, month).await?.is_none() {
        return Err(Error::not_found(format!("There is no server with id {id}.")));
    }
    traffic_months::set_allowed(app.store(), id, month, allowed).await?;
    tracing::info!(server.id = id.0, %month, allowed, "traffic beyond the package set");
    Ok(month)
}

/// What a server is held to because it has used all the traffic that its package includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whether it is slowed down or stopped.
    pub action: AtLimit,
    /// Since when, if the house did it.
    pub since: Option<Timestamp>,
    /// When the month is over.
    pub until: Timestamp,
}

/// What a server is held to at this moment; none as long as its machine is as fast, and may run, as its package says.
pub(super) async fn held(app: &App, server: &Server) -> Result<Option<Held>> {
    let (s, id, month) = (app.store(), server.id, Month::of(app.clock().now()));
    let Some(used) = traffic_months::find(s, id, month).await? else { return Ok(None) };
    let (stopped_at, slowed_at) = traffic_months::acted(s, id, month).await?;
    let until = month.next().begin();
    if used.must_stop() {
        let stopped = Held { action: AtLimit::Stop, since: stopped_at, until };
        return Ok((server.power != Power::Running).then_some(stopped));
    }
    // Not before its machine was told.
    let wanted = rates::wanted(s, id, month).await?.filter(|wanted| wanted.is_slow);
    let Some(wanted) = wanted else { return Ok(None) };
    let slowed = Held { action: AtLimit::Slow, since: slowed_at, until };
    Ok((rates::of_server(s, id).await? == wanted.rates).then_some(slowed))
}

/// What the event says of a server that is `slowed down` or `stopped`.
pub(super) fn used_up(used: &MonthUse, what: &str) -> String {
    format!(
        "The server has used the {} TB of traffic that its package includes in {}: it is {what} until {}, unless it gets \
         a larger package.",
        used.traffic_tb,
        used.month,
        used.month.next().begin().wire(),
    )
}

/// Checks that the server has not used up its month, before it is started.
///
/// Errors: `Quota`, which says until when.
pub(super) async fn check_may_run(s: &impl Session, id: ServerId, now: Timestamp) -> Result<()> {
    let month = Month::of(now);
    match traffic_months::find(s, id, month).await? {
        Some(used) if used.must_stop() => Err(Error::new(
            Kind::Quota,
            format!(
                "Server {id} has used the {} TB of traffic that its package includes in {month}; it can be started \
                 again on {}, or with a larger package.",
                used.traffic_tb,
                month.next().begin().wire(),
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Writes down for billing what the servers of a node have moved beyond their packages since that was last done.
pub async fn bill_beyond(app: &App, node: NodeId) -> Result<()> {
    let month = Month::of(app.clock().now());
    let (begin, end) = (month.begin(), month.next().begin());
    for (id, account, used) in traffic_months::list_to_bill(app.store(), node, month).await? {
        if used.billable_bytes() <= intervals::traffic_bytes(app.store(), id, begin, end).await? {
            continue;
        }
        let tx = app.store().begin().await?;
        accounts::hold(&tx, account).await?;
        if let Some(used) = traffic_months::find(&tx, id, month).await? {
            metering::traffic(app, &tx, &used, id, app.clock().now()).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// Powers a server off that must not run any more in this month; none if it may by now, or something else holds it.
/// The house does this as its owner would, and its owner sees the event.
pub async fn stop_at_limit(app: &App, id: ServerId, account: AccountId) -> Result<Option<OperationId>> {
    let tx = app.store().begin().await?;
    // As every change of the account's things.
    accounts::hold(&tx, account).await?;
    let now = app.clock().now();
    let month = Month::of(now);
    let used = traffic_months::find(&tx, id, month).await?.filter(|used| used.must_stop());
    let server = server_rows::find_owned(&tx, account, id).await?;
    let (Some(used), Some(server)) = (used, server) else { return Ok(None) };
    if server.power != Power::Running || !server.active_operations.is_empty() {
        return Ok(None);
    }
    let subject = Subject { account, server: id, snapshot: None, node: server.node };
    let kind = OperationKind::ServerStop;
    let operation = operations::insert(&tx, kind, subject, &Plan::default().to_json()?, now).await?;
    server_rows::set_power(&tx, id, Power::Stopping).await?;
    traffic_months::set_stopped(&tx, id, month, now).await?;
    operations::remark(&tx, operation, Some(&used_up(&used, "stopped"))).await?;
    tx.commit().await?;
    app.work().notify_one();
    tracing::warn!(
        server.id = id.0,
        operation.id = operation.0,
        account.id = account.0,
        %month,
        received_bytes = used.received_bytes,
        sent_bytes = used.sent_bytes,
        included_tb = used.traffic_tb,
        "a server has used all the traffic of its month and is stopped"
    );
    Ok(Some(operation))
}
