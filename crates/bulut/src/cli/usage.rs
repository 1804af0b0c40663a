//! Room: the command line. `bulut usage`: what a server received and sent.

use super::cloud::parse;
use super::context::Context;
use super::failure::Result;
use super::traffic::gigabytes;
use super::{server, wire};
use bulut_model::Timestamp;
use bulut_model::traffic_month::Month;
use clap::Args;
use std::collections::BTreeMap;

/// Show what a server received and sent
#[derive(Debug, Args)]
pub struct Usage {
    /// The server's id, or its name if only one server has it
    server: String,
    /// From when, in seconds since 1970 or like 2018-01-04T11:14:34Z; a day before the end if absent
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when; now if absent
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What to add up: minute, hour, day, or a number of seconds
    #[arg(long, default_value = "hour")]
    step: String,
}

/// Runs the command.
pub async fn run(context: &Context, usage: Usage) -> Result<()> {
    let cloud = context.cloud().await?;
    let server = server::find(&cloud, &usage.server).await?;
    let id = server.id.to_string();
    let (from, to) = (usage.from.unwrap_or_default(), usage.to.unwrap_or_default());
    let query = [("id", id.as_str()), ("from", &from), ("to", &to), ("step", &usage.step)];
    let answer = cloud.get("/v1/usage/list", &query).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    context.output.table(&["from", "received KiB", "sent KiB"], rows(parse(answer)?));
    let now = Timestamp::from_unix_seconds(super::session::now());
    let month = Month::of(now);
    let begin = month.begin().wire();
    let query = [("id", id.as_str()), ("from", &begin), ("to", &now.wire()), ("step", "day")];
    let used = parse(cloud.get("/v1/usage/list", &query).await?)?;
    context.output.note(&so_far(month, used, &server.bandwidth.0));
    let native: wire::NativeServer = cloud.read(&format!("/v2/servers/{id}")).await?;
    if let Some(limit) = native.traffic_limit {
        context.output.note(&format!("The server is {}.", server::show::held(&limit)));
    }
    Ok(())
}

/// A line on the month: what counts against the package is both directions together.
fn so_far(month: Month, used: wire::Usage, included_tb: &str) -> String {
    let bytes =
        |samples: Vec<(f64, i64)>| samples.into_iter().map(|(kib, _)| kib * 1024.0).sum::<f64>() as u64;
    let (received, sent) = (bytes(used.incoming), bytes(used.outgoing));
    format!(
        "In {month} so far: {} GB received and {} GB sent, of {included_tb} TB together.",
        gigabytes(received),
        gigabytes(sent),
    )
}

/// A row for each step that either direction has.
fn rows(usage: wire::Usage) -> Vec<Vec<String>> {
    let mut steps: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (kib, begin) in usage.incoming {
        steps.entry(begin).or_default().0 = kib;
    }
    for (kib, begin) in usage.outgoing {
        steps.entry(begin).or_default().1 = kib;
    }
    let row = |(begin, (received, sent)): (i64, (f64, f64))| {
        vec![Timestamp::from_unix_seconds(begin).wire(), format!("{received:.1}"), format!("{sent:.1}")]
    };
    steps.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_so_far_is_told_in_the_units_of_packages() {
        let usage = wire::Usage {
            incoming: vec![(976_562.5, 1_767_225_600), (976_562.5, 1_767_312_000)],
            outgoing: vec![(1.0, 1_767_225_600)],
        };
        assert_eq!(
            so_far(Month::parse("2026-01").unwrap(), usage, "2"),
            "In 2026-01 so far: 2.000 GB received and 0.000 GB sent, of 2 TB together."
        );
    }

    #[test]
    fn both_directions_of_a_step_stand_on_one_line() {
        let usage = wire::Usage {
            incoming: vec![(125.085_937_5, 1_515_678_960), (1.0, 1_515_679_020)],
            outgoing: vec![(6.796_875, 1_515_678_960)],
        };
        assert_eq!(
            rows(usage),
            [["2018-01-11T13:56:00Z", "125.1", "6.8"], ["2018-01-11T13:57:00Z", "1.0", "0.0"]]
        );
    }
}
