//! How the tasks of machines are reached: one for each, which carries out requests one after the other.
//!
//! A verb runs to its end even when nobody waits for the answer any more, so that nothing is left half-told. What a
//! machine is can be read at any time, also while a long verb is at work.

use super::machine::{Machine, Status, happening};
use super::node::Node;
use crate::driver::{Applied, Stop, Taken};
use crate::{DriverError, MachineSpec, Nic};
use bulut_model::{OperationId, ServerId, SnapshotId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{mpsc, oneshot, watch};

/// What a machine's task is asked to do.
#[derive(Debug)]
pub enum Verb {
    /// See [`Driver::ensure_disk`](crate::Driver::ensure_disk).
    Disk(Box<MachineSpec>),
    /// See [`Driver::ensure_machine`](crate::Driver::ensure_machine).
    Machine(Box<MachineSpec>),
    /// See [`Driver::apply_network`](crate::Driver::apply_network).
    Network(Box<Nic>),
    /// See [`Driver::start`](crate::Driver::start).
    Start,
    /// See [`Driver::stop`](crate::Driver::stop).
    Stop(Stop),
    /// See [`Driver::reboot`](crate::Driver::reboot).
    Reboot(Stop),
    /// See [`Driver::remove`](crate::Driver::remove).
    Remove,
    /// See [`Driver::forget_secrets`](crate::Driver::forget_secrets).
    Forget,
    /// See [`Driver::take_snapshot`](crate::Driver::take_snapshot).
    Snapshot(SnapshotId, watch::Sender<u8>),
    /// See [`Driver::stage_disk`](crate::Driver::stage_disk).
    Stage(Box<MachineSpec>, OperationId),
    /// See [`Driver::swap_disk`](crate::Driver::swap_disk).
    Swap(OperationId),
    /// See [`Driver::unstage_disk`](crate::Driver::unstage_disk).
    Unstage(OperationId),
    /// See [`Driver::drop_old_disk`](crate::Driver::drop_old_disk).
    DropOld(OperationId),
}

impl Verb {
    /// Whether it cuts short a verb that waits for the guest's consent, or copies.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Stop(Stop::Force) | Self::Reboot(Stop::Force) | Self::Remove)
    }

    /// Whether it is not even begun once nobody waits for it: whoever gave it up may have undone it meanwhile, and
    /// what it makes would be nobody's.
    fn is_for_somebody(&self) -> bool {
        matches!(self, Self::Snapshot(..) | Self::Stage(..))
    }
}

/// What a verb that succeeded has to say.
#[derive(Debug, Clone)]
pub enum Done {
    /// Nothing more.
    So,
    /// [`Verb::Machine`] settled this.
    Applied(Applied),
    /// [`Verb::Snapshot`] took this.
    Taken(Taken),
}

/// What a verb answers.
pub type Answer = Result<Done, DriverError>;

struct Request {
    verb: Verb,
    reply: oneshot::Sender<Answer>,
}

/// How to reach a machine's task.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
    status: watch::Receiver<Option<Status>>,
    urgent: watch::Sender<u32>,
    /// Held during a conversation with the guest's agent, which listens to one at a time.
    pub agent: Arc<tokio::sync::Mutex<()>>,
}

impl Handle {
    /// What is known; waits for the task's first look.
    ///
    /// # Errors
    /// `Unreachable` when the task is gone, or could not look.
    pub async fn status(&self) -> Result<Status, DriverError> {
        let mut status = self.status.clone();
        let seen = status.wait_for(Option::is_some).await.map(|status| status.clone());
        seen.ok().flatten().ok_or_else(|| DriverError::Unreachable("the machine's task has ended".into()))
    }
}

/// The tasks of all machines.
#[derive(Debug, Default)]
pub struct Registry(Mutex<HashMap<ServerId, Handle>>);

impl Registry {
    /// The task of a machine, begun when there is none.
    pub fn handle(self: &Arc<Self>, node: &Arc<Node>, id: ServerId) -> Handle {
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        machines.entry(id).or_insert_with(|| begin(node, Arc::downgrade(self), id)).clone()
    }

    /// The task of a machine, if there is one.
    pub fn find(&self, id: ServerId) -> Option<Handle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Has a verb carried out.
    ///
    /// # Errors
    /// What the verb answers.
    pub async fn ask(self: &Arc<Self>, node: &Arc<Node>, id: ServerId, verb: Verb) -> Answer {
        let (reply, answer) = oneshot::channel();
        {
            // Sent under the lock, so that a task never retires with a request in its box.
            let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let handle = machines.entry(id).or_insert_with(|| begin(node, Arc::downgrade(self), id));
            if verb.is_urgent() {
                handle.urgent.send_modify(|n| *n += 1);
            }
            // A closed box drops the reply, which is answered below.
            let _ = handle.requests.send(Request { verb, reply });
        }
        answer.await.unwrap_or_else(|_| Err(DriverError::Unreachable("the machine's task has ended".into())))
    }

    /// Takes a task off the list, unless somebody has just asked it something.
    fn retire(&self, id: ServerId, requests: &mpsc::UnboundedReceiver<Request>) -> bool {
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = requests.is_empty();
        if idle {
            machines.remove(&id);
        }
        idle
    }
}

fn begin(node: &Arc<Node>, registry: Weak<Registry>, id: ServerId) -> Handle {
    let (requests, inbox) = mpsc::unbounded_channel();
    let (publish, status) = watch::channel(None);
    let (urgent, hurry) = watch::channel(0);
    let agent = Arc::new(tokio::sync::Mutex::new(()));
    let machine = Machine::new(Arc::clone(node), id, publish, hurry, Arc::clone(&agent));
    let handle = Handle { requests, status, urgent: urgent.clone(), agent };
    tokio::spawn(live(machine, inbox, urgent, registry));
    handle
}

/// The life of a machine's task.
async fn live(
    mut machine: Machine,
    mut inbox: mpsc::UnboundedReceiver<Request>,
    urgent: watch::Sender<u32>,
    registry: Weak<Registry>,
) {
    if let Err(error) = machine.look().await {
        tracing::warn!(server.id = machine.id.0, %error, "cannot look at the machine");
    }
    loop {
        let tidying = machine.next_tidying();
        tokio::select! {
            request = inbox.recv() => {
                let Some(Request { verb, reply }) = request else { return };
                if verb.is_urgent() {
                    urgent.send_modify(|n| *n = n.saturating_sub(1));
                }
                if verb.is_for_somebody() && reply.is_closed() {
                    continue;
                }
                let answer = machine.carry_out(verb).await;
                // Whoever asked may have stopped waiting.
                let _ = reply.send(answer);
                let absent = machine.is_absent();
                if absent && registry.upgrade().is_none_or(|r| r.retire(machine.id, &inbox)) {
                    return;
                }
            }
            happening = happening(&mut machine.running) => machine.take(happening).await,
            () = tokio::time::sleep_until(tidying) => machine.tidy().await,
        }
    }
}
