//! Copying the disk of a running machine: QEMU's backup job, begun while the guest's agent holds its file systems still.
//! Part of [`Machine`]'s task.
//!
//! The job keeps what the disk held when it began, so the guest is let go at once. Whoever finds a guest that may be
//! frozen by an earlier control plane thaws it, and whoever finds that one's job ends it: the marker in the machine's
//! state and the fixed names of job and nodes are all that this takes. The agent is the guest's, so nothing of what it
//! says is relied upon beyond its own disk, and every wait for it has an end.

use super::agent::{Agent, Reply};
use super::machine::Machine;
use super::qmp::{COMMAND_LIMIT, QmpError};
use super::record;
use crate::DriverError;
use bulut_model::snapshot::Consistency;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The one backup job that a machine has at a time.
const JOB: &str = "snap";
/// The node that it writes to.
const TARGET: &str = "snap-q";
/// How long an agent may take to hold the file systems still: it writes out all that is dirty.
const FREEZE_LIMIT: Duration = Duration::from_secs(20);
/// How long it is told to let go before that is left to the next tidying.
const THAW_LIMIT: Duration = Duration::from_secs(20);
/// How often a job is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How long a job may take to end once cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// How long a job goes on unseen while the monitor is away.
const UNSEEN_LIMIT: Duration = Duration::from_secs(30);
/// How long a copy may take in all.
const COPY_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// What QEMU says of the job.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    concluded: bool,
    percent: u8,
    error: Option<String>,
}

/// The job among all that `query-jobs` answers.
fn job(answer: &Value) -> Option<Job> {
    let job = answer.as_array()?.iter().find(|job| job["id"] == JOB)?;
    let number = |field: &str| job[field].as_u64().unwrap_or(0);
    let (done, total) = (number("current-progress"), number("total-progress"));
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    Some(Job {
        concluded: job["status"] == "concluded",
        percent: u8::try_from(percent).unwrap_or(99).min(99),
        error: job["error"].as_str().map(str::to_owned),
    })
}

impl Machine {
    /// Copies the disk of a running machine, as it is when this is called, into the empty one at `target` (as seen from the
    /// machine's directory). However it ends, no job and no node are left, unless QEMU does not answer.
    pub async fn back_up(
        &mut self,
        target: &Path,
        progress: &watch::Sender<u8>,
        cut: &CancellationToken,
    ) -> Result<Consistency, DriverError> {
        self.sweep().await?;
        let copied = match self.begin_backup(target, cut).await {
            Ok(consistency) => self.follow(progress, cut).await.map(|()| consistency),
            Err(error) => Err(error),
        };
        // Also when it went well: as long as QEMU has the file open it is not the node's own.
        let swept = self.sweep().await;
        if let Err(error) = &swept {
            tracing::warn!(server.id = self.id.0, %error, "something of a backup is left in QEMU");
            self.leftovers = true;
        }
        let consistency = copied?;
        swept.map(|()| consistency)
    }

    /// Begins the job, with the guest held still if its agent will.
    async fn begin_backup(
        &mut self,
        target: &Path,
        cut: &CancellationToken,
    ) -> Result<Consistency, DriverError> {
        let node = json!({
            "driver": "qcow2", "node-name": TARGET, "discard": "unmap",
            "file": { "driver": "file", "filename": target.to_string_lossy() },
        });
        self.monitor("blockdev-add", node).await?;
        let agent = Arc::clone(&self.agent);
        let _one_at_a_time = self.meanwhile(cut, async { Ok(agent.lock().await) }).await?;
        let begun = Instant::now();
        let mut frozen = self.freeze().await;
        let job = json!({ "actions": [{ "type": "blockdev-backup", "data": {
            "device": "root-q", "target": TARGET, "sync": "full", "job-id": JOB, "auto-dismiss": false,
        } }] });
        let started = self.monitor("transaction", job).await;
        if self.state.frozen {
            // Whether it was still at the job's start only the thawing shows.
            frozen &= self.thaw(THAW_LIMIT).await;
            let held_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(server.id = self.id.0, held_ms, frozen, "the guest was held still");
        }
        started?;
        Ok(if frozen { Consistency::Filesystem } else { Consistency::Crash })
    }

    /// Has the agent hold the guest's file systems still; true when it says that it does. The marker is set when it might.
    async fn freeze(&mut self) -> bool {
        let urgent = self.urgent();
        let Some(mut agent) = Agent::greet(&self.run.join("qga.sock")).await else { return false };
        self.state.frozen = true;
        self.thaws_left = super::machine::THAWS;
        // Nobody may be held still who would not be found so: without the marker there is no freezing.
        if let Err(error) = record::write_state(&self.node.layout, self.id, &self.state) {
            tracing::warn!(server.id = self.id.0, %error, "the guest is not held still");
            self.state.frozen = false;
            return false;
        }
        let reply = tokio::select! {
            reply = agent.call("guest-fsfreeze-freeze", &Value::Null, FREEZE_LIMIT) => reply,
            // What is urgent ends the guest or resets it.
            () = urgent => Reply::Silent,
        };
        match reply {
            Reply::Return(count) => count.as_u64().is_some_and(|count| count > 0),
            Reply::Refused { unknown: true } => {
                self.state.frozen = false;
                self.write_state();
                false
            }
            Reply::Refused { unknown: false } => false,
            Reply::Silent => {
                // It may freeze yet, once it gets round to it; then this stands behind it in the line.
                agent.murmur("guest-fsfreeze-thaw").await;
                false
            }
        }
    }

    /// Tells the agent to let the guest go, until it says that it has. True when something was held still until then.
    /// The caller holds the agent.
    async fn thaw(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let reply = match Agent::greet(&self.run.join("qga.sock")).await {
                Some(mut agent) => agent.call("guest-fsfreeze-thaw", &Value::Null, COMMAND_LIMIT).await,
                None => Reply::Silent,
            };
            match reply {
                Reply::Return(count) => {
                    self.state.frozen = false;
                    self.write_state();
                    return count.as_u64() != Some(0);
                }
                Reply::Refused { unknown: true } => {
                    self.state.frozen = false;
                    self.write_state();
                    return false;
                }
                Reply::Refused { unknown: false } | Reply::Silent => {}
            }
            let urgent = *self.hurry.borrow() > 0;
            let ended = self.running.as_ref().is_none_or(|running| running.process.has_ended());
            if Instant::now() >= deadline || urgent || ended {
                tracing::warn!(
                    server.id = self.id.0,
                    "the guest's agent does not say that it let the guest go"
                );
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Watches the job to its end.
    async fn follow(
        &mut self,
        progress: &watch::Sender<u8>,
        cut: &CancellationToken,
    ) -> Result<(), DriverError> {
        let begun = Instant::now();
        let mut seen = begun;
        loop {
            let pause = async {
                tokio::time::sleep(POLL).await;
                Ok(())
            };
            self.meanwhile(cut, pause).await?;
            if self.running.is_none() {
                return Err(DriverError::retry(format!(
                    "machine {} ended while its disk was copied",
                    self.id
                )));
            }
            match self.monitor("query-jobs", Value::Null).await.map(|answer| job(&answer)) {
                Ok(Some(Job { concluded: true, error, .. })) => {
                    return error.map_or(Ok(()), |error| {
                        Err(DriverError::retry(format!("QEMU could not copy the disk: {error}")))
                    });
                }
                Ok(Some(job)) => {
                    seen = Instant::now();
                    progress.send_replace(job.percent);
                }
                Ok(None) => return Err(DriverError::retry("QEMU knows nothing of the copy any more")),
                Err(error) if seen.elapsed() > UNSEEN_LIMIT => return Err(error),
                Err(_) => self.connect().await,
            }
            if begun.elapsed() > COPY_LIMIT {
                return Err(DriverError::retry("QEMU did not finish the copy in time"));
            }
        }
    }

    /// Takes what a backup may have left out of QEMU.
    ///
    /// # Errors
    /// `Retry` when QEMU does not answer or the job does not end.
    pub async fn sweep(&mut self) -> Result<(), DriverError> {
        if self.running.is_none() {
            self.leftovers = false;
            return Ok(());
        }
        self.connect().await;
        let deadline = Instant::now() + CANCEL_LIMIT;
        while let Some(found) = job(&self.monitor("query-jobs", Value::Null).await?) {
            if found.concluded {
                self.monitor("job-dismiss", json!({ "id": JOB })).await?;
            } else if Instant::now() > deadline {
                return Err(DriverError::retry("QEMU does not end the copy of the disk"));
            } else {
                // One that is ending already refuses, which is as good.
                let _ = self.monitor("job-cancel", json!({ "id": JOB })).await;
                tokio::time::sleep(POLL / 4).await;
            }
        }
        let nodes = self.monitor("query-named-block-nodes", json!({ "flat": true })).await?;
        let has_target = |nodes: &Value| {
            nodes.as_array().is_some_and(|nodes| nodes.iter().any(|node| node["node-name"] == TARGET))
        };
        if has_target(&nodes) {
            self.monitor("blockdev-del", json!({ "node-name": TARGET })).await?;
        }
        self.leftovers = false;
        Ok(())
    }

    /// Mends what an earlier control plane, or a failure, may have left: a frozen guest, a job that is nobody's.
    pub async fn mend(&mut self) {
        if self.running.is_none() {
            return;
        }
        let agent = Arc::clone(&self.agent);
        // A conversation that is under way is not waited for: the next tidying is near.
        if self.state.frozen
            && let Ok(_one_at_a_time) = agent.try_lock()
        {
            tracing::warn!(server.id = self.id.0, "the guest may be held still; it is let go");
            self.thaw(Duration::ZERO).await;
            self.thaws_left = self.thaws_left.saturating_sub(1);
            if self.state.frozen && self.thaws_left == 0 {
                tracing::error!(server.id = self.id.0, "the guest may be held still, and its agent is gone");
                self.state.frozen = false;
                self.write_state();
            }
        }
        if self.leftovers
            && let Err(error) = self.sweep().await
        {
            tracing::warn!(server.id = self.id.0, %error, "something of a backup may be left in QEMU");
        }
    }

    /// Says something to the machine's monitor.
    async fn monitor(&self, command: &str, arguments: Value) -> Result<Value, DriverError> {
        match self.running.as_ref().and_then(|running| running.monitor.as_ref()) {
            Some((qmp, _)) => Ok(qmp.execute_within(command, arguments, COMMAND_LIMIT).await?),
            None => Err(QmpError::Closed.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_found_among_others_and_its_figures_are_bounded() {
        let found = |job: Value| super::job(&json!([{ "id": "other", "status": "concluded" }, job]));
        let running =
            json!({ "id": "snap", "status": "running", "current-progress": 50, "total-progress": 200 });
        assert_eq!(found(running), Some(Job { concluded: false, percent: 25, error: None }));
        let wild =
            json!({ "id": "snap", "status": "running", "current-progress": u64::MAX, "total-progress": 1 });
        assert_eq!(found(wild).unwrap().percent, 99);
        let fresh = json!({ "id": "snap", "status": "created", "current-progress": 0, "total-progress": 0 });
        assert_eq!(found(fresh).unwrap().percent, 0);
        let failed = json!({ "id": "snap", "status": "concluded", "error": "No space left on device" });
        let failed = found(failed).unwrap();
        assert!(failed.concluded);
        assert_eq!(failed.error.as_deref(), Some("No space left on device"));
        assert_eq!(found(json!({ "id": "snapper" })), None);
        assert_eq!(super::job(&json!("nonsense")), None);
    }
}
