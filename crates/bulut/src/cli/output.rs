//! Room: the command line. The only printer of the program.
//!
//! Promises: data goes to stdout, everything else to stderr; nothing moves on a stream that is not a terminal; what
//! came from a guest or a server cannot steer the terminal. A reader that went away (`| head`) is no error.
//! Must not know: what the data is.

use super::failure::Failure;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How and how much to print.
#[derive(Debug, Clone, Copy, Default)]
pub struct Output {
    /// Data as JSON instead of tables.
    pub json: bool,
    /// No notes and no progress; where an id says enough, only the id.
    pub quiet: bool,
}

impl Output {
    /// Prints one JSON document: indented on a terminal, on one line elsewhere.
    pub fn json(self, value: &impl Serialize) {
        let stdout = std::io::stdout();
        let text = if stdout.is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        // A value that was made by us or parsed from JSON always turns into JSON.
        self.line(&text.unwrap_or_else(|why| format!("{{\"error\":\"{why}\"}}")));
    }

    /// Prints a line of data.
    pub fn line(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        // A closed pipe means that the reader has enough.
        drop(writeln!(stdout, "{text}"));
    }

    /// Prints data as it is, without a line end.
    pub fn raw(self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        drop(stdout.write_all(bytes).and_then(|()| stdout.flush()));
    }

    /// Prints text that a guest wrote. On a terminal its escape sequences are taken out.
    pub fn foreign(self, bytes: &[u8]) {
        if std::io::stdout().is_terminal() { self.raw(plain(bytes).as_bytes()) } else { self.raw(bytes) }
    }

    /// Prints a table with a head; an empty one is only a note.
    pub fn table(self, head: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            self.note("There are none.");
            return;
        }
        self.line(&render_table(head, rows));
    }

    /// Prints `name  value` lines, the values under one another.
    pub fn facts(self, facts: &[(&str, String)]) {
        self.line(&render_facts(facts));
    }

    /// Tells the person something that is not data.
    pub fn note(self, text: &str) {
        if !self.quiet {
            to_stderr(text);
        }
    }

    /// Tells the person something that should not be missed, even when quiet.
    pub fn warn(self, text: &str) {
        to_stderr(&format!("warning: {text}"));
    }

    /// Prints why a command failed: one line, and a hint below.
    pub fn failure(self, failure: &Failure) {
        to_stderr(&render_failure(failure));
    }

    /// A line that shows that something is under way: it turns on a terminal, and is a plain note elsewhere.
    pub fn spinner(self, text: &str) -> Progress {
        if self.quiet || !std::io::stderr().is_terminal() {
            self.note(text);
            return Progress { bar: ProgressBar::hidden(), output: self, moving: false };
        }
        let bar = ProgressBar::new_spinner()
            .with_style(style("{spinner} {msg} ({elapsed})"))
            .with_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar, output: self, moving: true }
    }

    /// A bar that counts bytes; `total` may be unknown.
    pub fn bytes(self, text: &str, total: Option<u64>) -> Progress {
        if self.quiet || !std::io::stderr().is_terminal() {
            self.note(text);
            return Progress { bar: ProgressBar::hidden(), output: self, moving: false };
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg} {bytes} {bytes_per_sec}")),
        };
        Progress { bar: bar.with_message(text.to_owned()), output: self, moving: true }
    }
}

/// Something under way; the line vanishes when this is dropped.
pub struct Progress {
    bar: ProgressBar,
    output: Output,
    moving: bool,
}

impl Progress {
    /// Says what is done now.
    pub fn say(&self, text: &str) {
        if self.moving {
            self.bar.set_message(text.to_owned());
        } else {
            self.output.note(text);
        }
    }

    /// Prints a line above the one that moves.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| self.output.note(text));
    }

    /// Sets the bytes done so far.
    pub fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Sets the bytes there are in all.
    pub fn set_total(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn to_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}

fn render_failure(failure: &Failure) -> String {
    let mut text = format!("error: {}", one_line(&failure.message));
    if let Some(hint) = &failure.hint {
        text.push_str("\nhint: ");
        text.push_str(&printable(hint));
    }
    text
}

fn render_table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        // A program reads this: a row is a line, however long.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head.iter().map(|word| word.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn render_facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", one_line(value)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Text on one line without control characters.
fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text without control characters, but for line ends and tabs.
fn printable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

/// What a terminal would show of `bytes`, without the sequences that move its cursor, change its title or make it
/// answer: those answers would be typed into the guest.
pub fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            // However many returns a terminal driver sends before a line end, it is one line end.
            '\r' if matches!(rest.peek(), Some('\n' | '\r')) => {}
            '\r' => plain.push('\n'),
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => {
                let _ = plain.write_char(c);
            }
        }
    }
    plain
}

/// Reads over the rest of an escape sequence (ECMA-48: CSI to its final byte, OSC and its like to their terminator).
fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some('(' | ')' | '*' | '+' | '#' | '%' | ' ') => {
            rest.next();
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::refused("no server\n with id 7").hint("bulut server list");
        assert_eq!(render_failure(&failure), "error: no server with id 7\nhint: bulut server list");
    }

    #[test]
    fn a_table_has_a_head_and_a_line_for_each_row_without_trailing_blanks() {
        let rows = vec![vec!["1".into(), "web1".into()], vec!["20".into(), "db".into()]];
        assert_eq!(render_table(&["id", "name"], rows), "ID  NAME\n1   web1\n20  db");
    }

    #[test]
    fn facts_stand_under_one_another() {
        assert_eq!(render_facts(&[("id", "7".into()), ("name", "web1".into())]), "id    7\nname  web1");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let text = render_facts(&[("name", "a\u{1b}[2Jb\u{7}\nc".into())]);
        assert_eq!(text, "name  a[2Jb c");
    }

    #[test]
    fn what_a_guest_wrote_loses_its_sequences_and_keeps_its_words() {
        let wrote = b"\r\r\n\x1b[2J\x1b[1;1H\x1b]0;title\x07login: \x1b[6n\x1b[0;32mOK\x1b[0m\r\n\x1b(Bdone\x1b]2;t\x1b\\!\n";
        assert_eq!(plain(wrote), "\nlogin: OK\ndone!\n");
    }

    #[test]
    fn a_cut_sequence_at_the_end_is_dropped() {
        assert_eq!(plain(b"a\x1b["), "a");
        assert_eq!(plain(b"a\x1b]0;never ends"), "a");
    }
}
