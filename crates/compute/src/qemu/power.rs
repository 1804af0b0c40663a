//! A machine's power: start, stop, reboot. Part of [`Machine`]'s task.

use super::accel;
use super::agent::Agent;
use super::cgroup::Limits;
use super::command::{self, Facts};
use super::layout::{self, Owner};
use super::machine::{Happening, Machine, Running, live_of};
use super::network::{self, lengths};
use super::node::Network;
use super::process::{self, Exit, Launch, Process};
use super::qmp::{Qmp, QmpError};
use super::record::{self, MachineRecord};
use crate::DriverError;
use crate::driver::Stop;
use crate::spec::Boot;
use nix::libc;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long QEMU may take until its guest runs.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often the monitor of a starting QEMU is tried.
const START_POLL: Duration = Duration::from_millis(3);
/// A guest that is still booting ignores the power button, so it is pressed again and again.
const PRESS_EVERY: Duration = Duration::from_secs(4);
/// How long QEMU may take to end by itself when told to, before it is killed: it flushes its disk.
const QUIT_LIMIT: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long QEMU may take to reset a guest.
const RESET_LIMIT: Duration = Duration::from_secs(10);
/// A reset by the monitor is announced up to three times, each announcement within this of the one before. They
/// are heard out, so that none of them is taken for a later reboot.
const RESET_ECHO: Duration = Duration::from_millis(300);

/// What ends a wait for a guest.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The process has ended.
    End,
    /// The guest was reset; by itself or by the monitor.
    Reset,
    /// Neither, within the limit.
    Nothing,
    /// An urgent request waits: pulling the plug, or removing the machine.
    Hurry,
}

impl Machine {
    /// Starts the machine; a running one is left alone.
    pub async fn start(&mut self) -> Result<(), DriverError> {
        if self.running.is_some() {
            return Ok(());
        }
        let missing = |what: &str| DriverError::Gone(format!("machine {} has no {what}", self.id));
        let record = record::machine(&self.node.layout, self.id)?.ok_or_else(|| missing("settings"))?;
        for (file, what) in [("disk.qcow2", "disk"), ("seed.iso", "seed")] {
            if !self.dir.join(file).exists() {
                return Err(missing(what));
            }
        }
        let begun = Instant::now();
        let before = self.counted().await?;
        let output_from = self.open_output()?.metadata().map_err(DriverError::retry)?.len();
        let process = match self.launch(&record).await {
            Ok(process) => process,
            Err(error) => return Err(self.failed(error).await),
        };
        // Written before anything can go wrong: whoever comes after us finds the process.
        let live = live_of(&process, before);
        self.state.epoch = live.epoch();
        self.state.live = Some(live);
        self.state.ending = false;
        self.state.usage = crate::Usage::default();
        self.state.frozen = false;
        self.leftovers = false;
        self.write_state();
        match self.come_up(&process, output_from).await {
            Ok(qmp) => {
                let monitor = Some((qmp.events(), qmp)).map(|(events, qmp)| (qmp, events));
                self.running = Some(Running { process, monitor, serial: None, shutdown: None });
            }
            Err(error) => {
                process.signal(libc::SIGKILL);
                // A process that cannot be killed is found again by its pid file.
                let _ = tokio::time::timeout(KILL_LIMIT, process.ended()).await;
                process.reap();
                return Err(self.failed(error).await);
            }
        }
        if let Err(error) = self.node.layout.seal_run(self.id) {
            tracing::warn!(server.id = self.id.0, %error, "the machine's sockets stay writable for it");
        }
        self.connect().await;
        self.announce();
        let took_ms = begun.elapsed().as_millis();
        tracing::info!(server.id = self.id.0, epoch = self.state.epoch, took_ms, "the machine runs");
        Ok(())
    }

    /// Clears away after a start that failed.
    async fn failed(&mut self, error: DriverError) -> DriverError {
        tracing::warn!(server.id = self.id.0, %error, "the machine did not start");
        self.state.live = None;
        self.state.reason = format!("the last start failed: {error}");
        self.write_state();
        self.clear_away().await;
        self.announce();
        error
    }

    /// Starts the process with all that it needs around it.
    async fn launch(&self, record: &MachineRecord) -> Result<Process, DriverError> {
        let spec = &record.spec;
        let owner = self.node.layout.owner(self.id)?;
        // After a restart of the host neither tap nor run directory are there any more.
        self.node.join(self.id, &spec.nic).await?;
        self.node.layout.make_run(self.id)?;
        let (netdev, tap) = self.netdev(record)?;
        let facts = Facts {
            kvm: self.node.choice.kvm,
            run: self.run.clone(),
            pidfile: self.node.layout.pidfile(self.id),
            netdev,
            filters: self.filters(owner)?,
            direct: self.direct(&spec.image.boot),
        };
        let output = self.open_output()?;
        let launch = Launch {
            program: &self.node.binary,
            arguments: &command::arguments(spec, &facts),
            directory: &self.dir,
            output: &output,
            owner,
            groups: if facts.kvm { self.node.groups.clone() } else { Vec::new() },
            cgroups: self.limit(spec.cpu, spec.memory_mib),
            keep: tap.as_ref().map(AsRawFd::as_raw_fd),
        };
        process::launch(&launch).map_err(|e| {
            DriverError::retry(format!(
                "cannot start {} for machine {}: {e}",
                self.node.binary.display(),
                self.id
            ))
        })
    }

    /// The network's argument, and the descriptor that goes with it.
    fn netdev(&self, record: &MachineRecord) -> Result<(String, Option<OwnedFd>), DriverError> {
        match (&self.node.network, record.ssh_port) {
            (Network::Routed(routed), _) => {
                let tap = routed.open_tap(self.id)?;
                Ok((format!("tap,id=n0,fd={}", tap.fd.as_raw_fd()), Some(tap.fd)))
            }
            (Network::User, Some(port)) => Ok((network::user::netdev(&record.spec.nic, port), None)),
            (Network::User, None) => {
                Err(DriverError::Gone(format!("machine {} has no forwarded port", self.id)))
            }
        }
    }

    /// What counts the machine's bytes where the host's kernel does not.
    fn filters(&self, owner: Option<Owner>) -> Result<Vec<String>, DriverError> {
        if matches!(self.node.network, Network::Routed(_)) {
            return Ok(Vec::new());
        }
        lengths::prepare(&self.dir, owner).map_err(|e| {
            DriverError::retry(format!("the traffic of machine {} cannot be counted: {e}", self.id))
        })?;
        Ok(lengths::objects().into())
    }

    /// The kernel, when it is not the disk's own.
    fn direct(&self, boot: &Boot) -> Option<(PathBuf, PathBuf, String)> {
        let Boot::Direct { kernel, initrd, cmdline } = boot else { return None };
        let seen = |path| self.node.layout.seen_from_machine(path);
        Some((seen(kernel), seen(initrd), cmdline.clone()))
    }

    /// Makes the machine's limits; a host that refuses them runs it without.
    fn limit(&self, cpu: u32, memory_mib: u64) -> Vec<PathBuf> {
        let Some(cgroups) = &self.node.cgroups else { return Vec::new() };
        let memory_mib = memory_mib + command::overhead_mib(self.node.choice.kvm, memory_mib);
        cgroups.ensure(self.id, Limits { cpu, memory_mib }).unwrap_or_else(|error| {
            tracing::warn!(server.id = self.id.0, %error, "the machine runs without limits");
            Vec::new()
        })
    }

    /// Where QEMU's own words go. Appended to, so that it can be rotated.
    fn open_output(&self) -> Result<File, DriverError> {
        let path = self.dir.join("qemu.out");
        let opened = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let log = self.dir.join("serial.log");
        let made = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        let owner = self.node.layout.owner(self.id)?;
        made.and_then(|_| layout::give(&log, owner))
            .and(opened)
            .map_err(|e| DriverError::retry(format!("cannot open the logs of machine {}: {e}", self.id)))
    }

    /// Waits until the guest runs. An error leaves the process as it is.
    async fn come_up(&self, process: &Process, output_from: u64) -> Result<Qmp, DriverError> {
        let deadline = Instant::now() + START_LIMIT;
        let socket = self.run.join("qmp.sock");
        let up = async {
            let qmp = loop {
                match Qmp::connect(&socket, START_LIMIT).await {
                    Ok(qmp) => break qmp,
                    Err(QmpError::Closed) => tokio::time::sleep(START_POLL).await,
                    Err(error) => return Err(DriverError::from(error)),
                }
            };
            while qmp.execute("query-status").await?["status"] != "running" {
                tokio::time::sleep(START_POLL).await;
            }
            Ok(qmp)
        };
        tokio::select! {
            biased;
            () = process.ended() => Err(self.refusal(process.reap(), output_from)),
            up = tokio::time::timeout_at(deadline, up) => match up {
                // The socket may close a moment before the process can be seen to have ended.
                Ok(Err(error)) => match tokio::time::timeout(Duration::from_secs(1), process.ended()).await {
                    Ok(()) => Err(self.refusal(process.reap(), output_from)),
                    Err(_) => Err(error),
                },
                Ok(Ok(qmp)) => Ok(qmp),
                Err(_) => Err(DriverError::retry(format!("QEMU was not ready within {} s", START_LIMIT.as_secs()))),
            },
        }
    }

    /// Why a start ended at once, in QEMU's own words.
    fn refusal(&self, exit: Exit, output_from: u64) -> DriverError {
        let mut words = String::new();
        let path = self.dir.join("qemu.out");
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(output_from))?;
            file.take(64 * 1024).read_to_string(&mut words)
        });
        if read.is_err() {
            words.clear();
        }
        explain(&words, exit)
    }

    /// Stops the machine; one that does not run is left alone.
    pub async fn stop(&mut self, how: Stop) -> Result<(), DriverError> {
        if self.running.is_none() {
            if self.dir.try_exists().map_err(|e| DriverError::Unreachable(e.to_string()))? {
                return Ok(());
            }
            return Err(DriverError::Gone(format!("there is no machine {}", self.id)));
        }
        self.state.ending = true;
        self.write_state();
        if let Stop::Graceful { limit } = how {
            if self.press_until(Instant::now() + limit, false).await == Seen::End {
                self.settle(Some("stopped on request")).await;
                return Ok(());
            }
            tracing::info!(
                server.id = self.id.0,
                "the guest did not shut down in time, or was not to be waited for"
            );
        }
        self.pull_the_plug("stopped on request").await
    }

    /// Ends the process.
    pub async fn pull_the_plug(&mut self, reason: &str) -> Result<(), DriverError> {
        let Some(running) = &self.running else { return Ok(()) };
        let told = match &running.monitor {
            Some((qmp, _)) => qmp.execute_within("quit", Value::Null, Duration::from_secs(2)).await.is_ok(),
            None => false,
        };
        if !told {
            // QEMU takes this as `quit`.
            running.process.signal(libc::SIGTERM);
        }
        if tokio::time::timeout(QUIT_LIMIT, running.process.ended()).await.is_err() {
            tracing::warn!(server.id = self.id.0, "QEMU does not end by itself and is killed");
            running.process.signal(libc::SIGKILL);
            if tokio::time::timeout(KILL_LIMIT, running.process.ended()).await.is_err() {
                return Err(DriverError::retry(format!(
                    "the process of machine {} cannot be killed",
                    self.id
                )));
            }
        }
        self.settle(Some(reason)).await;
        Ok(())
    }

    /// Restarts the guest; a stopped machine is started.
    pub async fn reboot(&mut self, how: Stop) -> Result<(), DriverError> {
        if self.running.is_none() {
            return self.start().await;
        }
        let Stop::Graceful { limit } = how else { return self.reset().await };
        let deadline = Instant::now() + limit;
        // Old announcements must not be taken for the one that is waited for.
        self.wait(Instant::now(), false).await;
        let seen = if self.ask_guest_to_reboot().await {
            self.wait(deadline, true).await
        } else {
            self.press_until(deadline, true).await
        };
        match seen {
            Seen::Reset => Ok(()),
            Seen::End => {
                self.settle(Some("being restarted")).await;
                self.start().await
            }
            Seen::Nothing => {
                tracing::info!(server.id = self.id.0, "the guest did not restart in time and is reset");
                self.reset().await
            }
            Seen::Hurry => Err(DriverError::retry("the restart gave way to a more urgent request")),
        }
    }

    /// Presses the reset button; done when QEMU says that it happened.
    async fn reset(&mut self) -> Result<(), DriverError> {
        self.wait(Instant::now(), false).await;
        self.connect().await;
        match self.running.as_ref().and_then(|running| running.monitor.as_ref()) {
            Some((qmp, _)) => qmp.execute("system_reset").await?,
            None => return Err(QmpError::Closed.into()),
        };
        match self.wait(Instant::now() + RESET_LIMIT, true).await {
            Seen::Reset => {
                while self.wait(Instant::now() + RESET_ECHO, true).await == Seen::Reset {}
                Ok(())
            }
            Seen::End => {
                self.settle(None).await;
                self.start().await
            }
            Seen::Nothing | Seen::Hurry => Err(DriverError::retry("QEMU did not reset the guest in time")),
        }
    }

    /// Asks the agent to reboot its guest; false when there is none that would.
    async fn ask_guest_to_reboot(&self) -> bool {
        let _one_at_a_time = self.agent.lock().await;
        match Agent::greet(&self.run.join("qga.sock")).await {
            Some(mut agent) => agent.tell("guest-shutdown", &json!({ "mode": "reboot" })).await,
            None => false,
        }
    }

    /// Presses the power button, again and again, until something is seen.
    async fn press_until(&mut self, deadline: Instant, resets_count: bool) -> Seen {
        loop {
            self.connect().await;
            if let Some((qmp, _)) = self.running.as_ref().and_then(|running| running.monitor.as_ref())
                && let Err(error) = qmp.execute("system_powerdown").await
            {
                tracing::debug!(server.id = self.id.0, %error, "the power button could not be pressed");
            }
            let until = deadline.min(Instant::now() + PRESS_EVERY);
            match self.wait(until, resets_count).await {
                Seen::Nothing if Instant::now() < deadline => {}
                seen => return seen,
            }
        }
    }

    /// Waits for the end of the process, for an urgent request or (when they count) a reset.
    async fn wait(&mut self, until: Instant, resets_count: bool) -> Seen {
        let mut hurry = self.hurry.clone();
        let Some(running) = &mut self.running else { return Seen::End };
        loop {
            let happening = tokio::select! {
                biased;
                happening = running.happening() => happening,
                Ok(_) = hurry.wait_for(|waiting| *waiting > 0) => return Seen::Hurry,
                () = tokio::time::sleep_until(until) => return Seen::Nothing,
            };
            match happening {
                Happening::Ended => return Seen::End,
                Happening::Event(event) => {
                    running.note(self.id, &event);
                    if resets_count && event.name == "RESET" {
                        return Seen::Reset;
                    }
                }
                Happening::MonitorLost => running.monitor = None,
            }
        }
    }
}

/// What QEMU complains of when trying again may help.
const PASSING: [&str; 9] = [
    "Cannot allocate memory",
    "cannot set up guest memory",
    "Failed to get",
    "Could not set up host forwarding rule",
    "Address already in use",
    "Device or resource busy",
    "Resource temporarily unavailable",
    "No space left on device",
    "cannot lock pid file",
];

/// A sentence from what QEMU wrote and how it ended.
fn explain(words: &str, exit: Exit) -> DriverError {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    if words.contains("Cannot allocate memory") || words.contains("cannot set up guest memory") {
        return DriverError::retry(format!("the node has not enough memory to start the machine{said}"));
    }
    match exit {
        Exit::Signal(libc::SIGSYS) => {
            DriverError::fatal(format!("QEMU did something that its sandbox forbids and was killed{said}"))
        }
        Exit::Signal(libc::SIGKILL) => {
            DriverError::retry(format!("QEMU was killed while it started, perhaps for want of memory{said}"))
        }
        Exit::Signal(signal) => {
            DriverError::retry(format!("QEMU died of signal {signal} while it started{said}"))
        }
        _ if PASSING.iter().any(|words| last.contains(words)) => {
            DriverError::retry(format!("QEMU could not start the machine{said}"))
        }
        _ if words.contains(accel::DEVICE) || words.contains("failed to initialize kvm") => {
            DriverError::fatal(format!("KVM cannot be used{said}"))
        }
        _ => DriverError::fatal(format!("QEMU refused to start the machine{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_words_decide_whether_trying_again_may_help() {
        let memory = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n";
        assert!(
            matches!(explain(memory, Exit::Code(1)), DriverError::Retry(why) if why.contains("not enough memory"))
        );
        let image = "qemu-system-x86_64: -blockdev …: Could not open 'x': Image is not in qcow2 format\n";
        assert!(
            matches!(explain(image, Exit::Code(1)), DriverError::Fatal(why) if why.contains("not in qcow2"))
        );
        assert!(matches!(explain("", Exit::Signal(libc::SIGSYS)), DriverError::Fatal(_)));
        assert!(matches!(explain("", Exit::Signal(9)), DriverError::Retry(_)));
        let port = "Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'";
        assert!(matches!(explain(port, Exit::Code(1)), DriverError::Retry(_)));
    }
}
