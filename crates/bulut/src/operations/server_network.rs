//! `server_network`: another firewall, another address more or less, other rates. A running machine has the change at
//! once, as a whole or not at all; nothing is restarted for it.

use super::machine;
use super::step::{BoxFuture, Context, Definition, OnFailure, Step, StepError};
use crate::domain::addresses;
use crate::domain::plans::Plan;
use bulut_compute::DriverError;
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, firewalls, rates};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[Step::new("apply_network", 60, apply_network).undone_by(apply_before)],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

fn apply_network(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { Ok(apply(ctx, &ctx.plan()?).await??) })
}

/// The machine has the network from before again; one that is not there has none.
fn apply_before(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let before = Plan { network: ctx.plan()?.network.undoing(), ..Plan::default() };
        match apply(ctx, &before).await? {
            Ok(()) | Err(DriverError::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

async fn apply(ctx: &Context, plan: &Plan) -> Result<Result<(), DriverError>, StepError> {
    let server = machine::server(ctx).await?;
    let nic = machine::nic(&ctx.app, &server, plan).await?;
    Ok(ctx.driver()?.apply_network(server.id, &nic).await)
}

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let (id, plan) = (ctx.operation.server, ctx.plan()?.network);
        if let Some(rules) = &plan.firewall {
            firewalls::set(tx, id, rules).await?;
        }
        if let Some(address) = plan.gives_back {
            addresses::release_further(tx, id, address, ctx.app.clock().now()).await?;
        }
        if let Some(wanted) = plan.rates {
            rates::set_of_server(tx, id, wanted).await?;
        }
        Ok(())
    })
}

fn undone<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        match ctx.plan()?.network.takes {
            Some(address) => {
                addresses::release_further(tx, ctx.operation.server, address, ctx.app.clock().now()).await
            }
            None => Ok(()),
        }
    })
}
