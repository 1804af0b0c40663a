//! The world behind a simulated driver: machines, faults, calls; in memory, or kept in one file.
//!
//! Promises: a change is on disk before its verb answers (written beside and renamed, mode 0600); a world
//! opened again has the same machines, running ones still running in the same epoch, counters not reset.
//!
//! ```text
//! absent -- ensure_disk --> disk only -- ensure_machine --> stopped <--> running
//!    ^------------------------- remove, from anywhere -----------------------'
//! ```
//! What stands on disks, and snapshots of them, is in `disks`.

use super::disks::{Disk, Snap, Stage};
use super::faults::{FailWith, LatencyProfile, Moment, VERBS, Verb, mix};
use crate::{
    DriverError, Hint, MachineSpec, Nic, Observed, PasswordChange, PoolNetwork, Power, Present, SetupStatus,
    Stop, Usage,
};
use bulut_model::{OperationId, ServerId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// How many hints are kept for a slow reader before it is told to look at everything.
const HINTS: usize = 1024;

/// A machine of the simulated node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    /// `None` until it is made.
    pub disk: Option<Disk>,
    /// Other disks beside it, by the operation that staged them.
    pub stages: BTreeMap<i64, Stage>,
    pub made: bool,
    pub running: bool,
    /// 0 before the first start.
    pub epoch: u64,
    pub boots: u32,
    pub reason: Cow<'static, str>,
    /// What its seed says.
    pub hostname: Box<str>,
    /// Its seed says it to an instance that had another one.
    #[serde(default)]
    pub renamed: bool,
    pub memory_mib: u64,
    #[serde(default)]
    pub mac: Box<str>,
    pub secrets: bool,
    pub setup: SetupStatus,
    /// Does not hear the power button.
    pub deaf: bool,
    /// Has no agent.
    pub mute: bool,
    /// Cannot be looked at.
    pub veiled: bool,
    /// The instance that its seed is of.
    pub instance: Box<str>,
    /// The new password that its seed brings.
    pub change: Option<Box<PasswordChange>>,
    /// What its guest said on the serial line, by the boot in which it did.
    pub said: Vec<(u32, Box<str>)>,
    pub spec: Option<Box<MachineSpec>>,
    /// Counters as they were at `since`.
    counted: Counted,
    /// From when on the counters of a running machine have grown by themselves.
    #[serde(skip, default = "Instant::now")]
    since: Instant,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counted {
    cpu_us: u64,
    received_bytes: u64,
    sent_bytes: u64,
    forged_frames: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            disk: None,
            stages: BTreeMap::new(),
            made: false,
            running: false,
            epoch: 0,
            boots: 0,
            reason: "never started".into(),
            hostname: Box::default(),
            renamed: false,
            memory_mib: 0,
            mac: Box::default(),
            secrets: false,
            setup: SetupStatus::Done,
            deaf: false,
            mute: false,
            veiled: false,
            instance: Box::default(),
            change: None,
            said: Vec::new(),
            spec: None,
            counted: Counted::default(),
            since: Instant::now(),
        }
    }
}

impl Machine {
    pub fn observed(&self) -> Result<Observed, DriverError> {
        if self.veiled {
            return Err(DriverError::Unreachable("the machine cannot be looked at".into()));
        }
        Ok(Observed::Present(self.present()))
    }

    fn present(&self) -> Present {
        let power = if self.running { Power::Running } else { Power::Stopped };
        Present { power, reason: self.reason.to_string(), epoch: self.epoch_text() }
    }

    fn epoch_text(&self) -> String {
        if self.epoch == 0 { String::new() } else { format!("simulated-{}", self.epoch) }
    }

    /// The counters now: a running guest uses 1 to 16 % of a processor and moves 1 to 64 KiB a second.
    fn count(&self, id: ServerId) -> Counted {
        let lived = if self.running { self.since.elapsed() } else { Duration::ZERO };
        let us = u64::try_from(lived.as_micros()).unwrap_or(u64::MAX);
        let lot = mix(id.0.unsigned_abs());
        let per_second = |rate: u64| us.saturating_mul(rate) / 1_000_000;
        Counted {
            cpu_us: self.counted.cpu_us + us / 100 * (1 + lot % 16),
            received_bytes: self.counted.received_bytes + per_second(1024 * (1 + (lot >> 8) % 64)),
            sent_bytes: self.counted.sent_bytes + per_second(1024 * (1 + (lot >> 16) % 64)),
            forged_frames: self.counted.forged_frames,
        }
    }

    pub fn usage(&self, id: ServerId) -> Usage {
        let Counted { cpu_us, received_bytes, sent_bytes, forged_frames } = self.count(id);
        let memory_bytes = if self.running { self.memory_mib << 20 } else { 0 };
        let disk_bytes = self.disk.as_ref().map_or(0, Disk::size_bytes);
        Usage {
            epoch: self.epoch_text(),
            cpu_us,
            memory_bytes,
            received_bytes,
            sent_bytes,
            forged_frames,
            disk_bytes,
        }
    }

    /// Writes the counters down, so that they go on from here.
    fn settle(&mut self, id: ServerId) {
        self.counted = self.count(id);
        self.since = Instant::now();
    }

    fn start(&mut self, epoch: u64) {
        self.running = true;
        self.epoch = epoch;
        self.reason = "".into();
        self.counted = Counted::default();
        self.since = Instant::now();
        self.boot();
    }

    fn boot(&mut self) {
        self.boots += 1;
        self.take_seed();
    }
}

/// Everything that a world remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub machines: BTreeMap<i64, Machine>,
    #[serde(default)]
    pub snapshots: BTreeMap<i64, Snap>,
    /// No guest has an agent, whatever its machine says.
    #[serde(default)]
    pub mute: bool,
    #[serde(default)]
    pub pools: Vec<PoolNetwork>,
    starts: u64,
}

impl State {
    pub fn get(&self, id: ServerId) -> Result<&Machine, DriverError> {
        self.machines.get(&id.0).ok_or_else(|| gone(id))
    }

    pub fn get_mut(&mut self, id: ServerId) -> Result<&mut Machine, DriverError> {
        self.machines.get_mut(&id.0).ok_or_else(|| gone(id))
    }

    pub fn ensure_machine(&mut self, spec: &MachineSpec, keep: bool) -> Result<(), DriverError> {
        let machine = self.machines.get_mut(&spec.id.0).filter(|it| it.disk.is_some());
        let machine = machine.ok_or_else(|| DriverError::Gone(format!("server {} has no disk", spec.id)))?;
        machine.made = true;
        machine.hostname = spec.seed.hostname.as_str().into();
        machine.renamed = spec.seed.renamed;
        machine.memory_mib = spec.memory_mib;
        machine.mac = spec.nic.mac.as_str().into();
        machine.secrets = spec.seed.root_password.is_some() || spec.seed.password_change.is_some();
        machine.instance = spec.seed.instance_id.as_str().into();
        machine.change = spec.seed.password_change.clone().map(Box::new);
        machine.spec = keep.then(|| Box::new(spec.clone()));
        Ok(())
    }

    pub fn apply_network(&mut self, id: ServerId, nic: &Nic) -> Result<(), DriverError> {
        let machine = self.get_mut(id)?;
        if !machine.made {
            return Err(DriverError::Gone(format!("server {id} was never made, so it has no network")));
        }
        if *machine.mac != nic.mac {
            return Err(DriverError::fatal("a machine keeps the MAC that it was made with"));
        }
        if let Some(spec) = &mut machine.spec {
            spec.nic = nic.clone();
        }
        Ok(())
    }

    pub fn start(&mut self, id: ServerId) -> Result<(), DriverError> {
        let epoch = self.starts + 1;
        let machine = self.get_mut(id)?;
        if !machine.made {
            return Err(DriverError::Gone(format!("server {id} was never made, so it cannot start")));
        }
        if !machine.running {
            machine.start(epoch);
            self.starts = epoch;
        }
        Ok(())
    }

    pub fn stop(&mut self, id: ServerId, reason: Cow<'static, str>) -> Result<(), DriverError> {
        let machine = self.get_mut(id)?;
        if machine.running {
            machine.settle(id);
            machine.running = false;
            machine.reason = reason;
        }
        Ok(())
    }

    pub fn reboot(&mut self, id: ServerId, how: Stop) -> Result<(), DriverError> {
        let machine = self.get_mut(id)?;
        match how {
            // The reset button: the guest boots anew within the same epoch, counters go on.
            Stop::Force if machine.running => {
                machine.boot();
                Ok(())
            }
            Stop::Force | Stop::Graceful { .. } => {
                self.stop(id, "stopped on request".into())?;
                self.start(id)
            }
        }
    }
}

pub(super) fn gone(id: ServerId) -> DriverError {
    DriverError::Gone(format!("there is no server {id} on this node"))
}

/// A machine as a test sees it.
#[derive(Debug, Clone)]
pub struct SimulatedMachine {
    /// Our id.
    pub id: ServerId,
    /// Whether it runs, since when in terms of epochs, and why not.
    pub observed: Observed,
    /// Size of its disk, GiB; `None` while it has none.
    pub disk_gib: Option<u64>,
    /// Whether all else than the disk was made too.
    pub made: bool,
    /// How often its guest booted.
    pub boots: u32,
    /// Whether its seed still holds a password.
    pub secrets: bool,
    /// The operations that have a disk beside its own: staged, or kept aside.
    pub stages: Vec<OperationId>,
    /// What it was last asked to be; `None` where the driver keeps no specifications.
    pub spec: Option<MachineSpec>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    faults: Mutex<[Vec<FailWith>; VERBS]>,
    slow: Mutex<[Duration; VERBS]>,
    calls: [AtomicU64; VERBS],
    /// One bit per verb that hangs.
    hanging: watch::Sender<u32>,
    hints: broadcast::Sender<Hint>,
    changes: watch::Sender<()>,
    file: Option<PathBuf>,
}

/// The node behind a [`Simulated`](super::Simulated) driver. A clone is the same world; it outlives every driver.
#[derive(Debug, Clone)]
pub struct World(Arc<Inner>);

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world in memory.
    #[must_use]
    pub fn new() -> Self {
        Self::with(State::default(), None)
    }

    /// A world kept in `directory/simulated.json`, which is made if need be. Every change writes the whole file.
    ///
    /// # Errors
    /// `Fatal` if the directory cannot be made or the file is not a world.
    pub fn persistent(directory: &Path) -> Result<Self, DriverError> {
        let file = directory.join("simulated.json");
        std::fs::create_dir_all(directory)
            .map_err(|error| DriverError::Fatal(format!("cannot make {}: {error}", directory.display())))?;
        let state = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(DriverError::fatal)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(DriverError::Fatal(format!("cannot read {}: {error}", file.display()))),
        };
        Ok(Self::with(state, Some(file)))
    }

    fn with(state: State, file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            faults: Mutex::default(),
            slow: Mutex::default(),
            calls: std::array::from_fn(|_| AtomicU64::new(0)),
            hanging: watch::Sender::new(0),
            hints: broadcast::Sender::new(HINTS),
            changes: watch::Sender::new(()),
            file,
        }))
    }

    /// Lets the next calls of `verb` fail. Faults of one verb are used up in the order they were given.
    pub fn fail(&self, verb: Verb, with: FailWith) {
        locked(&self.0.faults)[verb as usize].push(with);
    }

    /// Lets every call of `verb` wait until [`World::release`].
    pub fn hang(&self, verb: Verb) {
        self.0.hanging.send_modify(|mask| *mask |= 1 << verb as u32);
    }

    /// Lets the calls of `verb` that hang go on.
    pub fn release(&self, verb: Verb) {
        self.0.hanging.send_modify(|mask| *mask &= !(1 << verb as u32));
    }

    /// Lets every call of `verb` take this much longer.
    pub fn slow(&self, verb: Verb, by: Duration) {
        locked(&self.0.slow)[verb as usize] = by;
    }

    /// Takes all faults, hangs and slowness away.
    pub fn heal(&self) {
        *locked(&self.0.faults) = Default::default();
        *locked(&self.0.slow) = Default::default();
        self.0.hanging.send_replace(0);
    }

    /// The machine dies by itself; whoever watches gets a hint. Nothing happens to one that does not run.
    pub fn crash_machine(&self, id: ServerId, reason: &str) {
        self.end(id, reason.to_owned().into());
    }

    /// The guest powers itself off; whoever watches gets a hint.
    pub fn guest_powers_off(&self, id: ServerId) {
        self.end(id, "guest powered off".into());
    }

    /// From now on the guest does (not) hear the power button.
    pub fn set_deaf(&self, id: ServerId, deaf: bool) {
        self.alter(id, |machine| machine.deaf = deaf);
    }

    /// From now on the machine can(not) be looked at, while all others can.
    pub fn set_reachable(&self, id: ServerId, reachable: bool) {
        self.alter(id, |machine| machine.veiled = !reachable);
    }

    /// What [`Driver::setup_status`](crate::Driver::setup_status) says while the machine runs; `Done` at first. The
    /// guest uses its seed when it is `Done`.
    pub fn set_setup(&self, id: ServerId, setup: SetupStatus) {
        self.alter(id, |machine| {
            machine.setup = setup;
            if machine.running {
                machine.take_seed();
            }
        });
    }

    /// Adds to a machine's counters, for tests that need exact figures: processor time, bytes, forged frames.
    /// Epoch, memory and disk of `more` mean nothing here.
    pub fn add_usage(&self, id: ServerId, more: &Usage) {
        self.alter(id, |machine| {
            machine.counted.cpu_us += more.cpu_us;
            machine.counted.received_bytes += more.received_bytes;
            machine.counted.sent_bytes += more.sent_bytes;
            machine.counted.forged_frames += more.forged_frames;
        });
    }

    /// A machine that no control plane knows: an orphan for the reconciler to find.
    pub fn plant(&self, spec: &MachineSpec) {
        let planted = self.change(|state| {
            state.ensure_disk(spec)?;
            state.ensure_machine(spec, true)
        });
        if let Err(error) = planted {
            tracing::warn!(server.id = spec.id.0, %error, "the simulated world could not be saved");
        }
    }

    /// All machines, by id.
    #[must_use]
    pub fn machines(&self) -> Vec<SimulatedMachine> {
        self.read(|state| state.machines.iter().map(|(id, machine)| seen(*id, machine)).collect())
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, id: ServerId) -> Option<SimulatedMachine> {
        self.read(|state| state.machines.get(&id.0).map(|machine| seen(id.0, machine)))
    }

    /// The networks that machines have their addresses from, as it was last told.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolNetwork> {
        self.read(|state| state.pools.clone())
    }

    /// How many machines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(|state| state.machines.len())
    }

    /// Whether nothing is left of any machine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often `verb` was called since the world was opened, failed calls included.
    #[must_use]
    pub fn calls(&self, verb: Verb) -> u64 {
        self.0.calls[verb as usize].load(Ordering::Relaxed)
    }

    /// Counts the call, hangs, waits and fails as told. `Some` is an error to answer with once the work is done.
    pub(super) async fn enter(
        &self,
        verb: Verb,
        latency: &LatencyProfile,
    ) -> Result<Option<DriverError>, DriverError> {
        let nth = self.count(verb);
        self.released(verb).await;
        pause(self.latency(verb, nth, latency)).await;
        match self.take_fault(verb) {
            Some(fault) if fault.at == Moment::After => Ok(Some(fault.error(verb))),
            Some(fault) => Err(fault.error(verb)),
            None => Ok(None),
        }
    }

    /// Counts a call and says how many there were before it.
    pub(super) fn count(&self, verb: Verb) -> u64 {
        self.0.calls[verb as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// Returns when `verb` does not hang.
    pub(super) async fn released(&self, verb: Verb) {
        let mut hanging = self.0.hanging.subscribe();
        // The sender lives in this world, so the wait cannot end with an error.
        let _ = hanging.wait_for(|mask| mask & (1 << verb as u32) == 0).await;
    }

    /// How long the `nth` call of `verb` takes.
    pub(super) fn latency(&self, verb: Verb, nth: u64, latency: &LatencyProfile) -> Duration {
        latency.draw(verb, nth) + locked(&self.0.slow)[verb as usize]
    }

    pub(super) fn take_fault(&self, verb: Verb) -> Option<FailWith> {
        let mut faults = locked(&self.0.faults);
        let queue = &mut faults[verb as usize];
        queue.retain(|fault| fault.times > 0);
        let first = queue.first_mut()?;
        if first.times != u32::MAX {
            first.times -= 1;
        }
        Some(*first)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&locked(&self.0.state))
    }

    pub(super) fn change<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut state = locked(&self.0.state);
        let answer = act(&mut state)?;
        if let Some(file) = &self.0.file {
            for (id, machine) in &mut state.machines {
                machine.settle(ServerId(*id));
            }
            save(file, &state)
                .map_err(|error| DriverError::Retry(format!("cannot save {}: {error}", file.display())))?;
        }
        drop(state);
        self.0.changes.send_replace(());
        Ok(answer)
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Hint> {
        self.0.hints.subscribe()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Changes one machine behind the driver's back; nothing happens if it is not there.
    pub(super) fn alter(&self, id: ServerId, act: impl FnOnce(&mut Machine)) {
        let altered = self.change(|state| state.get_mut(id).map(act));
        if let Err(error) = altered {
            tracing::debug!(server.id = id.0, %error, "nothing to alter in the simulated world");
        }
    }

    fn end(&self, id: ServerId, reason: Cow<'static, str>) {
        if self.change(|state| state.stop(id, reason)).is_ok() {
            // Nobody watching is fine.
            let _ = self.0.hints.send(Hint::Machine(id));
        }
    }
}

fn seen(id: i64, machine: &Machine) -> SimulatedMachine {
    SimulatedMachine {
        id: ServerId(id),
        observed: Observed::Present(machine.present()),
        disk_gib: machine.disk.as_ref().map(|disk| disk.gib),
        made: machine.made,
        boots: machine.boots,
        secrets: machine.secrets,
        stages: machine.stages.keys().copied().map(OperationId).collect(),
        spec: machine.spec.as_deref().cloned(),
    }
}

/// Sleeps, but not for nothing, which would still give way to other tasks.
pub(super) async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

/// A panic while the lock was held leaves plain data behind, as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn save(file: &Path, state: &State) -> std::io::Result<()> {
    let beside = file.with_extension("json.new");
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    out.write_all(&serde_json::to_vec(state)?)?;
    std::fs::rename(&beside, file)
}
