//! One task per machine: it owns the machine's monitor, carries out verbs one after the other, and sees what
//! happens in between: a guest that powers itself off, a process that dies.
//!
//! ```text
//!  absent ── ensure_disk ──▶ stopped ── start ──▶ running
//!    ▲                        │  ▲                   │ the guest powers off, a verb stops it, the process dies
//!    └──────── remove ────────┘  └───────────────────┘
//! ```

use super::layout;
use super::network::{Counters, Mended};
use super::node::{Network, Node};
use super::process::{self, Exit, Process};
use super::qmp::{Event, Qmp};
use super::record::{self, Live, StateRecord};
use super::registry::{Answer, Done, Verb};
use super::serial::{self, Serial};
use crate::DriverError;
use crate::driver::{Hint, Observed, Power, Present, Usage};
use bulut_model::ServerId;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often logs are rotated, counters sampled and a lost monitor looked for.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How long the last words of a monitor may take after the process has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often links, addresses and routes are looked at; the rules are at every tidying.
const NETWORK_EVERY: Duration = Duration::from_secs(60);
/// How often a guest that may be frozen is told to thaw before it is given up, once at every tidying.
pub(super) const THAWS: u32 = 30;
/// Why a machine that was never started does not run.
const NEVER_STARTED: &str = "never started";

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
    /// Something of an earlier backup may be left in its QEMU.
    pub leftovers: bool,
    /// How often a thawing that was not confirmed is tried again.
    pub thaws_left: u32,
    tidied: Instant,
    /// When all of its network was looked at.
    network_kept: Instant,
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

/// The next thing that happens; nothing ever does while the machine does not run.
pub(super) async fn happening(running: &mut Option<Running>) -> Happening {
    match running {
        Some(running) => running.happening().await,
        None => std::future::pending().await,
    }
}

impl Machine {
    /// A machine of which nothing is known yet.
    pub fn new(
        node: Arc<Node>,
        id: ServerId,
        publish: watch::Sender<Option<Status>>,
        hurry: watch::Receiver<u32>,
        agent: Arc<tokio::sync::Mutex<()>>,
    ) -> Self {
        Self {
            id,
            dir: node.layout.machine(id),
            run: node.layout.run(id),
            node,
            state: StateRecord::default(),
            looked: false,
            running: None,
            publish,
            hurry,
            agent,
            leftovers: false,
            thaws_left: 0,
            tidied: Instant::now(),
            network_kept: Instant::now(),
        }
    }

    /// When logs are rotated, counters sampled and so on for the next time.
    pub fn next_tidying(&self) -> Instant {
        self.tidied + TIDY_EVERY
    }

    /// Whether it is known that there is no such machine.
    pub fn is_absent(&self) -> bool {
        self.looked && !self.dir.exists()
    }

    /// Returns when an urgent request waits in the box.
    pub fn urgent(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut hurry = self.hurry.clone();
        async move {
            if hurry.wait_for(|waiting| *waiting > 0).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Waits for work that takes long while the machine lives on: what happens to it is noted, and more urgent
    /// requests, or whoever does not want the work any more, cut it short.
    ///
    /// # Errors
    /// What the work answers; `Retry` when it is cut short.
    pub async fn meanwhile<T>(
        &mut self,
        cut: &CancellationToken,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let mut urgent = pin!(self.urgent());
        let closing = self.node.closing.clone();
        let mut work = pin!(work);
        loop {
            let tidying = self.next_tidying();
            tokio::select! {
                biased;
                () = &mut urgent => {
                    return Err(DriverError::retry("the copy gave way to a more urgent request"));
                }
                () = cut.cancelled() => return Err(DriverError::retry("the copy is not wanted any more")),
                () = closing.cancelled() => return Err(DriverError::retry("the driver is being closed")),
                happening = happening(&mut self.running) => self.take(happening).await,
                () = tokio::time::sleep_until(tidying) => self.tidy().await,
                done = &mut work => return done,
            }
        }
    }

    pub async fn carry_out(&mut self, verb: Verb) -> Answer {
        if !self.looked {
            self.look().await?;
        }
        // The process may have ended a moment ago, and this task been woken by the request first.
        if self.running.as_ref().is_some_and(|running| running.process.has_ended()) {
            self.settle(None).await;
        }
        match verb {
            Verb::Disk(spec) => self.ensure_disk(&spec).await?,
            Verb::Machine(spec) => return self.ensure_machine(*spec).await.map(Done::Applied),
            Verb::Network(nic) => self.apply_network(*nic).await?,
            Verb::Start => self.start().await?,
            Verb::Stop(how) => self.stop(how).await?,
            Verb::Reboot(how) => self.reboot(how).await?,
            Verb::Remove => self.remove().await?,
            Verb::Forget => self.forget().await?,
            Verb::Snapshot(id, progress) => return self.take_snapshot(id, &progress).await.map(Done::Taken),
            Verb::Stage(spec, stage) => self.stage_disk(&spec, stage).await?,
            Verb::Swap(stage) => self.swap_disk(stage)?,
            Verb::Unstage(stage) => self.unstage_disk(stage)?,
            Verb::DropOld(stage) => self.drop_old_disk(stage)?,
        }
        Ok(Done::So)
    }

    /// Finds out what there is: at the task's beginning, also after the control plane was away.
    pub async fn look(&mut self) -> Result<(), DriverError> {
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
        let process = self.find_process().map_err(|e| {
            DriverError::Unreachable(format!("cannot look for the process of machine {}: {e}", self.id))
        })?;
        match process {
            Some(process) => self.reattach(process).await?,
            None if self.state.live.is_some() => {
                let unseen = self.unseen_end();
                tracing::info!(server.id = self.id.0, reason = unseen, "the machine ended unseen");
                let usage = self.last_usage().await;
                self.write_end(unseen, usage).await;
            }
            None => {}
        }
        self.announce();
        Ok(())
    }

    /// The process that was written down, else the one that the pid file names: the machine can take that file away,
    /// and a control plane that died right after the start had not written anything down yet.
    fn find_process(&self) -> io::Result<Option<Process>> {
        if let Some(live) = self.state.live.as_ref().filter(|live| live.boot == process::boot_id()) {
            let same = |process: &Process| process.start_ticks == live.start_ticks && !process.has_ended();
            if let Some(process) = Process::open(live.pid)?.filter(same) {
                return Ok(Some(process));
            }
        }
        process::find(&self.node.layout.pidfile(self.id))
    }

    /// Takes up a process that an earlier control plane started.
    async fn reattach(&mut self, process: Process) -> Result<(), DriverError> {
        let before = self.state.live.take();
        let same = before.filter(|live| live.pid == process.pid && live.start_ticks == process.start_ticks);
        let live = match same {
            Some(live) => live,
            None => live_of(&process, self.counted().await?),
        };
        self.state.epoch = live.epoch();
        self.state.live = Some(live);
        let machine = record::machine(&self.node.layout, self.id).ok().flatten();
        if let Some(machine) = machine
            && let Err(error) = self.node.join(self.id, &machine.spec.nic).await
        {
            tracing::error!(server.id = self.id.0, %error, "the machine's network could not be mended");
        }
        self.network_kept = Instant::now();
        self.running = Some(Running { process, monitor: None, serial: None, shutdown: None });
        // A control plane that died right after the start has left it open to the machine.
        if let Err(error) = self.node.layout.seal_run(self.id) {
            tracing::warn!(server.id = self.id.0, %error, "the directory of the sockets could not be sealed");
        }
        self.connect().await;
        self.leftovers = true;
        self.thaws_left = THAWS;
        self.mend().await;
        tracing::info!(server.id = self.id.0, epoch = self.state.epoch, "attached to a running machine");
        Ok(())
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

    pub async fn take(&mut self, happening: Happening) {
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

    pub async fn tidy(&mut self) {
        self.tidied = Instant::now();
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
        self.mend().await;
        self.keep_network().await;
        if let Some(live) = &self.state.live {
            self.state.usage = self.node.usage(self.id, live, &self.state.usage).await;
        }
        self.announce();
    }

    /// Mends what somebody else has changed of the machine's network.
    async fn keep_network(&mut self) {
        let Network::Routed(routed) = &self.node.network else { return };
        let thorough = self.network_kept.elapsed() >= NETWORK_EVERY;
        if thorough {
            self.network_kept = Instant::now();
        }
        let Ok(Some(machine)) = record::machine(&self.node.layout, self.id) else { return };
        match routed.keep(self.id, &machine.spec.nic, thorough).await {
            Ok(mended) if mended.is_empty() => {}
            Ok(mended) => {
                tracing::warn!(
                    server.id = self.id.0,
                    ?mended,
                    "somebody changed the machine's network; it is mended"
                );
                if mended.contains(&Mended::Tap) {
                    tracing::error!(
                        server.id = self.id.0,
                        "somebody deleted the tap of a machine that runs: its guest is cut off until the server is stopped and started"
                    );
                }
                // Nobody listening is no fault.
                let _ = self.node.hints.send(Hint::NetworkMended(self.id));
            }
            Err(error) => {
                tracing::error!(server.id = self.id.0, %error, "the machine's network could not be looked after");
            }
        }
    }

    /// Takes note of the process's end. `asked` is the reason when it was we who ended it, else it is found out.
    pub async fn settle(&mut self, asked: Option<&str>) {
        let Some(mut running) = self.running.take() else { return };
        running.last_words(self.id).await;
        // Before it is reaped, while its processor time can still be read.
        let usage = self.last_usage().await;
        let exit = running.process.reap();
        let reason = asked.map_or_else(|| why(running.shutdown.as_ref(), exit), str::to_owned);
        tracing::info!(server.id = self.id.0, reason, ?exit, "the machine has stopped");
        self.write_end(reason, usage).await;
        self.announce();
        // Nobody listening is no fault.
        let _ = self.node.hints.send(Hint::Machine(self.id));
    }

    /// The counters of the process that runs or ran last: its tap goes on to know them.
    async fn last_usage(&self) -> Option<Usage> {
        let live = self.state.live.as_ref()?;
        Some(self.node.usage(self.id, live, &self.state.usage).await)
    }

    /// Writes down that there is no process, and clears away what belonged to it.
    async fn write_end(&mut self, reason: String, usage: Option<Usage>) {
        self.state.live = None;
        self.state.ending = false;
        self.state.frozen = false;
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

    /// What the tap has counted so far; nothing where there is none, or nobody counts.
    ///
    /// # Errors
    /// `Retry` when the kernel does not tell: an epoch that began without it would count what others have counted.
    pub async fn counted(&self) -> Result<Counters, DriverError> {
        match &self.node.network {
            Network::Routed(routed) => match routed.counters(self.id).await {
                Err(DriverError::Gone(_)) => Ok(Counters::default()),
                told => told,
            },
            Network::User => Ok(Counters::default()),
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
