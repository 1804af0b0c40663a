//! What can be made to go wrong on the simulated node, and how long its verbs take.
//!
//! Promises: the same seed gives the same latencies in the same order of calls.

use crate::DriverError;
use std::time::Duration;

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident),+ $(,)?) => {
        /// A verb of the driver, to aim a fault at or to count.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Verb { $($(#[$doc])* $verb),+ }

        impl Verb {
            /// Every verb, in the order of the trait.
            pub const ALL: &[Self] = &[$(Self::$verb),+];
        }
    };
}

verbs! {
    /// [`Driver::probe`](crate::Driver::probe).
    Probe,
    /// [`Driver::ensure_image`](crate::Driver::ensure_image).
    EnsureImage,
    /// [`Driver::ensure_disk`](crate::Driver::ensure_disk).
    EnsureDisk,
    /// [`Driver::ensure_machine`](crate::Driver::ensure_machine).
    EnsureMachine,
    /// [`Driver::apply_network`](crate::Driver::apply_network).
    ApplyNetwork,
    /// [`Driver::set_pools`](crate::Driver::set_pools).
    SetPools,
    /// [`Driver::start`](crate::Driver::start).
    Start,
    /// [`Driver::stop`](crate::Driver::stop).
    Stop,
    /// [`Driver::reboot`](crate::Driver::reboot).
    Reboot,
    /// [`Driver::remove`](crate::Driver::remove).
    Remove,
    /// [`Driver::observe`](crate::Driver::observe).
    Observe,
    /// [`Driver::observe_all`](crate::Driver::observe_all).
    ObserveAll,
    /// [`Driver::console`](crate::Driver::console).
    Console,
    /// [`Driver::serial_log`](crate::Driver::serial_log).
    SerialLog,
    /// [`Driver::setup_status`](crate::Driver::setup_status).
    SetupStatus,
    /// [`Driver::forget_secrets`](crate::Driver::forget_secrets).
    ForgetSecrets,
    /// [`Driver::usage`](crate::Driver::usage).
    Usage,
    /// [`Driver::take_snapshot`](crate::Driver::take_snapshot). It hangs half-way, with a half-made snapshot.
    TakeSnapshot,
    /// [`Driver::remove_snapshot`](crate::Driver::remove_snapshot).
    RemoveSnapshot,
    /// [`Driver::snapshots`](crate::Driver::snapshots).
    Snapshots,
    /// [`Driver::stage_disk`](crate::Driver::stage_disk).
    StageDisk,
    /// [`Driver::swap_disk`](crate::Driver::swap_disk).
    SwapDisk,
    /// [`Driver::unstage_disk`](crate::Driver::unstage_disk).
    UnstageDisk,
    /// [`Driver::drop_old_disk`](crate::Driver::drop_old_disk).
    DropOldDisk,
    /// [`Driver::set_password`](crate::Driver::set_password).
    SetPassword,
    /// [`Driver::set_hostname`](crate::Driver::set_hostname).
    SetHostname,
}

/// How many verbs there are.
pub(super) const VERBS: usize = Verb::ALL.len();

/// The kind of error that a fault answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// [`DriverError::Retry`].
    Retry,
    /// [`DriverError::Fatal`].
    Fatal,
    /// [`DriverError::Unreachable`].
    Unreachable,
    /// [`DriverError::Gone`].
    Gone,
}

/// When in the course of a verb a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the verb did anything.
    Before,
    /// In the middle of a snapshot, which stays half-made; other verbs have no middle and are struck before.
    Halfway,
    /// The work is done and only the answer is lost, as when a node dies a moment too late.
    After,
}

/// A fault: which error, how often, and how much of its work the verb did before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailWith {
    /// The error.
    pub kind: Fail,
    /// How many calls fail; `u32::MAX` for all until [`World::heal`](super::World::heal).
    pub times: u32,
    /// When it strikes.
    pub at: Moment,
}

impl FailWith {
    /// Fails the next `times` calls before they do anything.
    #[must_use]
    pub const fn times(kind: Fail, times: u32) -> Self {
        Self { kind, times, at: Moment::Before }
    }

    /// Fails the next call before it does anything.
    #[must_use]
    pub const fn once(kind: Fail) -> Self {
        Self::times(kind, 1)
    }

    /// Fails every call until healed.
    #[must_use]
    pub const fn always(kind: Fail) -> Self {
        Self::times(kind, u32::MAX)
    }

    /// The same fault, but the work is done and only the answer is lost.
    #[must_use]
    pub const fn after_effect(self) -> Self {
        Self { at: Moment::After, ..self }
    }

    /// The same fault, but in the middle of the work.
    #[must_use]
    pub const fn halfway(self) -> Self {
        Self { at: Moment::Halfway, ..self }
    }

    pub(super) fn error(self, verb: Verb) -> DriverError {
        let why = format!("simulated fault of {verb:?}");
        match self.kind {
            Fail::Retry => DriverError::Retry(why),
            Fail::Fatal => DriverError::Fatal(why),
            Fail::Unreachable => DriverError::Unreachable(why),
            Fail::Gone => DriverError::Gone(why),
        }
    }
}

/// How long each verb takes: a span per verb, drawn from a seed.
#[derive(Debug, Clone, Default)]
pub struct LatencyProfile {
    seed: u64,
    spans: [(Duration, Duration); VERBS],
}

impl LatencyProfile {
    /// No latency yet; what is added is drawn from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Lets `verb` take between `min` and `max`.
    #[must_use]
    pub fn with(mut self, verb: Verb, min: Duration, max: Duration) -> Self {
        self.spans[verb as usize] = (min, max.max(min));
        self
    }

    /// About what a host with KVM takes.
    #[must_use]
    pub fn realistic(seed: u64) -> Self {
        let ms = Duration::from_millis;
        Self::seeded(seed)
            .with(Verb::EnsureDisk, ms(20), ms(80))
            .with(Verb::EnsureMachine, ms(20), ms(60))
            .with(Verb::Start, ms(100), ms(400))
            .with(Verb::Stop, ms(500), ms(4000))
            .with(Verb::Reboot, ms(500), ms(4000))
            .with(Verb::Remove, ms(50), ms(300))
            .with(Verb::Observe, ms(1), ms(3))
            .with(Verb::ObserveAll, ms(5), ms(20))
            .with(Verb::Usage, ms(1), ms(5))
            .with(Verb::TakeSnapshot, ms(800), ms(4000))
            .with(Verb::RemoveSnapshot, ms(20), ms(100))
            .with(Verb::StageDisk, ms(200), ms(2000))
            .with(Verb::SetPassword, ms(100), ms(500))
    }

    /// How long the `nth` call of `verb` takes.
    pub(super) fn draw(&self, verb: Verb, nth: u64) -> Duration {
        let (min, max) = self.spans[verb as usize];
        let width = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        let drawn = mix(self.seed ^ mix(nth.wrapping_mul(VERBS as u64).wrapping_add(verb as u64)));
        min + Duration::from_nanos(if width == 0 { 0 } else { drawn % width })
    }
}

/// Scatters a number over all 64 bits (the finaliser of splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_latencies_within_the_span() {
        let span = (Duration::from_millis(5), Duration::from_millis(9));
        let one = LatencyProfile::seeded(7).with(Verb::Start, span.0, span.1);
        let other = LatencyProfile::seeded(7).with(Verb::Start, span.0, span.1);
        let drawn: Vec<_> = (0..100).map(|nth| one.draw(Verb::Start, nth)).collect();
        assert_eq!(drawn, (0..100).map(|nth| other.draw(Verb::Start, nth)).collect::<Vec<_>>());
        assert!(drawn.iter().all(|it| (span.0..=span.1).contains(it)));
        assert!(drawn.iter().any(|it| it != &drawn[0]), "all latencies are the same");
        assert_eq!(one.draw(Verb::Stop, 3), Duration::ZERO);
    }
}
