//! `server_password`: a new root password in the guest. The guest's agent sets it where one answers; else the guest is
//! told at its next boot, which this brings about, and says on its serial line that it has it.
//!
//! It succeeds only when the guest's own `/etc/shadow` was seen to hold the password, by the agent or by the guest
//! itself.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use crate::domain::passwords;
use crate::domain::plans::NewPassword;
use bulut_compute::{Driver, PasswordChange, PasswordSet, Secret};
use bulut_model::server::Power;
use bulut_model::{Error, ServerId};
use bulut_store::{Tx, servers};
use std::time::Duration;

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("set_password", 3600, set_password).undone_by(leave_alone),
        // The guest has it by now; what follows only tidies up.
        Step::new("leave_as_found", 900, leave_as_found).insisting(),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

/// How often the serial line is looked at for the guest's confirmation.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How much of the serial line's end is looked at, bytes.
const LOOK_AT: usize = 256 * 1024;

fn wanted(ctx: &Context) -> Result<NewPassword, Error> {
    let none = || Error::internal(format!("operation {} has no password", ctx.operation.id));
    ctx.plan()?.password.ok_or_else(none)
}

async fn change(ctx: &Context) -> Result<PasswordChange, Error> {
    let wanted = wanted(ctx)?;
    let password = machine::password(&ctx.app, ctx.operation.server, &wanted.sealed)?;
    let hash = passwords::shadow(&ctx.app, password.0.as_bytes(), &wanted.nonce).await?;
    Ok(PasswordChange { hash: Secret(hash), nonce: wanted.nonce })
}

fn set_password(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let (driver, id) = (ctx.driver()?, ctx.operation.server);
        let change = change(ctx).await?;
        if driver.set_password(id, &change.hash).await? == PasswordSet::Seen {
            return Ok(());
        }
        // An earlier try may have come as far as this already.
        if confirmed(driver.as_ref(), id, &change).await? {
            return Ok(());
        }
        let mut spec = machine::spec(ctx).await?;
        spec.seed.password_change = Some(change.clone());
        machine::stop(ctx).await?;
        machine::apply(ctx, &spec).await?;
        machine::start(ctx).await?;
        await_confirmation(ctx, driver.as_ref(), &change).await
    })
}

async fn confirmed(driver: &dyn Driver, id: ServerId, change: &PasswordChange) -> Result<bool, StepError> {
    let log = driver.serial_log(id, LOOK_AT).await?;
    let line = change.confirmation();
    Ok(String::from_utf8_lossy(&log).contains(&line))
}

async fn await_confirmation(
    ctx: &Context,
    driver: &dyn Driver,
    change: &PasswordChange,
) -> Result<(), StepError> {
    let (limit, id) = (ctx.app.config().password_limit(), ctx.operation.server);
    let waited = tokio::time::timeout(limit, async {
        while !confirmed(driver, id, change).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    });
    waited.await.unwrap_or_else(|_| {
        let why = format!(
            "no agent answers in the guest, and after a restart it did not confirm the new password within {} s; \
             its image may lack cloud-init",
            limit.as_secs()
        );
        Err(StepError::Fatal(why.clone(), why))
    })
}

/// Undoes what the other way may have left: the seed tells of no password any more, and the machine runs if it did.
fn leave_alone(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    leave_as_found(ctx)
}

fn leave_as_found(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        machine::apply(ctx, &machine::spec(ctx).await?).await?;
        if ctx.plan()?.was_running { machine::start(ctx).await } else { machine::stop(ctx).await }
    })
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let id = ctx.operation.server;
        servers::set_sealed_password(tx, id, &wanted(ctx)?.sealed).await?;
        // The guest has the password, so no seed has to tell it, and no later look has to wait for that.
        servers::set_seed_secret(tx, id, false).await?;
        machine::settle_running(ctx, tx).await
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, seen: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(machine::settle_as_seen(ctx, tx, seen))
}
