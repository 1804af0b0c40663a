//! Intervals: priced spans of servers, snapshots, addresses and traffic, each with the price that held when it was
//! opened. Pure.
//!
//! ```text
//!  opened ──state, package or price changes──▶ closed, continues ──▶ the next one is opened at the same second
//!     └────────────the thing is gone────────▶ closed
//! ```
//!
//! An interval says all that rating needs, so that what was charged can be told again from intervals alone.

use crate::price::Counting;
use crate::{AccountId, AddressId, IntervalId, Micros, PackageId, PriceId, ServerId, SnapshotId, Timestamp};

/// What an interval is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A server.
    Server(ServerId),
    /// A snapshot, kept.
    Snapshot(SnapshotId),
    /// An additional address, held.
    Address(AddressId),
    /// What a server moved beyond its package, in one hour.
    Traffic(ServerId),
}

impl Subject {
    /// The word in the database.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Snapshot(_) => "snapshot",
            Self::Address(_) => "address",
            Self::Traffic(_) => "traffic",
        }
    }

    /// The id of the thing.
    pub const fn id(self) -> i64 {
        match self {
            Self::Server(id) | Self::Traffic(id) => id.0,
            Self::Snapshot(id) => id.0,
            Self::Address(id) => id.0,
        }
    }

    /// The reverse of both.
    pub fn from_row(kind: &str, id: i64) -> Option<Self> {
        match kind {
            "server" => Some(Self::Server(ServerId(id))),
            "snapshot" => Some(Self::Snapshot(SnapshotId(id))),
            "address" => Some(Self::Address(AddressId(id))),
            "traffic" => Some(Self::Traffic(ServerId(id))),
            _ => None,
        }
    }
}

/// What the thing did in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A server that ran.
    Running,
    /// A server that did not.
    Stopped,
    /// A snapshot or an address that was there.
    Kept,
    /// Traffic.
    Moved,
}

impl State {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Kept => "kept",
            Self::Moved => "moved",
        }
    }

    /// The reverse of [`State::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Kept, Self::Moved].into_iter().find(|one| one.as_str() == word)
    }
}

/// What an interval costs and why: frozen when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The package that held, of a server or its traffic.
    pub package: Option<PackageId>,
    /// What the thing does.
    pub state: State,
    /// The version of the price.
    pub price: PriceId,
    /// How many: 1 of a server or an address, GiB of a snapshot, bytes of traffic.
    pub units: u64,
    /// What one of them costs in an hour; what a GB costs, of traffic.
    pub unit_price: Micros,
    /// Most that the server's calendar month may have cost while this price holds; of servers only.
    pub monthly: Option<Micros>,
    /// How its time is counted.
    pub counting: Counting,
}

impl Terms {
    /// What an hour costs; nothing for traffic, which costs by what is moved.
    pub const fn hourly(&self) -> Micros {
        match self.state {
            State::Moved => Micros::ZERO,
            State::Running | State::Stopped | State::Kept => {
                Micros(self.unit_price.0.saturating_mul(self.units.cast_signed()))
            }
        }
    }
}

/// A priced span. Times are whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its id.
    pub id: IntervalId,
    /// Who pays.
    pub account: AccountId,
    /// What it is about.
    pub subject: Subject,
    /// The server that it belongs to, also one that is gone.
    pub server: ServerId,
    /// What it costs.
    pub terms: Terms,
    /// Its first second.
    pub opened_at: Timestamp,
    /// The first second that is not its own any more; none while it goes on.
    pub closed_at: Option<Timestamp>,
    /// Another interval of the same thing begins where it ends.
    pub continues: bool,
}

impl Interval {
    /// Whether it is the interval of a thing that has this package, does this, and counts so much. Its price may be
    /// another than the one that holds now: a change of prices ends no interval.
    pub fn is_of(&self, package: Option<PackageId>, state: State, units: u64) -> bool {
        (self.terms.package, self.terms.state, self.terms.units) == (package, state, units)
    }
}

/// What becomes of a thing's open interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The second at which it happens.
    pub at: Timestamp,
    /// The open one is closed.
    pub closes: Option<IntervalId>,
    /// Another one is opened.
    pub opens: Option<Terms>,
}

/// Ends the open interval of a thing, begins another one on these terms, or both at the same second, which is `now` or,
/// when a clock was set back, the first one that is possible: not before `charged_until`, nor before the open one's
/// beginning or the last one's end.
pub fn turn(
    open: Option<&Interval>,
    last_end: Option<Timestamp>,
    terms: Option<Terms>,
    now: Timestamp,
    charged_until: Timestamp,
) -> Turn {
    let earliest = open.map(|open| open.opened_at).max(last_end).unwrap_or_default().max(charged_until);
    let at = Timestamp::from_unix_seconds(now.unix_seconds()).max(earliest);
    Turn { at, closes: open.map(|open| open.id), opens: terms }
}

/// What is wrong with the intervals of an account, one sentence each: two of a thing that overlap, a gap where one
/// should go on, one that ends before it begins, or times that are no whole seconds. None for sound ones.
pub fn disorders(intervals: &[Interval]) -> Vec<String> {
    let mut sorted: Vec<&Interval> = intervals.iter().collect();
    sorted.sort_by_key(|interval| {
        (interval.subject, interval.opened_at, interval.closed_at.is_none(), interval.id)
    });
    let mut found = Vec::new();
    for interval in &sorted {
        let is_whole = |at: Timestamp| at.0.rem_euclid(1_000_000) == 0;
        if interval.closed_at.is_some_and(|end| end < interval.opened_at) {
            found.push(format!("interval {} ends before it begins", interval.id));
        }
        if !is_whole(interval.opened_at) || !interval.closed_at.is_none_or(is_whole) {
            found.push(format!("interval {} does not lie on whole seconds", interval.id));
        }
    }
    for of_one in sorted.chunk_by(|a, b| a.subject == b.subject) {
        for pair in of_one.windows(2) {
            match pair[0].closed_at {
                Some(end) if end > pair[1].opened_at => {
                    found.push(format!("intervals {} and {} overlap", pair[0].id, pair[1].id));
                }
                None => found.push(format!("interval {} is open, and {} follows it", pair[0].id, pair[1].id)),
                Some(end) if pair[0].continues && end < pair[1].opened_at => {
                    found.push(format!("there is a gap between intervals {} and {}", pair[0].id, pair[1].id));
                }
                Some(_) => {}
            }
        }
        if let Some(last) = of_one.last().filter(|last| last.continues) {
            found.push(format!("interval {} should go on, and does not", last.id));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for subject in [
            Subject::Server(ServerId(7)),
            Subject::Snapshot(SnapshotId(7)),
            Subject::Address(AddressId(7)),
            Subject::Traffic(ServerId(7)),
        ] {
            assert_eq!(Subject::from_row(subject.kind(), subject.id()), Some(subject));
        }
        assert_eq!(Subject::from_row("lamp", 7), None);
        for state in [State::Running, State::Stopped, State::Kept, State::Moved] {
            assert_eq!(State::from_word(state.as_str()), Some(state));
        }
    }

    fn interval(id: i64, opened: i64, closed: Option<i64>, continues: bool) -> Interval {
        let terms = Terms {
            package: Some(PackageId(1)),
            state: State::Running,
            price: PriceId(1),
            units: 1,
            unit_price: Micros(7_400),
            monthly: Some(Micros(5_000_000)),
            counting: Counting::Second,
        };
        Interval {
            id: IntervalId(id),
            account: AccountId(1),
            subject: Subject::Server(ServerId(1)),
            server: ServerId(1),
            terms,
            opened_at: Timestamp::from_unix_seconds(opened),
            closed_at: closed.map(Timestamp::from_unix_seconds),
            continues,
        }
    }

    #[test]
    fn a_turn_lies_on_a_whole_second_and_never_before_what_is_settled() {
        let second = Timestamp::from_unix_seconds;
        let open = interval(7, 100, None, false);
        let late = turn(Some(&open), None, Some(open.terms), Timestamp(150_999_999), second(120));
        assert_eq!((late.at, late.closes, late.opens), (second(150), Some(open.id), Some(open.terms)));
        assert_eq!(
            turn(Some(&open), None, None, second(90), second(0)).at,
            second(100),
            "a clock was set back"
        );
        assert_eq!(
            turn(Some(&open), None, None, second(110), second(120)).at,
            second(120),
            "that hour is charged"
        );
        assert_eq!(turn(None, Some(second(130)), None, second(110), second(120)).at, second(130));
    }

    #[test]
    fn what_is_wrong_with_intervals_is_seen() {
        let sound =
            [interval(1, 0, Some(10), true), interval(2, 10, Some(10), true), interval(3, 10, None, false)];
        assert_eq!(disorders(&sound), Vec::<String>::new());
        let reopened = [interval(1, 0, Some(10), false), interval(2, 30, Some(40), false)];
        assert_eq!(disorders(&reopened), Vec::<String>::new());
        for (bad, said) in [
            (vec![interval(1, 0, Some(11), true), interval(2, 10, None, false)], "overlap"),
            (vec![interval(1, 0, Some(9), true), interval(2, 10, None, false)], "gap"),
            (vec![interval(1, 0, None, false), interval(2, 10, None, false)], "is open"),
            (vec![interval(1, 0, Some(9), true)], "should go on"),
            (vec![interval(1, 9, Some(8), false)], "ends before"),
            (vec![Interval { opened_at: Timestamp(1), ..interval(1, 0, None, false) }], "whole seconds"),
        ] {
            let found = disorders(&bad);
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
    }
}
