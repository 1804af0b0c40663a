//! Random histories: servers are made, stopped, upgraded, made smaller and removed, prices change, clocks are set back,
//! the charging loop runs whenever it likes. Whatever happens, the books are the same as if they were told again.
//!
//! `BULUT_TEST_HISTORIES` says how many.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use bulut_model::interval::{Interval, State, Subject, Terms, disorders, turn};
use bulut_model::price::Counting;
use bulut_model::rating::{HOUR_S, between, charges, hour_of, lines, total};
use bulut_model::traffic_month::Month;
use bulut_model::{AccountId, IntervalId, Micros, PackageId, PriceId, ServerId, Timestamp};
use std::collections::BTreeMap;

const DAY: i64 = 24 * HOUR_S;
/// 2028-02-25T00:00:00Z: four days before a leap day, five before a month ends.
const BEGIN: i64 = 1_835_049_600;

/// Chance that a seed repeats: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn up_to(&mut self, most: i64) -> i64 {
        self.roll(most.unsigned_abs() + 1).cast_signed()
    }
}

/// An account with one server after the other, its books, and a clock.
struct House {
    now: i64,
    was_set_back: bool,
    counting: Counting,
    /// Hourly and monthly price of three packages; each change is a version.
    prices: [(i64, i64); 3],
    version: i64,
    intervals: Vec<Interval>,
    charged_until: Timestamp,
    posted: Vec<Micros>,
    lives: i64,
}

impl House {
    fn new(dice: &mut Dice) -> Self {
        Self {
            now: BEGIN + dice.up_to(6 * DAY),
            was_set_back: false,
            counting: if dice.roll(4) == 0 { Counting::Hour } else { Counting::Second },
            // The second reaches its monthly price after some days, the third after two hours.
            prices: [(7_400, 5_000_000), (15_000, 2_000_000), (30_001, 60_000)],
            version: 1,
            intervals: Vec::new(),
            charged_until: Timestamp::from_unix_seconds(BEGIN),
            posted: Vec::new(),
            lives: 0,
        }
    }

    fn open(&self) -> Option<&Interval> {
        self.intervals.last().filter(|last| last.closed_at.is_none())
    }

    fn terms(&self, package: usize, state: State) -> Terms {
        let (hourly, monthly) = self.prices[package];
        // Stopped, the first package costs nothing, the second a third.
        let stopped = hourly * package as i64 / 3;
        Terms {
            package: Some(PackageId(package as i64)),
            state,
            price: PriceId(self.version),
            units: 1,
            unit_price: Micros(if state == State::Stopped { stopped } else { hourly }),
            monthly: Some(Micros(monthly)),
            counting: self.counting,
        }
    }

    /// As the house's one door does it.
    fn set(&mut self, wanted: Option<(usize, State)>) {
        let terms = wanted.map(|(package, state)| self.terms(package, state));
        let now = Timestamp(self.now * 1_000_000 + 123_456);
        let last_end = self.intervals.last().and_then(|last| last.closed_at);
        let turn = turn(self.open(), last_end, terms, now, self.charged_until);
        match self.intervals.last_mut().filter(|_| turn.closes.is_some()) {
            Some(last) => (last.closed_at, last.continues) = (Some(turn.at), terms.is_some()),
            None => self.lives += 1,
        }
        let Some(terms) = turn.opens else { return };
        let server = ServerId(self.lives);
        self.intervals.push(Interval {
            id: IntervalId(self.intervals.len() as i64 + 1),
            account: AccountId(1),
            subject: Subject::Server(server),
            server,
            terms,
            opened_at: turn.at,
            closed_at: None,
            continues: false,
        });
    }

    fn charge(&mut self) {
        let until = hour_of(Timestamp::from_unix_seconds(self.now));
        if until > self.charged_until {
            self.posted.push(between(&self.intervals, self.charged_until, until));
            self.charged_until = until;
        }
    }

    /// One event. `charging`: somebody charges when that is what happens.
    fn happen(&mut self, dice: &mut Dice, charging: bool) {
        // Mostly minutes and hours, sometimes a week.
        self.now += match dice.roll(8) {
            0 => 0,
            1..5 => dice.up_to(2 * HOUR_S),
            5 | 6 => dice.up_to(DAY),
            _ => dice.up_to(9 * DAY),
        };
        let has =
            self.open().map(|open| (open.terms.package.map_or(0, |id| id.0 as usize), open.terms.state));
        let (event, package) = (dice.roll(16), dice.roll(3) as usize);
        let (hourly, monthly, back) = (dice.up_to(40_000), dice.up_to(3_000_000), dice.up_to(4 * DAY));
        match (event, has) {
            (0..3, _) if charging => self.charge(),
            (0..3, _) => {}
            (3, _) => {
                // Prices rise and fall; nothing of before is touched.
                self.version += 1;
                self.prices[package] = (1_000 + hourly, 10_000 + monthly);
            }
            (4, _) if back < DAY => {
                self.was_set_back = true;
                self.now -= back;
            }
            (5..7, Some(_)) => self.set(None),
            (7..10, Some((package, State::Running))) => self.set(Some((package, State::Stopped))),
            (7..10, Some((package, _))) => self.set(Some((package, State::Running))),
            (10..14, Some((_, state))) => self.set(Some((package, state))),
            (_, None) => self.set(Some((package, State::Running))),
            _ => {}
        }
    }
}

fn history(seed: u64, charging: bool) -> House {
    let mut dice = Dice((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut house = House::new(&mut dice);
    for _ in 0..4 + dice.roll(20) {
        house.happen(&mut dice, charging);
    }
    house.now = house.now.max(house.charged_until.unix_seconds()) + 3 * HOUR_S;
    house.charge();
    house
}

fn check(seed: u64) {
    let house = history(seed, true);
    let (all, until) = (&house.intervals, house.charged_until);
    assert_eq!(disorders(all), Vec::<String>::new(), "seed {seed}");
    let spent: Micros = house.posted.iter().copied().sum();
    assert!(
        house.posted.iter().all(|amount| *amount >= Micros::ZERO),
        "seed {seed}: something was given back"
    );

    // What was charged is what the months cost, told again from the intervals alone.
    let (mut told, mut seconds) = (Micros::ZERO, 0);
    let mut month = Month::of(Timestamp::from_unix_seconds(BEGIN));
    while month.begin() < until {
        let of_month = lines(all, month, until);
        told = told + of_month.iter().map(|line| line.amount).sum();
        seconds += of_month.iter().map(|line| line.seconds).sum::<u64>();
        for of_one in of_month.chunk_by(|a, b| a.subject == b.subject) {
            let cost: Micros = of_one.iter().map(|line| line.amount).sum();
            let cap = of_one.iter().filter_map(|line| line.terms.monthly).max().unwrap_or_default();
            // Each line is rounded by itself: up by half a micro-unit at most.
            assert!(cost.0 <= cap.0 + of_one.len() as i64 / 2, "seed {seed}: {cost} is over {cap}");
            assert!(of_one.iter().all(|line| line.amount <= line.uncapped), "seed {seed}");
        }
        month = month.next();
    }
    assert_eq!(spent, told, "seed {seed}: charges and lines differ");
    let shuffled: Vec<Interval> = all.iter().rev().copied().collect();
    let begin = Timestamp::from_unix_seconds(BEGIN);
    assert_eq!(between(&shuffled, begin, until), spent, "seed {seed}: told again, it is something else");

    // Each second is counted once, where seconds are counted.
    if house.counting == Counting::Second {
        let lived =
            |one: &Interval| one.closed_at.map_or(until, |end| end.min(until)).since(one.opened_at).as_secs();
        assert_eq!(seconds, all.iter().map(lived).sum::<u64>(), "seed {seed}: a gap or an overlap");
    }
    // Whoever charged only at the end has charged the same, unless a clock was set back behind what was charged.
    if !house.was_set_back {
        let late: Micros = history(seed, false).posted.iter().copied().sum();
        assert_eq!(late, spent, "seed {seed}: it matters when somebody charged");
    }
}

fn count() -> u64 {
    std::env::var("BULUT_TEST_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

#[test]
fn whatever_happens_the_books_can_be_told_again() {
    let count = count();
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (half * count / 2..(half + 1) * count / 2).for_each(check));
        }
    });
}

/// Goes through every second by itself: slow, and too simple to be wrong. Answers what all lines cost.
fn second_by_second(all: &[Interval], from: i64, to: i64) -> i128 {
    let mut months: BTreeMap<(i64, ServerId), i128> = BTreeMap::new();
    let mut lines: BTreeMap<(i64, ServerId, String), i128> = BTreeMap::new();
    for second in from..to {
        let at = Timestamp::from_unix_seconds(second);
        let holds = |one: &&Interval| one.opened_at <= at && one.closed_at.is_none_or(|end| at < end);
        for one in all.iter().filter(holds) {
            let month = Month::of(at).0;
            let spent = months.entry((month, one.server)).or_default();
            let cap = i128::from(one.terms.monthly.unwrap().0) * 3600;
            let cost = i128::from(one.terms.unit_price.0).min((cap - *spent).max(0));
            *spent += cost;
            *lines.entry((month, one.server, format!("{:?}", one.terms))).or_default() += cost;
        }
    }
    lines.into_values().map(|micros| (micros + 1800) / 3600).sum()
}

#[test]
fn rating_is_what_going_through_every_second_finds() {
    let mut checked = 0;
    for seed in 0.. {
        let house = history(seed, true);
        let (all, until) = (&house.intervals, house.charged_until);
        let from = hour_of(all.first().map_or(until, |one| one.opened_at));
        let is_short = until.since(from).as_secs() < 3 * DAY.unsigned_abs();
        if house.counting == Counting::Hour || all.len() < 2 || !is_short {
            continue;
        }
        let exact = second_by_second(all, from.unix_seconds(), until.unix_seconds());
        let begin = Timestamp::from_unix_seconds(BEGIN);
        assert_eq!(i128::from(between(all, begin, until).0), exact, "seed {seed}");
        // And hour by hour, as charges are posted.
        let month = Month::of(from);
        let end = until.min(month.next().begin());
        let hourly: Micros = charges(all, from, end).iter().map(|(_, charge)| *charge).sum();
        assert_eq!(hourly, total(all, month, end), "seed {seed}");
        checked += 1;
        if checked == 20 {
            break;
        }
    }
}
