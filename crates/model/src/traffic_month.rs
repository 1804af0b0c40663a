//! Traffic by calendar months, and what becomes of a server that has used all that its package includes. Pure.

use crate::traffic::Minute;
use crate::{Error, Result, Timestamp};
use std::fmt;
use time::{Date, OffsetDateTime};

/// A calendar month in UTC, by its number since January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i64);

/// Bytes in the TB of packages: what disks and lines are sold by.
pub const BYTES_PER_TB: u64 = 1_000_000_000_000;

impl Month {
    /// The month that this instant lies in.
    pub fn of(instant: Timestamp) -> Self {
        let date = OffsetDateTime::from_unix_timestamp(instant.unix_seconds()).map(OffsetDateTime::date);
        let date = date.unwrap_or(Date::MIN);
        Self((i64::from(date.year()) - 1970) * 12 + i64::from(u8::from(date.month())) - 1)
    }

    /// The month that this minute lies in.
    pub fn of_minute(minute: Minute) -> Self {
        Self::of(minute.begin())
    }

    /// The month after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// When it begins.
    pub fn begin(self) -> Timestamp {
        let date = i32::try_from(1970 + self.0.div_euclid(12)).ok().and_then(|year| {
            let month = u8::try_from(self.0.rem_euclid(12) + 1).ok()?;
            Date::from_calendar_date(year, month.try_into().ok()?, 1).ok()
        });
        let seconds = date.unwrap_or(Date::MIN).midnight().assume_utc().unix_timestamp();
        Timestamp::from_unix_seconds(seconds)
    }

    /// Reads `2026-02`.
    ///
    /// Errors: `Invalid` for `month`.
    pub fn parse(text: &str) -> Result<Self> {
        let read = || {
            let (year, month) = text.trim().split_once('-')?;
            let (year, month): (i64, i64) = (year.parse().ok()?, month.parse().ok()?);
            ((1970..=9999).contains(&year) && (1..=12).contains(&month))
                .then_some((year - 1970) * 12 + month - 1)
        };
        let refuse = || Error::invalid("month", format!("The month '{text}' must be like 2026-02."));
        read().map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", 1970 + self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// What becomes of servers of a package that have used all the traffic of their month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLimit {
    /// They go on; the operator can see it.
    Nothing,
    /// They are slowed down until the month is over.
    Slow,
    /// They go on, and what they move beyond it is billed.
    Bill,
    /// They are powered off, and not started again before the month is over.
    Stop,
}

impl AtLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Slow, Self::Bill, Self::Stop];

    /// The word in the database and of the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Slow => "slow",
            Self::Bill => "bill",
            Self::Stop => "stop",
        }
    }

    /// The reverse of [`AtLimit::as_str`].
    ///
    /// Errors: `Invalid` naming `action`.
    pub fn parse(word: &str) -> Result<Self> {
        let refuse =
            || Error::invalid("action", "The action at the limit must be nothing, slow, bill or stop.");
        Self::ALL.into_iter().find(|action| action.as_str() == word).ok_or_else(refuse)
    }
}

/// What a server received and sent in a month, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthUse {
    /// Which month.
    pub month: Month,
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Bytes that the guest sent.
    pub sent_bytes: u64,
    /// What the server's package includes, TB; 0 for all.
    pub traffic_tb: u64,
    /// What the package does at the limit.
    pub at_limit: AtLimit,
    /// The operator lets it use more in this month.
    pub is_allowed_more: bool,
}

impl MonthUse {
    /// Both directions together: what counts against the package.
    pub const fn total_bytes(&self) -> u64 {
        self.received_bytes.saturating_add(self.sent_bytes)
    }

    /// What the package includes, bytes; none where that is everything.
    pub const fn included_bytes(&self) -> Option<u64> {
        if self.traffic_tb == 0 { None } else { Some(self.traffic_tb.saturating_mul(BYTES_PER_TB)) }
    }

    /// Whether all of it is used.
    pub fn is_used_up(&self) -> bool {
        self.included_bytes().is_some_and(|included| self.total_bytes() >= included)
    }

    /// Whether this is what becomes of the server in this month from now on.
    fn is_due(&self, action: AtLimit) -> bool {
        self.at_limit == action && !self.is_allowed_more && self.is_used_up()
    }

    /// Whether the server must not run in this month any more.
    pub fn must_stop(&self) -> bool {
        self.is_due(AtLimit::Stop)
    }

    /// Whether the server is to be slow until the month is over.
    pub fn must_slow(&self) -> bool {
        self.is_due(AtLimit::Slow)
    }

    /// What is to be billed beside the package, bytes: nothing where the package does not say so, or the operator lets
    /// the server use more.
    pub fn billable_bytes(&self) -> u64 {
        if !self.is_due(AtLimit::Bill) {
            return 0;
        }
        self.included_bytes().map_or(0, |included| self.total_bytes().saturating_sub(included))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_wire(text).unwrap()
    }

    #[test]
    fn a_month_ends_with_its_last_second_also_in_a_leap_year() {
        for (last, first, name) in [
            ("2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-02"),
            ("2027-02-28T23:59:59Z", "2027-03-01T00:00:00Z", "2027-03"),
            ("2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z", "2028-03"),
            ("2027-12-31T23:59:59Z", "2028-01-01T00:00:00Z", "2028-01"),
            ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1970-01"),
        ] {
            let month = Month::of(at(first));
            assert_eq!(month.to_string(), name);
            assert_eq!(Month::of(at(last)).next(), month, "{last}");
            assert_eq!(month.begin(), at(first));
        }
        assert_eq!(Month::of(at("2028-02-28T23:59:59Z")), Month::of(at("2028-02-29T00:00:00Z")));
    }

    #[test]
    fn a_month_is_read_as_it_is_written() {
        assert_eq!(Month::parse("2028-02").unwrap().to_string(), "2028-02");
        for bad in ["2028-13", "2028-00", "2028", "02-2028", "", "2028-2-1", "-5-01"] {
            assert!(Month::parse(bad).unwrap_err().public.contains("month"), "{bad}");
        }
    }

    #[test]
    fn what_can_be_done_at_the_limit_has_a_word() {
        for action in AtLimit::ALL {
            assert_eq!(AtLimit::parse(action.as_str()).unwrap(), action);
        }
        for bad in ["", "Stop", "slow down"] {
            assert!(AtLimit::parse(bad).unwrap_err().public.contains("nothing, slow, bill or stop"), "{bad}");
        }
    }

    #[test]
    fn the_limit_is_both_directions_together_and_none_means_none() {
        let used = |received_bytes, sent_bytes, traffic_tb| MonthUse {
            month: Month(0),
            received_bytes,
            sent_bytes,
            traffic_tb,
            at_limit: AtLimit::Stop,
            is_allowed_more: false,
        };
        assert!(!used(BYTES_PER_TB - 1, 0, 1).must_stop());
        assert!(used(BYTES_PER_TB - 1, 1, 1).must_stop());
        assert!(!used(u64::MAX, u64::MAX, 0).is_used_up());
        assert!(!MonthUse { is_allowed_more: true, ..used(BYTES_PER_TB, 0, 1) }.must_stop());
        let nothing = MonthUse { at_limit: AtLimit::Nothing, ..used(BYTES_PER_TB, 0, 1) };
        assert!(nothing.is_used_up() && !nothing.must_stop());
    }

    #[test]
    fn at_the_limit_happens_what_the_package_says_and_nothing_else() {
        for at_limit in AtLimit::ALL {
            let used = |sent_bytes| MonthUse {
                month: Month(0),
                received_bytes: 7,
                sent_bytes,
                traffic_tb: 1,
                at_limit,
                is_allowed_more: false,
            };
            let before = used(BYTES_PER_TB - 8);
            assert!(!before.must_stop() && !before.must_slow() && before.billable_bytes() == 0);
            let beyond = used(BYTES_PER_TB);
            let found = (beyond.must_stop(), beyond.must_slow(), beyond.billable_bytes());
            let expected = match at_limit {
                AtLimit::Nothing => (false, false, 0),
                AtLimit::Slow => (false, true, 0),
                AtLimit::Bill => (false, false, 7),
                AtLimit::Stop => (true, false, 0),
            };
            assert_eq!(found, expected);
            let allowed = MonthUse { is_allowed_more: true, ..beyond };
            assert!(!allowed.must_stop() && !allowed.must_slow() && allowed.billable_bytes() == 0);
        }
    }

    proptest! {
        #[test]
        fn an_instant_lies_between_its_months_ends(seconds in 0_i64..4_102_444_800) {
            let instant = Timestamp::from_unix_seconds(seconds);
            let month = Month::of(instant);
            prop_assert!(month.begin() <= instant && instant < month.next().begin());
            let days = month.next().begin().since(month.begin()).as_secs() / 86_400;
            prop_assert!((28..=31).contains(&days));
            prop_assert_eq!(Month::of(month.next().begin().minus(Duration::from_micros(1))), month);
        }
    }
}
