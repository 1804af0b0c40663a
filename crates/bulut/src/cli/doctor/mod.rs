//! Room: the command line. `bulut doctor`: what this machine needs to run a cloud, checked one by one.
//!
//! Promises: changes nothing of the cloud; every check says what was found and how to mend what is wrong; exit code
//! 2 when something fails, 0 when there are only warnings. Must not know: how machines are run.

mod host;
mod qemu;
mod state;

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The cloud runs, but less well than it could.
    Warn,
    /// The cloud cannot run.
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, a word or two.
    pub check: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, for a person.
    pub found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), mend: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, found: found.into(), mend: Some(mend.into()) }
    }
}

/// Runs the command.
pub async fn run(context: &Context, settings: &Settings) -> Result<()> {
    let config = settings.load()?;
    let progress = context.output.spinner("Examining this machine …");
    let (database, images) = state::database(&config).await;
    let mut findings = qemu::check(&config, &images).await;
    findings.extend(host::check(&config).await);
    findings.extend(state::files(&config));
    findings.extend(database);
    drop(progress);
    if context.output.json {
        context.output.json(&findings);
    } else {
        for finding in &findings {
            context.output.line(&render(finding));
        }
    }
    match findings.iter().filter(|finding| finding.level == Level::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::broken("1 check failed")),
        count => Err(Failure::broken(format!("{count} checks failed"))),
    }
    .map_err(|failure| {
        failure.hint("what is marked FAIL keeps the cloud from running; the lines say how to mend it")
    })
}

fn render(finding: &Finding) -> String {
    let line = format!("{:4}  {:12}  {}", finding.level.word(), finding.check, finding.found);
    match &finding.mend {
        Some(mend) => format!("{line}\n{:20}→ {mend}", ""),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_mending_below() {
        assert_eq!(render(&Finding::ok("QEMU", "10.0.2")), "ok    QEMU          10.0.2");
        let text = render(&Finding::fail("QEMU", "not there", "apt-get install qemu-system-x86"));
        assert_eq!(
            text,
            "FAIL  QEMU          not there\n                    → apt-get install qemu-system-x86"
        );
    }

    #[test]
    fn json_leaves_out_what_needs_no_mending() {
        let json = serde_json::to_value([Finding::ok("QEMU", "10.0.2"), Finding::warn("clock", "?", "ntp")])
            .unwrap();
        assert_eq!(json[0], serde_json::json!({"check": "QEMU", "level": "ok", "found": "10.0.2"}));
        assert_eq!(json[1]["mend"], "ntp");
    }
}
