//! Another disk beside a machine's own, and the exchange of the two. Part of [`Machine`]'s task.
//!
//! Three names in the machine's directory say how far it is; each step changes one of them and is whole or not at all,
//! and `disk.qcow2` is there after every step:
//!
//! ```text
//!  disk.qcow2  disk.N.new  disk.N.before         means           swap does      unstage does     drop does
//!  own         –           –                     nothing         Gone           –                –
//!  own         new         –                     staged          Keep, Put      Discard          –
//!  own         new         the same file as own  half swapped    Put            Forget, Discard  –
//!  new         –           own                   swapped         –              Back             Forget
//! ```
//! Keep links `disk.qcow2` as `disk.N.before`, Put renames `disk.N.new` over `disk.qcow2`, Back renames `disk.N.before` over
//! it, Discard and Forget remove `disk.N.new` and `disk.N.before`. Two names of one file would survive a Back: renaming
//! one over the other does nothing, hence the Forget there.

use super::copies::Making;
use super::disk::{self, GIB};
use super::layout;
use super::machine::Machine;
use super::make::DISK;
use crate::{DriverError, MachineSpec};
use bulut_model::OperationId;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One change of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Keep,
    Put,
    Back,
    Discard,
    Forget,
}

/// The names of one stage in a machine's directory.
#[derive(Debug)]
struct Names {
    dir: PathBuf,
    new: String,
    before: String,
}

/// What there is of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Staged,
    HalfSwapped,
    Swapped,
}

impl Names {
    fn new(dir: &Path, stage: OperationId) -> Self {
        Self {
            dir: dir.to_owned(),
            new: format!("disk.{stage}.new.qcow2"),
            before: format!("disk.{stage}.before.qcow2"),
        }
    }

    fn find(&self) -> io::Result<Found> {
        let file = |name: &str| match fs::symlink_metadata(self.dir.join(name)) {
            Ok(meta) => Ok(Some(meta.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        Ok(match (file(&self.new)?, file(&self.before)?) {
            (None, None) => Found::Nothing,
            (Some(_), None) => Found::Staged,
            (Some(_), Some(_)) => Found::HalfSwapped,
            (None, Some(_)) => Found::Swapped,
        })
    }

    fn take(&self, step: Step) -> io::Result<()> {
        let (disk, new, before) =
            (self.dir.join(DISK), self.dir.join(&self.new), self.dir.join(&self.before));
        match step {
            Step::Keep => fs::hard_link(disk, before),
            Step::Put => fs::rename(new, disk),
            Step::Back => fs::rename(before, disk),
            Step::Discard => layout::remove_file(&new),
            Step::Forget => layout::remove_file(&before),
        }
    }

    fn take_all(&self, steps: &[Step]) -> Result<(), DriverError> {
        let taken = steps.iter().try_for_each(|step| self.take(*step)).and_then(|()| match steps {
            [] => Ok(()),
            _ => layout::sync_dir(&self.dir),
        });
        taken.map_err(|e| DriverError::retry(format!("cannot exchange disks in {}: {e}", self.dir.display())))
    }
}

/// The steps of a swap; `None` when nothing is staged.
fn swap(found: Found) -> Option<&'static [Step]> {
    match found {
        Found::Nothing => None,
        Found::Staged => Some(&[Step::Keep, Step::Put]),
        Found::HalfSwapped => Some(&[Step::Put]),
        Found::Swapped => Some(&[]),
    }
}

/// The steps back to the disk from before.
fn unstage(found: Found) -> &'static [Step] {
    match found {
        Found::Nothing => &[],
        Found::Staged => &[Step::Discard],
        Found::HalfSwapped => &[Step::Forget, Step::Discard],
        Found::Swapped => &[Step::Back],
    }
}

/// The steps after which there is no way back.
fn drop_old(found: Found) -> &'static [Step] {
    match found {
        Found::Nothing | Found::Staged | Found::HalfSwapped => &[],
        Found::Swapped => &[Step::Forget],
    }
}

impl Machine {
    /// Makes the other disk, unless it is there or is the machine's own by now.
    pub async fn stage_disk(&mut self, spec: &MachineSpec, stage: OperationId) -> Result<(), DriverError> {
        if !self.dir.join(DISK).exists() {
            return Err(DriverError::Gone(format!("machine {} has no disk", self.id)));
        }
        let (names, found) = self.stage(stage)?;
        if found != Found::Nothing {
            return Ok(());
        }
        let size = disk::origin_size(&self.node.layout, spec)?;
        let wanted = spec.disk_gib.saturating_mul(GIB);
        if size > wanted && spec.snapshot.is_none() {
            return Err(DriverError::fatal(format!(
                "the image needs a disk of {} GiB, the machine has {} GiB",
                size.div_ceil(GIB),
                spec.disk_gib
            )));
        }
        let copying = self.node.copies.begin(Making::Stage(self.id, stage));
        let made = self.make_disk(spec, &names.new, size.max(wanted), &copying.cut).await;
        if made.is_err()
            && let Err(error) = layout::remove_file(&self.dir.join(disk::part(&names.new)))
        {
            tracing::warn!(server.id = self.id.0, %error, "half of a disk is left");
        }
        made
    }

    /// Puts the staged disk in the place of the machine's own.
    pub fn swap_disk(&mut self, stage: OperationId) -> Result<(), DriverError> {
        let (names, found) = self.stage(stage)?;
        let steps = swap(found).ok_or_else(|| {
            DriverError::Gone(format!("no disk is staged by {stage} for machine {}", self.id))
        })?;
        self.exchange(&names, steps)
    }

    /// Goes back to where nothing was staged.
    pub fn unstage_disk(&mut self, stage: OperationId) -> Result<(), DriverError> {
        let (names, found) = self.stage(stage)?;
        self.exchange(&names, unstage(found))?;
        layout::remove_file(&self.dir.join(disk::part(&names.new))).map_err(DriverError::retry)
    }

    /// Removes the disk that was kept aside.
    pub fn drop_old_disk(&mut self, stage: OperationId) -> Result<(), DriverError> {
        let (names, found) = self.stage(stage)?;
        self.exchange(&names, drop_old(found))
    }

    fn stage(&self, stage: OperationId) -> Result<(Names, Found), DriverError> {
        let names = Names::new(&self.dir, stage);
        let found = names.find().map_err(|e| {
            DriverError::Unreachable(format!("cannot look at the disks of machine {}: {e}", self.id))
        })?;
        Ok((names, found))
    }

    fn exchange(&self, names: &Names, steps: &[Step]) -> Result<(), DriverError> {
        let exchanges = steps.iter().any(|step| matches!(step, Step::Put | Step::Back));
        if exchanges && self.running.is_some() {
            return Err(DriverError::retry(format!(
                "machine {} runs on the disk that is to be exchanged",
                self.id
            )));
        }
        names.take_all(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: OperationId = OperationId(9);

    /// A machine's directory with its disk, and a staged one if asked for.
    fn begin(staged: bool) -> (tempfile::TempDir, Names) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DISK), "own").unwrap();
        let names = Names::new(dir.path(), STAGE);
        if staged {
            fs::write(dir.path().join(&names.new), "new").unwrap();
        }
        (dir, names)
    }

    /// What stands on the machine's disk, and the names of all files.
    fn seen(names: &Names) -> (String, Vec<String>) {
        let mut files: Vec<String> = fs::read_dir(&names.dir)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        (fs::read_to_string(names.dir.join(DISK)).expect("the machine always has a disk"), files)
    }

    fn state(content: &str, files: &[&str]) -> (String, Vec<String>) {
        let mut files: Vec<String> = files.iter().map(|it| (*it).to_owned()).collect();
        files.push(DISK.to_owned());
        files.sort();
        (content.to_owned(), files)
    }

    fn run(names: &Names, plan: fn(Found) -> &'static [Step], steps: usize) -> usize {
        let plan = plan(names.find().unwrap());
        for step in &plan[..steps.min(plan.len())] {
            names.take(*step).unwrap();
            assert!(["own", "new"].contains(&seen(names).0.as_str()));
        }
        plan.len()
    }

    fn swapping(found: Found) -> &'static [Step] {
        swap(found).expect("something is staged")
    }

    const ALL: usize = usize::MAX;

    #[test]
    fn a_swap_cut_off_anywhere_is_finished_by_the_next() {
        for cut in 0..=2 {
            let (_dir, names) = begin(true);
            run(&names, swapping, cut);
            run(&names, swapping, ALL);
            assert_eq!(seen(&names), state("new", &["disk.9.before.qcow2"]), "cut after {cut}");
            assert_eq!(run(&names, swapping, ALL), 0, "a second one has nothing to do");
        }
    }

    #[test]
    fn a_swap_cut_off_anywhere_is_undone_also_by_undoings_cut_off_anywhere() {
        for cut in 0..=2 {
            for undo_cut in 0..=2 {
                let (_dir, names) = begin(true);
                run(&names, swapping, cut);
                run(&names, unstage, undo_cut);
                run(&names, unstage, ALL);
                assert_eq!(seen(&names), state("own", &[]), "cut after {cut} and {undo_cut}");
                assert_eq!(run(&names, unstage, ALL), 0, "a second one has nothing to do");
                assert_eq!(swap(names.find().unwrap()), None, "nothing is staged any more");
            }
        }
    }

    #[test]
    fn an_undoing_cut_off_anywhere_leaves_nothing_that_a_swap_would_get_wrong() {
        for cut in 0..=2 {
            for undo_cut in 0..=2 {
                let (_dir, names) = begin(true);
                run(&names, swapping, cut);
                run(&names, unstage, undo_cut);
                let Some(_) = swap(names.find().unwrap()) else {
                    assert_eq!(seen(&names), state("own", &[]));
                    continue;
                };
                run(&names, swapping, ALL);
                assert_eq!(seen(&names), state("new", &["disk.9.before.qcow2"]), "{cut} and {undo_cut}");
            }
        }
    }

    #[test]
    fn dropping_keeps_the_machines_disk_and_there_is_no_way_back() {
        for cut in 0..=1 {
            let (_dir, names) = begin(true);
            run(&names, swapping, ALL);
            run(&names, drop_old, cut);
            run(&names, drop_old, ALL);
            assert_eq!(seen(&names), state("new", &[]));
            assert_eq!(run(&names, drop_old, ALL) + run(&names, unstage, ALL), 0);
            assert_eq!(seen(&names), state("new", &[]));
        }
    }

    #[test]
    fn dropping_before_the_swap_is_over_loses_nothing() {
        for cut in 0..=1 {
            let (_dir, names) = begin(true);
            run(&names, swapping, cut);
            run(&names, drop_old, ALL);
            run(&names, unstage, ALL);
            assert_eq!(seen(&names), state("own", &[]), "cut after {cut}");
        }
        let (_dir, names) = begin(false);
        assert_eq!(run(&names, drop_old, ALL) + run(&names, unstage, ALL), 0);
    }

    #[test]
    fn another_operations_stage_is_left_alone() {
        let (dir, names) = begin(true);
        let other = Names::new(dir.path(), OperationId(10));
        fs::write(dir.path().join(&other.new), "newer").unwrap();
        run(&names, swapping, ALL);
        run(&names, unstage, ALL);
        assert_eq!(seen(&names), state("own", &["disk.10.new.qcow2"]));
        assert_eq!(other.find().unwrap(), Found::Staged);
    }
}
