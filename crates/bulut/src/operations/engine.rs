//! The engine: claims due operations under a lease and walks their steps.
//!
//! Promises: a step runs under a live lease only; progress is remembered after each step; a step that fails is
//! tried again later with growing pauses, then the operation turns around and what was begun is undone, which
//! is tried until it holds. A lost lease cancels the running step. The end of an operation and its effect on
//! the database are one transaction. Must not know: what any step does.

use super::definition;
use super::machine;
use super::step::{Act, Context, Definition, OnFailure, StepError};
use crate::app::App;
use crate::domain::metering;
use crate::faults::Fault;
use bulut_model::operation::Status;
use bulut_model::{Error, OperationId, Timestamp};
use bulut_store::operations::{self, Claimed, Direction, Fence};
use bulut_store::{accounts, forks};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The pause after the first failure of a step; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the engine sleeps at most: a wake-up that got lost costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How soon it looks again when all that is due is for nodes of others.
const NOT_OURS: Duration = Duration::from_millis(250);
/// How long a stopping process waits for the steps under way before it lets go of their leases.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How one claim of an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It ended, or waits for a later try.
    Settled,
    /// The lease is lost: somebody else has it, or will.
    Lost,
    /// This process stops.
    Interrupted,
}

/// Why a walk over the steps stopped early.
enum Halt {
    Lost,
    Interrupted,
    /// A test's fault: everything lies as if the process had died here.
    Died,
    /// The database.
    Store(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Runs operations until `stop`: up to the configured number at a time, woken by orders in this process and,
/// on PostgreSQL, in others.
pub async fn run(app: App, stop: CancellationToken) {
    let mut running: JoinSet<()> = JoinSet::new();
    let mut listener = listen(&app).await;
    while !stop.is_cancelled() {
        while running.try_join_next().is_some() {}
        let mut pause = LONGEST_SLEEP;
        if running.len() < app.config().workers {
            match claim(&app).await {
                Ok(Some(claimed)) => {
                    let (app, stop) = (app.clone(), stop.clone());
                    running.spawn(async move {
                        carry_out(app, claimed, stop).await;
                    });
                    continue;
                }
                Ok(None) => pause = until_due(&app).await,
                Err(error) => tracing::warn!(%error, "operations cannot be claimed; trying again"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.work().notified() => {}
            _ = running.join_next(), if !running.is_empty() => {}
            () = woken(&mut listener) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    // Each running operation sees `stop` by itself and lets go of its lease.
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, drained).await.is_err() {
        running.shutdown().await;
    }
}

async fn listen(app: &App) -> Option<forks::Listener> {
    match app.store().listen().await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "the database cannot be listened to; looking every few seconds instead");
            None
        }
    }
}

async fn woken(listener: &mut Option<forks::Listener>) {
    match listener {
        Some(listening) => {
            if listening.wait().await.is_err() {
                *listener = None;
            }
        }
        None => std::future::pending().await,
    }
}

async fn until_due(app: &App) -> Duration {
    match operations::next_due(app.store()).await {
        Ok(Some(due)) => match due.since(app.clock().now()) {
            // Nothing could be claimed a moment ago: what is due belongs to a node that this process has not.
            Duration::ZERO => NOT_OURS,
            wait => wait.clamp(Duration::from_millis(20), LONGEST_SLEEP),
        },
        Ok(None) | Err(_) => LONGEST_SLEEP,
    }
}

async fn claim(app: &App) -> bulut_model::Result<Option<Claimed>> {
    let now = app.clock().now();
    let until = now.plus(app.config().lease());
    operations::claim(app.store(), &app.nodes(), app.process(), now, until).await
}

/// Carries out whatever is due now, one after the other; answers how many claims were worked on. For tests
/// that move a frozen clock themselves.
pub async fn run_due(app: &App) -> bulut_model::Result<usize> {
    let mut worked = 0;
    while let Some(claimed) = claim(app).await? {
        carry_out(app.clone(), claimed, CancellationToken::new()).await;
        worked += 1;
    }
    Ok(worked)
}

/// Works on one claimed operation until it ends, waits, or the lease is lost.
async fn carry_out(app: App, claimed: Claimed, stop: CancellationToken) -> Outcome {
    let operation = &claimed.operation;
    let span = tracing::info_span!(
        "operation",
        operation.id = operation.id.0,
        kind = operation.kind.as_str(),
        server.id = operation.server.0,
        attempt = claimed.attempt,
    );
    async {
        let fence =
            Fence { id: claimed.operation.id, owner: app.process().to_owned(), attempt: claimed.attempt };
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(renew(app.clone(), fence.clone(), lost.clone()));
        let walk = Walk { app: &app, fence: &fence, lost: &lost, stop: &stop, claimed: &claimed };
        let outcome = match walk.walk().await {
            Ok(()) => Outcome::Settled,
            Err(Halt::Lost) => {
                tracing::warn!("the lease was lost; another claim goes on");
                Outcome::Lost
            }
            Err(Halt::Interrupted) => {
                let _ = operations::let_go(app.store(), &fence).await;
                Outcome::Interrupted
            }
            Err(Halt::Died) => Outcome::Lost,
            Err(Halt::Store(error)) => {
                tracing::error!(%error, "the database failed an operation; it is tried again when its lease ends");
                Outcome::Lost
            }
        };
        renewing.abort();
        outcome
    }
    .instrument(span)
    .await
}

/// Renews the lease three times in its life; cancels `lost` when it is gone.
async fn renew(app: App, fence: Fence, lost: CancellationToken) {
    let lease = app.config().lease();
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(lease / 3).await;
        let until = app.clock().now().plus(lease);
        match operations::renew(app.store(), &fence, until).await {
            Ok(true) => renewed = tokio::time::Instant::now(),
            Ok(false) => break,
            // The database is away: the lease holds until its end, not longer.
            Err(_) if renewed.elapsed() + lease / 3 < lease => {}
            Err(_) => break,
        }
    }
    lost.cancel();
}

struct Walk<'a> {
    app: &'a App,
    fence: &'a Fence,
    lost: &'a CancellationToken,
    stop: &'a CancellationToken,
    claimed: &'a Claimed,
}

impl Walk<'_> {
    fn context(&self) -> Context {
        Context {
            app: self.app.clone(),
            operation: self.claimed.operation.clone(),
            node: self.claimed.node,
            params: self.claimed.params.clone(),
        }
    }

    async fn walk(&self) -> Result<(), Halt> {
        let definition = definition(self.claimed.operation.kind);
        let ctx = self.context();
        if self.claimed.direction == Direction::Forward && !self.forward(definition, &ctx).await? {
            return Ok(());
        }
        if self.claimed.direction == Direction::Undo {
            let message = self.claimed.operation.message.clone().unwrap_or_default();
            return self.undo(definition, &ctx, self.claimed.step, &message).await;
        }
        self.settle(definition, &ctx, None).await
    }

    /// Does the steps that are not done yet. `false`: a try is put off, or all was undone and settled.
    async fn forward(&self, definition: &Definition, ctx: &Context) -> Result<bool, Halt> {
        let mut failures = self.claimed.failures;
        for (index, step) in definition.steps.iter().enumerate().skip(self.claimed.step) {
            match self.attempt(step.name, step.act, step.limit, ctx).await? {
                Ok(()) => {}
                Err(StepError::Retry(why)) if failures + 1 < definition.tries => {
                    self.put_off(step.name, failures, &why).await?;
                    return Ok(false);
                }
                Err(error) if step.insists || definition.on_failure == OnFailure::Insist => {
                    let (StepError::Retry(why) | StepError::Fatal(_, why)) = error;
                    self.put_off(step.name, failures, &why).await?;
                    return Ok(false);
                }
                Err(error) => {
                    let (public, internal) = match error {
                        StepError::Fatal(public, internal) => (public, internal),
                        StepError::Retry(why) => (format!("it was tried {} times: {why}", failures + 1), why),
                    };
                    let message = sentence(step.name, &public);
                    tracing::warn!(step = step.name, error = internal, "step failed for good; undoing");
                    // The failed step may have done half its work: it is undone as well.
                    let steps = index + 1;
                    if !operations::turn_around(self.app.store(), self.fence, steps, &message, &internal)
                        .await?
                    {
                        return Err(Halt::Lost);
                    }
                    self.undo(definition, ctx, steps, &message).await?;
                    return Ok(false);
                }
            }
            if !operations::checkpoint(self.app.store(), self.fence, Direction::Forward, index + 1).await? {
                return Err(Halt::Lost);
            }
            failures = 0;
        }
        Ok(true)
    }

    /// Undoes the first `steps` steps backwards, then settles as failed. Undoing is tried until it holds.
    async fn undo(
        &self,
        definition: &Definition,
        ctx: &Context,
        steps: usize,
        message: &str,
    ) -> Result<(), Halt> {
        let mut failures = if self.claimed.direction == Direction::Undo { self.claimed.failures } else { 0 };
        for (index, step) in definition.steps.iter().enumerate().take(steps).rev() {
            if let Some(undo) = step.undo {
                let name = format!("{}.undo", step.name);
                if let Err(error) = self.attempt(&name, undo, step.limit, ctx).await? {
                    let (StepError::Retry(why) | StepError::Fatal(_, why)) = error;
                    return self.put_off(&name, failures, &why).await;
                }
            }
            if !operations::checkpoint(self.app.store(), self.fence, Direction::Undo, index).await? {
                return Err(Halt::Lost);
            }
            failures = 0;
        }
        self.settle(definition, ctx, Some(message)).await
    }

    /// One try of a step: within its limit, as long as the lease holds and the process lives.
    async fn attempt(
        &self,
        name: &str,
        act: Act,
        limit: Duration,
        ctx: &Context,
    ) -> Result<Result<(), StepError>, Halt> {
        let point = format!("{}.{name}", self.claimed.operation.kind.as_str());
        if let Some(result) = self.fault(&format!("{point}.before")).await? {
            return Ok(Err(result));
        }
        tracing::debug!(step = name, "step begins");
        let result = tokio::select! {
            () = self.lost.cancelled() => return Err(Halt::Lost),
            () = self.stop.cancelled() => return Err(Halt::Interrupted),
            result = tokio::time::timeout(limit, act(ctx)) => result,
        };
        let result = result
            .unwrap_or_else(|_| Err(StepError::Retry(format!("it took longer than {} s", limit.as_secs()))));
        if let Some(result) = self.fault(&format!("{point}.after")).await? {
            return Ok(Err(result));
        }
        Ok(result)
    }

    async fn fault(&self, point: &str) -> Result<Option<StepError>, Halt> {
        match self.app.faults().at(point) {
            None => Ok(None),
            Some(Fault::Retry) => Ok(Some(StepError::Retry(format!("a test's fault at {point}")))),
            Some(Fault::Fatal) => {
                let why = format!("a test's fault at {point}");
                Ok(Some(StepError::Fatal(why.clone(), why)))
            }
            Some(Fault::Die) => Err(Halt::Died),
            Some(Fault::Pause) => {
                tracing::warn!(point, "standing still at a fault point");
                std::future::pending().await
            }
        }
    }

    async fn put_off(&self, step: &str, failures: i64, why: &str) -> Result<(), Halt> {
        let pause = pause_after(failures);
        tracing::info!(
            step,
            failures = failures + 1,
            pause_ms = pause.as_millis(),
            error = why,
            "step put off"
        );
        let run_at = self.app.clock().now().plus(pause);
        let error = format!("{step}: {why}");
        if operations::retry_later(self.app.store(), self.fence, run_at, &error).await? {
            // The loop has to learn of the new time.
            self.app.work().notify_one();
            return Ok(());
        }
        Err(Halt::Lost)
    }

    /// Ends the operation, in one transaction with what is then true. With a message it ends as failed.
    async fn settle(
        &self,
        definition: &Definition,
        ctx: &Context,
        message: Option<&str>,
    ) -> Result<(), Halt> {
        let operation = &self.claimed.operation;
        let seen = match message {
            Some(_) => machine::seen(ctx).await.ok(),
            None => None,
        };
        let now = self.app.clock().now();
        let tx = self.app.store().begin().await?;
        accounts::hold(&tx, operation.account).await?;
        let (status, effect, outcome) = match message {
            None => (Status::Success, definition.done, "done"),
            Some(_) => (Status::Error, definition.undone, "undone"),
        };
        effect(ctx, &tx, seen).await?;
        metering::operation(self.app, &tx, operation, now).await?;
        if !operations::settle(&tx, self.fence, status, message, now).await? {
            return Err(Halt::Lost);
        }
        tx.commit().await?;
        // A server may have come or gone, and its names with it.
        self.app.names().wake();
        let took = now.since(operation.created_at);
        self.app.metrics().operation(operation.kind.as_str(), outcome, took);
        tracing::info!(outcome, took_ms = took.as_millis(), message, "operation ended");
        Ok(())
    }
}

/// The customer's sentence for a failed step.
fn sentence(step: &str, public: &str) -> String {
    let doing = match step {
        "ensure_image" => "The image could not be used",
        "ensure_disk" => "The disk could not be made",
        "ensure_machine" => "The machine could not be set up",
        "start_machine" => "The machine could not be started",
        "stop_machine" => "The machine could not be stopped",
        "reboot_machine" => "The machine could not be restarted",
        "grow_disk" => "The disk could not be made larger",
        "stage_disk" => "The new disk could not be made",
        "swap_disk" => "The new disk could not be put in its place",
        "set_password" => "The password could not be changed",
        "set_hostname" => "The host name could not be changed",
        "take_snapshot" => "The snapshot could not be taken",
        _ => "The operation failed",
    };
    format!("{doing}: {}", without_paths(public).trim_end_matches('.')) + "."
}

/// The engine's words without the names of files on the host, which are nobody's business; the log has them.
fn without_paths(text: &str) -> String {
    let shown = text.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| matches!(c, '\'' | '"' | '(' | ')' | ',' | ':' | '='));
        if bare.contains("=/") || (bare.starts_with(['/', '.']) && bare.contains('/')) {
            "(a file)"
        } else {
            word
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn pause_after(failures: i64) -> Duration {
    let doublings = u32::try_from(failures.clamp(0, 10)).unwrap_or(10);
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

/// When the next operation becomes claimable, for tests that move a frozen clock there.
pub async fn next_due(app: &App) -> bulut_model::Result<Option<Timestamp>> {
    operations::next_due(app.store()).await
}

/// Whether an operation has ended.
pub async fn has_ended(
    app: &App,
    account: bulut_model::AccountId,
    id: OperationId,
) -> bulut_model::Result<bool> {
    let found = operations::find_owned(app.store(), account, id).await?;
    Ok(found.is_none_or(|operation| operation.status != Status::Running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customers_sentence_names_no_file_of_the_host() {
        let said = sentence("ensure_image", "the image's disk /srv/bulut/images/x/disk.qcow2 is not there.");
        assert_eq!(said, "The image could not be used: the image's disk (a file) is not there.");
        assert!(
            sentence("start_machine", "Could not open '../../images/a/disk.qcow2': gone")
                .contains("(a file)")
        );
        assert!(sentence("start_machine", "qemu: no such machine today").contains("no such machine today"));
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause_after(0), FIRST_PAUSE);
        assert!(pause_after(1) > pause_after(0));
        assert_eq!(pause_after(i64::MAX), LONGEST_PAUSE);
    }
}
