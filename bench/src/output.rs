//! The only printer: progress to stderr, the table of results to stdout.
//!
//! Must not know: how anything is measured.

use comfy_table::{CellAlignment, Table, presets};

/// What a figure has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// None: the figure is there to be compared with later ones.
    None,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// What the program under test did.
    pub ours: String,
    /// What its peer did; empty without one.
    pub peer: String,
    /// What is compared with the goal, and its unit: the ratio, which has none, or without a peer the amount.
    pub figure: Option<(f64, &'static str)>,
    /// The goal.
    pub goal: Goal,
}

impl Goal {
    /// Whether a figure reaches it; `None` without a goal.
    fn reached_by(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(figure <= limit),
            Self::AtLeast(limit) => Some(figure >= limit),
            Self::None => None,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}{unit}"),
            Self::AtLeast(limit) => format!("≥ {limit}{unit}"),
            Self::None => "–".into(),
        }
    }
}

/// Says on stderr what goes on.
#[expect(clippy::disallowed_macros, reason = "this is the printer")]
pub fn say(text: &str) {
    eprintln!("    {text}");
}

/// Prints the table.
#[expect(clippy::disallowed_macros, reason = "this is the printer")]
pub fn table(lines: &[Line]) {
    println!("{}", rendered(lines));
}

fn rendered(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["measured", "bulut", "peer", "figure", "goal", ""]);
    for line in lines {
        let (figure, goal, verdict) = match line.figure {
            None => {
                let verdict = if matches!(line.goal, Goal::None) { "" } else { "not measured" };
                (String::new(), line.goal.text(""), verdict)
            }
            Some((figure, unit)) => {
                let shown =
                    if unit.is_empty() { format!("{figure:.3}") } else { format!("{figure:.1}{unit}") };
                let verdict = match line.goal.reached_by(figure) {
                    Some(true) => "ok",
                    Some(false) => "miss",
                    None => "",
                };
                (shown, line.goal.text(unit), verdict)
            }
        };
        table.add_row([&line.what, &line.ours, &line.peer, &figure, &goal, verdict]);
    }
    for column in 3..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(figure: Option<(f64, &'static str)>, goal: Goal) -> Line {
        Line { what: "x".into(), ours: "1".into(), peer: "2".into(), figure, goal }
    }

    #[test]
    fn the_verdict_follows_the_goal() {
        assert_eq!(Goal::AtMost(1.05).reached_by(1.05), Some(true));
        assert_eq!(Goal::AtMost(1.05).reached_by(1.06), Some(false));
        assert_eq!(Goal::AtLeast(0.6).reached_by(0.59), Some(false));
        assert_eq!(Goal::None.reached_by(7.0), None);
    }

    #[test]
    fn every_line_shows_figure_goal_and_verdict() {
        let lines = [
            line(Some((1.0213, "")), Goal::AtMost(1.05)),
            line(Some((61.0, " MiB")), Goal::AtMost(60.0)),
            line(None, Goal::AtLeast(0.6)),
        ];
        let text = rendered(&lines).to_string();
        for wanted in ["1.021", "≤ 1.05", "ok", "61.0 MiB", "≤ 60 MiB", "miss", "≥ 0.6", "not measured"]
        {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }
}
