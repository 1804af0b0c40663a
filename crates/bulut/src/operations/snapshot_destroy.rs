//! `snapshot_destroy`: the end of a snapshot. There is no way back, so it insists until nothing is left.

use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, snapshots};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[Step::new("remove_snapshot", 300, remove_snapshot)],
    on_failure: OnFailure::Insist,
    tries: i64::MAX,
    done,
    undone: done,
};

fn remove_snapshot(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(ctx.driver()?.remove_snapshot(ctx.snapshot()?).await?) })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { snapshots::bury(tx, ctx.snapshot()?, ctx.app.clock().now()).await })
}
