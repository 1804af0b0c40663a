//! What the invoices of an account say about it: said by the operator, since the tax depends on it.

use crate::app::App;
use crate::domain::accounts;
use bulut_model::account::Account;
use bulut_model::invoice::BillingDetails;
use bulut_model::tax::{TaxRate, vat_id};
use bulut_model::{Error, Result};
use bulut_store::{accounts as rows, billing_details};

/// Most characters of a name or a line of the address, and of a note.
const LINE_MAX: usize = 120;
const NOTE_MAX: usize = 1000;
/// Most lines of an address.
const LINES_MAX: usize = 8;

/// What is to be said otherwise. Empty takes back what was said.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Name of a person or company.
    pub name: Option<String>,
    /// Lines of the address.
    pub address: Option<Vec<String>>,
    /// VAT id or tax number.
    pub vat_id: Option<String>,
    /// Rate of tax, percent.
    pub tax: Option<String>,
    /// A sentence for the end of each invoice.
    pub note: Option<String>,
}

/// What is said about the account with this e-mail address or user name.
///
/// Errors: `NotFound`.
pub async fn get(app: &App, name: &str) -> Result<(Account, BillingDetails)> {
    let account = accounts::named(app, name).await?;
    let details = billing_details::get(app.store(), account.id).await?;
    Ok((account, details))
}

/// Says something otherwise, for invoices to come.
///
/// Errors: `NotFound`; `Invalid` naming what is wrong.
pub async fn change(app: &App, name: &str, changes: Changes) -> Result<(Account, BillingDetails)> {
    let id = accounts::named(app, name).await?.id;
    let tx = app.store().begin().await?;
    let account = rows::hold(&tx, id).await?;
    let mut details = billing_details::get(&tx, id).await?;
    if let Some(name) = changes.name {
        details.name = line("name", &name)?;
    }
    if let Some(lines) = changes.address {
        let lines: Vec<Option<String>> =
            lines.iter().map(|text| line("address", text)).collect::<Result<_>>()?;
        details.address = lines.into_iter().flatten().collect();
        if details.address.len() > LINES_MAX {
            return Err(Error::invalid(
                "address",
                format!("The address must have at most {LINES_MAX} lines."),
            ));
        }
    }
    if let Some(text) = changes.vat_id {
        details.vat_id = if text.trim().is_empty() { None } else { Some(vat_id(&text)?) };
    }
    if let Some(text) = changes.tax {
        details.tax_rate = if text.trim().is_empty() { None } else { Some(TaxRate::parse("tax", &text)?) };
    }
    if let Some(text) = changes.note {
        details.note = checked("note", &text, NOTE_MAX)?;
    }
    billing_details::set(&tx, id, &details, app.clock().now()).await?;
    tx.commit().await?;
    tracing::info!(account.id = id.0, "billing details changed");
    Ok((account, details))
}

fn line(field: &str, text: &str) -> Result<Option<String>> {
    checked(field, text, LINE_MAX)
}

/// Text without control characters; none for an empty one.
fn checked(field: &str, text: &str, max: usize) -> Result<Option<String>> {
    let text = text.trim();
    if text.chars().count() > max || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            format!("The {field} must have at most {max} characters, and no control characters."),
        ));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
