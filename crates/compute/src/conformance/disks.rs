//! Laws about what stands on disks: snapshots, disks that are exchanged, passwords. [`DISKS`] never wait for a guest;
//! the others are warm laws.

use super::{
    Law, Subject, Succeeded, Verdict, boots, clear, demand, falls, gone, laws, make, running, stopped,
};
use crate::{DriverError, MachineSpec, PasswordSet, Secret, SetupStatus, Stop, Taken};
use bulut_model::snapshot::Consistency;
use bulut_model::{OperationId, ServerId, SnapshotId};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Every law about disks that waits for no guest.
pub const DISKS: &[Law] = laws![
    of_an_unknown_machine_there_is_nothing_to_keep,
    a_snapshot_holds_the_disk_as_it_was,
    snapshot_machine_and_copy_outlive_each_other,
    a_half_made_snapshot_is_made_anew_or_removed,
    a_running_machine_is_snapshotted_and_runs_on,
    a_snapshot_fits_only_disks_as_large,
    a_staged_disk_is_exchanged_and_exchanged_back,
    a_staged_disk_that_was_never_used_is_forgotten,
    an_old_disk_is_dropped_for_good,
    a_running_machine_keeps_its_disk,
    a_disk_staged_from_the_image_is_a_fresh_one,
    a_machine_that_does_not_run_has_no_agent,
];

/// A password that [`HASH`] lets in.
pub const PASSWORD: &str = "another-secret-43";

/// [`PASSWORD`] as it stands in `/etc/shadow`.
pub const HASH: &str =
    "$6$bulutlaws$fgCLW4SqAstmDWXtpuImYBB3iZM1DKmY67Oc1wDjSdtCR1Y3BSnJZIBCw.OylUYYjKqTQlRdGgC8bZzlyrkSy/";

/// Takes a snapshot; its progress must end at 100.
async fn take(subject: &dyn Subject, id: ServerId, snapshot: SnapshotId) -> Result<Taken, String> {
    let (progress, seen) = watch::channel(0);
    let taken = subject.driver().take_snapshot(id, snapshot, progress).await.when("take_snapshot")?;
    let percent = *seen.borrow();
    demand(percent == 100, || format!("the progress ended at {percent} percent"))?;
    Ok(taken)
}

/// What machine `id` is when its disk comes from a snapshot.
fn copied(subject: &dyn Subject, id: ServerId, snapshot: SnapshotId) -> MachineSpec {
    MachineSpec { snapshot: Some(snapshot), ..subject.spec(id) }
}

/// Makes a machine, without starting it, and marks its disk.
async fn make_marked(subject: &dyn Subject, id: ServerId, mark: &str) -> Result<MachineSpec, String> {
    let spec = make(subject, id).await?;
    subject.mark(id, mark).await;
    demand_mark(subject, id, Some(mark)).await?;
    Ok(spec)
}

async fn demand_mark(subject: &dyn Subject, id: ServerId, mark: Option<&str>) -> Verdict {
    let found = subject.marked(id).await;
    demand(found.as_deref() == mark, || {
        format!("the disk of machine {id} is marked {found:?} and not {mark:?}")
    })
}

async fn demand_listed(subject: &dyn Subject, snapshot: SnapshotId, listed: bool) -> Verdict {
    let all = subject.driver().snapshots().await.when("snapshots")?;
    demand(all.contains(&snapshot) == listed, || format!("the snapshots are {all:?}"))
}

/// Removes a snapshot and demands that nothing is left of it.
async fn clear_snapshot(subject: &dyn Subject, snapshot: SnapshotId) -> Verdict {
    for _ in 0..2 {
        subject.driver().remove_snapshot(snapshot).await.when("remove_snapshot")?;
    }
    demand_listed(subject, snapshot, false).await?;
    let left = subject.snapshot_left(snapshot).await;
    demand(left.is_empty(), || format!("remove_snapshot left behind: {}", left.join(", ")))
}

fn retry<T>(answer: Result<T, DriverError>, doing: &str) -> Verdict {
    match answer {
        Err(DriverError::Retry(_)) => Ok(()),
        Err(other) => Err(format!("{doing} said {other:?} and not Retry")),
        Ok(_) => Err(format!("{doing} succeeded")),
    }
}

fn fatal<T>(answer: Result<T, DriverError>, doing: &str) -> Verdict {
    match answer {
        Err(DriverError::Fatal(_)) => Ok(()),
        Err(other) => Err(format!("{doing} said {other:?} and not Fatal")),
        Ok(_) => Err(format!("{doing} succeeded")),
    }
}

/// Of a machine that nobody made nothing is kept, staged or set; undoing is fine.
pub async fn of_an_unknown_machine_there_is_nothing_to_keep(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (driver, snapshot, stage) = (subject.driver(), SnapshotId(id.0), OperationId(id.0));
    gone(driver.take_snapshot(id, snapshot, watch::Sender::new(0)).await, "take_snapshot")?;
    clear_snapshot(subject, snapshot).await?;
    gone(driver.stage_disk(&subject.spec(id), stage).await, "stage_disk")?;
    gone(driver.swap_disk(id, stage).await, "swap_disk")?;
    driver.unstage_disk(id, stage).await.when("unstage_disk")?;
    driver.drop_old_disk(id, stage).await.when("drop_old_disk")?;
    gone(driver.set_password(id, &Secret(HASH.into())).await, "set_password")?;
    clear(subject, id).await
}

/// A snapshot does not follow its machine's disk, and taking it again tells its facts and changes nothing.
pub async fn a_snapshot_holds_the_disk_as_it_was(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    let spec = make_marked(subject, id, "before").await?;
    let first = take(subject, id, snapshot).await?;
    demand(first.consistency == Consistency::Stopped && first.disk_gib == spec.disk_gib, || {
        format!("the facts of a stopped machine with {} GiB are {first:?}", spec.disk_gib)
    })?;
    demand(first.size_bytes > 0, || "it takes no room".to_owned())?;
    subject.mark(id, "after").await;
    let second = take(subject, id, snapshot).await?;
    demand(first == second, || format!("first {first:?}, then {second:?}"))?;
    subject.driver().ensure_disk(&copied(subject, copy, snapshot)).await.when("ensure_disk")?;
    demand_mark(subject, copy, Some("before")).await?;
    demand_mark(subject, id, Some("after")).await?;
    clear(subject, id).await?;
    clear(subject, copy).await?;
    clear_snapshot(subject, snapshot).await
}

/// The snapshot is there when its machine is gone, the copy when the snapshot is, and starts.
pub async fn snapshot_machine_and_copy_outlive_each_other(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    make_marked(subject, id, "kept").await?;
    take(subject, id, snapshot).await?;
    clear(subject, id).await?;
    demand_listed(subject, snapshot, true).await?;
    let spec = copied(subject, copy, snapshot);
    subject.driver().ensure_disk(&spec).await.when("ensure_disk")?;
    subject.driver().ensure_machine(&spec).await.when("ensure_machine")?;
    clear_snapshot(subject, snapshot).await?;
    demand_mark(subject, copy, Some("kept")).await?;
    subject.driver().ensure_disk(&spec).await.when("ensure_disk of a disk that is there")?;
    subject.driver().start(copy).await.when("start")?;
    running(subject, copy).await?;
    clear(subject, copy).await
}

/// Half of a snapshot is listed, is no origin of a disk, and is made anew with what is on the disk then.
pub async fn a_half_made_snapshot_is_made_anew_or_removed(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    make_marked(subject, id, "first").await?;
    take(subject, id, snapshot).await?;
    subject.spoil(snapshot).await;
    demand_listed(subject, snapshot, true).await?;
    let spec = copied(subject, copy, snapshot);
    fatal(subject.driver().ensure_disk(&spec).await, "ensure_disk from half a snapshot")?;
    subject.mark(id, "second").await;
    take(subject, id, snapshot).await?;
    subject.driver().ensure_disk(&spec).await.when("ensure_disk")?;
    demand_mark(subject, copy, Some("second")).await?;
    subject.spoil(snapshot).await;
    clear_snapshot(subject, snapshot).await?;
    clear(subject, copy).await?;
    clear(subject, id).await
}

/// A machine is not stopped for its snapshot.
pub async fn a_running_machine_is_snapshotted_and_runs_on(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    make_marked(subject, id, "live").await?;
    subject.driver().start(id).await.when("start")?;
    let epoch = running(subject, id).await?;
    let taken = take(subject, id, snapshot).await?;
    demand(taken.consistency != Consistency::Stopped, || format!("of a running machine it is {taken:?}"))?;
    let after = running(subject, id).await?;
    demand(epoch == after, || format!("the epoch was {epoch} and is {after}"))?;
    subject.driver().ensure_disk(&copied(subject, copy, snapshot)).await.when("ensure_disk")?;
    demand_mark(subject, copy, Some("live")).await?;
    subject.kill(id).await;
    falls(subject, id).await?;
    clear(subject, id).await?;
    clear(subject, copy).await?;
    clear_snapshot(subject, snapshot).await
}

/// A disk never shrinks, so a snapshot goes only where its size does; there it is grown.
pub async fn a_snapshot_fits_only_disks_as_large(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    let mut spec = make(subject, id).await?;
    let small = spec.disk_gib;
    spec.disk_gib = small + 1;
    subject.driver().ensure_disk(&spec).await.when("ensure_disk")?;
    let taken = take(subject, id, snapshot).await?;
    demand(taken.disk_gib == small + 1, || format!("of {} GiB it is {taken:?}", small + 1))?;
    let mut other = copied(subject, copy, snapshot);
    fatal(subject.driver().ensure_disk(&other).await, "ensure_disk of a smaller disk")?;
    other.disk_gib = small + 2;
    subject.driver().ensure_disk(&other).await.when("ensure_disk of a larger disk")?;
    let size = subject.disk_gib(copy).await;
    demand(size == Some(small + 2), || format!("expected {} GiB, it has {size:?}", small + 2))?;
    let nowhere = SnapshotId(id.0 + 1);
    let other = MachineSpec { snapshot: Some(nowhere), ..subject.spec(ServerId(id.0 + 2)) };
    fatal(subject.driver().ensure_disk(&other).await, "ensure_disk from no snapshot")?;
    for id in [id, copy, other.id] {
        clear(subject, id).await?;
    }
    clear_snapshot(subject, snapshot).await
}

/// The staged disk takes the place of the machine's own and gives it back, each as often as one asks; the machine
/// starts with either. A disk that is larger than the snapshot's is not lost by it.
pub async fn a_staged_disk_is_exchanged_and_exchanged_back(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (driver, snapshot, stage) = (subject.driver(), SnapshotId(id.0), OperationId(id.0));
    let mut spec = make_marked(subject, id, "old").await?;
    take(subject, id, snapshot).await?;
    subject.mark(id, "new").await;
    spec.disk_gib += 1;
    driver.ensure_disk(&spec).await.when("ensure_disk")?;
    spec.snapshot = Some(snapshot);
    for _ in 0..2 {
        driver.stage_disk(&spec, stage).await.when("stage_disk")?;
        demand_mark(subject, id, Some("new")).await?;
    }
    clear_snapshot(subject, snapshot).await?;
    for _ in 0..2 {
        driver.swap_disk(id, stage).await.when("swap_disk")?;
        demand_mark(subject, id, Some("old")).await?;
        driver.stage_disk(&spec, stage).await.when("stage_disk of the machine's own")?;
    }
    let size = subject.disk_gib(id).await;
    demand(size == Some(spec.disk_gib), || format!("expected {} GiB, it has {size:?}", spec.disk_gib))?;
    driver.start(id).await.when("start on the staged disk")?;
    driver.stop(id, Stop::Force).await.when("stop")?;
    for _ in 0..2 {
        driver.unstage_disk(id, stage).await.when("unstage_disk")?;
        demand_mark(subject, id, Some("new")).await?;
    }
    gone(driver.swap_disk(id, stage).await, "swap_disk of nothing")?;
    driver.start(id).await.when("start on the disk from before")?;
    running(subject, id).await?;
    clear(subject, id).await
}

/// Undoing needs no swap before it, and other operations' disks are not touched by it.
pub async fn a_staged_disk_that_was_never_used_is_forgotten(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    let spec = make_marked(subject, id, "own").await?;
    let (one, two) = (OperationId(id.0), OperationId(id.0 + 1));
    gone(driver.swap_disk(id, one).await, "swap_disk of nothing")?;
    driver.unstage_disk(id, one).await.when("unstage_disk of nothing")?;
    for stage in [one, two] {
        driver.stage_disk(&spec, stage).await.when("stage_disk")?;
    }
    driver.drop_old_disk(id, one).await.when("drop_old_disk before any swap")?;
    for _ in 0..2 {
        driver.unstage_disk(id, one).await.when("unstage_disk")?;
    }
    demand_mark(subject, id, Some("own")).await?;
    gone(driver.swap_disk(id, one).await, "swap_disk of what was forgotten")?;
    driver.swap_disk(id, two).await.when("swap_disk of the other")?;
    demand_mark(subject, id, None).await?;
    clear(subject, id).await
}

/// Once it is dropped there is no way back, and undoing does not take the machine's disk away.
pub async fn an_old_disk_is_dropped_for_good(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (driver, snapshot, stage) = (subject.driver(), SnapshotId(id.0), OperationId(id.0));
    make_marked(subject, id, "old").await?;
    take(subject, id, snapshot).await?;
    subject.mark(id, "new").await;
    let spec = copied(subject, id, snapshot);
    driver.stage_disk(&spec, stage).await.when("stage_disk")?;
    driver.swap_disk(id, stage).await.when("swap_disk")?;
    for _ in 0..2 {
        driver.drop_old_disk(id, stage).await.when("drop_old_disk")?;
        driver.unstage_disk(id, stage).await.when("unstage_disk after the drop")?;
        demand_mark(subject, id, Some("old")).await?;
    }
    driver.start(id).await.when("start")?;
    running(subject, id).await?;
    clear(subject, id).await?;
    clear_snapshot(subject, snapshot).await
}

/// A disk can be staged beside a running machine, which goes on with its own; nobody exchanges it under the machine.
pub async fn a_running_machine_keeps_its_disk(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (driver, stage) = (subject.driver(), OperationId(id.0));
    let spec = make(subject, id).await?;
    driver.start(id).await.when("start")?;
    let epoch = running(subject, id).await?;
    driver.stage_disk(&spec, stage).await.when("stage_disk")?;
    retry(driver.swap_disk(id, stage).await, "swap_disk under a running machine")?;
    driver.unstage_disk(id, stage).await.when("unstage_disk of a disk that is not used")?;
    driver.stage_disk(&spec, stage).await.when("stage_disk")?;
    let after = running(subject, id).await?;
    demand(epoch == after, || format!("the epoch was {epoch} and is {after}"))?;
    driver.stop(id, Stop::Force).await.when("stop")?;
    driver.swap_disk(id, stage).await.when("swap_disk")?;
    driver.start(id).await.when("start")?;
    driver.swap_disk(id, stage).await.when("swap_disk of what is done")?;
    retry(driver.unstage_disk(id, stage).await, "unstage_disk under a running machine")?;
    driver.drop_old_disk(id, stage).await.when("drop_old_disk")?;
    running(subject, id).await?;
    clear(subject, id).await
}

/// Without a snapshot the staged disk starts from the image.
pub async fn a_disk_staged_from_the_image_is_a_fresh_one(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (driver, stage) = (subject.driver(), OperationId(id.0));
    let spec = make_marked(subject, id, "old").await?;
    driver.stage_disk(&spec, stage).await.when("stage_disk")?;
    driver.swap_disk(id, stage).await.when("swap_disk")?;
    demand_mark(subject, id, None).await?;
    let size = subject.disk_gib(id).await;
    demand(size == Some(spec.disk_gib), || format!("expected {} GiB, it has {size:?}", spec.disk_gib))?;
    driver.start(id).await.when("start")?;
    running(subject, id).await?;
    clear(subject, id).await
}

/// Nothing can be set in a guest that does not run.
pub async fn a_machine_that_does_not_run_has_no_agent(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    let set = subject.driver().set_password(id, &Secret(HASH.into())).await.when("set_password")?;
    demand(set == PasswordSet::NoAgent, || format!("it says {set:?}"))?;
    stopped(subject, id).await?;
    clear(subject, id).await
}

/// Waits until the guest's agent answers.
async fn agent_answers(subject: &dyn Subject, id: ServerId) -> Verdict {
    let until = Instant::now() + subject.patience();
    while subject.driver().setup_status(id).await.when("setup_status")? == SetupStatus::Unknown {
        demand(Instant::now() < until, || "the guest's agent does not answer".to_owned())?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn guest_writes(subject: &dyn Subject, id: ServerId, text: &str) -> Verdict {
    demand(subject.guest_writes(id, text).await, || format!("the guest of machine {id} cannot write {text}"))
}

async fn demand_written(subject: &dyn Subject, id: ServerId, text: &str) -> Verdict {
    let read = subject.guest_reads(id).await;
    demand(read.as_deref() == Some(text), || {
        format!("the guest of machine {id} reads {read:?} and not {text:?}")
    })
}

/// With an agent the snapshot is whole files; the guest writes on at once, and what it writes then is not in there.
pub async fn a_snapshot_has_what_the_guest_wrote_before_and_nothing_after(
    subject: &dyn Subject,
    id: ServerId,
) -> Verdict {
    let (copy, snapshot) = (ServerId(id.0 + 1), SnapshotId(id.0));
    agent_answers(subject, id).await?;
    guest_writes(subject, id, "before").await?;
    let taken = take(subject, id, snapshot).await?;
    demand(taken.consistency == Consistency::Filesystem, || format!("with an agent it is {taken:?}"))?;
    guest_writes(subject, id, "after").await?;
    let spec = copied(subject, copy, snapshot);
    subject.driver().ensure_disk(&spec).await.when("ensure_disk")?;
    clear_snapshot(subject, snapshot).await?;
    subject.driver().ensure_machine(&spec).await.when("ensure_machine")?;
    subject.driver().start(copy).await.when("start")?;
    boots(subject, copy, None).await?;
    demand_written(subject, copy, "before").await?;
    demand_written(subject, id, "after").await?;
    clear(subject, copy).await
}

/// The new password lets in, the old one does not any more.
pub async fn a_password_set_by_the_agent_logs_in(subject: &dyn Subject, id: ServerId) -> Verdict {
    agent_answers(subject, id).await?;
    let old = subject.spec(id).seed.root_password.ok_or("the seed has no password")?;
    let new = Secret(PASSWORD.to_owned());
    demand(subject.logs_in(id, &old).await, || "the seed's password does not let in".to_owned())?;
    for _ in 0..2 {
        let set = subject.driver().set_password(id, &Secret(HASH.into())).await.when("set_password")?;
        demand(set == PasswordSet::Seen, || format!("it says {set:?}"))?;
    }
    demand(subject.logs_in(id, &new).await, || "the new password does not let in".to_owned())?;
    demand(!subject.logs_in(id, &old).await, || "the old password still lets in".to_owned())
}
