//! `server_start`: power on. What the machine needs is made sure of first, since the host may have restarted.

use super::machine::{self, spec};
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step { name: "ensure_machine", act: ensure_machine, undo: None, limit: Duration::from_secs(60) },
        Step { name: "start_machine", act: start_machine, undo: None, limit: Duration::from_secs(120) },
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

pub(super) fn ensure_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = spec(&ctx.app, &machine::server(ctx).await?).await?;
        let applied = ctx.driver()?.ensure_machine(&spec).await?;
        let endpoint = applied.ssh.to_string();
        Ok(servers::set_ssh_endpoint(ctx.app.store(), ctx.operation.server, &endpoint).await?)
    })
}

fn start_machine(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        ctx.driver()?.start(ctx.operation.server).await?;
        match machine::seen(ctx).await? {
            Power::Running => Ok(()),
            _ => Err(StepError::Retry("the machine was started, but does not run".into())),
        }
    })
}

pub(super) fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move { servers::set_power(tx, ctx.operation.server, Power::Running).await.map(drop) })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
