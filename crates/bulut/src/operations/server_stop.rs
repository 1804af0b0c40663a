//! `server_stop`: power off. The guest is asked first; after the time limit its plug is pulled.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};

pub(super) static DEFINITION: Definition = Definition {
    // Above the longest sensible limit for guests: the driver keeps that one itself.
    steps: &[Step::new("stop_machine", 900, machine::stop)],
    on_failure: OnFailure::Undo,
    tries: 6,
    done,
    undone,
};

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::set_power(tx, ctx.operation.server, Power::Stopped).await.map(drop) })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
