//! `server_start`: power on. What the machine needs is made sure of first, since the host may have restarted.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step { name: "ensure_machine", act: machine::ensure, undo: None, limit: Duration::from_secs(60) },
        Step { name: "start_machine", act: machine::start, undo: None, limit: Duration::from_secs(120) },
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
