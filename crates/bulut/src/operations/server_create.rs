//! `server_create`: a new server, from its reserved room and address to a machine that was seen running.

use super::machine::{self, spec};
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use bulut_model::Error;
use bulut_model::server::{Phase, Power};
use bulut_store::{Tx, servers};
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step { name: "ensure_image", act: ensure_image, undo: None, limit: Duration::from_secs(60) },
        // The disk's name derives from the server's id, so that a second run finds the first one's.
        Step { name: "ensure_disk", act: ensure_disk, undo: Some(remove), limit: Duration::from_secs(300) },
        Step {
            name: "ensure_machine",
            act: machine::ensure,
            undo: Some(remove),
            limit: Duration::from_secs(60),
        },
        Step {
            name: "start_machine",
            act: machine::start,
            undo: Some(remove),
            limit: Duration::from_secs(120),
        },
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

fn ensure_image(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = spec(&ctx.app, &machine::server(ctx).await?).await?;
        Ok(ctx.driver()?.ensure_image(&spec.image).await?)
    })
}

fn ensure_disk(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = spec(&ctx.app, &machine::server(ctx).await?).await?;
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
