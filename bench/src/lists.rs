//! `server/list` of an account with many servers, beside a bare handler that sends the same bytes.
//!
//! Must not know: how the list is made.

use crate::clouds;
use crate::figures::{amount, median, time};
use crate::output::{Goal, Line, say};
use crate::peer::{Answer, Peer};
use crate::wrk::{self, Run};
use anyhow::ensure;
use bulut_testkit::Database;

const PATH: &str = "/v1/server/list";
const SERVERS: usize = 200;
const CONNECTIONS: u32 = 64;
/// Pairs of runs, and how long each run takes.
const ROUNDS: usize = 7;
const SECONDS: u32 = 3;
/// Requests a second in relation to the peer's.
const GOAL: Goal = Goal::AtLeast(0.6);

/// Measures on one database.
pub async fn measure(binary: &str, database: Database) -> anyhow::Result<Line> {
    let on = crate::name(database);
    let what = format!("server/list of {SERVERS}, {on}: requests/s, p50, p99");
    if !wrk::is_installed().await {
        say("wrk is not installed, so that the lists are not measured (apt-get install wrk)");
        return Ok(Line { what, ours: String::new(), peer: String::new(), figure: None, goal: GOAL });
    }
    say(&format!("server/list on {on}: {ROUNDS} rounds of 2 × {SECONDS} s"));
    let program = clouds::start(binary, database).await?;
    clouds::fill(&program, SERVERS).await?;
    let url = format!("{}{PATH}", program.url());
    let mut answer = Answer::fetch(&url, program.token()).await?;
    let peer = Peer::start(&answer, PATH).await?;
    let mut pairs: Vec<(Run, Run)> = Vec::new();
    for round in 0..=ROUNDS {
        // The side that goes first changes, so that neither always runs on the warmer machine.
        let pair = if round % 2 == 0 {
            let ours = wrk::run(&url, program.token(), CONNECTIONS, SECONDS).await?;
            (ours, wrk::run(&peer.url(PATH), program.token(), CONNECTIONS, SECONDS).await?)
        } else {
            let peers = wrk::run(&peer.url(PATH), program.token(), CONNECTIONS, SECONDS).await?;
            (wrk::run(&url, program.token(), CONNECTIONS, SECONDS).await?, peers)
        };
        say(&format!("  {:.0}/s beside {:.0}/s: {:.3}", pair.0.rate, pair.1.rate, pair.0.rate / pair.1.rate));
        // The first round warms both.
        if round > 0 {
            pairs.push(pair);
        }
    }
    // Nobody changed anything meanwhile, so both must have sent these bytes all the time.
    let mut after = Answer::fetch(&url, program.token()).await?;
    for answer in [&mut answer, &mut after] {
        answer.headers.remove("x-request-id");
    }
    ensure!(answer == after, "the list changed during the run");
    let ratios: Vec<f64> = pairs.iter().map(|(ours, peers)| ours.rate / peers.rate).collect();
    let shown = |side: fn(&(Run, Run)) -> Run| {
        let of = |figure: fn(Run) -> f64| {
            let figures: Vec<f64> = pairs.iter().map(|pair| figure(side(pair))).collect();
            median(&figures).unwrap_or_default()
        };
        let span = |seconds| time(std::time::Duration::from_secs_f64(seconds));
        let (p50, p99) = (of(|run| run.p50.as_secs_f64()), of(|run| run.p99.as_secs_f64()));
        format!("{} /s, {}, {}", amount(of(|run| run.rate)), span(p50), span(p99))
    };
    Ok(Line {
        what,
        ours: shown(|pair| pair.0),
        peer: format!("bare axum: {}", shown(|pair| pair.1)),
        figure: median(&ratios).map(|ratio| (ratio, "")),
        goal: GOAL,
    })
}
