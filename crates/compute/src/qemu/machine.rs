//! One task per machine: it owns the machine's monitor, carries out verbs one after the other, and sees what
//! happens in between: a guest that powers itself off, a process that dies.
//!
//! A verb runs to its end even when nobody waits for the answer any more, so that nothing is left half-told.
//! What the machine is can be read at any time, also while a long verb is at work.
//!
//! ```text
//!  absent ── ensure_disk ──▶ stopped ── start ──▶ running
//!    ▲                        │  ▲                   │ the guest powers off, a verb stops it, the process dies
//!    └──────── remove ────────┘  └───────────────────┘
//! ```

use super::layout;
use super::network::Counters;
use super::node::{Network, Node};
use super::process::{self, Exit, Process};
use super::qmp::{Event, Qmp};
use super::record::{self, Live, StateRecord};
use super::serial::{self, Serial};
use crate::DriverError;
use crate::driver::{Applied, Hint, Observed, Power, Present, Stop, Usage};
use crate::spec::MachineSpec;
use bulut_model::ServerId;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// How often logs are rotated, counters sampled and a lost monitor looked for.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How long the last words of a monitor may take after the process has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Why a machine that was never started does not run.
const NEVER_STARTED: &str = "never started";

/// What a machine's task is asked to do.
#[derive(Debug)]
pub enum Verb {
    /// See [`Driver::ensure_disk`](crate::Driver::ensure_disk).
    Disk(Box<MachineSpec>),
    /// See [`Driver::ensure_machine`](crate::Driver::ensure_machine).
    Machine(Box<MachineSpec>),
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
}

impl Verb {
    /// Whether it cuts short a verb that waits for the guest's consent.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Stop(Stop::Force) | Self::Reboot(Stop::Force) | Self::Remove)
    }
}

/// What a verb answers; only [`Verb::Machine`] has something to say.
pub type Answer = Result<Option<Applied>, DriverError>;

struct Request {
    verb: Verb,
    reply: oneshot::Sender<Answer>,
}

/// What is known about a machine right now.
#[derive(Debug, Clone)]
pub struct Status {
    /// What the control plane is told; an error when the node cannot be looked at.
    pub observed: Result<Observed, DriverError>,
    /// The process, while it runs.
    pub live: Option<Live>,
    /// The serial line, while it runs.
    pub serial: Option<Serial>,
    /// The counters at the last look.
    pub usage: Usage,
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
    let machine = Machine {
        id,
        dir: node.layout.machine(id),
        run: node.layout.run(id),
        node: Arc::clone(node),
        state: StateRecord::default(),
        looked: false,
        running: None,
        publish,
        hurry,
        agent: Arc::clone(&agent),
    };
    let handle = Handle { requests, status, urgent: urgent.clone(), agent };
    tokio::spawn(live(machine, inbox, urgent, registry));
    handle
}

/// A machine as its task knows it.
pub(super) struct Machine {
    pub id: ServerId,
    /// Its directory.
    pub dir: PathBuf,
    /// The directory of its sockets.
    pub run: PathBuf,
    pub node: Arc<Node>,
    pub state: StateRecord,
    /// Whether the node could be looked at since this task began.
    looked: bool,
    pub running: Option<Running>,
    publish: watch::Sender<Option<Status>>,
    /// How many urgent requests wait in the box.
    pub hurry: watch::Receiver<u32>,
    pub agent: Arc<tokio::sync::Mutex<()>>,
}

/// A machine's process and our lines to it.
pub(super) struct Running {
    pub process: Process,
    /// `None` while the monitor is lost.
    pub monitor: Option<(Qmp, broadcast::Receiver<Event>)>,
    pub serial: Option<Serial>,
    /// The reason in QEMU's own announcement that it ends, and whether the guest wanted it.
    pub shutdown: Option<(bool, String)>,
}

/// What happens to a running machine by itself.
pub(super) enum Happening {
    /// The process has ended.
    Ended,
    /// QEMU said something.
    Event(Event),
    /// The monitor's socket is gone, or it spoke faster than we listened.
    MonitorLost,
}

impl Running {
    /// The next thing that happens. Can be given up and asked again without losing anything.
    pub async fn happening(&mut self) -> Happening {
        let Some((qmp, events)) = &mut self.monitor else {
            self.process.ended().await;
            return Happening::Ended;
        };
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Ok(event) => Happening::Event(event),
                Err(_) => Happening::MonitorLost,
            },
            () = self.process.ended() => Happening::Ended,
            () = qmp.closed() => Happening::MonitorLost,
        }
    }

    /// Remembers what matters of an event.
    pub fn note(&mut self, id: ServerId, event: &Event) {
        match event.name.as_str() {
            "SHUTDOWN" => {
                let by_guest = event.data["guest"].as_bool().unwrap_or(false);
                self.shutdown = Some((by_guest, event.data["reason"].as_str().unwrap_or("").to_owned()));
            }
            "BLOCK_IO_ERROR" => {
                tracing::error!(server.id = id.0, device = %event.data["node-name"], reason = %event.data["reason"],
                    "the machine's disk failed");
            }
            "RESET" | "STOP" | "RESUME" | "POWERDOWN" => {
                tracing::debug!(server.id = id.0, event = event.name, "QEMU said");
            }
            _ => {}
        }
    }

    /// Hears the monitor out once the process has ended.
    async fn last_words(&mut self, id: ServerId) {
        let Some((qmp, mut events)) = self.monitor.take() else { return };
        // Silence is an answer too: a killed process says nothing.
        let _ = tokio::time::timeout(LAST_WORDS, qmp.closed()).await;
        while let Ok(event) = events.try_recv() {
            self.note(id, &event);
        }
    }
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
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            request = inbox.recv() => {
                let Some(Request { verb, reply }) = request else { return };
                if verb.is_urgent() {
                    urgent.send_modify(|n| *n = n.saturating_sub(1));
                }
                let answer = machine.carry_out(verb).await;
                // Whoever asked may have stopped waiting.
                let _ = reply.send(answer);
                let absent = machine.looked && !machine.dir.exists();
                if absent && registry.upgrade().is_none_or(|r| r.retire(machine.id, &inbox)) {
                    return;
                }
            }
            happening = happening(&mut machine.running) => machine.take(happening).await,
            _ = tidy.tick() => machine.tidy().await,
        }
    }
}

async fn happening(running: &mut Option<Running>) -> Happening {
    match running {
        Some(running) => running.happening().await,
        None => std::future::pending().await,
    }
}

impl Machine {
    async fn carry_out(&mut self, verb: Verb) -> Answer {
        if !self.looked {
            self.look().await?;
        }
        // The process may have ended a moment ago, and this task been woken by the request first.
        if self.running.as_ref().is_some_and(|running| running.process.has_ended()) {
            self.settle(None).await;
        }
        match verb {
            Verb::Disk(spec) => self.ensure_disk(&spec).await?,
            Verb::Machine(spec) => return self.ensure_machine(*spec).await.map(Some),
            Verb::Start => self.start().await?,
            Verb::Stop(how) => self.stop(how).await?,
            Verb::Reboot(how) => self.reboot(how).await?,
            Verb::Remove => self.remove().await?,
            Verb::Forget => self.forget().await?,
        }
        Ok(None)
    }

    /// Finds out what there is: at the task's beginning, also after the control plane was away.
    async fn look(&mut self) -> Result<(), DriverError> {
        let found = self.find().await;
        if let Err(error) = &found {
            self.publish.send_replace(Some(Status {
                observed: Err(DriverError::Unreachable(error.to_string())),
                live: None,
                serial: None,
                usage: Usage::default(),
            }));
        }
        self.looked = found.is_ok();
        found
    }

    async fn find(&mut self) -> Result<(), DriverError> {
        self.state = record::state(&self.node.layout, self.id).unwrap_or_else(|error| {
            tracing::error!(server.id = self.id.0, %error, "the machine's state is lost; its process still counts");
            StateRecord::default()
        });
        let pidfile = self.node.layout.pidfile(self.id);
        let process = process::find(&pidfile).map_err(|e| {
            DriverError::Unreachable(format!("cannot look for the process of machine {}: {e}", self.id))
        })?;
        match process {
            Some(process) => self.reattach(process).await,
            None if self.state.live.is_some() => {
                let unseen = self.unseen_end();
                tracing::info!(server.id = self.id.0, reason = unseen, "the machine ended unseen");
                self.write_end(unseen, None).await;
            }
            None => {}
        }
        self.announce();
        Ok(())
    }

    /// Takes up a process that an earlier control plane started.
    async fn reattach(&mut self, process: Process) {
        let before = self.state.live.take();
        let same = before.filter(|live| live.pid == process.pid && live.start_ticks == process.start_ticks);
        let live = match same {
            Some(live) => live,
            None => live_of(&process, self.counted().await),
        };
        self.state.epoch = live.epoch();
        self.state.live = Some(live);
        let machine = record::machine(&self.node.layout, self.id).ok().flatten();
        if let Some(machine) = machine
            && let Err(error) = self.node.join(self.id, &machine.spec.nic).await
        {
            tracing::error!(server.id = self.id.0, %error, "the machine's network could not be mended");
        }
        self.running = Some(Running { process, monitor: None, serial: None, shutdown: None });
        // A control plane that died right after the start has left it open to the machine.
        if let Err(error) = self.node.layout.seal_run(self.id) {
            tracing::warn!(server.id = self.id.0, %error, "the directory of the sockets could not be sealed");
        }
        self.connect().await;
        tracing::info!(server.id = self.id.0, epoch = self.state.epoch, "attached to a running machine");
    }

    /// Connects what is not connected to a running machine: monitor and serial line. Trouble is not an error:
    /// the process is what counts, and the next tidying tries again.
    pub async fn connect(&mut self) {
        let Some(running) = &mut self.running else { return };
        if running.monitor.is_none() {
            match Qmp::connect(&self.run.join("qmp.sock"), Duration::from_secs(3)).await {
                Ok(qmp) => {
                    let events = qmp.events();
                    running.monitor = Some((qmp, events));
                }
                Err(error) => tracing::warn!(server.id = self.id.0, %error, "the machine's monitor is away"),
            }
        }
        if running.serial.as_ref().is_none_or(|serial| !serial.is_held()) {
            match Serial::attach(&self.run.join("serial.sock")).await {
                Ok(serial) => running.serial = Some(serial),
                Err(error) => {
                    tracing::warn!(server.id = self.id.0, %error, "the machine's serial line is away")
                }
            }
        }
    }

    /// Why a process that nobody watched is gone.
    fn unseen_end(&self) -> String {
        let Some(live) = &self.state.live else { return self.state.reason.clone() };
        if self.state.ending {
            "stopped on request".into()
        } else if live.boot != process::boot_id() {
            "the host restarted".into()
        } else if self.node.layout.pidfile(self.id).exists() {
            "QEMU ended without a shutdown while nobody watched".into()
        } else {
            "the guest powered itself off, or QEMU was told to end, while nobody watched".into()
        }
    }

    async fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Ended => self.settle(None).await,
            Happening::Event(event) => {
                if let Some(running) = &mut self.running {
                    running.note(self.id, &event);
                }
            }
            Happening::MonitorLost => {
                if let Some(running) = &mut self.running {
                    running.monitor = None;
                }
            }
        }
    }

    async fn tidy(&mut self) {
        if !self.looked {
            // The node could not be looked at when this task began; until it can, nothing is known of the machine.
            let _ = self.look().await;
        }
        let Some(running) = &self.running else { return };
        for name in ["serial.log", "qemu.out"] {
            if let Err(error) = serial::rotate(&self.dir.join(name), serial::LOG_LIMIT) {
                tracing::warn!(server.id = self.id.0, %error, log = name, "the log could not be rotated");
            }
        }
        let whole = running.monitor.is_some() && running.serial.as_ref().is_some_and(Serial::is_held);
        if !whole {
            self.connect().await;
        }
        if let Some(live) = &self.state.live {
            self.state.usage = self.node.usage(self.id, live, &self.state.usage).await;
        }
        self.announce();
    }

    /// Takes note of the process's end. `asked` is the reason when it was we who ended it, else it is found out.
    pub async fn settle(&mut self, asked: Option<&str>) {
        let Some(mut running) = self.running.take() else { return };
        running.last_words(self.id).await;
        // Before it is reaped, while its processor time can still be read.
        let usage = match &self.state.live {
            Some(live) => Some(self.node.usage(self.id, live, &self.state.usage).await),
            None => None,
        };
        let exit = running.process.reap();
        let reason = asked.map_or_else(|| why(running.shutdown.as_ref(), exit), str::to_owned);
        tracing::info!(server.id = self.id.0, reason, ?exit, "the machine has stopped");
        self.write_end(reason, usage).await;
        self.announce();
        // Nobody listening is no fault.
        let _ = self.node.hints.send(Hint::Machine(self.id));
    }

    /// Writes down that there is no process, and clears away what belonged to it.
    async fn write_end(&mut self, reason: String, usage: Option<Usage>) {
        self.state.live = None;
        self.state.ending = false;
        self.state.reason = reason;
        if let Some(usage) = usage {
            self.state.usage = Usage { memory_bytes: 0, ..usage };
        }
        self.write_state();
        self.clear_away().await;
    }

    /// Removes sockets and limits of a process that has ended.
    pub async fn clear_away(&self) {
        if let Err(error) = layout::remove_dir(&self.run) {
            tracing::warn!(server.id = self.id.0, %error, "the machine's sockets could not be removed");
        }
        if let Some(cgroups) = &self.node.cgroups
            && let Err(error) = cgroups.remove(self.id).await
        {
            tracing::warn!(server.id = self.id.0, %error, "the machine's cgroup could not be removed");
        }
    }

    /// Writes the state down; trouble is logged, for the process is what counts.
    pub fn write_state(&self) {
        if let Err(error) = record::write_state(&self.node.layout, self.id, &self.state) {
            tracing::error!(server.id = self.id.0, %error, "the machine's state could not be written");
        }
    }

    /// Publishes what is known.
    pub fn announce(&self) {
        let observed = match self.dir.try_exists() {
            Err(e) => Err(DriverError::Unreachable(format!("cannot look at machine {}: {e}", self.id))),
            Ok(false) if self.running.is_none() => Ok(Observed::Absent),
            Ok(_) => Ok(Observed::Present(self.present())),
        };
        self.publish.send_replace(Some(Status {
            observed,
            live: self.state.live.clone(),
            serial: self.running.as_ref().and_then(|running| running.serial.clone()),
            usage: self.state.usage.clone(),
        }));
    }

    fn present(&self) -> Present {
        let epoch = self.state.epoch.clone();
        if self.running.is_some() {
            return Present { power: Power::Running, reason: String::new(), epoch };
        }
        let reason = if self.state.reason.is_empty() { NEVER_STARTED } else { &self.state.reason };
        Present { power: Power::Stopped, reason: reason.to_owned(), epoch }
    }

    /// What the tap has counted so far; nothing where nobody counts.
    pub async fn counted(&self) -> Counters {
        match &self.node.network {
            Network::Routed(routed) => routed.counters(self.id).await.unwrap_or_default(),
            Network::User => Counters::default(),
        }
    }
}

/// What is written down of a process that starts an epoch.
pub(super) fn live_of(process: &Process, before: Counters) -> Live {
    Live {
        pid: process.pid,
        start_ticks: process.start_ticks,
        boot: process::boot_id(),
        received_before: before.received_bytes,
        sent_before: before.sent_bytes,
        forged_before: before.forged_frames,
    }
}

/// Why a process ended that we did not end.
fn why(shutdown: Option<&(bool, String)>, exit: Exit) -> String {
    match (shutdown, exit) {
        (Some((true, reason)), _) if reason == "guest-panic" => "the guest's kernel panicked".into(),
        (Some((true, _)), _) => "the guest powered itself off".into(),
        (Some((false, reason)), _) if reason == "host-signal" => "QEMU was told to end by a signal".into(),
        (Some((false, reason)), _) => format!("QEMU was told to end ({reason})"),
        (None, Exit::Signal(signal)) => format!("QEMU was killed by signal {signal}, without a shutdown"),
        (None, Exit::Code(code)) => format!("QEMU ended without a shutdown (exit code {code})"),
        (None, Exit::Unknown) => "QEMU ended without a shutdown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_follows_from_qemus_words_and_the_exit() {
        let said = |guest, reason: &str| Some((guest, reason.to_owned()));
        assert_eq!(why(said(true, "guest-shutdown").as_ref(), Exit::Code(0)), "the guest powered itself off");
        assert!(why(said(false, "host-signal").as_ref(), Exit::Code(0)).contains("signal"));
        assert!(why(None, Exit::Signal(9)).contains("signal 9"));
        assert!(why(None, Exit::Unknown).contains("without a shutdown"));
    }
}
