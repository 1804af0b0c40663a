//! Documents: invoices as people read them, as a page of HTML and as PDF.
//!
//! Promises: both are made from the same texts (`sheet.rs`), so that no number can differ; the same invoice gives the
//! same bytes; nothing is loaded from elsewhere. Must not know: HTTP, the database, or who may see what.

mod face;
mod html;
mod pdf;
mod sheet;

pub use html::escaped;

use bulut_model::invoice::Content;
use bulut_model::{Error, Result};

/// The invoice as a page that can be shown, kept and printed by itself.
pub fn html(invoice: &Content) -> String {
    html::page(&sheet::Sheet::of(invoice))
}

/// The invoice as PDF, A4.
///
/// Errors: `Unavailable` when the program was built without fonts.
pub fn pdf(invoice: &Content) -> Result<Vec<u8>> {
    let fonts = face::Fonts::load().ok_or_else(|| {
        Error::unavailable(
            "This program was built without fonts, because Node.js was missing then; it can show invoices as HTML.",
            "",
        )
    })?;
    pdf::document(&sheet::Sheet::of(invoice), &fonts, invoice.issued_at)
}

#[cfg(test)]
mod tests;
