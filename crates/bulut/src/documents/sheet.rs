//! What stands on an invoice, as texts and in their order: the one source of both the page and the PDF.
//!
//! Must not know: how it is laid out.

use bulut_model::invoice::{Content, Line, Party, Status};
use bulut_model::{Micros, Timestamp};

/// An invoice in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// What it is called: `Invoice 2026-00001`.
    pub title: String,
    /// Who wrote it: the name.
    pub issuer: String,
    /// Who wrote it: address and VAT id.
    pub issuer_lines: Vec<String>,
    /// Whom it is for: the name.
    pub recipient: String,
    /// Whom it is for: address and VAT id.
    pub recipient_lines: Vec<String>,
    /// Number, dates and status.
    pub facts: Vec<(&'static str, String)>,
    /// What it is for.
    pub rows: Vec<Row>,
    /// Subtotal and tax.
    pub sums: Vec<(String, String)>,
    /// What is to be paid.
    pub total: (String, String),
    /// Whether and until when something is to be paid.
    pub payment: String,
    /// Further sentences; may be empty.
    pub note: String,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// For what.
    pub description: String,
    /// How it came about; may be empty.
    pub details: String,
    /// How much.
    pub quantity: String,
    /// Of what.
    pub unit: String,
    /// What one of it costs.
    pub unit_price: String,
    /// What all of it costs.
    pub amount: String,
}

/// The heads of a row's columns.
pub const HEADS: [&str; 5] = ["Description", "Quantity", "Unit", "Unit price", "Amount"];

impl Sheet {
    /// The texts of an invoice.
    pub fn of(invoice: &Content) -> Self {
        let money = |amount: Micros| format!("{} {}", amount.two_decimals(), invoice.currency);
        let payment = match invoice.status {
            Status::Paid { at } => format!("Paid on {}. Thank you.", day(at)),
            Status::Unpaid => format!("Please pay {} by {}.", money(invoice.total), day(invoice.due_at)),
        };
        let settled = match invoice.status {
            Status::Paid { at } => ("Paid", day(at)),
            Status::Unpaid => ("Due", day(invoice.due_at)),
        };
        Self {
            title: format!("Invoice {}", invoice.number),
            issuer: invoice.issuer.name.clone(),
            issuer_lines: lines_of(&invoice.issuer),
            recipient: invoice.recipient.name.clone(),
            recipient_lines: lines_of(&invoice.recipient),
            facts: vec![
                ("Number", invoice.number.clone()),
                ("Date", day(invoice.issued_at)),
                ("Period", period(invoice.period_start, invoice.period_end)),
                settled,
            ],
            rows: invoice.lines.iter().map(row).collect(),
            sums: vec![
                ("Subtotal".to_owned(), money(invoice.subtotal)),
                (format!("Tax {}", invoice.tax_rate), money(invoice.tax)),
            ],
            total: ("Total".to_owned(), money(invoice.total)),
            payment,
            note: invoice.note.clone(),
        }
    }
}

fn lines_of(party: &Party) -> Vec<String> {
    let mut lines: Vec<String> = party.address.clone();
    if !party.vat_id.is_empty() {
        lines.push(format!("VAT ID {}", party.vat_id));
    }
    lines
}

fn row(line: &Line) -> Row {
    Row {
        description: line.description.clone(),
        details: line.details.clone(),
        quantity: Micros(line.quantity.0).decimal(),
        unit: line.unit.clone(),
        unit_price: line.unit_price.two_decimals(),
        amount: line.amount.two_decimals(),
    }
}

/// `2026-02-01`.
fn day(at: Timestamp) -> String {
    at.wire().chars().take(10).collect()
}

/// Whole days by their first and their last; anything else to the minute.
fn period(from: Timestamp, to: Timestamp) -> String {
    const DAY: i64 = 86_400;
    if from.unix_seconds() % DAY == 0 && to.unix_seconds() % DAY == 0 && from < to {
        let last = Timestamp::from_unix_seconds(to.unix_seconds() - DAY);
        return format!("{} to {}", day(from), day(last));
    }
    let minute = |at: Timestamp| at.wire().chars().take(16).collect::<String>().replace('T', " ");
    format!("{} to {} UTC", minute(from), minute(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_of_whole_days_names_its_last_day() {
        let at = |text| Timestamp::from_wire(text).unwrap();
        let (january, february) = (at("2024-02-01T00:00:00Z"), at("2024-03-01T00:00:00Z"));
        assert_eq!(period(january, february), "2024-02-01 to 2024-02-29");
        assert_eq!(period(january, at("2024-02-14T13:00:00Z")), "2024-02-01 00:00 to 2024-02-14 13:00 UTC");
    }
}
