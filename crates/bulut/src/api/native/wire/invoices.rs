//! Invoices, whole: amounts are exact decimals in texts.

use bulut_model::Micros;
use bulut_model::interval::Interval;
use bulut_model::invoice::{Invoice, Line, Party};
use serde::Serialize;
use std::collections::HashSet;

/// An invoice.
#[derive(Debug, Serialize)]
pub struct InvoiceView {
    /// Its number.
    pub number: String,
    /// `unpaid` or `paid`.
    pub status: &'static str,
    /// The first instant that it covers, UTC.
    pub period_start: String,
    /// The first instant that it does not cover any more, UTC.
    pub period_end: String,
    /// When it was made, UTC.
    pub issued_at: String,
    /// When it has to be paid, UTC.
    pub due_at: String,
    /// When it was paid, UTC.
    pub paid_at: Option<String>,
    /// Who wrote it.
    pub issuer: Party,
    /// Whom it is for.
    pub recipient: Party,
    /// What it is for.
    pub lines: Vec<InvoiceLineView>,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum of the lines.
    pub subtotal: String,
    /// The rate of tax, percent.
    pub tax_percent: String,
    /// Tax on the subtotal.
    pub tax: String,
    /// What is to be paid.
    pub total: String,
    /// What it says below the sums.
    pub note: String,
}

/// A line of it.
#[derive(Debug, Serialize)]
pub struct InvoiceLineView {
    /// For a person.
    pub description: String,
    /// How it came about, for a person.
    pub details: String,
    /// How much.
    pub quantity: String,
    /// Of what.
    pub unit: String,
    /// What one of it costs.
    pub unit_price: String,
    /// What all of it costs; less than the product where a monthly price is the limit.
    pub amount: String,
    /// The server that it is about.
    pub server_id: Option<i64>,
    /// What it was made from.
    pub interval_ids: Vec<i64>,
}

/// An invoice and what its lines were made from.
#[derive(Debug, Serialize)]
pub struct InvoiceExplained {
    /// What it says.
    #[serde(flatten)]
    pub invoice: InvoiceView,
    /// The intervals that its lines name.
    pub intervals: Vec<IntervalView>,
}

/// A priced span.
#[derive(Debug, Serialize)]
pub struct IntervalView {
    /// Its id.
    pub id: i64,
    /// `server`, `snapshot`, `address` or `traffic`.
    pub kind: &'static str,
    /// The id of that; of traffic its server's.
    pub subject_id: i64,
    /// The server that it belongs to.
    pub server_id: i64,
    /// `running`, `stopped`, `kept` or `moved`.
    pub state: &'static str,
    /// When it began, UTC.
    pub opened_at: String,
    /// When it ended, UTC; none while it goes on.
    pub closed_at: Option<String>,
    /// The version of the price that it froze.
    pub price_version: i64,
    /// How many: servers, GiB, addresses; bytes of traffic.
    pub units: u64,
    /// What one of them costs in an hour; what a GB costs, of traffic.
    pub unit_price: String,
    /// Most that the server's month costs.
    pub monthly_price: Option<String>,
    /// `second` or `hour`: how its time is counted.
    pub counting: &'static str,
}

impl InvoiceExplained {
    /// Of all these intervals, those that the lines name.
    pub fn new(invoice: Invoice, intervals: &[Interval]) -> Self {
        let named: HashSet<_> =
            invoice.content.lines.iter().flat_map(|line| line.intervals.iter().copied()).collect();
        let intervals = intervals.iter().filter(|one| named.contains(&one.id)).map(Into::into).collect();
        Self { invoice: invoice.into(), intervals }
    }
}

impl From<Invoice> for InvoiceView {
    fn from(invoice: Invoice) -> Self {
        let content = invoice.content;
        Self {
            number: content.number,
            status: content.status.as_str(),
            period_start: content.period_start.wire(),
            period_end: content.period_end.wire(),
            issued_at: content.issued_at.wire(),
            due_at: content.due_at.wire(),
            paid_at: content.status.paid_at().map(|at| at.wire()),
            issuer: content.issuer,
            recipient: content.recipient,
            lines: content.lines.into_iter().map(Into::into).collect(),
            currency: content.currency,
            subtotal: content.subtotal.decimal(),
            tax_percent: content.tax_rate.percent(),
            tax: content.tax.decimal(),
            total: content.total.decimal(),
            note: content.note,
        }
    }
}

impl From<Line> for InvoiceLineView {
    fn from(line: Line) -> Self {
        Self {
            description: line.description,
            details: line.details,
            quantity: Micros(line.quantity.0).decimal(),
            unit: line.unit,
            unit_price: line.unit_price.decimal(),
            amount: line.amount.decimal(),
            server_id: line.server.map(|id| id.0),
            interval_ids: line.intervals.iter().map(|id| id.0).collect(),
        }
    }
}

impl From<&Interval> for IntervalView {
    fn from(interval: &Interval) -> Self {
        let terms = &interval.terms;
        Self {
            id: interval.id.0,
            kind: interval.subject.kind(),
            subject_id: interval.subject.id(),
            server_id: interval.server.0,
            state: terms.state.as_str(),
            opened_at: interval.opened_at.wire(),
            closed_at: interval.closed_at.map(|at| at.wire()),
            price_version: terms.price.0,
            units: terms.units,
            unit_price: terms.unit_price.decimal(),
            monthly_price: terms.monthly.map(Micros::decimal),
            counting: terms.counting.as_str(),
        }
    }
}
