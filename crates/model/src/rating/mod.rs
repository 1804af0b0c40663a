//! Rating: what intervals cost. Pure: no clock, no settings, no prices but those that the intervals froze.
//!
//! The same function makes the hourly charges and the lines of invoices, so that the two cannot disagree: a charge is
//! the difference of two totals, and a total is the sum of lines, each rounded once. `docs/money.md` says the rules for
//! people; they are:
//!
//! 1. A server's calendar month (UTC) is gone through in the order of time. Each second costs the hourly price of its
//!    interval, until the month has cost as much as the monthly price of that interval; more it does not cost while
//!    that price holds.
//! 2. Where time is counted by the [hour](crate::price::Counting::Hour), each hour of the clock that was begun costs whole,
//!    once, at the highest price that held in it.
//! 3. A line is what one thing cost in one month on the same terms. Its exact cost, a fraction, is rounded to a whole
//!    micro-unit, halves up. Nothing else is rounded.
//! 4. What has been said of a time before never changes by what happens later: totals only grow with time.

mod tiles;

use crate::interval::{Interval, Subject, Terms};
use crate::traffic_month::Month;
use crate::{IntervalId, Micros, ServerId, Timestamp};
use std::time::Duration;

pub use tiles::HOUR_S;

/// Bytes in a GB, by which traffic is priced.
pub const BYTES_PER_GB: u64 = 1_000_000_000;
/// An hour of the clock.
pub const HOUR: Duration = Duration::from_secs(HOUR_S.unsigned_abs());

/// What one thing cost in one month on the same terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The thing.
    pub subject: Subject,
    /// The server that it belongs to.
    pub server: ServerId,
    /// On which terms. Of traffic, `units` is all that was moved, bytes.
    pub terms: Terms,
    /// How long, seconds, as it is counted.
    pub seconds: u64,
    /// When it began, in this month.
    pub from: Timestamp,
    /// When it ended, in this month.
    pub to: Timestamp,
    /// What it would have cost without the monthly price, rounded.
    pub uncapped: Micros,
    /// What it cost, rounded.
    pub amount: Micros,
    /// The intervals that it is made of, oldest first.
    pub intervals: Vec<IntervalId>,
}

/// The hour of the clock that an instant lies in.
pub const fn hour_of(instant: Timestamp) -> Timestamp {
    let second = instant.unix_seconds();
    Timestamp::from_unix_seconds(second - second.rem_euclid(HOUR_S))
}

/// The lines of an account's month, as far as it had passed at `until`: by kind and thing, then in the order in which
/// their terms first held. Lines that cost nothing are there too.
///
/// `intervals` are those of one account that have a part in the month, in any order.
pub fn lines(intervals: &[Interval], month: Month, until: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    each_line(intervals, month, until, &mut |subject, work| {
        lines.extend(work.lines.drain(..).map(|line| line.finish(subject)));
    });
    lines
}

/// What an account's month had cost at `until`: the sum of its [`lines`].
pub fn total(intervals: &[Interval], month: Month, until: Timestamp) -> Micros {
    let mut total: i128 = 0;
    each_line(intervals, month, until, &mut |_, work| {
        total += work.lines.iter().map(|line| i128::from(line.amount().0)).sum::<i128>();
        work.lines.clear();
    });
    Micros(i64::try_from(total).unwrap_or(i64::MAX))
}

/// What the time from `from` until before `to` added to the account's months.
///
/// `intervals` are those that have a part in any of these months.
pub fn between(intervals: &[Interval], from: Timestamp, to: Timestamp) -> Micros {
    let mut sum = Micros::ZERO;
    let mut month = Month::of(from);
    while month.begin() < to {
        let (begin, end) = (month.begin().max(from), month.next().begin().min(to));
        sum = sum + total(intervals, month, end) - total(intervals, month, begin);
        month = month.next();
    }
    sum
}

/// What each hour from `from` until before `to` costs, both beginnings of hours of one month: what its charge posts.
pub fn charges(intervals: &[Interval], from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Micros)> {
    let month = Month::of(from);
    let mut charges = Vec::new();
    let (mut hour, mut before) = (from, total(intervals, month, from));
    while hour < to {
        let after = total(intervals, month, hour.plus(HOUR));
        charges.push((hour, after - before));
        (hour, before) = (hour.plus(HOUR), after);
    }
    charges
}

/// A line while it is added up.
struct Open {
    terms: Terms,
    server: ServerId,
    seconds: u64,
    from: i64,
    to: i64,
    /// Micro-units times seconds, or times bytes.
    uncapped: i128,
    exact: i128,
    intervals: Vec<IntervalId>,
}

impl Open {
    fn amount(&self) -> Micros {
        self.rounded(self.exact)
    }

    /// A fraction of micro-units to the nearest whole one, halves up.
    fn rounded(&self, exact: i128) -> Micros {
        let divisor = match self.terms.state {
            crate::interval::State::Moved => i128::from(BYTES_PER_GB),
            _ => i128::from(HOUR_S),
        };
        Micros(i64::try_from((exact + divisor / 2).div_euclid(divisor)).unwrap_or(i64::MAX))
    }

    fn finish(self, subject: Subject) -> Line {
        Line {
            subject,
            server: self.server,
            terms: self.terms,
            seconds: self.seconds,
            from: Timestamp::from_unix_seconds(self.from),
            to: Timestamp::from_unix_seconds(self.to),
            uncapped: self.rounded(self.uncapped),
            amount: self.amount(),
            intervals: self.intervals,
        }
    }
}

/// What is needed while one thing's month is gone through; kept from one thing to the next.
#[derive(Default)]
struct Work {
    tiles: Vec<tiles::Tile>,
    lines: Vec<Open>,
}

impl Work {
    /// The line with these terms; of traffic, whatever the bytes.
    fn line(&mut self, interval: &Interval, from: i64) -> &mut Open {
        let is_traffic = matches!(interval.subject, Subject::Traffic(_));
        let terms = Terms { units: if is_traffic { 0 } else { interval.terms.units }, ..interval.terms };
        let key = |line: &Open| {
            Terms { units: if is_traffic { 0 } else { line.terms.units }, ..line.terms } == terms
        };
        let at = self.lines.iter().position(key).unwrap_or_else(|| {
            self.lines.push(Open {
                terms,
                server: interval.server,
                seconds: 0,
                from,
                to: from,
                uncapped: 0,
                exact: 0,
                intervals: Vec::new(),
            });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }
}

fn each_line(
    intervals: &[Interval],
    month: Month,
    until: Timestamp,
    done: &mut impl FnMut(Subject, &mut Work),
) {
    let order = |interval: &Interval| (interval.subject, interval.opened_at, interval.id);
    if !intervals.is_sorted_by_key(order) {
        let mut sorted = intervals.to_vec();
        sorted.sort_unstable_by_key(order);
        return each_line(&sorted, month, until, done);
    }
    let from = month.begin().unix_seconds();
    let to = month.next().begin().unix_seconds().min(until.unix_seconds());
    let mut work = Work::default();
    for of_one in intervals.chunk_by(|a, b| a.subject == b.subject) {
        match of_one[0].subject {
            Subject::Traffic(_) => rate_traffic(of_one, from, to, &mut work),
            Subject::Server(_) | Subject::Snapshot(_) | Subject::Address(_) => {
                rate_time(of_one, from, to, &mut work);
            }
        }
        if !work.lines.is_empty() {
            done(of_one[0].subject, &mut work);
        }
    }
}

/// Goes through one thing's month in the order of time.
fn rate_time(intervals: &[Interval], from: i64, to: i64, work: &mut Work) {
    tiles::lay(intervals, from, to, &mut work.tiles);
    let tiles = std::mem::take(&mut work.tiles);
    // What the month has cost so far: micro-units times seconds.
    let mut spent: i128 = 0;
    for tile in &tiles {
        let interval = &intervals[tile.index];
        let seconds = tile.end - tile.start;
        let full =
            i128::from(interval.terms.unit_price.0) * i128::from(interval.terms.units) * i128::from(seconds);
        let cost = match interval.terms.monthly {
            Some(monthly) => full.min((i128::from(monthly.0) * i128::from(HOUR_S) - spent).max(0)),
            None => full,
        };
        spent += cost;
        let line = work.line(interval, tile.start);
        line.seconds += seconds.unsigned_abs();
        line.to = tile.end;
        line.uncapped += full;
        line.exact += cost;
        line.intervals.push(interval.id);
    }
    work.tiles = tiles;
}

/// Traffic costs by what was moved, in the hour in which it was.
fn rate_traffic(intervals: &[Interval], from: i64, to: i64, work: &mut Work) {
    for interval in intervals {
        let start = interval.opened_at.unix_seconds();
        if start < from || start >= to {
            continue;
        }
        let cost = i128::from(interval.terms.unit_price.0) * i128::from(interval.terms.units);
        let line = work.line(interval, start);
        line.terms.units = line.terms.units.saturating_add(interval.terms.units);
        line.to = start + HOUR_S;
        line.uncapped += cost;
        line.exact += cost;
        line.intervals.push(interval.id);
    }
}

#[cfg(test)]
mod tests;
