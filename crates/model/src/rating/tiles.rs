//! Tiles: which seconds of a month are counted for which interval of one thing. No second is counted twice.

use crate::interval::Interval;
use crate::price::Counting;

/// Seconds in an hour.
pub const HOUR_S: i64 = 3600;

/// A counted span of one interval, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Which interval.
    pub(super) index: usize,
}

/// Lays the intervals of one thing, in the order of time, over the span from `from` until before `to`.
pub(super) fn lay(intervals: &[Interval], from: i64, to: i64, tiles: &mut Vec<Tile>) {
    tiles.clear();
    for (index, interval) in intervals.iter().enumerate() {
        let opened = interval.opened_at.unix_seconds().max(from);
        let closed = interval.closed_at.map_or(to, |at| at.unix_seconds().min(to));
        if opened >= closed {
            continue;
        }
        let (mut start, end) = match interval.terms.counting {
            Counting::Second => (opened, closed),
            Counting::Hour => (opened - opened.rem_euclid(HOUR_S), closed + (-closed).rem_euclid(HOUR_S)),
        };
        // An hour that was counted whole may reach into this interval: the dearer one has it.
        while let Some(last) = tiles.last_mut().filter(|last| last.end > start) {
            if interval.terms.hourly() <= intervals[last.index].terms.hourly() {
                start = last.end;
                break;
            }
            last.end = start;
            if last.start < last.end {
                break;
            }
            tiles.pop();
        }
        if start < end {
            tiles.push(Tile { start, end, index });
        }
    }
}
