//! Traffic: what a server received and sent, minute by minute, and which part of it somebody asks for.

use crate::{Error, Result, Timestamp};
use std::time::Duration;

/// A minute, by its number since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute that this instant lies in.
    pub const fn of(instant: Timestamp) -> Self {
        Self(instant.unix_seconds().div_euclid(60))
    }

    /// The first minute that begins at this instant or later.
    const fn from(instant: Timestamp) -> Self {
        Self(-(-instant.0).div_euclid(60_000_000))
    }

    /// When it begins.
    pub const fn begin(self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0 * 60)
    }
}

/// Bytes of a server in one minute, or in several that were added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The first minute.
    pub minute: Minute,
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Bytes that the guest sent.
    pub sent_bytes: u64,
}

/// Counters of a server's machine as they were read: bytes since its `epoch` began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Differs at every start of the machine.
    pub epoch: String,
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Bytes that the guest sent.
    pub sent_bytes: u64,
    /// Frames that were dropped because the guest had no right to send them.
    pub forged_frames: u64,
}

/// How many minutes are added up into one sample. Steps are counted from 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(i64);

/// Longest step, seconds: 31 days.
pub const STEP_MAX_S: i64 = 31 * 24 * 60 * 60;

impl Step {
    /// No adding up.
    pub const MINUTE: Self = Self(1);

    /// Reads `minute`, `hour`, `day`, or a number of seconds that makes whole minutes.
    ///
    /// Errors: `Invalid` for `step`.
    pub fn parse(word: &str) -> Result<Self> {
        let seconds = match word.to_ascii_lowercase().as_str() {
            "minute" => 60,
            "hour" => 60 * 60,
            "day" => 24 * 60 * 60,
            digits => digits.parse().unwrap_or(0),
        };
        if (60..=STEP_MAX_S).contains(&seconds) && seconds % 60 == 0 {
            return Ok(Self(seconds / 60));
        }
        Err(Error::invalid(
            "step",
            format!(
                "The parameter step must be minute, hour, day, or a number of seconds that is a multiple of 60 \
                 and at most {STEP_MAX_S}."
            ),
        ))
    }

    /// How many minutes.
    pub const fn minutes(self) -> i64 {
        self.0
    }
}

/// What is told when nobody says from when.
pub const DEFAULT_SPAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Which samples somebody asks for: those of the minutes from `from` until before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first minute.
    pub from: Minute,
    /// The first minute that is not asked for any more.
    pub to: Minute,
    /// What is added up.
    pub step: Step,
}

impl Window {
    /// The minutes that begin in this span of time; its end is `now` unless given, its beginning a day earlier.
    ///
    /// Errors: `Invalid` naming `from` when it ends before it begins.
    pub fn new(from: Option<Timestamp>, to: Option<Timestamp>, step: Step, now: Timestamp) -> Result<Self> {
        let end = to.unwrap_or(now);
        let begin = from.unwrap_or(end.minus(DEFAULT_SPAN));
        if begin > end {
            return Err(Error::invalid(
                "from",
                format!(
                    "The parameter from lies after to: {} is later than {}. Without to, the end is now.",
                    begin.wire(),
                    end.wire()
                ),
            ));
        }
        Ok(Self { from: Minute::from(begin), to: Minute::from(end), step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_515_678_999);

    #[test]
    fn the_documents_minute_begins_where_it_says() {
        let minute = Minute::of(Timestamp::from_unix_seconds(1_515_678_960));
        assert_eq!(minute.begin().unix_seconds(), 1_515_678_960);
        assert_eq!(Minute::of(NOW), minute);
    }

    #[test]
    fn steps_are_words_or_whole_minutes() {
        for (word, minutes) in [("minute", 1), ("Hour", 60), ("day", 1440), ("60", 1), ("300", 5)] {
            assert_eq!(Step::parse(word).map(Step::minutes).unwrap(), minutes, "{word}");
        }
        for bad in ["0", "-60", "61", "59", "week", "1h", "60.0", "2678460", "99999999999999999999"] {
            assert!(Step::parse(bad).unwrap_err().public.contains("step"), "{bad}");
        }
    }

    #[test]
    fn without_a_span_the_last_day_is_told_up_to_this_minute() {
        let window = Window::new(None, None, Step::MINUTE, NOW).unwrap();
        assert_eq!(window.to.0 - window.from.0, 24 * 60);
        assert_eq!(window.to.0 - 1, Minute::of(NOW).0);
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_refused_and_an_empty_one_is_not() {
        let later = NOW.plus(Duration::from_secs(1));
        let refused = Window::new(Some(later), None, Step::MINUTE, NOW).unwrap_err();
        assert!(refused.public.contains("from"), "{refused}");
        let empty = Window::new(Some(NOW), Some(NOW), Step::MINUTE, NOW).unwrap();
        assert_eq!(empty.from, empty.to);
    }

    proptest! {
        #[test]
        fn the_minutes_of_a_window_are_those_that_begin_in_it(
            from in 0i64..4_000_000_000, span in 0i64..50_000, us in 0i64..1_000_000,
        ) {
            let begin = Timestamp(from * 1_000_000 + us);
            let end = begin.plus(Duration::from_secs(span.unsigned_abs()));
            let window = Window::new(Some(begin), Some(end), Step::MINUTE, NOW).unwrap();
            prop_assert!(window.from.begin() >= begin);
            prop_assert!(Minute(window.from.0 - 1).begin() < begin);
            prop_assert!(window.to.begin() >= end);
            prop_assert!(Minute(window.to.0 - 1).begin() < end);
        }
    }
}
