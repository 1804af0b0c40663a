//! Faults at named points, for the tests that ask what a crash or a failing step leaves behind.
//!
//! A point is `server_create.ensure_disk.before` or `….after`. Debug builds also read `BULUT_FAULT`, such as
//! `server_create.ensure_disk.after=pause`, so that a test can kill the process exactly there.

use std::sync::{Arc, Mutex};

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The step fails and may be tried again.
    Retry,
    /// The step fails for good.
    Fatal,
    /// The process stands still there until it is killed.
    Pause,
    /// The engine lets everything lie, as if the process had died there.
    Die,
}

/// The faults that were asked for; none in production.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<(String, Fault, u32)>>>);

impl Faults {
    /// None, or those that `BULUT_FAULT` names in a debug build.
    pub fn from_environment() -> Self {
        let faults = Self::default();
        if cfg!(debug_assertions)
            && let Ok(text) = std::env::var("BULUT_FAULT")
        {
            for part in text.split(',') {
                if let Some((point, "pause")) = part.split_once('=') {
                    faults.add(point, Fault::Pause, u32::MAX);
                }
            }
        }
        faults
    }

    /// Asks for a fault at a point, so many times.
    pub fn add(&self, point: &str, fault: Fault, times: u32) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((
            point.to_owned(),
            fault,
            times,
        ));
    }

    /// What happens at this point now.
    pub fn at(&self, point: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, fault, times) = faults.iter_mut().find(|(at, _, times)| at == point && *times > 0)?;
        *times -= 1;
        Some(*fault)
    }
}
