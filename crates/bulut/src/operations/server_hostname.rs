//! `server_hostname`: another name for a server: in the seed for its next boots, in the running guest through its
//! agent, and at its addresses.
//!
//! It succeeds when the seed holds the name, the guest was seen to have it, and its addresses lead to it. A guest that
//! does not run, or has no agent that answers, is not restarted for a name: it takes the name at its next boot, and
//! the operation says so in its message.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use crate::reconcile::names as served;
use bulut_compute::SetupStatus;
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, names, operations};
use std::time::Duration;
use tokio::time::Instant;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("ensure_machine", 60, machine::ensure).undone_by(machine::ensure_before),
        Step::new("set_hostname", 900, set_hostname).undone_by(give_back),
        // The guest has it, or has to have it at its next boot: from here on there is no way back.
        Step::new("publish_names", 60, publish_names).insisting(),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

/// How often a guest that is starting is asked again.
const ASK_EVERY: Duration = Duration::from_secs(1);

const NOT_RUNNING: &str = "The server does not run; its guest takes the name when it starts.";
const NO_AGENT: &str = "No agent answers in the guest, which takes the name at its next boot.";

fn wanted(ctx: &Context) -> Result<String, Error> {
    let none = || Error::internal(format!("operation {} has no host name", ctx.operation.id));
    ctx.plan()?.hostname.ok_or_else(none)
}

fn set_hostname(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let remark = tell_guest(ctx, &wanted(ctx)?).await?;
        Ok(operations::remark(ctx.app.store(), ctx.operation.id, remark).await?)
    })
}

/// Has the agent set the name; what remains to be said when there was none to do it.
async fn tell_guest(ctx: &Context, hostname: &str) -> Result<Option<&'static str>, StepError> {
    let (driver, id) = (ctx.driver()?, ctx.operation.server);
    let begun = Instant::now();
    loop {
        if machine::seen(ctx).await? != Power::Running {
            return Ok(Some(NOT_RUNNING));
        }
        let late = begun.elapsed() >= ctx.app.config().hostname_limit();
        // A guest that is still setting itself up may have read the seed before it was rewritten, and would take the
        // old name after the agent has set the new one.
        let settled = driver.setup_status(id).await? != SetupStatus::Running;
        if (settled || late) && driver.set_hostname(id, hostname).await? {
            return Ok(None);
        }
        if late {
            return Ok(Some(NO_AGENT));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The guest is called as before, if it has an agent to do it; without one it was not called otherwise.
fn give_back(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let hostname = machine::server(ctx).await?.hostname;
        ctx.driver()?.set_hostname(ctx.operation.server, &hostname).await?;
        Ok(())
    })
}

fn publish_names(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let (id, tx) = (ctx.operation.server, ctx.app.store().begin().await?);
        names::set_reverse(&tx, id, &wanted(ctx)?).await?;
        names::settle_claims(&tx, id).await?;
        tx.commit().await?;
        // Whoever sees the end of this operation and asks for the name gets the new one.
        Ok(served::refresh(&ctx.app).await?)
    })
}

fn done<'a>(_: &'a Context, _: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    // Whether it runs has not been changed; what became of it meanwhile is the reconciler's to see.
    Box::pin(async { Ok(()) })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        names::settle_claims(tx, ctx.operation.server).await?;
        machine::settle_as_seen(ctx, tx, seen).await
    })
}
