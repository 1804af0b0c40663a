//! Traffic of the account's servers: telling it, and counting it.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::servers;
use bulut_compute::{DriverError, Usage};
use bulut_model::traffic::{Minute, Reading, Sample, Step, Window};
use bulut_model::{Error, NodeId, Result, ServerId, Timestamp};
use bulut_store::traffic;
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
    Reading { epoch: usage.epoch, received_bytes: usage.received_bytes, sent_bytes: usage.sent_bytes }
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
    traffic::record(&tx, id, &reading(usage), Minute::of(now), now).await?;
    tx.commit().await
}
