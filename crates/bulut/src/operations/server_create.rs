//! `server_create`: a new server, from its reserved room and address to a machine that was seen running.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_compute::Boot;
use bulut_model::Error;
use bulut_model::server::{Phase, Power};
use bulut_store::{Tx, servers};

/// How long a disk's copy may take, seconds: one that starts from a snapshot may be large.
pub(super) const COPY_LIMIT_S: u64 = 6 * 3600;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("ensure_image", 60, ensure_image),
        // The disk's name derives from the server's id, so that a second run finds the first one's.
        Step::new("ensure_disk", COPY_LIMIT_S, ensure_disk).undone_by(remove),
        Step::new("ensure_machine", 60, machine::ensure).undone_by(remove),
        Step::new("start_machine", 120, machine::start).undone_by(remove),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

pub(super) fn ensure_image(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = machine::spec(ctx).await?;
        // A snapshot is a whole disk; of its image it needs nothing unless that lends it its kernel.
        if spec.snapshot.is_some() && spec.image.boot == Boot::Disk {
            return Ok(());
        }
        Ok(ctx.driver()?.ensure_image(&spec.image).await?)
    })
}

fn ensure_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = machine::spec(ctx).await?;
        Ok(ctx.driver()?.ensure_disk(&spec).await?)
    })
}

fn remove(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.remove(ctx.operation.server).await?) })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        servers::set_phase(tx, ctx.operation.server, Phase::Ready).await?;
        servers::set_power(tx, ctx.operation.server, Power::Running).await?;
        Ok(())
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::bury(tx, ctx.operation.server, ctx.app.clock().now()).await })
}
