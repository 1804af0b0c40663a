//! Dunning: what becomes of an account whose balance runs out, one stage after the other, each announced.
//!
//! ```text
//!         low                   used up, after a while          too long
//!  fine ─────▶ warned ────────────────────▶ suspended ─────▶ noticed ─────▶ deleted
//!   ▲            │                              │               │               │
//!   └── enough ──┴──────────── paid ────────────┴───────────────┴───────────────┘
//! ```
//!
//! A stage is never passed over, and each one waits from the moment at which the one before was announced.

use crate::{Micros, Timestamp};
use std::time::Duration;

/// How far an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is wrong.
    Fine,
    /// It was told that its balance is low.
    Warned,
    /// It may only look, and its servers are stopped.
    Suspended,
    /// It was told when its servers and snapshots are deleted.
    Noticed,
    /// They are deleted.
    Deleted,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Fine, Self::Warned, Self::Suspended, Self::Noticed, Self::Deleted];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warned => "warned",
            Self::Suspended => "suspended",
            Self::Noticed => "noticed",
            Self::Deleted => "deleted",
        }
    }

    /// The reverse of [`Stage::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }

    /// Whether the account may change nothing.
    pub const fn is_suspended(self) -> bool {
        matches!(self, Self::Suspended | Self::Noticed | Self::Deleted)
    }
}

/// An account's dunning as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dunning {
    /// How far it is.
    pub stage: Stage,
    /// Rises each time that it begins anew.
    pub round: i64,
    /// When it came to this stage.
    pub entered_at: Timestamp,
    /// When the next stage may begin, as it was announced; none where nothing was announced.
    pub due_at: Option<Timestamp>,
}

impl Dunning {
    /// That of an account which never was short of money.
    pub const NONE: Self = Self { stage: Stage::Fine, round: 0, entered_at: Timestamp(0), due_at: None };
}

/// When what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Below which balance an account is warned.
    pub warn_below: Micros,
    /// Below which balance it is suspended.
    pub suspend_below: Micros,
    /// How long after the warning at the earliest.
    pub suspend_after: Duration,
    /// How long after the suspension servers and snapshots are deleted; never without it.
    pub delete_after: Option<Duration>,
    /// How long before that it is announced.
    pub delete_notice: Duration,
}

/// What is known of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it has, less what it has used since it was last charged.
    pub balance: Micros,
    /// It pays later, or nobody pays at all.
    pub is_exempt: bool,
    /// It has servers or snapshots that cost something.
    pub has_things: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Forget the warning.
    Clear,
    /// Tell that the balance is low.
    Warn {
        /// When the account is suspended at the earliest.
        suspended_from: Timestamp,
    },
    /// Suspend it.
    Suspend {
        /// When its things are deleted at the earliest, if ever.
        deleted_from: Option<Timestamp>,
    },
    /// Tell when its things are deleted.
    Notice {
        /// When at the earliest.
        deleted_from: Timestamp,
    },
    /// Take the notice back, because nothing is deleted any more.
    TakeBack,
    /// Delete them.
    Delete,
    /// Let it act again.
    Resume,
}

/// What is to be done now, if anything; one step at a time.
pub fn next(dunning: &Dunning, facts: Facts, rules: &Rules, now: Timestamp) -> Option<Step> {
    let is_short = |limit: Micros| !facts.is_exempt && facts.balance < limit;
    if dunning.stage.is_suspended() && !is_short(rules.suspend_below) {
        return Some(Step::Resume);
    }
    match dunning.stage {
        Stage::Fine => {
            let step = Step::Warn { suspended_from: now.plus(rules.suspend_after) };
            (facts.has_things && is_short(rules.warn_below)).then_some(step)
        }
        Stage::Warned if !is_short(rules.warn_below) => Some(Step::Clear),
        Stage::Warned => {
            let deleted_from = rules.delete_after.map(|after| now.plus(after.max(rules.delete_notice)));
            let is_due = facts.has_things && is_short(rules.suspend_below) && is_past(dunning.due_at, now);
            is_due.then_some(Step::Suspend { deleted_from })
        }
        Stage::Suspended => {
            let quiet = rules.delete_after?.saturating_sub(rules.delete_notice);
            let step = Step::Notice { deleted_from: now.plus(rules.delete_notice) };
            (facts.has_things && now >= dunning.entered_at.plus(quiet)).then_some(step)
        }
        Stage::Noticed if rules.delete_after.is_none() => Some(Step::TakeBack),
        Stage::Noticed => is_past(dunning.due_at, now).then_some(Step::Delete),
        Stage::Deleted => None,
    }
}

fn is_past(due_at: Option<Timestamp>, now: Timestamp) -> bool {
    due_at.is_none_or(|due_at| now >= due_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

    fn rules(delete: bool) -> Rules {
        Rules {
            warn_below: Micros(5_000_000),
            suspend_below: Micros::ZERO,
            suspend_after: DAY,
            delete_after: delete.then_some(DAY * 30),
            delete_notice: DAY * 7,
        }
    }

    fn facts(balance: i64) -> Facts {
        Facts { balance: Micros(balance), is_exempt: false, has_things: true }
    }

    fn at(stage: Stage, due_in: Option<Duration>) -> Dunning {
        Dunning { stage, round: 3, entered_at: START, due_at: due_in.map(|span| START.plus(span)) }
    }

    #[test]
    fn words_go_both_ways() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_word(stage.as_str()), Some(stage));
        }
    }

    #[test]
    fn the_stages_follow_each_other_with_their_times() {
        let rules = rules(true);
        assert_eq!(next(&Dunning::NONE, facts(5_000_000), &rules, START), None);
        let warned = next(&Dunning::NONE, facts(4_999_999), &rules, START);
        assert_eq!(warned, Some(Step::Warn { suspended_from: START.plus(DAY) }));
        let dunning = at(Stage::Warned, Some(DAY));
        assert_eq!(next(&dunning, facts(-1), &rules, START.plus(DAY - Duration::from_secs(1))), None);
        assert_eq!(next(&dunning, facts(0), &rules, START.plus(DAY * 99)), None, "nothing is owed");
        let suspended = next(&dunning, facts(-1), &rules, START.plus(DAY));
        assert_eq!(suspended, Some(Step::Suspend { deleted_from: Some(START.plus(DAY * 31)) }));
        let dunning = at(Stage::Suspended, None);
        assert_eq!(next(&dunning, facts(-1), &rules, START.plus(DAY * 23 - Duration::from_secs(1))), None);
        let noticed = next(&dunning, facts(-1), &rules, START.plus(DAY * 23));
        assert_eq!(noticed, Some(Step::Notice { deleted_from: START.plus(DAY * 30) }));
        let dunning = at(Stage::Noticed, Some(DAY * 30));
        assert_eq!(next(&dunning, facts(-1), &rules, START.plus(DAY * 30 - Duration::from_secs(1))), None);
        assert_eq!(next(&dunning, facts(-1), &rules, START.plus(DAY * 30)), Some(Step::Delete));
        assert_eq!(next(&at(Stage::Deleted, None), facts(-1), &rules, START.plus(DAY * 999)), None);
    }

    #[test]
    fn nothing_is_deleted_unless_the_rules_say_when() {
        let rules = rules(false);
        let due = at(Stage::Warned, Some(DAY));
        let suspended = next(&due, facts(-1), &rules, START.plus(DAY));
        assert_eq!(suspended, Some(Step::Suspend { deleted_from: None }));
        assert_eq!(next(&at(Stage::Suspended, None), facts(-1), &rules, START.plus(DAY * 9999)), None);
        let noticed = at(Stage::Noticed, Some(DAY));
        assert_eq!(next(&noticed, facts(-1), &rules, START.plus(DAY * 9999)), Some(Step::TakeBack));
    }

    #[test]
    fn who_has_nothing_that_costs_is_left_alone() {
        let idle = Facts { has_things: false, ..facts(-9) };
        for stage in [Stage::Fine, Stage::Warned, Stage::Suspended] {
            assert_eq!(next(&at(stage, None), idle, &rules(true), START.plus(DAY * 99)), None, "{stage:?}");
        }
    }

    proptest! {
        #[test]
        fn who_is_exempt_or_has_paid_is_never_worse_off(
            stage in 0usize..5, balance in -20_000_000i64..20_000_000, days in 0u32..100, exempt: bool, delete: bool,
        ) {
            let (dunning, rules) = (at(Stage::ALL[stage], Some(DAY)), rules(delete));
            let facts = Facts { is_exempt: exempt, ..facts(balance) };
            let step = next(&dunning, facts, &rules, START.plus(DAY * days));
            let worse = matches!(
                step,
                Some(Step::Warn { .. } | Step::Suspend { .. } | Step::Notice { .. } | Step::Delete)
            );
            if exempt || balance >= rules.warn_below.0 {
                prop_assert!(!worse, "{:?}", step);
            }
            if balance >= 0 || exempt {
                prop_assert_eq!(step == Some(Step::Resume), dunning.stage.is_suspended());
            }
            if !delete {
                let deletes = matches!(step, Some(Step::Notice { .. } | Step::Delete));
                prop_assert!(!deletes, "{:?}", step);
            }
        }
    }
}
