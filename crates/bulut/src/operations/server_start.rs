//! `server_start`: power on. What the machine needs is made sure of first, since the host may have restarted.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("ensure_machine", 60, machine::ensure),
        Step::new("start_machine", 120, machine::start),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

pub(super) fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::set_power(tx, ctx.operation.server, Power::Running).await.map(drop) })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
