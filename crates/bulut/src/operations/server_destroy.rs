//! `server_destroy`: the end of a server. There is no way back, so it insists until nothing is left.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[Step::new("remove_machine", 120, remove_machine)],
    on_failure: OnFailure::Insist,
    tries: i64::MAX,
    done,
    undone: done,
};

fn remove_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        machine::count_traffic(ctx).await;
        Ok(ctx.driver()?.remove(ctx.operation.server).await?)
    })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::bury(tx, ctx.operation.server, ctx.app.clock().now()).await })
}
