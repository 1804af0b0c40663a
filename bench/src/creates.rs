//! Orders of servers on a simulated node: how many are answered in a second, and how long each takes.
//!
//! The engine carries out the orders meanwhile, as it does in life. Must not know: what an order does.

use crate::clouds;
use crate::figures::{amount, percentile, time};
use crate::output::{Goal, Line, say};
use anyhow::ensure;
use bulut_testkit::Database;
use bulut_testkit::program::Program;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections, one row of the table each.
const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// Orders with each number of connections; all together are 2,000 over both databases.
const ORDERS: usize = 333;
/// Orders that warm up first.
const WARM: usize = 20;

/// Measures on one database.
pub async fn measure(binary: &str, database: Database) -> anyhow::Result<Vec<Line>> {
    let on = crate::name(database);
    say(&format!("server/create on {on}: {ORDERS} orders over {CONNECTIONS:?} connections"));
    let program = clouds::start(binary, database).await?;
    clouds::fill(&program, WARM).await?;
    clouds::empty(&program).await?;
    let mut lines = Vec::new();
    for connections in CONNECTIONS {
        let (took, latencies) = orders(&program, connections).await?;
        clouds::settled(&program, ORDERS).await?;
        clouds::empty(&program).await?;
        let rate = ORDERS as f64 / took.as_secs_f64();
        let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        say(&format!("  {connections} connections: {rate:.0}/s"));
        lines.push(Line {
            what: format!("server/create, {connections} at once, {on}: answers/s, p50, p99"),
            ours: format!("{} /s, {}, {}", amount(rate), time(p50), time(p99)),
            peer: String::new(),
            figure: None,
            goal: Goal::None,
        });
    }
    Ok(lines)
}

/// Orders over so many connections at once; answers how long all took, and each.
async fn orders(program: &Program, connections: usize) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let hands = (0..connections).map(|_| hand(program, &next));
    let all = futures_util::future::try_join_all(hands).await?;
    Ok((begun.elapsed(), all.concat()))
}

/// One connection: orders one server after the other until enough are ordered.
async fn hand(program: &Program, next: &AtomicUsize) -> anyhow::Result<Vec<Duration>> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build()?;
    let url = format!("{}/v1/server/create", program.url());
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= ORDERS {
            return Ok(latencies);
        }
        let form = clouds::order(&format!("server-{number}"));
        let begun = Instant::now();
        let answer = client.post(&url).bearer_auth(program.token()).form(&form).send().await?;
        let answer: Value = answer.json().await?;
        latencies.push(begun.elapsed());
        ensure!(answer["status"] == "success", "an order was refused: {answer}");
    }
}
