//! What an operation is made of.

use crate::app::App;
use crate::domain::plans::Plan;
use bulut_compute::{Driver, DriverError};
use bulut_model::operation::Operation;
use bulut_model::server::Power;
use bulut_model::{Error, NodeId, SnapshotId};
use bulut_store::Tx;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A future of a step: boxed, so that steps of all kinds fit one list.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a step is told. Everything it makes has a name that derives from the operation's server.
#[derive(Clone)]
pub struct Context {
    /// The application.
    pub app: App,
    /// The operation.
    pub operation: Operation,
    /// The node that it works on.
    pub node: NodeId,
    /// What the verb stored for its steps, JSON.
    pub params: String,
}

impl Context {
    /// What the operation is to make of its server.
    pub fn plan(&self) -> Result<Plan, Error> {
        Plan::from_json(&self.params)
    }

    /// The snapshot that the operation makes, uses or removes.
    pub fn snapshot(&self) -> Result<SnapshotId, Error> {
        let none = || Error::internal(format!("operation {} names no snapshot", self.operation.id));
        self.operation.snapshot.ok_or_else(none)
    }

    /// The driver of the operation's node.
    pub fn driver(&self) -> Result<Arc<dyn Driver>, StepError> {
        Ok(self.app.driver(self.node)?)
    }
}

/// Why a step did not succeed.
#[derive(Debug)]
pub enum StepError {
    /// It may, if tried again.
    Retry(String),
    /// It will not. The first text is for the customer, the second for the log.
    Fatal(String, String),
}

impl From<DriverError> for StepError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Retry(text) | DriverError::Unreachable(text) => Self::Retry(text),
            DriverError::Fatal(text) | DriverError::Gone(text) => Self::Fatal(text.clone(), text),
        }
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        // Refusals do not reach steps: the verb has checked them. What does is the database being away, or a
        // fault of ours, and for both a later try may find things better.
        Self::Retry(error.to_string())
    }
}

/// Does or undoes a step.
pub type Act = for<'a> fn(&'a Context) -> BoxFuture<'a, Result<(), StepError>>;

/// The effect on the database that is one with the end of an operation. A failed one is told what was seen of
/// the machine just before, if the node could be asked: no transaction is held across a driver call.
pub type Settle = for<'a> fn(&'a Context, &'a Tx, Option<Power>) -> BoxFuture<'a, Result<(), Error>>;

/// An idempotent pair of doing and undoing.
pub struct Step {
    /// Its name in the log and in faults.
    pub name: &'static str,
    /// Does it.
    pub act: Act,
    /// Undoes it, also half-done; `None` where there is nothing to undo.
    pub undo: Option<Act>,
    /// How long one try may take.
    pub limit: Duration,
    /// There is no way back any more: it is tried until it holds.
    pub insists: bool,
}

impl Step {
    /// A step that leaves nothing to undo.
    pub const fn new(name: &'static str, limit_s: u64, act: Act) -> Self {
        Self { name, act, undo: None, limit: Duration::from_secs(limit_s), insists: false }
    }

    /// How it is undone, also half-done.
    #[must_use]
    pub const fn undone_by(mut self, undo: Act) -> Self {
        self.undo = Some(undo);
        self
    }

    /// From here on there is no way back.
    #[must_use]
    pub const fn insisting(mut self) -> Self {
        self.insists = true;
        self
    }
}

/// What happens when a step fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The steps begun are undone, then the operation ends as failed.
    Undo,
    /// The steps are tried until they hold, however long that takes.
    Insist,
}

/// An operation's kind: its steps in order, and its ends.
pub struct Definition {
    /// In order.
    pub steps: &'static [Step],
    /// What happens when a step fails for good.
    pub on_failure: OnFailure,
    /// Tries of one step before it counts as failed for good.
    pub tries: i64,
    /// What is true with its success.
    pub done: Settle,
    /// What is true with its failure, after undoing.
    pub undone: Settle,
}
