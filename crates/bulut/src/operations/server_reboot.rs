//! `server_reboot`: a restart of the guest, gracefully first or by the reset button; a stopped server is started.

use super::machine;
use super::server_start;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_compute::Stop;
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::Tx;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("ensure_machine", 60, machine::ensure),
        Step::new("reboot_machine", 900, reboot_machine),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done: server_start::done,
    undone,
};

fn reboot_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        // A guest that powers off instead is started anew, with new counters.
        machine::count_traffic(ctx).await;
        let graceful = Stop::Graceful { limit: ctx.app.config().stop_limit() };
        let how = if ctx.plan()?.is_forced { Stop::Force } else { graceful };
        Ok(ctx.driver()?.reboot(ctx.operation.server, how).await?)
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
