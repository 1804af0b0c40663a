//! `snapshot_create`: a server's disk as it is now, kept apart. It is whole or it is not there.

use super::server_create::COPY_LIMIT_S;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_compute::Taken;
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, snapshots};
use std::time::Duration;
use tokio::sync::watch;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[Step::new("take_snapshot", COPY_LIMIT_S, take_snapshot).undone_by(remove_snapshot)],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

/// How often its progress is written down at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

fn take_snapshot(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let (driver, snapshot) = (ctx.driver()?, ctx.snapshot()?);
        let (progress, mut told) = watch::channel(0);
        let taking = driver.take_snapshot(ctx.operation.server, snapshot, progress);
        let telling = async {
            while told.changed().await.is_ok() {
                let percent = *told.borrow_and_update();
                // It is only shown: a database that is away for a moment must not end the copy.
                if let Err(error) = snapshots::set_progress(ctx.app.store(), snapshot, percent).await {
                    tracing::debug!(%error, "the snapshot's progress could not be written");
                }
                tokio::time::sleep(TELL_EVERY).await;
            }
            std::future::pending::<()>().await;
        };
        let taken = tokio::select! {
            taken = taking => taken?,
            () = telling => return Err(StepError::Retry("the snapshot ended without a word".into())),
        };
        let Taken { consistency, disk_gib, size_bytes } = taken;
        // Written here and not with the end: what the driver saw is true from now on, and told again if asked again.
        Ok(snapshots::set_taken(ctx.app.store(), snapshot, consistency, disk_gib, size_bytes).await?)
    })
}

fn remove_snapshot(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.remove_snapshot(ctx.snapshot()?).await?) })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(
        async move { snapshots::set_phase(tx, ctx.snapshot()?, bulut_model::snapshot::Phase::Ready).await },
    )
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { snapshots::bury(tx, ctx.snapshot()?, ctx.app.clock().now()).await })
}
