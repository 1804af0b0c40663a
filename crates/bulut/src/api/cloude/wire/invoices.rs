//! Invoices (the contract settles the fields). As in the document, prices are texts with four decimals and sums are
//! numbers, like the balance.

use super::{Amount, kinds, ratio};
use bulut_model::invoice::{Invoice, Line, Quantity};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// An invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invoice, examples(json!({
    "id": 12,
    "number": "2018-0012",
    "period_start": "2018-01-01T00:00:00Z",
    "period_end": "2018-02-01T00:00:00Z",
    "status": "unpaid",
    "currency": "EUR",
    "subtotal": 5,
    "tax": 0.95,
    "total": 5.95,
    "issued_at": "2018-02-01T00:10:00Z",
    "due_at": "2018-02-15T00:10:00Z",
    "paid_at": null,
    "lines": [{
        "description": "ubuntu-16-04-x64 (eos2)",
        "quantity": 676,
        "unit": "hour",
        "unit_price": "0.0074",
        "amount": 5,
        "subscription_id": 1515,
    }],
})))]
pub struct InvoiceView {
    /// Its id.
    pub id: i64,
    /// Its number, for people and their books.
    pub number: String,
    /// The first instant that it covers, UTC.
    #[schema(value_type = kinds::Time)]
    pub period_start: String,
    /// The first instant that it does not cover any more, UTC.
    #[schema(value_type = kinds::Time)]
    pub period_end: String,
    /// `unpaid` or `paid`.
    #[schema(value_type = kinds::InvoiceStatus)]
    pub status: &'static str,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum of the lines.
    #[schema(value_type = f64)]
    pub subtotal: Amount,
    /// Tax on it.
    #[schema(value_type = f64)]
    pub tax: Amount,
    /// What is to be paid.
    #[schema(value_type = f64)]
    pub total: Amount,
    /// When it was made, UTC.
    #[schema(value_type = kinds::Time)]
    pub issued_at: String,
    /// When it has to be paid, UTC.
    #[schema(value_type = kinds::Time)]
    pub due_at: String,
    /// When it was paid, UTC; null if it is not.
    #[schema(value_type = Option<kinds::Time>, required)]
    pub paid_at: Option<String>,
    /// What it is for.
    pub lines: Vec<InvoiceLineView>,
}

/// A line of an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoiceLine, examples(json!({
    "description": "ubuntu-16-04-x64 (eos2)",
    "quantity": 676,
    "unit": "hour",
    "unit_price": "0.0074",
    "amount": 5,
    "subscription_id": 1515,
})))]
pub struct InvoiceLineView {
    /// For a person.
    pub description: String,
    /// How much.
    #[schema(value_type = f64)]
    pub quantity: Decimal,
    /// Of what: `hour`, `month`, …
    pub unit: String,
    /// What one unit costs, four decimals.
    #[schema(value_type = kinds::Price)]
    pub unit_price: String,
    /// What the line costs.
    #[schema(value_type = f64)]
    pub amount: Amount,
    /// The server that it is about; null if it is about none.
    #[schema(required)]
    pub subscription_id: Option<i64>,
}

/// A quantity as a JSON number.
#[derive(Debug)]
pub struct Decimal(Quantity);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ratio(self.0.0, 1_000_000, serializer)
    }
}

impl From<Invoice> for InvoiceView {
    fn from(invoice: Invoice) -> Self {
        let content = invoice.content;
        Self {
            id: invoice.id.0,
            number: content.number,
            period_start: content.period_start.wire(),
            period_end: content.period_end.wire(),
            status: content.status.as_str(),
            currency: content.currency,
            subtotal: Amount(content.subtotal),
            tax: Amount(content.tax),
            total: Amount(content.total),
            issued_at: content.issued_at.wire(),
            due_at: content.due_at.wire(),
            paid_at: content.status.paid_at().map(|at| at.wire()),
            lines: content.lines.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Line> for InvoiceLineView {
    fn from(line: Line) -> Self {
        Self {
            description: line.description,
            quantity: Decimal(line.quantity),
            unit: line.unit,
            unit_price: line.unit_price.four_decimals(),
            amount: Amount(line.amount),
            subscription_id: line.server.map(|id| id.0),
        }
    }
}
