//! `make bench`: what the program costs, beside peers that do the same work without it.
//!
//! Promises: every ratio is of two measurements made side by side, in turns, in this very run; all load goes to
//! the loopback and is bounded in count and time; a missed goal is said, not failed. README.md tells what each
//! number means. Must not know: how the program works inside.

mod boot;
mod charges;
mod clouds;
mod creates;
mod figures;
mod lists;
mod memory;
mod network;
mod output;
mod peer;
mod wrk;

use anyhow::Context as _;
use bulut_testkit::Database;
use clap::{Parser, Subcommand, ValueEnum};
use output::{Line, say};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

// The program's own allocator, so that the peer has the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the program costs, beside peers that do the same work without it.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Measure and print the table.
    Run {
        /// The program under test.
        #[arg(long)]
        binary: PathBuf,
        /// Only these, by default all.
        #[arg(value_enum)]
        only: Vec<Part>,
    },
    /// Serve one answer from memory; started by the benchmark of the lists.
    #[command(hide = true)]
    Peer {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        path: String,
        #[arg(long)]
        answer: PathBuf,
    },
}

/// One benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From the order to the guest's ssh banner.
    Boot,
    /// Lists of servers.
    List,
    /// Orders answered.
    Create,
    /// Memory.
    Memory,
    /// Hours charged.
    Charge,
    /// Routed networking.
    Network,
}

const DATABASES: [Database; 2] = [Database::Sqlite, Database::Postgres];

/// As people call it.
fn name(database: Database) -> &'static str {
    match database {
        Database::Sqlite => "SQLite",
        Database::Postgres => "PostgreSQL",
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = tokio::runtime::Runtime::new().context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            match arguments.command {
                Job::Run { binary, only } => run(&binary.to_string_lossy(), &only).await,
                Job::Peer { listen, path, answer } => peer::serve(listen, &path, answer).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn run(binary: &str, only: &[Part]) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut lines: Vec<Line> = Vec::new();
    if wanted(Part::Boot) {
        lines.push(boot::measure(binary).await.context("the benchmark of the boot")?);
    }
    for database in DATABASES {
        if wanted(Part::List) {
            lines.push(lists::measure(binary, database).await.context("the benchmark of the lists")?);
        }
    }
    for database in DATABASES {
        if wanted(Part::Create) {
            lines.extend(creates::measure(binary, database).await.context("the benchmark of orders")?);
        }
    }
    if wanted(Part::Memory) {
        lines.push(memory::measure(binary).await.context("the benchmark of memory")?);
    }
    if wanted(Part::Charge) {
        lines.extend(charges::measure().await.context("the benchmark of charges")?);
    }
    if wanted(Part::Network) {
        lines.extend(network::measure().await.context("the benchmark of networks")?);
    }
    output::table(&lines);
    Ok(())
}
