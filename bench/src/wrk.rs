//! Load from `wrk`, and what it says of the answers.
//!
//! Promises: load goes to the loopback only, since the callers name nothing else. Must not know: who answers.

use anyhow::{Context as _, bail, ensure};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What one run saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Answers a second.
    pub rate: f64,
    /// Half of the answers took at most this.
    pub p50: Duration,
    /// Of a hundred answers one took longer.
    pub p99: Duration,
}

/// Whether `wrk` is installed.
pub async fn is_installed() -> bool {
    // It has no call that succeeds without a server, so being able to start it has to do.
    Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok()
}

/// Sends the same GET over `connections` connections for `seconds`.
///
/// Errors: when an answer was no success, or connections broke.
pub async fn run(url: &str, token: &str, connections: u32, seconds: u32) -> anyhow::Result<Run> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"])
        .args(["-H", &format!("Authorization: Bearer {token}"), url])
        .kill_on_drop(true)
        .output()
        .await
        .context("wrk does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {said}{}", String::from_utf8_lossy(&output.stderr));
    parse(&said).with_context(|| format!("wrk said:\n{said}"))
}

fn parse(said: &str) -> anyhow::Result<Run> {
    for line in said.lines().map(str::trim) {
        if line.starts_with("Non-2xx") || line.starts_with("Socket errors") {
            bail!("not all requests were answered well: {line}");
        }
    }
    let after = |sign: &str| said.lines().find_map(|line| line.trim().strip_prefix(sign)).map(str::trim);
    let rate = after("Requests/sec:").context("no rate")?.parse()?;
    let span = |sign: &str| after(sign).and_then(span).with_context(|| format!("no line {sign}"));
    Ok(Run { rate, p50: span("50%")?, p99: span("99%")? })
}

/// Reads `830.00us`, `1.23ms`, `1.20s` or `1.00m`.
fn span(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  \
                        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     3.72ms    0.91ms  16.70ms   81.64%\n  \
                        Latency Distribution\n     50%    3.54ms\n     75%    4.01ms\n     90%    4.69ms\n     99%  930.00us\n  \
                        4302 requests in 1.00s, 355.71MB read\nRequests/sec:   4297.53\nTransfer/sec:    355.35MB\n";

    #[test]
    fn a_report_is_read() {
        let expected =
            Run { rate: 4297.53, p50: Duration::from_micros(3540), p99: Duration::from_micros(930) };
        assert_eq!(parse(SAID).unwrap(), expected);
    }

    #[test]
    fn failed_requests_are_an_error() {
        for bad in ["  Non-2xx or 3xx responses: 5", "  Socket errors: connect 0, read 3, write 0, timeout 0"]
        {
            assert!(parse(&format!("{SAID}{bad}\n")).is_err());
        }
        assert!(parse("nothing").is_err());
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("1.20s"), Some(Duration::from_millis(1200)));
        assert_eq!(span("1.00m"), Some(Duration::from_secs(60)));
        assert_eq!(span("12"), None);
    }
}
