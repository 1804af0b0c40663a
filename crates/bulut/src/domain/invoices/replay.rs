//! Replay: an invoice is made again from its intervals, and must come out as the same bytes.
//!
//! What an invoice quotes (number, dates, names, addresses, the rate of tax, what things were called) is taken from it, and
//! held against the digest that was written with it; all that was computed is computed anew. Changes nothing.

use super::find;
use super::issuing::{digest, labels_of, packages};
use crate::app::App;
use bulut_model::invoice::{Content, Invoice};
use bulut_model::invoice_lines::{self, Names, add_up};
use bulut_model::traffic_month::Month;
use bulut_model::{Micros, Result};
use bulut_store::{intervals, invoices, ledger};

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The invoice as it is kept.
    pub invoice: Invoice,
    /// How many lines its text has.
    pub lines: usize,
    /// How many intervals it was made from.
    pub intervals: usize,
    /// The digest of what was computed, hexadecimal.
    pub digest: String,
    /// What is not as it was; none for an invoice that is byte-identical.
    pub difference: Option<Difference>,
}

/// The first difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A line of the text: as it is kept, and as it was computed. None where one text has ended.
    Line {
        /// Which one, from 1.
        number: usize,
        /// As it is kept.
        kept: Option<String>,
        /// As it was computed.
        replayed: Option<String>,
    },
    /// The kept invoice is not what was written: somebody changed the database.
    Digest {
        /// The digest that was written with it.
        written: String,
    },
    /// The hours' charges in the ledger are not what the lines add up to.
    Charges {
        /// What was charged.
        charged: Micros,
        /// What the lines come to without rounding.
        invoiced: Micros,
    },
}

/// Makes the invoice with this number again.
///
/// Errors: `NotFound`.
pub async fn replay(app: &App, number: &str) -> Result<Replay> {
    let invoice = find(app, number).await?;
    let kept = &invoice.content;
    let begin = Month::of(kept.period_start).begin();
    let all = intervals::list(app.store(), kept.account, begin, kept.period_end).await?;
    let names = Names { subjects: labels_of(kept, &all), packages: packages(app.store(), &all).await? };
    let mut lines = invoice_lines::lines(&all, kept.period_start, kept.period_end, &names);
    let sums = add_up(&mut lines, &kept.currency, kept.tax_rate);
    let computed =
        Content { lines, subtotal: sums.subtotal, tax: sums.tax, total: sums.total, ..kept.clone() };
    let written = invoices::digest(app.store(), invoice.id).await?;
    let charged = ledger::charged(app.store(), kept.account, kept.period_start, kept.period_end).await?;
    let invoiced = sums.subtotal - sums.rounding;
    let (kept_text, text) = (kept.text(), computed.text());
    let difference = if let Some(difference) = first_difference(&kept_text, &text) {
        Some(difference)
    } else if digest(kept) != written {
        Some(Difference::Digest { written })
    } else if charged != invoiced {
        Some(Difference::Charges { charged, invoiced })
    } else {
        None
    };
    let count = computed.lines.iter().map(|line| line.intervals.len()).sum();
    let (lines, digest) = (text.lines().count(), digest(&computed));
    Ok(Replay { invoice, lines, intervals: count, digest, difference })
}

fn first_difference(kept: &str, replayed: &str) -> Option<Difference> {
    let (mut kept, mut replayed) = (kept.lines(), replayed.lines());
    for number in 1.. {
        match (kept.next(), replayed.next()) {
            (None, None) => break,
            (kept, replayed) if kept != replayed => {
                let [kept, replayed] = [kept, replayed].map(|line| line.map(str::to_owned));
                return Some(Difference::Line { number, kept, replayed });
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let line = |number, kept: Option<&str>, replayed: Option<&str>| {
            Some(Difference::Line {
                number,
                kept: kept.map(str::to_owned),
                replayed: replayed.map(str::to_owned),
            })
        };
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), line(2, Some("b"), Some("c")));
        assert_eq!(first_difference("a\n", "a\nb\n"), line(2, None, Some("b")));
        assert_eq!(first_difference("a\nb\n", "a\n"), line(2, Some("b"), None));
    }
}
