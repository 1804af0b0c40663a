//! The rules of rating, by cases that can be checked by hand.

use super::*;
use crate::interval::State;
use crate::price::Counting;
use crate::{AccountId, PackageId, PriceId, SnapshotId};

const DAY: i64 = 24 * HOUR_S;
/// 2026-02-01T00:00:00Z, a month of 672 hours.
const FEBRUARY: i64 = 1_769_904_000;

fn month(second: i64) -> Month {
    Month::of(Timestamp::from_unix_seconds(second))
}

/// Running servers of a package: hourly and monthly price.
fn package(number: i64, hourly: i64, monthly: i64) -> Terms {
    Terms {
        package: Some(PackageId(number)),
        state: State::Running,
        price: PriceId(number),
        units: 1,
        unit_price: Micros(hourly),
        monthly: Some(Micros(monthly)),
        counting: Counting::Second,
    }
}

fn eos1() -> Terms {
    package(1, 7_400, 5_000_000)
}

fn eos2() -> Terms {
    package(2, 15_000, 10_000_000)
}

/// One server's intervals, one after the other: each ends where the next begins.
fn life(begin: i64, spans: &[(Terms, i64)]) -> Vec<Interval> {
    let mut at = begin;
    let mut intervals = Vec::new();
    for (terms, seconds) in spans {
        intervals.push(Interval {
            id: IntervalId(intervals.len() as i64 + 1),
            account: AccountId(1),
            subject: Subject::Server(ServerId(1)),
            server: ServerId(1),
            terms: *terms,
            opened_at: Timestamp::from_unix_seconds(at),
            closed_at: Some(Timestamp::from_unix_seconds(at + seconds)),
            continues: intervals.len() + 1 < spans.len(),
        });
        at += seconds;
    }
    intervals
}

fn whole(intervals: &[Interval], second: i64) -> Micros {
    total(intervals, month(second), Timestamp(i64::MAX))
}

#[test]
fn the_contracts_month_costs_its_monthly_price() {
    // 0.0150 × 672 = 10.08, which is over 10.
    let all = life(FEBRUARY, &[(eos2(), 28 * DAY)]);
    let lines = lines(&all, month(FEBRUARY), Timestamp(i64::MAX));
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].seconds, lines[0].uncapped, lines[0].amount),
        (2_419_200, Micros(10_080_000), Micros(10_000_000))
    );
    assert_eq!(lines[0].intervals, [IntervalId(1)]);
    // 666 hours and 40 minutes are the monthly price to the second.
    assert_eq!(whole(&life(FEBRUARY, &[(eos2(), 2_400_000)]), FEBRUARY), Micros(10_000_000));
    // A second less costs 0.0150 / 3600 less: 4.1667 micro-units.
    assert_eq!(whole(&life(FEBRUARY, &[(eos2(), 2_399_999)]), FEBRUARY), Micros(9_999_996));
}

#[test]
fn time_is_counted_by_the_second_and_a_line_is_rounded_once() {
    // 0.0074 / 3600 is 2.0556 micro-units a second.
    for (seconds, cost) in
        [(0, 0), (1, 2), (2, 4), (3, 6), (90, 185), (1800, 3_700), (3600, 7_400), (3601, 7_402)]
    {
        assert_eq!(whole(&life(FEBRUARY, &[(eos1(), seconds)]), FEBRUARY), Micros(cost), "{seconds} s");
    }
    // Halves go up: 1 micro-unit an hour, for half an hour.
    assert_eq!(whole(&life(FEBRUARY, &[(package(3, 1, 9), 1800)]), FEBRUARY), Micros(1));
    assert_eq!(whole(&life(FEBRUARY, &[(package(3, 1, 9), 1799)]), FEBRUARY), Micros(0));
    // Ten spans of one second on the same terms are one line of ten seconds: 20.556, not ten times 2.
    let stopped = Terms { state: State::Stopped, unit_price: Micros::ZERO, ..eos1() };
    let spans: Vec<(Terms, i64)> = (0..20).map(|i| (if i % 2 == 0 { eos1() } else { stopped }, 1)).collect();
    let lines = lines(&life(FEBRUARY, &spans), month(FEBRUARY), Timestamp(i64::MAX));
    assert_eq!(
        lines.iter().map(|line| (line.seconds, line.amount.0)).collect::<Vec<_>>(),
        [(10, 21), (10, 0)]
    );
}

#[test]
fn an_upgrade_splits_the_month_at_its_second() {
    // 10 days of 0.0074 = 1.776, 18 days of 0.0150 = 6.48.
    let all = life(FEBRUARY, &[(eos1(), 10 * DAY), (eos2(), 18 * DAY)]);
    let lines = lines(&all, month(FEBRUARY), Timestamp(i64::MAX));
    assert_eq!(lines.iter().map(|line| line.amount.0).collect::<Vec<_>>(), [1_776_000, 6_480_000]);
    assert_eq!(lines[0].to, lines[1].from);
}

#[test]
fn the_monthly_price_that_holds_is_the_most_that_the_month_may_have_cost() {
    // 28 days of eos1 would be 4.9728; an eos1 that costs 0.0150 by the hour reaches its 5 after 333 h 20 min.
    let dear = package(1, 15_000, 5_000_000);
    // Capped at 5, then an upgrade: eos2 adds up to its own 10. 28 days are 672 h, 338 h 40 min of which are left: 5.08.
    let up = life(FEBRUARY, &[(dear, 1_200_000), (eos2(), 28 * DAY - 1_200_000)]);
    assert_eq!(whole(&up, FEBRUARY), Micros(10_000_000));
    // 20 days of eos2 are 7.2; a downgrade to a month of 5 costs nothing more.
    let down = life(FEBRUARY, &[(eos2(), 20 * DAY), (eos1(), 8 * DAY)]);
    assert_eq!(lines(&down, month(FEBRUARY), Timestamp(i64::MAX))[1].amount, Micros::ZERO);
    assert_eq!(whole(&down, FEBRUARY), Micros(7_200_000));
}

#[test]
fn each_calendar_month_has_a_cap_of_its_own() {
    // From 2026-02-15 until 2026-03-15: 14 days of 0.0150 in each, 5.04.
    let all = life(FEBRUARY + 14 * DAY, &[(eos2(), 28 * DAY)]);
    assert_eq!(whole(&all, FEBRUARY), Micros(5_040_000));
    assert_eq!(whole(&all, FEBRUARY + 28 * DAY), Micros(5_040_000));
    assert_eq!(whole(&all, FEBRUARY - DAY), Micros::ZERO);
    let both = between(
        &all,
        Timestamp::from_unix_seconds(FEBRUARY),
        Timestamp::from_unix_seconds(FEBRUARY + 90 * DAY),
    );
    assert_eq!(both, Micros(10_080_000));
}

#[test]
fn a_leap_day_is_a_day() {
    // February 2028 has 29 days: 0.0074 × 696 = 5.1504, which is over 5; with eos3 at 0.0300 and 25: 20.88.
    let leap = 1_832_976_000;
    assert_eq!(month(leap).to_string(), "2028-02");
    assert_eq!(whole(&life(leap, &[(package(3, 30_000, 25_000_000), 40 * DAY)]), leap), Micros(20_880_000));
    assert_eq!(whole(&life(leap, &[(eos1(), 40 * DAY)]), leap), Micros(5_000_000));
}

#[test]
fn an_hour_that_was_begun_counts_whole_and_once_at_the_dearest_price() {
    let hour = |terms: Terms| Terms { counting: Counting::Hour, ..terms };
    let one = |spans: &[(Terms, i64)], offset: i64| whole(&life(FEBRUARY + offset, spans), FEBRUARY);
    assert_eq!(one(&[(hour(eos1()), 1)], 0), Micros(7_400));
    assert_eq!(one(&[(hour(eos1()), 2)], 3599), Micros(14_800), "two hours were begun");
    assert_eq!(one(&[(hour(eos1()), 3600)], 0), Micros(7_400));
    // Made, upgraded and made smaller within one hour: the dearest has it.
    let spans = [(hour(eos1()), 60), (hour(eos2()), 60), (hour(eos1()), 60)];
    assert_eq!(one(&spans, 10), Micros(15_000));
    // And the next hour is the last one's.
    let spans = [(hour(eos1()), 60), (hour(eos2()), 60), (hour(eos1()), 3600)];
    assert_eq!(one(&spans, 10), Micros(22_400));
    // A cheap state that follows a dear hour begins when that hour is over.
    let stopped = Terms { state: State::Stopped, unit_price: Micros(100), ..hour(eos2()) };
    assert_eq!(one(&[(hour(eos2()), 1800), (stopped, 5400)], 0), Micros(15_100));
}

#[test]
fn snapshots_cost_by_size_and_traffic_by_what_was_moved() {
    let kept = Terms {
        package: None,
        state: State::Kept,
        units: 30,
        unit_price: Micros(70),
        monthly: None,
        ..eos1()
    };
    let mut all = life(FEBRUARY, &[(kept, 28 * DAY)]);
    all[0].subject = Subject::Snapshot(SnapshotId(4));
    // 30 GiB × 672 h × 0.000070 = 1.4112.
    assert_eq!(whole(&all, FEBRUARY), Micros(1_411_200));
    let moved = |bytes| Terms {
        state: State::Moved,
        units: bytes,
        unit_price: Micros(10_000),
        monthly: None,
        ..eos1()
    };
    let mut all = life(FEBRUARY, &[(moved(1_500_000_000), HOUR_S), (moved(250_000), HOUR_S)]);
    all.iter_mut().for_each(|one| one.subject = Subject::Traffic(ServerId(1)));
    // 1.50025 GB × 0.01 = 0.0150025, rounded once: 15 002.5 micro-units are 15 003.
    let lines = lines(&all, month(FEBRUARY), Timestamp(i64::MAX));
    assert_eq!((lines.len(), lines[0].terms.units, lines[0].amount), (1, 1_500_250_000, Micros(15_003)));
    assert_eq!(total(&all, month(FEBRUARY), Timestamp::from_unix_seconds(FEBRUARY + HOUR_S)), Micros(15_000));
}

#[test]
fn the_charges_of_all_hours_are_the_month() {
    let all = life(FEBRUARY + 1234, &[(eos1(), 3 * DAY + 777), (eos2(), 25 * DAY)]);
    let second = Timestamp::from_unix_seconds;
    let charges = charges(&all, second(FEBRUARY), second(FEBRUARY + 672 * HOUR_S));
    assert_eq!(charges.len(), 672);
    for (hour, charge) in &charges {
        assert!(*charge >= Micros::ZERO && *charge <= Micros(15_001), "{hour:?}: {charge}");
        assert_eq!(*charge, between(&all, *hour, hour.plus(HOUR)));
    }
    let sum: Micros = charges.iter().map(|(_, charge)| *charge).sum();
    assert_eq!(sum, whole(&all, FEBRUARY));
}

#[test]
fn the_order_in_which_intervals_are_told_does_not_matter() {
    let mut all = life(FEBRUARY, &[(eos1(), DAY), (eos2(), DAY), (eos1(), DAY)]);
    let lines_of = |all: &[Interval]| lines(all, month(FEBRUARY), Timestamp(i64::MAX));
    let told = lines_of(&all);
    all.rotate_left(1);
    all.reverse();
    assert_eq!(lines_of(&all), told);
    assert_eq!(told[0].intervals, [IntervalId(1), IntervalId(3)]);
}
