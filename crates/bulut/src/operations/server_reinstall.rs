//! `server_reinstall`: a new disk from an image. The server's id, addresses, keys and password stay; it runs afterwards.

use super::machine;
use super::server_create::{COPY_LIMIT_S, ensure_image};
use super::server_restore::{drop_old_disk, set_disk, stage_disk, swap_disk, undone, unstage_disk};
use super::step::{BoxFuture, Context, Definition, OnFailure, Step};
use bulut_model::Error;
use bulut_model::server::Power;
use bulut_store::{Tx, servers};

pub(super) static DEFINITION: Definition = Definition {
    steps: &[
        Step::new("ensure_image", 60, ensure_image),
        Step::new("stage_disk", COPY_LIMIT_S, stage_disk).undone_by(unstage_disk),
        Step::new("stop_machine", 900, machine::stop).undone_by(machine::start_again),
        Step::new("swap_disk", 60, swap_disk).undone_by(unstage_disk),
        Step::new("ensure_machine", 60, machine::ensure).undone_by(machine::ensure_before),
        Step::new("start_machine", 120, machine::start).undone_by(machine::cut_off),
        Step::new("drop_old_disk", 60, drop_old_disk).insisting(),
    ],
    on_failure: OnFailure::Undo,
    tries: 4,
    done,
    undone,
};

fn done<'a>(ctx: &'a Context, tx: &'a Tx, _: Option<Power>) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        set_disk(ctx, tx).await?;
        servers::set_power(tx, ctx.operation.server, Power::Running).await.map(drop)
    })
}
