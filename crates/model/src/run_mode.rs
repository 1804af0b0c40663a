//! Run modes: a safe server is powered off when it has been idle for long, and what idle means.
//!
//! Idle is what was seen: the time between two looks counts when processor and network stayed below the limits all
//! through it, and the looks were not too far apart. Time in which nobody looked counts for nothing, so that neither a
//! clock that jumps nor a control plane that was down can end a server that may have been busy.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What becomes of a server that idles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    /// It stays on.
    #[default]
    Normal,
    /// It is powered off after a while.
    Safe,
}

impl RunMode {
    /// The word in the database, and of the document (cloudatcost-api-v1, "Run mode").
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Safe => "safe",
        }
    }

    /// The reverse of [`RunMode::as_str`], in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Normal, Self::Safe].into_iter().find(|mode| mode.as_str().eq_ignore_ascii_case(word))
    }
}

/// What counts as idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleRules {
    /// The most of all its processors that an idle server uses, per mille.
    pub cpu_permille: u64,
    /// The most that an idle server receives and sends together in a minute, bytes.
    pub traffic_bytes: u64,
    /// The longest time between two looks that counts.
    pub gap_max: Duration,
}

/// Counters of a machine as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Differs at every start of the machine; counters begin anew with it.
    pub epoch: String,
    /// Its processors.
    pub cpus: u32,
    /// Processor time used, microseconds.
    pub cpu_us: u64,
    /// Bytes received and sent.
    pub traffic_bytes: u64,
    /// Memory that it takes, bytes.
    pub memory_bytes: u64,
    /// Disk that it takes, bytes.
    pub disk_bytes: u64,
    /// When.
    pub at: Timestamp,
}

/// What is known of a server's machine since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineUsage {
    /// As in [`Look::epoch`].
    pub epoch: String,
    /// As in [`Look::cpu_us`].
    pub cpu_us: u64,
    /// As in [`Look::traffic_bytes`].
    pub traffic_bytes: u64,
    /// As in [`Look::memory_bytes`].
    pub memory_bytes: u64,
    /// As in [`Look::disk_bytes`].
    pub disk_bytes: u64,
    /// How much of all its processors it used between the last two looks, per mille.
    pub cpu_permille: u64,
    /// How long it has been seen idle without a break.
    pub idle: Duration,
    /// When it was last looked at.
    pub seen_at: Timestamp,
}

impl MachineUsage {
    /// What is known after a look, given what was known before.
    pub fn after(before: Option<&Self>, look: Look, rules: IdleRules) -> Self {
        let mut now = Self {
            epoch: look.epoch,
            cpu_us: look.cpu_us,
            traffic_bytes: look.traffic_bytes,
            memory_bytes: look.memory_bytes,
            disk_bytes: look.disk_bytes,
            cpu_permille: 0,
            idle: Duration::ZERO,
            seen_at: look.at,
        };
        // After a start everything begins anew, idleness too.
        let Some(before) = before.filter(|before| before.epoch == now.epoch) else { return now };
        let passed = now.seen_at.since(before.seen_at);
        if passed.is_zero() {
            // The clock was set back: nothing can be said about rates, and nothing is forgotten.
            now.cpu_permille = before.cpu_permille;
            now.idle = before.idle;
            return now;
        }
        let passed_us = passed.as_micros();
        let cpu_us = u128::from(now.cpu_us.saturating_sub(before.cpu_us));
        let traffic = u128::from(now.traffic_bytes.saturating_sub(before.traffic_bytes));
        // Emulated processors take more than their own time: what is told is at most all of them.
        let permille = (cpu_us * 1000 / (passed_us * u128::from(look.cpus.max(1)))).min(1000);
        now.cpu_permille = u64::try_from(permille).unwrap_or(1000);
        let is_busy = permille > u128::from(rules.cpu_permille)
            || traffic * 60_000_000 > u128::from(rules.traffic_bytes) * passed_us;
        now.idle = match (is_busy, passed <= rules.gap_max) {
            (true, _) => Duration::ZERO,
            (false, true) => before.idle + passed,
            (false, false) => before.idle,
        };
        now
    }

    /// When a safe server is powered off if it goes on idling.
    pub fn deadline(&self, limit: Duration) -> Timestamp {
        self.seen_at.plus(limit.saturating_sub(self.idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const RULES: IdleRules =
        IdleRules { cpu_permille: 50, traffic_bytes: 65_536, gap_max: Duration::from_secs(180) };

    fn look(at: Duration, cpu_us: u64, traffic_bytes: u64) -> Look {
        Look {
            epoch: "a".into(),
            cpus: 2,
            cpu_us,
            traffic_bytes,
            memory_bytes: 1,
            disk_bytes: 2,
            at: Timestamp::from_unix_seconds(1_700_000_000).plus(at),
        }
    }

    fn first() -> MachineUsage {
        MachineUsage::after(None, look(Duration::ZERO, 0, 0), RULES)
    }

    fn idle_for(minutes: u32) -> MachineUsage {
        (1..=minutes).fold(first(), |seen, n| MachineUsage::after(Some(&seen), look(MINUTE * n, 0, 0), RULES))
    }

    #[test]
    fn quiet_minutes_add_up_and_a_busy_one_ends_them() {
        let seen = idle_for(10);
        assert_eq!(seen.idle, MINUTE * 10);
        assert_eq!(seen.deadline(MINUTE * 12), look(MINUTE * 12, 0, 0).at);
        // 5 % of two processors for a minute is six seconds of one.
        let at_the_limit = MachineUsage::after(Some(&seen), look(MINUTE * 11, 6_000_000, 65_536), RULES);
        assert_eq!((at_the_limit.idle, at_the_limit.cpu_permille), (MINUTE * 11, 50));
        let working = MachineUsage::after(Some(&seen), look(MINUTE * 11, 6_200_000, 0), RULES);
        assert_eq!((working.idle, working.cpu_permille), (Duration::ZERO, 51));
        let talking = MachineUsage::after(Some(&seen), look(MINUTE * 11, 0, 65_537), RULES);
        assert_eq!(talking.idle, Duration::ZERO);
    }

    #[test]
    fn a_start_begins_anew() {
        let started = Look { epoch: "b".into(), ..look(MINUTE * 11, 0, 0) };
        assert_eq!(MachineUsage::after(Some(&idle_for(10)), started, RULES).idle, Duration::ZERO);
    }

    #[test]
    fn time_in_which_nobody_looked_counts_for_nothing() {
        let week = Duration::from_secs(7 * 24 * 3600);
        let later = MachineUsage::after(Some(&idle_for(10)), look(MINUTE * 10 + week, 0, 0), RULES);
        assert_eq!(later.idle, MINUTE * 10, "a jump of the clock is no week of idling");
        let busy = MachineUsage::after(
            Some(&idle_for(10)),
            look(MINUTE * 10 + week, u64::try_from(week.as_micros()).unwrap(), 0),
            RULES,
        );
        assert_eq!(busy.idle, Duration::ZERO, "but a busy week is no break in idling");
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing_and_adds_nothing() {
        let back = MachineUsage::after(Some(&idle_for(10)), look(MINUTE, 0, 0), RULES);
        assert_eq!(back.idle, MINUTE * 10);
        let on = MachineUsage::after(Some(&back), look(MINUTE * 2, 0, 0), RULES);
        assert_eq!(on.idle, MINUTE * 11);
    }

    #[test]
    fn words_go_both_ways() {
        for mode in [RunMode::Normal, RunMode::Safe] {
            assert_eq!(RunMode::from_word(mode.as_str()), Some(mode));
        }
        assert_eq!(RunMode::from_word("SAFE"), Some(RunMode::Safe));
        assert_eq!(RunMode::from_word("saf"), None);
    }

    proptest! {
        #[test]
        fn nobody_is_idle_for_longer_than_was_looked_at(
            steps in prop::collection::vec((-300i64..600, 0u64..20_000_000, 0u64..200_000), 0..50),
        ) {
            let (mut seen, mut at, mut cpu, mut traffic, mut watched) = (first(), 1_000_000i64, 0, 0, Duration::ZERO);
            seen.seen_at = look(Duration::from_secs(1_000_000), 0, 0).at;
            for (seconds, cpu_us, bytes) in steps {
                at += seconds;
                cpu += cpu_us;
                traffic += bytes;
                if (1..=180).contains(&seconds) {
                    watched += Duration::from_secs(seconds.unsigned_abs());
                }
                let at = Duration::from_secs(at.unsigned_abs());
                seen = MachineUsage::after(Some(&seen), look(at, cpu, traffic), RULES);
                prop_assert!(seen.idle <= watched);
                prop_assert!(seen.cpu_permille <= 1000);
            }
        }
    }
}
