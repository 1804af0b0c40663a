//! `server_reboot`: a restart of the guest, gracefully first; a stopped server is started.

use super::machine;
use super::server_start;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_compute::Stop;
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::Tx;
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step { name: "ensure_machine", act: machine::ensure, undo: None, limit: Duration::from_secs(60) },
        Step { name: "reboot_machine", act: reboot_machine, undo: None, limit: Duration::from_secs(900) },
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done: server_start::done,
    undone,
};

fn reboot_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let how = Stop::Graceful { limit: ctx.app.config().stop_limit() };
        Ok(ctx.driver()?.reboot(ctx.operation.server, how).await?)
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
