//! Lines of invoices, made of what rating says about intervals: the same lines that the hourly charges are differences
//! of, in words, with quantities and unit prices, and linked to the intervals.
//!
//! Pure: the same intervals and names give the same lines, today and in ten years. A line of a part of a month is the
//! month's line at the end of the part less the same line at its beginning, so that the parts of a month add up to it.

use crate::interval::{Interval, State, Subject};
use crate::invoice::{Line, Quantity};
use crate::rating;
use crate::tax::{TaxRate, round_to, smallest_payable};
use crate::traffic_month::Month;
use crate::{IntervalId, Micros, PackageId, Timestamp};
use std::collections::HashMap;

/// What things are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Servers, snapshots and addresses; traffic by its server.
    pub subjects: HashMap<Subject, String>,
    /// Slugs.
    pub packages: HashMap<PackageId, String>,
}

/// The lines of the part of a month from `from` until before `to`. What has no price has no line.
///
/// `intervals` are those of one account that have a part in the month before `to`.
pub fn lines(intervals: &[Interval], from: Timestamp, to: Timestamp, names: &Names) -> Vec<Line> {
    let month = Month::of(from);
    let mut before: Vec<rating::Line> = rating::lines(intervals, month, from);
    let by_id: HashMap<IntervalId, &Interval> = intervals.iter().map(|one| (one.id, one)).collect();
    let mut lines = Vec::new();
    for mut line in rating::lines(intervals, month, to) {
        let at = before.iter().position(|earlier| is_same(earlier, &line));
        if let Some(earlier) = at.map(|at| before.swap_remove(at)) {
            line.seconds -= earlier.seconds;
            line.terms.units -= if line.terms.state == State::Moved { earlier.terms.units } else { 0 };
            line.uncapped = line.uncapped - earlier.uncapped;
            line.amount = line.amount - earlier.amount;
            line.from = line.from.max(from);
            line.intervals.retain(|id| {
                by_id.get(id).is_some_and(|one| one.closed_at.is_none_or(|closed_at| closed_at > from))
            });
        }
        // A month of whole hours may name an interval more than once.
        line.intervals.sort_unstable();
        line.intervals.dedup();
        let is_nothing = line.seconds == 0 && line.terms.state != State::Moved;
        if line.terms.unit_price != Micros::ZERO && !is_nothing && !line.intervals.is_empty() {
            lines.push(worded(&line, names));
        }
    }
    lines
}

/// What lines come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// What was added to the lines, so that their sum can be paid.
    pub rounding: Micros,
    /// The sum of the lines.
    pub subtotal: Micros,
    /// The tax on it.
    pub tax: Micros,
    /// Both.
    pub total: Micros,
}

/// Adds lines up. Usage is counted finer than money is paid: where the sum is no amount that can be paid in the currency,
/// a last line rounds it, halves away from zero; the tax is rounded to such an amount too.
pub fn add_up(lines: &mut Vec<Line>, currency: &str, rate: TaxRate) -> Sums {
    let unit = smallest_payable(currency);
    let exact: Micros = lines.iter().map(|line| line.amount).sum();
    let subtotal = round_to(exact, unit);
    let rounding = subtotal - exact;
    if rounding != Micros::ZERO {
        lines.push(Line {
            description: format!("Rounding to {} {currency}", unit.two_decimals()),
            details: String::new(),
            label: String::new(),
            quantity: Quantity(rounding.0),
            unit: currency.to_owned(),
            unit_price: Micros(1_000_000),
            amount: rounding,
            server: None,
            intervals: Vec::new(),
        });
    }
    let tax = rate.of(subtotal, unit);
    Sums { rounding, subtotal, tax, total: subtotal + tax }
}

/// Whether two lines of a month are the same at different times.
fn is_same(earlier: &rating::Line, later: &rating::Line) -> bool {
    let terms = |line: &rating::Line| crate::interval::Terms {
        units: if line.terms.state == State::Moved { 0 } else { line.terms.units },
        ..line.terms
    };
    earlier.subject == later.subject && terms(earlier) == terms(later)
}

fn worded(line: &rating::Line, names: &Names) -> Line {
    let label = names.subjects.get(&line.subject).cloned().unwrap_or_default();
    let mut description = match line.subject {
        Subject::Server(id) => format!("Server {label} ({id})"),
        Subject::Snapshot(id) => format!("Snapshot {label} ({id})"),
        Subject::Address(_) => format!("Address {label}"),
        Subject::Traffic(id) => format!("Traffic of server {label} ({id}) beyond its package"),
    };
    if let Some(package) = line.terms.package.and_then(|package| names.packages.get(&package)) {
        description.push_str(", ");
        description.push_str(package);
    }
    if line.terms.state == State::Stopped {
        description.push_str(", stopped");
    }
    let (quantity, unit) = quantity(line);
    Line {
        description,
        details: details(line),
        label,
        quantity,
        unit: unit.to_owned(),
        unit_price: line.terms.unit_price,
        amount: line.amount,
        server: Some(line.server),
        intervals: line.intervals.clone(),
    }
}

/// How much of what: the unit is that of the unit price.
fn quantity(line: &rating::Line) -> (Quantity, &'static str) {
    let millionths = |numerator: u128, denominator: u128| {
        Quantity(i64::try_from((numerator * 1_000_000 + denominator / 2) / denominator).unwrap_or(i64::MAX))
    };
    let (seconds, units) = (u128::from(line.seconds), u128::from(line.terms.units));
    let hour = u128::from(rating::HOUR_S.unsigned_abs());
    match line.subject {
        Subject::Traffic(_) => (millionths(units, u128::from(rating::BYTES_PER_GB)), "GB"),
        Subject::Snapshot(_) => (millionths(seconds * units, hour), "GiB hour"),
        Subject::Server(_) | Subject::Address(_) => (millionths(seconds * units, hour), "hour"),
    }
}

/// When, how much of it, and why it costs less than quantity and unit price say.
fn details(line: &rating::Line) -> String {
    let minute = |at: Timestamp| at.wire().chars().take(16).collect::<String>().replace('T', " ");
    let spans = match line.intervals.len() {
        1 => String::new(),
        count => format!(", {count} spans"),
    };
    let size = match line.subject {
        Subject::Snapshot(_) => format!("{} GiB, ", line.terms.units),
        _ => String::new(),
    };
    let capped = match line.terms.monthly {
        Some(monthly) if line.amount < line.uncapped => {
            format!("; the month costs at most {}", monthly.two_decimals())
        }
        _ => String::new(),
    };
    format!("{size}{} to {} UTC{spans}{capped}", minute(line.from), minute(line.to))
}

#[cfg(test)]
mod tests;
