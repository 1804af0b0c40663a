//! Run modes: what becomes of servers that idle.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::servers::get;
use bulut_model::run_mode::{MachineUsage, RunMode};
use bulut_model::server::{Power, Server};
use bulut_model::{Error, Result, ServerId, Timestamp};
use bulut_store::{machine_usage, servers};
use std::collections::HashMap;

/// Sets what becomes of the server when it idles. A server whose mode changes begins to idle anew.
///
/// Errors: `NotFound`.
pub async fn set(app: &App, caller: &Caller, id: ServerId, mode: RunMode) -> Result<()> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let server = servers::find_owned(&change.tx, change.account.id, id).await?;
    let server = server.ok_or_else(|| Error::not_found(format!("There is no server with id {id}.")))?;
    if server.run_mode != mode {
        servers::set_run_mode(&change.tx, id, mode).await?;
        machine_usage::forget_idling(&change.tx, id).await?;
    }
    tracing::info!(server.id = id.0, mode = mode.as_str(), "run mode set");
    change.commit(()).await
}

/// What the machines of the caller's servers used when they were last looked at.
pub async fn usage(app: &App, caller: &Caller) -> Result<HashMap<ServerId, MachineUsage>> {
    machine_usage::list(app.store(), caller.account.id).await
}

/// When the server is powered off if it goes on idling; none for one that stays on, or is off.
pub async fn deadline(app: &App, caller: &Caller, id: ServerId) -> Result<Option<Timestamp>> {
    let server = get(app, caller, id).await?;
    let usage = machine_usage::find(app.store(), id).await?;
    Ok(deadline_of(app, &server, usage.as_ref()))
}

/// The same, for a server and its use that are known.
pub fn deadline_of(app: &App, server: &Server, usage: Option<&MachineUsage>) -> Option<Timestamp> {
    let ends = server.run_mode == RunMode::Safe && server.power == Power::Running;
    usage.filter(|_| ends).map(|usage| usage.deadline(app.config().idle.limit()))
}
