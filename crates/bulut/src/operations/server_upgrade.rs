//! `server_upgrade`: another size. The machine is stopped for it, and runs again if it did.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use crate::domain::plans::{NewSize, size_of};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, nodes, servers};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("stop_machine", 900, machine::stop).undone_by(machine::start_again),
        Step::new("ensure_machine", 60, machine::ensure).undone_by(machine::ensure_before),
        // A disk never shrinks, so what fails after this keeps the larger one, which harms nobody.
        Step::new("grow_disk", 300, grow_disk),
        Step::new("start_machine", 120, machine::start_again).undone_by(machine::cut_off),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

fn grow_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = machine::spec(ctx).await?;
        Ok(ctx.driver()?.ensure_disk(&spec).await?)
    })
}

fn new_size(ctx: &Context) -> Result<NewSize, Error> {
    let none = || Error::internal(format!("operation {} has no size", ctx.operation.id));
    ctx.plan()?.size.ok_or_else(none)
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let (size, server) = (new_size(ctx)?, machine::server_in(ctx, tx).await?);
        // Both sizes were reserved, as far as each is larger; the old one's part is given back.
        let spare = size_of(&server).max(size.size()).less(size.size());
        nodes::release(tx, server.node, spare).await?;
        servers::set_size(tx, server.id, size.package, size.size(), size.traffic_tb, size.rates).await?;
        machine::settle_running(ctx, tx).await
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let (size, server) = (new_size(ctx)?, machine::server_in(ctx, tx).await?);
        let has = size_of(&server);
        nodes::release(tx, server.node, has.max(size.size()).less(has)).await?;
        machine::settle_as_seen(ctx, tx, seen).await
    })
}
