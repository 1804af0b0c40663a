//! Loops without input: they compare what should be with what is, in bounded batches, and mend the difference.
//! Signals only wake them.

pub mod charging;
pub mod dunning;
pub mod invoices;
pub mod machines;
pub mod mails;
pub mod names;
pub mod pools;
pub mod run_modes;
pub mod seeds;
pub mod snapshots;
pub mod sweep;
pub mod traffic;

use crate::app::App;
use bulut_model::Result;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often each loop looks without being woken.
const EVERY: Duration = Duration::from_secs(5);
/// How often snapshots on the nodes are compared with those that there should be.
const SNAPSHOTS_EVERY: Duration = Duration::from_secs(60);
/// How often old traffic is rolled up.
const ROLL_UP_EVERY: Duration = Duration::from_secs(3600);
/// How often it is looked whether an hour has passed that is to be charged, or a month that is to be invoiced.
const CHARGE_EVERY: Duration = Duration::from_secs(60);
/// How often what has expired is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Runs all loops until `stop`.
pub async fn run(app: App, stop: CancellationToken) {
    let told = pools::Told::default();
    tokio::join!(
        machines::watch(app.clone(), stop.clone()),
        every(app.config().dunning.look_every(), stop.clone(), || dunning::look(&app)),
        mails::send(app.clone(), stop.clone()),
        names::follow(app.clone(), stop.clone()),
        every(EVERY, stop.clone(), || seeds::forget(&app)),
        every(EVERY, stop.clone(), || pools::look(&app, &told)),
        every(EVERY.min(app.config().idle.look_every()), stop.clone(), || run_modes::look(&app)),
        every(SNAPSHOTS_EVERY, stop.clone(), || snapshots::look(&app)),
        every(CHARGE_EVERY, stop.clone(), || charging::look(&app)),
        every(CHARGE_EVERY, stop.clone(), || invoices::look(&app)),
        every(SWEEP_EVERY, stop.clone(), || sweep::all(&app)),
        traffic::watch(app.clone(), stop.clone()),
        every(ROLL_UP_EVERY, stop.clone(), || traffic::roll_up(&app)),
    );
}

/// Looks now and every `period` until `stop`.
async fn every<F: Future<Output = Result<()>>>(
    period: Duration,
    stop: CancellationToken,
    look: impl Fn() -> F,
) {
    every_or_woken(period, stop, &Notify::new(), look).await;
}

/// Looks now, every `period` and whenever it is woken, until `stop`.
async fn every_or_woken<F: Future<Output = Result<()>>>(
    period: Duration,
    stop: CancellationToken,
    wake: &Notify,
    look: impl Fn() -> F,
) {
    while !stop.is_cancelled() {
        // A look may wait for a guest; the end of the process does not wait for either.
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look() => looked,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "a reconciler failed; it looks again later");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}
