//! Invoices: what an account owes for a span of time, line by line. An invoice never changes but for being paid.

use crate::{AccountId, InvoiceId, Micros, ServerId, Timestamp};

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
    /// Tax on it.
    pub tax: Micros,
    /// What is to be paid.
    pub total: Micros,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it has to be paid.
    pub due_at: Timestamp,
    /// What it is for.
    pub lines: Vec<Line>,
}

/// A line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// For a person.
    pub description: String,
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
}
