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
}
