//! `server_stop`: power off. The guest is asked first; after the time limit its plug is pulled.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_compute::{DriverError, Stop};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    // Above the longest sensible limit for guests: the driver keeps that one itself.
    steps: &[Step { name: "stop_machine", act: stop_machine, undo: None, limit: Duration::from_secs(900) }],
    on_failure: OnFailure::Undo,
    tries: 6,
    done,
    undone,
};

fn stop_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let how = Stop::Graceful { limit: ctx.app.config().stop_limit() };
        match ctx.driver()?.stop(ctx.operation.server, how).await {
            // What is not there does not run.
            Ok(()) | Err(DriverError::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::set_power(tx, ctx.operation.server, Power::Stopped).await.map(drop) })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
