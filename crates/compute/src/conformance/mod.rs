//! The conformance suite: the laws that every driver keeps, whatever it runs machines with.
//!
//! A driver's tests bring a [`Subject`], which makes specifications, opens the driver anew and acts behind its
//! back; the suite brings the laws. [`COLD`] and [`DISKS`] laws never wait for a guest; [`WARM`] laws share one booted
//! guest, in order. Each law says what was broken instead of panicking, so that the name of the law stands beside it.
//! Must not know: any engine.

mod cold;
mod disks;
mod warm;

pub use cold::*;
pub use disks::*;
pub use warm::*;

use crate::{Driver, DriverError, Hint, MachineSpec, Observed, Power, Present, Secret};
use async_trait::async_trait;
use bulut_model::{ServerId, SnapshotId};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// A driver on trial, and what only its tests can do.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The driver as it is open now.
    fn driver(&self) -> Arc<dyn Driver>;

    /// What machine `id` should be; the same at every call. Its seed holds a password.
    fn spec(&self, id: ServerId) -> MachineSpec;

    /// Lets the open driver go, runs `meanwhile`, and opens another one on the same node: a control plane that starts
    /// again. The old one must not be used after that.
    async fn reopen(&self, meanwhile: Meanwhile) -> Result<(), DriverError>;

    /// Kills the machine behind the driver's back.
    async fn kill(&self, id: ServerId);

    /// The size of the machine's disk as its guest would see it, GiB.
    async fn disk_gib(&self, id: ServerId) -> Option<u64>;

    /// An identity of the guest's present boot, as the guest itself says: another one after every boot.
    /// `None` while it does not answer.
    async fn guest_boot(&self, id: ServerId) -> Option<String>;

    /// Puts a mark on the disk of a machine that does not run, behind the driver's back, where no guest writes.
    async fn mark(&self, id: ServerId, mark: &str);

    /// The mark on the disk of a machine that does not run; `None` when it never had one.
    async fn marked(&self, id: ServerId) -> Option<String>;

    /// Has the running guest write a text where it outlives the guest; false when the guest did not say that it has.
    async fn guest_writes(&self, id: ServerId, text: &str) -> bool;

    /// The text that the guest finds there.
    async fn guest_reads(&self, id: ServerId) -> Option<String>;

    /// Whether the running guest lets root in with this password.
    async fn logs_in(&self, id: ServerId, password: &Secret) -> bool;

    /// Makes a whole snapshot half-made, as a crash in the middle of it leaves it.
    async fn spoil(&self, snapshot: SnapshotId);

    /// What is left on the node of a snapshot that was removed, in words.
    async fn snapshot_left(&self, snapshot: SnapshotId) -> Vec<String>;

    /// What is left on the node of a machine that was removed, in words.
    async fn left_behind(&self, id: ServerId) -> Vec<String>;

    /// How long a guest may take to boot or to shut down.
    fn patience(&self) -> Duration;
}

/// What happens while no driver is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// This machine is killed.
    Kill(ServerId),
}

/// A law that does not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the law `{law}` is broken: {what}")]
pub struct Broken {
    /// The law's name.
    pub law: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// What a law says: nothing, or what was broken.
pub type Verdict = Result<(), String>;

/// A law by its name. It is given a machine's id that nothing else uses.
#[derive(Clone, Copy)]
pub struct Law {
    /// The name of its function.
    pub name: &'static str,
    /// The law itself.
    pub check: for<'a> fn(&'a dyn Subject, ServerId) -> BoxFuture<'a, Verdict>,
}

/// Makes the table of laws out of their functions.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        &[$($crate::conformance::Law {
            name: stringify!($law),
            check: |subject, id| Box::pin($law(subject, id)),
        }),+]
    };
}
use laws;

/// Checks the cold laws and those about disks, each on a machine of its own with ids from `first` on; five ids per law.
///
/// # Errors
/// The first law that is broken.
pub async fn check_cold(subject: &dyn Subject, first: ServerId) -> Result<(), Broken> {
    for (nth, law) in (0..).zip(COLD.iter().chain(DISKS)) {
        check(subject, law, ServerId(first.0 + 5 * nth)).await?;
    }
    Ok(())
}

/// Checks the warm laws on one machine: it is made and booted before them and removed after. The next id is that of a
/// copy of it.
///
/// # Errors
/// The first law that is broken.
pub async fn check_warm(subject: &dyn Subject, id: ServerId) -> Result<(), Broken> {
    check_some(subject, WARM, id).await
}

/// Checks some laws in a row on one machine, for a driver's own choice of them.
///
/// # Errors
/// The first law that is broken.
pub async fn check_some(subject: &dyn Subject, laws: &[Law], id: ServerId) -> Result<(), Broken> {
    for law in laws {
        check(subject, law, id).await?;
    }
    Ok(())
}

async fn check(subject: &dyn Subject, law: &Law, id: ServerId) -> Result<(), Broken> {
    let began = Instant::now();
    (law.check)(subject, id).await.map_err(|what| Broken { law: law.name, what })?;
    tracing::info!(
        law = law.name,
        elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(0),
        "holds"
    );
    Ok(())
}

/// How long something that needs no guest may take to be seen, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Says what is wrong unless `holds`.
fn demand(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// A verb that had to succeed.
trait Succeeded<T> {
    /// The answer, or `doing` and what was said instead.
    fn when(self, doing: &str) -> Result<T, String>;
}

impl<T> Succeeded<T> for Result<T, DriverError> {
    fn when(self, doing: &str) -> Result<T, String> {
        self.map_err(|error| format!("{doing}: {error:?}"))
    }
}

/// A verb that had to answer `Gone`.
fn gone<T>(answer: Result<T, DriverError>, doing: &str) -> Verdict {
    match answer {
        Err(DriverError::Gone(_)) => Ok(()),
        Err(other) => Err(format!("{doing} said {other:?} and not Gone")),
        Ok(_) => Err(format!("{doing} succeeded")),
    }
}

/// Makes disk and machine, without starting it.
async fn make(subject: &dyn Subject, id: ServerId) -> Result<MachineSpec, String> {
    let (driver, spec) = (subject.driver(), subject.spec(id));
    driver.ensure_image(&spec.image).await.when("ensure_image")?;
    driver.ensure_disk(&spec).await.when("ensure_disk")?;
    driver.ensure_machine(&spec).await.when("ensure_machine")?;
    Ok(spec)
}

/// The machine as it is, which must be there.
async fn present(subject: &dyn Subject, id: ServerId) -> Result<Present, String> {
    match subject.driver().observe(id).await.when("observe")? {
        Observed::Present(present) => Ok(present),
        Observed::Absent => Err(format!("machine {id} is absent")),
    }
}

/// Demands that the machine runs, and gives its epoch.
async fn running(subject: &dyn Subject, id: ServerId) -> Result<String, String> {
    let present = present(subject, id).await?;
    demand(present.power == Power::Running, || format!("machine {id} does not run: {present:?}"))?;
    demand(!present.epoch.is_empty(), || format!("machine {id} runs without an epoch"))?;
    Ok(present.epoch)
}

/// Demands that the machine is there and does not run, for a reason that is given.
async fn stopped(subject: &dyn Subject, id: ServerId) -> Result<Present, String> {
    let present = present(subject, id).await?;
    demand(present.power == Power::Stopped, || format!("machine {id} runs: {present:?}"))?;
    demand(!present.reason.is_empty(), || format!("machine {id} is stopped without a reason"))?;
    Ok(present)
}

/// Waits until the machine is seen stopped.
async fn falls(subject: &dyn Subject, id: ServerId) -> Result<Present, String> {
    let until = Instant::now() + SOON;
    loop {
        match stopped(subject, id).await {
            Err(what) if Instant::now() > until => return Err(what),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(present) => return Ok(present),
        }
    }
}

/// Waits for a hint that makes one look at the machine.
async fn hinted(hints: &mut broadcast::Receiver<Hint>, id: ServerId) -> Verdict {
    let hint = async {
        loop {
            match hints.recv().await {
                Ok(Hint::Machine(of)) if of != id => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Err("the hints ended".to_owned()),
            }
        }
    };
    tokio::time::timeout(SOON, hint)
        .await
        .map_err(|_| format!("no hint about machine {id} within {SOON:?}"))?
}

/// Removes the machine and demands that nothing is left of it.
async fn clear(subject: &dyn Subject, id: ServerId) -> Verdict {
    subject.driver().remove(id).await.when("remove")?;
    let observed = subject.driver().observe(id).await.when("observe")?;
    demand(observed == Observed::Absent, || format!("after remove, machine {id} is {observed:?}"))?;
    let left = subject.left_behind(id).await;
    demand(left.is_empty(), || format!("remove left behind: {}", left.join(", ")))
}

/// Waits until the guest answers with a boot other than `before`.
async fn boots(subject: &dyn Subject, id: ServerId, before: Option<&str>) -> Result<String, String> {
    let until = Instant::now() + subject.patience();
    loop {
        match subject.guest_boot(id).await {
            Some(boot) if before != Some(boot.as_str()) => return Ok(boot),
            _ if Instant::now() > until => {
                return Err(format!(
                    "the guest of machine {id} did not boot within {:?}",
                    subject.patience()
                ));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
