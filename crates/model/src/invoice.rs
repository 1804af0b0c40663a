//! Invoices: what an account owes for a span of time, line by line. An invoice never changes but for being paid.

use crate::tax::TaxRate;
use crate::{AccountId, Error, IntervalId, InvoiceId, Micros, Result, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether an invoice is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not yet.
    Unpaid,
    /// It is.
    Paid {
        /// Since when.
        at: Timestamp,
    },
}

impl Status {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Paid { .. } => "paid",
        }
    }

    /// When it was paid.
    pub const fn paid_at(self) -> Option<Timestamp> {
        match self {
            Self::Unpaid => None,
            Self::Paid { at } => Some(at),
        }
    }
}

/// How much of a unit, in millionths: 672 hours are `Quantity(672_000_000)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(pub i64);

/// One of the two sides of an invoice, as it was called when the invoice was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Party {
    /// Of a person or a company.
    pub name: String,
    /// The lines below the name.
    pub address: Vec<String>,
    /// VAT id or tax number; empty without one.
    pub vat_id: String,
}

/// What an account's invoices say about it. What is empty is taken from the account or the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillingDetails {
    /// Whom the invoices are for; none for the account's own name.
    pub name: Option<String>,
    /// Address, line by line.
    pub address: Vec<String>,
    /// VAT id or tax number.
    pub vat_id: Option<String>,
    /// The rate of tax; none for the installation's.
    pub tax_rate: Option<TaxRate>,
    /// A sentence for the end of each invoice, say about reverse charge.
    pub note: Option<String>,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// What it says.
    pub content: Content,
}

/// What an invoice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Whose it is.
    pub account: AccountId,
    /// Unique in the installation, for people and their books.
    pub number: String,
    /// The first instant that it covers.
    pub period_start: Timestamp,
    /// The first instant that it does not cover any more.
    pub period_end: Timestamp,
    /// Whether it is paid.
    pub status: Status,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum of the lines.
    pub subtotal: Micros,
    /// The rate of tax.
    pub tax_rate: TaxRate,
    /// Tax on the subtotal, rounded once.
    pub tax: Micros,
    /// What is to be paid.
    pub total: Micros,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it has to be paid.
    pub due_at: Timestamp,
    /// Who wrote it.
    pub issuer: Party,
    /// Whom it is for.
    pub recipient: Party,
    /// What it says below the sums; may be empty.
    pub note: String,
    /// What it is for.
    pub lines: Vec<Line>,
}

/// A line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// For a person.
    pub description: String,
    /// How it came about, for a person; may be empty.
    pub details: String,
    /// What the thing was called when the invoice was made; may be empty. The description holds it.
    pub label: String,
    /// How much.
    pub quantity: Quantity,
    /// Of what: `hour`, `month`, `GB`, …
    pub unit: String,
    /// What one unit costs.
    pub unit_price: Micros,
    /// What the line costs, rounded once.
    pub amount: Micros,
    /// The server that it is about, if it is about one; also one that is gone.
    pub server: Option<ServerId>,
    /// The intervals that it was made from.
    pub intervals: Vec<IntervalId>,
}

impl Content {
    /// All that it says but whether it is paid, as one text, a fact to a line. Two invoices are the same when these are
    /// the same bytes.
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("number {}", self.number),
            format!("account {}", self.account),
            format!("period {} {}", self.period_start.wire(), self.period_end.wire()),
            format!("issued {}", self.issued_at.wire()),
            format!("due {}", self.due_at.wire()),
        ];
        for (side, party) in [("issuer", &self.issuer), ("recipient", &self.recipient)] {
            lines.push(format!("{side} {:?} {:?} {:?}", party.name, party.address, party.vat_id));
        }
        for (position, line) in (1..).zip(&self.lines) {
            let server = line.server.map_or("-".to_owned(), |id| id.to_string());
            lines.push(format!("line {position} {:?} {:?} server {server}", line.description, line.details));
            lines.push(format!(
                "line {position} {} {:?} at {} is {}",
                Micros(line.quantity.0),
                line.unit,
                line.unit_price,
                line.amount
            ));
            let intervals: Vec<String> = line.intervals.iter().map(ToString::to_string).collect();
            lines.push(format!("line {position} intervals {}", intervals.join(" ")));
        }
        let Self { subtotal, tax_rate, tax, total, currency, note, .. } = self;
        lines.push(format!("subtotal {subtotal} {currency}"));
        lines.push(format!("tax {tax_rate} {tax} {currency}"));
        lines.push(format!("total {total} {currency}"));
        lines.push(format!("note {note:?}"));
        lines.join("\n") + "\n"
    }
}

/// How invoices are numbered: a text with `{number}` or, for one of five digits, `{number:5}`, and perhaps `{year}`; with
/// the year, each year begins at one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberForm {
    before: String,
    digits: usize,
    after: String,
}

/// Longest number.
const NUMBER_MAX: usize = 40;

impl NumberForm {
    /// Reads a form.
    ///
    /// Errors: `Invalid` for `invoice.number`.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(
                "invoice.number",
                format!(
                    "The form of numbers '{text}' must have letters, digits, '-' or '_' and one {{number}} or {{number:5}}, and may \
                     have {{year}}."
                ),
            )
        };
        let (before, rest) = text.split_once("{number").ok_or_else(refuse)?;
        let (digits, after) = rest.split_once('}').ok_or_else(refuse)?;
        let digits = match digits.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| refuse())?,
            None if digits.is_empty() => 1,
            None => return Err(refuse()),
        };
        let form = Self { before: before.to_owned(), digits, after: after.to_owned() };
        // A year beyond all that will come, so that what is left over is seen.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let sample = form.number("9999", 1);
        let fits = sample.len() <= NUMBER_MAX && sample.chars().all(plain) && digits <= 12;
        if fits { Ok(form) } else { Err(refuse()) }
    }

    /// What the numbers of this year are counted in: numbers of one series follow each other without a gap.
    pub fn series(&self, year: &str) -> String {
        format!("{}#{}", self.before, self.after).replace("{year}", year)
    }

    /// The number of the `count`th invoice of a series.
    pub fn number(&self, year: &str, count: i64) -> String {
        let Self { before, digits, after } = self;
        let around = |text: &str| text.replace("{year}", year);
        format!("{}{count:0digits$}{}", around(before), around(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_their_form() {
        let form = NumberForm::parse("{year}-{number:5}").unwrap();
        assert_eq!((form.series("2026").as_str(), form.number("2026", 7).as_str()), ("2026-#", "2026-00007"));
        assert_eq!(form.number("2027", 1_234_567), "2027-1234567");
        let form = NumberForm::parse("R{number}").unwrap();
        assert_eq!((form.series("2026"), form.number("2026", 12)), (form.series("2027"), "R12".to_owned()));
        for bad in [
            "",
            "7",
            "{year}",
            "{number:x}",
            "{number:99}",
            "{number}{number}",
            "a b{number}",
            "{number}.pdf",
            "{month}{number}",
        ] {
            let why = NumberForm::parse(bad).unwrap_err();
            assert!(why.public.contains("form of numbers"), "{bad}");
        }
    }
}
