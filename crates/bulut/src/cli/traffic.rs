//! Room: the command line. `bulut traffic …`: what all servers moved in a month, and what becomes of those that have
//! used all that their package includes; on the box.

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::app::App;
use crate::domain::{prices, rates, traffic};
use bulut_model::rate::parse_bps;
use bulut_model::traffic_month::{AtLimit, BYTES_PER_TB, Month};
use bulut_model::{Micros, ServerId};
use bulut_store::traffic_months::Line;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Traffic of the servers on this machine, month by month
#[derive(Debug, Subcommand)]
pub enum TrafficCommand {
    /// List what servers moved in a month, those first that moved most, and how many frames of theirs were ever dropped as
    /// forged
    #[command(visible_alias = "ls")]
    List(List),
    /// Show or set what becomes of servers of a package that have used all: nothing, slow, bill or stop
    AtLimit(AtLimitOf),
    /// Let a server use more than its package includes until this month is over
    Allow(Allow),
}

/// Which month.
#[derive(Debug, Args)]
pub struct List {
    /// Like 2026-02, in UTC; this month if absent
    #[arg(long, value_name = "MONTH")]
    month: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Which package, and what.
#[derive(Debug, Args)]
pub struct AtLimitOf {
    /// Slug of the package; all packages are shown if absent
    package: Option<String>,
    /// nothing; slow: they are slowed down until the month is over, they get a larger package or are allowed more; bill:
    /// what they move beyond it costs extra; stop: they are powered off, and start again in the next month, with a larger
    /// package, or when they are allowed more
    #[arg(requires = "package")]
    action: Option<String>,
    /// With slow: how fast they still are, bits per second, like 1M
    #[arg(long, requires = "action")]
    rate: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Which server.
#[derive(Debug, Args)]
pub struct Allow {
    /// The server's id
    server: i64,
    /// Take it back
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: TrafficCommand) -> Result<()> {
    match command {
        TrafficCommand::List(list) => run_list(context, list).await,
        TrafficCommand::AtLimit(of) => at_limit(context, of).await,
        TrafficCommand::Allow(allow) => {
            let app = allow.settings.open().await?;
            let month = traffic::set_allowed(&app, ServerId(allow.server), !allow.undo).await?;
            let may = if allow.undo { "may not use" } else { "may use" };
            let note = format!("Server {} {may} more than its package includes in {month}.", allow.server);
            context.output.note(&note);
            Ok(())
        }
    }
}

async fn run_list(context: &Context, list: List) -> Result<()> {
    let month = list.month.as_deref().map(Month::parse).transpose()?;
    let (month, lines) = traffic::month(&list.settings.open().await?, month).await?;
    if context.output.json {
        context.output.json(&lines.iter().map(value).collect::<Vec<_>>());
        return Ok(());
    }
    context.output.note(&format!("Traffic of {month}"));
    context.output.table(&HEAD, lines.iter().map(row).collect());
    Ok(())
}

async fn at_limit(context: &Context, of: AtLimitOf) -> Result<()> {
    let app = of.settings.open().await?;
    if let (Some(package), Some(action)) = (&of.package, &of.action) {
        return set_at_limit(context, &app, package, AtLimit::parse(action)?, of.rate.as_deref()).await;
    }
    let mut all = traffic::at_limits(&app).await?;
    if let Some(package) = &of.package {
        all.retain(|(slug, ..)| slug == package);
        if all.is_empty() {
            return Err(
                Failure::refused(format!("there is no package '{package}'")).hint("bulut traffic at-limit")
            );
        }
    }
    if context.output.json {
        let one = |(slug, tb, action): &(String, u64, AtLimit)| json!({ "package": slug, "traffic_tb": tb, "at_limit": action.as_str() });
        context.output.json(&all.iter().map(one).collect::<Vec<_>>());
        return Ok(());
    }
    let row =
        |(slug, tb, action): (String, u64, AtLimit)| vec![slug, tb.to_string(), action.as_str().to_owned()];
    context.output.table(&["package", "TB in a month", "at limit"], all.into_iter().map(row).collect());
    Ok(())
}

async fn set_at_limit(
    context: &Context,
    app: &App,
    package: &str,
    action: AtLimit,
    rate: Option<&str>,
) -> Result<()> {
    if let Some(rate) = rate {
        if action != AtLimit::Slow {
            return Err(Failure::refused("--rate goes with the action slow"));
        }
        rates::set_slow(app, package, parse_bps("rate", rate)?).await?;
    }
    traffic::set_at_limit(app, package, action).await?;
    let what = match action {
        AtLimit::Nothing => "go on",
        AtLimit::Slow => "are slowed down",
        AtLimit::Bill => "go on, and what they move from then on is billed,",
        AtLimit::Stop => "are stopped",
    };
    context.output.note(&format!("Servers of {package} {what} when their traffic is used up."));
    if action == AtLimit::Bill && prices::traffic_of(app, package).await? == Micros::ZERO {
        context.output.note("But traffic costs nothing yet: `bulut price set traffic` says what a GB costs.");
    }
    Ok(())
}

/// Bytes in GB, the thousandth part of the TB of packages.
pub(super) fn gigabytes(bytes: u64) -> String {
    format!("{:.3}", bytes as f64 / (BYTES_PER_TB / 1000) as f64)
}

fn percent(line: &Line) -> Option<f64> {
    let included = line.used.included_bytes()?;
    Some(line.used.total_bytes() as f64 * 100.0 / included as f64)
}

const HEAD: [&str; 11] = [
    "server",
    "name",
    "account",
    "package",
    "received GB",
    "sent GB",
    "of TB",
    "used",
    "at limit",
    "forged",
    "note",
];

fn row(line: &Line) -> Vec<String> {
    let note = match (line.destroyed_at, line.used.is_allowed_more, line.stopped_at, line.slowed_at) {
        (Some(at), ..) => format!("destroyed {}", at.wire()),
        (None, true, ..) => "allowed more".to_owned(),
        (None, false, Some(at), _) => format!("stopped {}", at.wire()),
        (None, false, None, Some(at)) => format!("slowed down {}", at.wire()),
        (None, false, None, None) if line.used.billable_bytes() > 0 => {
            format!("{} GB beyond", gigabytes(line.used.billable_bytes()))
        }
        (None, false, None, None) => String::new(),
    };
    vec![
        line.server.to_string(),
        line.name.clone(),
        line.account.clone(),
        line.package.clone(),
        gigabytes(line.used.received_bytes),
        gigabytes(line.used.sent_bytes),
        line.used.traffic_tb.to_string(),
        percent(line).map_or_else(String::new, |percent| format!("{percent:.1} %")),
        line.used.at_limit.as_str().to_owned(),
        if line.forged_frames == 0 { String::new() } else { line.forged_frames.to_string() },
        note,
    ]
}

fn value(line: &Line) -> Value {
    json!({
        "server_id": line.server.0,
        "name": line.name,
        "account": line.account,
        "package": line.package,
        "month": line.used.month.to_string(),
        "received_bytes": line.used.received_bytes,
        "sent_bytes": line.used.sent_bytes,
        "included_bytes": line.used.included_bytes(),
        "at_limit": line.used.at_limit.as_str(),
        "is_allowed_more": line.used.is_allowed_more,
        "stopped_at": line.stopped_at.map(|at| at.wire()),
        "slowed_at": line.slowed_at.map(|at| at.wire()),
        "billable_bytes": line.used.billable_bytes(),
        "forged_frames": line.forged_frames,
        "destroyed_at": line.destroyed_at.map(|at| at.wire()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulut_model::Timestamp;
    use bulut_model::traffic_month::MonthUse;

    fn line() -> Line {
        Line {
            server: ServerId(7),
            name: "web1".into(),
            account: "alice@example.com".into(),
            package: "eos1".into(),
            used: MonthUse {
                month: Month(672),
                received_bytes: 1_500_000_000,
                sent_bytes: 0,
                traffic_tb: 1,
                at_limit: AtLimit::Nothing,
                is_allowed_more: false,
            },
            stopped_at: None,
            slowed_at: None,
            forged_frames: 0,
            destroyed_at: None,
        }
    }

    fn cell(line: &Line, name: &str) -> String {
        assert_eq!(row(line).len(), HEAD.len());
        HEAD.into_iter().zip(row(line)).find(|(head, _)| *head == name).unwrap().1
    }

    #[test]
    fn a_server_that_is_gone_is_marked_whatever_was_done_to_it_before() {
        let gone = Line {
            stopped_at: Some(Timestamp::from_unix_seconds(1_767_225_600)),
            destroyed_at: Some(Timestamp::from_unix_seconds(1_767_312_000)),
            ..line()
        };
        assert_eq!(cell(&gone, "note"), "destroyed 2026-01-02T00:00:00Z");
        assert_eq!(value(&gone)["destroyed_at"], "2026-01-02T00:00:00Z");
        let there = Line { destroyed_at: None, ..gone };
        assert_eq!(cell(&there, "note"), "stopped 2026-01-01T00:00:00Z");
        assert_eq!(value(&there)["destroyed_at"], Value::Null);
    }

    #[test]
    fn forged_frames_are_listed_where_there_are_some() {
        assert_eq!(cell(&line(), "received GB"), "1.500");
        assert_eq!(cell(&line(), "forged"), "");
        let hostile = Line { forged_frames: 53, ..line() };
        assert_eq!(cell(&hostile, "forged"), "53");
        assert_eq!(value(&hostile)["forged_frames"], 53);
    }
}
