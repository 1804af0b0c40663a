//! `server_restore`: the server's disk is a snapshot's again. Until the new disk is in its place and the machine runs
//! on it, the old one is kept.

use super::machine;
use super::server_create::COPY_LIMIT_S;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::servers::NewDisk;
use bulut_store::{Tx, servers};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        // The long part, while the guest still runs.
        Step::new("stage_disk", COPY_LIMIT_S, stage_disk).undone_by(unstage_disk),
        Step::new("stop_machine", 900, machine::stop).undone_by(machine::start_again),
        Step::new("swap_disk", 60, swap_disk).undone_by(unstage_disk),
        Step::new("ensure_machine", 60, machine::ensure).undone_by(machine::ensure_before),
        Step::new("start_machine", 120, machine::start_again).undone_by(machine::cut_off),
        Step::new("drop_old_disk", 60, drop_old_disk).insisting(),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

pub(super) fn stage_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = machine::spec(ctx).await?;
        Ok(ctx.driver()?.stage_disk(&spec, ctx.operation.id).await?)
    })
}

pub(super) fn unstage_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.unstage_disk(ctx.operation.server, ctx.operation.id).await?) })
}

pub(super) fn swap_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.swap_disk(ctx.operation.server, ctx.operation.id).await?) })
}

pub(super) fn drop_old_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.drop_old_disk(ctx.operation.server, ctx.operation.id).await?) })
}

/// The row tells of the new disk.
pub(super) async fn set_disk(ctx: &Context, tx: &Tx) -> Result<(), Error> {
    let none = || Error::internal(format!("operation {} has no disk", ctx.operation.id));
    let plan = ctx.plan()?;
    servers::set_disk(tx, ctx.operation.server, &NewDisk::from(plan.disk.as_ref().ok_or_else(none)?)).await
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        set_disk(ctx, tx).await?;
        machine::settle_running(ctx, tx).await
    })
}

pub(super) fn undone<'a>(
    ctx: &'a Context,
    tx: &'a Tx,
    seen: Option<Power>,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
