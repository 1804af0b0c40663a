//! Memory of the program with many servers.
//!
//! Must not know: what it is used for.

use crate::clouds;
use crate::output::{Goal, Line, say};
use anyhow::Context as _;
use bulut_testkit::Database;
use std::time::Duration;

const SERVERS: usize = 1000;
/// Lists that are asked for after the orders: rendering one takes memory too.
const LISTS: usize = 20;
/// How long the program rests before it is looked at: past one round of its reconcilers.
const REST: Duration = Duration::from_secs(12);
/// MiB.
const GOAL: Goal = Goal::AtMost(60.0);

/// Measures.
pub async fn measure(binary: &str) -> anyhow::Result<Line> {
    say(&format!("memory at {SERVERS} servers"));
    let program = clouds::start(binary, Database::Sqlite).await?;
    let pid = program.pid().context("the program does not run")?;
    let empty = resident(pid, "VmRSS")?;
    clouds::fill(&program, SERVERS).await?;
    for _ in 0..LISTS {
        program.data("GET", "/v1/server/list", &[]).await;
    }
    tokio::time::sleep(REST).await;
    let (full, peak) = (resident(pid, "VmRSS")?, resident(pid, "VmHWM")?);
    Ok(Line {
        what: format!("memory (RSS) at {SERVERS} simulated servers, SQLite"),
        ours: format!("{full:.1} MiB; {empty:.1} with none, {peak:.1} at most"),
        peer: String::new(),
        figure: Some((full, " MiB")),
        goal: GOAL,
    })
}

/// A size from `/proc/PID/status`, MiB.
fn resident(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {name} of process {pid}"))? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_can_be_read() {
        let (now, peak) = (resident(std::process::id(), "VmRSS"), resident(std::process::id(), "VmHWM"));
        assert!(now.unwrap() > 0.1 && peak.unwrap() > 0.1);
        assert!(resident(std::process::id(), "Nothing").is_err());
    }
}
