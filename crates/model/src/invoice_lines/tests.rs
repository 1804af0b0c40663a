//! Lines are the rating's, in words, and the parts of a month add up to it.

use super::*;
use crate::interval::Terms;
use crate::price::Counting;
use crate::{AccountId, PriceId, ServerId, SnapshotId};
use proptest::prelude::*;

const HOUR: i64 = rating::HOUR_S;
/// 2026-02-01T00:00:00Z, a month of 672 hours.
const FEBRUARY: i64 = 1_769_904_000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_unix_seconds(FEBRUARY + hours * HOUR)
}

fn server(id: i64, state: State, open: (i64, Option<i64>)) -> Interval {
    Interval {
        id: IntervalId(id),
        account: AccountId(1),
        subject: Subject::Server(ServerId(12)),
        server: ServerId(12),
        terms: Terms {
            package: Some(PackageId(2)),
            state,
            price: PriceId(7),
            units: 1,
            unit_price: Micros(15_000),
            monthly: Some(Micros(10_000_000)),
            counting: Counting::Second,
        },
        opened_at: at(open.0),
        closed_at: open.1.map(at),
        continues: false,
    }
}

fn snapshot(id: i64, open: (i64, Option<i64>)) -> Interval {
    let terms = Terms {
        package: None,
        state: State::Kept,
        units: 40,
        unit_price: Micros(60),
        monthly: None,
        ..server(1, State::Running, (0, None)).terms
    };
    Interval { subject: Subject::Snapshot(SnapshotId(4)), terms, ..server(id, State::Running, open) }
}

/// Bytes beyond the package in one hour.
fn traffic(id: i64, hour: i64, bytes: u64) -> Interval {
    let terms = Terms {
        state: State::Moved,
        units: bytes,
        unit_price: Micros(10_000),
        ..snapshot(1, (0, None)).terms
    };
    Interval {
        subject: Subject::Traffic(ServerId(12)),
        terms,
        ..server(id, State::Running, (hour, Some(hour + 1)))
    }
}

fn names() -> Names {
    let server = "web1".to_owned();
    Names {
        subjects: HashMap::from([
            (Subject::Server(ServerId(12)), server.clone()),
            (Subject::Traffic(ServerId(12)), server),
            (Subject::Snapshot(SnapshotId(4)), "nightly".to_owned()),
        ]),
        packages: HashMap::from([(PackageId(2), "eos2".to_owned())]),
    }
}

#[test]
fn the_contracts_month_says_why_it_costs_less() {
    let made = lines(&[server(9, State::Running, (-5, None))], at(0), at(672), &names());
    assert_eq!(
        made,
        [Line {
            description: "Server web1 (12), eos2".into(),
            details: "2026-02-01 00:00 to 2026-03-01 00:00 UTC; the month costs at most 10.00".into(),
            label: "web1".into(),
            quantity: Quantity(672_000_000),
            unit: "hour".into(),
            unit_price: Micros(15_000),
            amount: Micros(10_000_000),
            server: Some(ServerId(12)),
            intervals: vec![IntervalId(9)],
        }]
    );
}

#[test]
fn each_kind_has_its_unit_and_its_words() {
    let all = [
        server(1, State::Running, (0, Some(1))),
        server(2, State::Stopped, (1, Some(3))),
        server(3, State::Running, (3, Some(4))),
        snapshot(4, (0, Some(10))),
        traffic(5, 2, 1_500_000_000),
        traffic(6, 3, 500_000_001),
    ];
    let made = lines(&all, at(0), at(672), &names());
    let told: Vec<_> = made
        .iter()
        .map(|line| (line.description.as_str(), line.quantity.0, line.unit.as_str(), line.amount.0))
        .collect();
    assert_eq!(
        told,
        [
            ("Server web1 (12), eos2", 2_000_000, "hour", 30_000),
            ("Server web1 (12), eos2, stopped", 2_000_000, "hour", 30_000),
            ("Snapshot nightly (4)", 400_000_000, "GiB hour", 24_000),
            ("Traffic of server web1 (12) beyond its package", 2_000_000, "GB", 20_000),
        ]
    );
    assert_eq!(made[0].details, "2026-02-01 00:00 to 2026-02-01 04:00 UTC, 2 spans");
    assert_eq!(made[2].details, "40 GiB, 2026-02-01 00:00 to 2026-02-01 10:00 UTC");
    assert_eq!(made[0].intervals, [IntervalId(1), IntervalId(3)]);
    assert_eq!(made[3].intervals, [IntervalId(5), IntervalId(6)]);
}

#[test]
fn what_has_no_price_has_no_line() {
    let mut free = snapshot(1, (0, None));
    free.terms.unit_price = Micros::ZERO;
    assert_eq!(lines(&[free], at(0), at(672), &names()), []);
    assert_eq!(lines(&[], at(0), at(672), &names()), []);
}

#[test]
fn an_interval_that_is_closed_later_changes_no_line_of_before() {
    let open = lines(&[server(1, State::Running, (0, None))], at(0), at(100), &names());
    let closed = lines(&[server(1, State::Running, (0, Some(500)))], at(0), at(100), &names());
    assert_eq!(open, closed);
}

#[test]
fn the_second_part_of_a_month_has_what_the_first_left() {
    let all =
        [server(1, State::Running, (0, Some(50))), server(2, State::Running, (200, None)), traffic(3, 2, 7)];
    let second = lines(&all, at(100), at(672), &names());
    assert_eq!(second.len(), 1, "the traffic was all before: {second:?}");
    assert_eq!(second[0].quantity, Quantity(472_000_000));
    assert_eq!(second[0].intervals, [IntervalId(2)]);
    assert!(second[0].details.starts_with("2026-02-05 04:00 to"), "{}", second[0].details);
}

#[test]
fn sums_can_be_paid_and_the_rounding_is_a_line() {
    let rate = TaxRate::from_millionths(190_000).unwrap();
    let odd = || {
        lines(&[server(1, State::Running, (0, Some(1))), traffic(2, 3, 123_456)], at(0), at(672), &names())
    };
    let sums = |lines: &mut Vec<Line>, currency: &str| {
        let sums = add_up(lines, currency, rate);
        assert_eq!(lines.iter().map(|line| line.amount).sum::<Micros>(), sums.subtotal);
        (sums.rounding.0, sums.subtotal.0, sums.tax.0, sums.total.0)
    };
    // 0.015 and 0.000001 (123456 bytes at 0.01 a GB).
    let mut made = odd();
    assert_eq!(sums(&mut made, "EUR"), (4_999, 20_000, 0, 20_000));
    assert_eq!((made[2].description.as_str(), made[2].amount), ("Rounding to 0.01 EUR", Micros(4_999)));
    assert_eq!(sums(&mut odd(), "KWD"), (-1, 15_000, 3_000, 18_000));
    assert_eq!(sums(&mut odd(), "JPY"), (-15_001, 0, 0, 0));
    let mut whole = lines(&[server(9, State::Running, (0, None))], at(0), at(672), &names());
    assert_eq!(sums(&mut whole, "EUR"), (0, 10_000_000, 1_900_000, 11_900_000));
    assert_eq!(whole.len(), 1);
}

proptest! {
    #[test]
    fn the_parts_of_a_month_add_up_to_it(
        spans in prop::collection::vec((0i64..60, 0i64..60, any::<bool>()), 1..12),
        cuts in prop::collection::vec(1i64..672, 0..4),
        by_the_hour in any::<bool>(),
    ) {
        let (mut all, mut hour) = (Vec::new(), -20);
        for (id, (pause, length, runs)) in (1..).zip(spans) {
            let state = if runs { State::Running } else { State::Stopped };
            let mut one = server(id, state, (hour + pause, Some(hour + pause + length)));
            one.opened_at = one.opened_at.plus(std::time::Duration::from_secs(1234));
            one.closed_at = one.closed_at.map(|at| at.plus(std::time::Duration::from_secs(1300)));
            one.terms.counting = if by_the_hour { Counting::Hour } else { Counting::Second };
            hour += pause + length + 1;
            all.push(one);
            all.push(snapshot(100 + id, (hour, Some(hour + 1))));
            all.push(traffic(200 + id, hour, 123_456_789));
        }
        let sum = |lines: &[Line]| lines.iter().map(|line| line.amount).sum::<Micros>();
        let mut ends = cuts;
        ends.extend([0, 672]);
        ends.sort_unstable();
        let parts: Micros =
            ends.windows(2).map(|part| sum(&lines(&all, at(part[0]), at(part[1]), &names()))).sum();
        prop_assert_eq!(parts, sum(&lines(&all, at(0), at(672), &names())));
        prop_assert_eq!(parts, rating::total(&all, Month::of(at(0)), at(672)));
        for part in ends.windows(2) {
            for line in lines(&all, at(part[0]), at(part[1]), &names()) {
                prop_assert!(line.amount >= Micros::ZERO && line.quantity.0 >= 0);
                prop_assert!(line.intervals.is_sorted_by(|a, b| a < b), "each interval once: {:?}", line.intervals);
            }
        }
    }
}
