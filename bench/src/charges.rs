//! Charging: how many hours are rated in a second, and what a server costs an hourly run, few servers or many.
//!
//! Promises: the runs are those of the program, on a database as a fresh cloud has it. Must not know: how an hour is
//! rated.

use crate::figures::{amount, median, time};
use crate::output::{Goal, Line, say};
use anyhow::{Context as _, ensure};
use bulut::domain::charging;
use bulut_model::interval::{Interval, State, Subject, Terms};
use bulut_model::price::{Counting, Priced};
use bulut_model::{AccountId, IntervalId, Micros, ServerId, Timestamp, rating};
use bulut_store::{Session, accounts, charging as cursors, intervals, packages, prices, servers};
use bulut_testkit::servers::row;
use bulut_testkit::{Database, TestCloud};
use std::time::{Duration, Instant};

/// Servers of the runs that are compared.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// Servers of an account.
const EACH: usize = 10;
/// Hours that are charged one after the other; the median counts.
const HOURS: usize = 5;
const HOUR: Duration = Duration::from_secs(3600);
/// What a server costs among the most, in relation to among the fewest.
const GOAL: Goal = Goal::AtMost(1.2);

/// Measures rating alone, and the hourly run.
pub async fn measure() -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![rate()];
    let mut costs = Vec::new();
    for size in SIZES {
        let took = run(size).await.with_context(|| format!("{size} servers"))?;
        say(&format!("  {size} servers: {} an hour", time(took)));
        costs.push(took.as_secs_f64() * 1e6 / size as f64);
    }
    let told: Vec<String> = costs.iter().map(|cost| format!("{cost:.1}")).collect();
    let ratio = costs.last().zip(costs.first()).map(|(most, fewest)| (most / fewest, ""));
    lines.push(Line {
        what: format!("an hourly run over {SIZES:?} servers, SQLite: µs for each server"),
        ours: told.join(", "),
        peer: String::new(),
        figure: ratio,
        goal: GOAL,
    });
    Ok(lines)
}

/// A month of hours of servers with some changes behind them.
fn rate() -> Line {
    let begin = Timestamp::from_unix_seconds(1_769_904_000);
    let spans = 4;
    let all: Vec<Interval> = (0..200)
        .map(|number| {
            let at = |span: i64| begin.plus(Duration::from_secs(span.unsigned_abs() * 500_000));
            let span = number % spans;
            Interval {
                id: IntervalId(number + 1),
                account: AccountId(1),
                subject: Subject::Server(ServerId(number / spans + 1)),
                server: ServerId(number / spans + 1),
                terms: Terms {
                    package: None,
                    state: State::Running,
                    price: bulut_model::PriceId(span),
                    units: 1,
                    unit_price: Micros(7_400 + span),
                    monthly: Some(Micros(5_000_000)),
                    counting: Counting::Second,
                },
                opened_at: at(span),
                closed_at: (span + 1 < spans).then(|| at(span + 1)),
                continues: span + 1 < spans,
            }
        })
        .collect();
    let (hours, servers) = (672, 50);
    let begun = Instant::now();
    let charges = rating::charges(&all, begin, begin.plus(HOUR * hours));
    let took = begun.elapsed().as_secs_f64();
    let rated = charges.len() * servers;
    Line {
        what: format!("rating {servers} servers' {hours} hours: server-hours/s"),
        ours: amount(rated as f64 / took),
        peer: String::new(),
        figure: None,
        goal: Goal::None,
    }
}

/// How long an hourly run takes with so many servers.
async fn run(size: usize) -> anyhow::Result<Duration> {
    let cloud = TestCloud::on(Database::Sqlite).await;
    fill(&cloud, size).await?;
    let mut runs = Vec::new();
    for _ in 0..HOURS {
        cloud.app().clock().advance(HOUR);
        let begun = Instant::now();
        let charged = charging::run_due(cloud.app()).await?;
        runs.push(begun.elapsed().as_secs_f64());
        ensure!(charged == size / EACH, "{charged} accounts were charged");
    }
    Ok(Duration::from_secs_f64(median(&runs).unwrap_or_default()))
}

/// Servers and their intervals as orders write them, without machines.
async fn fill(cloud: &TestCloud, size: usize) -> anyhow::Result<()> {
    let (store, now) = (cloud.app().store(), cloud.app().clock().now());
    let package = packages::find(store, "eos1").await?.context("no package")?;
    let price = prices::get(store, Priced::Package(package.id)).await?;
    let terms = Terms {
        package: Some(package.id),
        state: State::Running,
        price: price.id,
        units: 1,
        unit_price: price.unit,
        monthly: price.monthly,
        counting: Counting::Second,
    };
    let mut new = row(store, AccountId(0), cloud.node(), "eos1").await;
    let tx = store.begin().await?;
    for number in 0..size / EACH {
        let account = accounts::New {
            email: format!("{number}@example.com"),
            user_name: None,
            first_name: "Bench".into(),
            last_name: String::new(),
            password_hash: "-".into(),
            is_operator: false,
        };
        new.account = accounts::insert(&tx, &account, now).await?.id;
        cursors::begin(&tx, new.account, now).await?;
        for _ in 0..EACH {
            open(&tx, &new, terms, now).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn open(s: &impl Session, new: &servers::New, terms: Terms, now: Timestamp) -> anyhow::Result<()> {
    let id = servers::insert(s, new, now).await?;
    servers::set_phase(s, id, bulut_model::server::Phase::Ready).await?;
    servers::set_power(s, id, bulut_model::server::Power::Running).await?;
    let interval = intervals::New { account: new.account, subject: Subject::Server(id), server: id, terms };
    intervals::open(s, &interval, now).await?;
    Ok(())
}
