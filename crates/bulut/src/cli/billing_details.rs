//! Room: the command line. `bulut account billing`: what an account's invoices say about it, on the box.

use super::context::Context;
use super::failure::Result;
use super::settings::Settings;
use crate::domain::billing_details::{self, Changes};
use bulut_model::account::Account;
use bulut_model::invoice::BillingDetails;
use bulut_model::tax::TaxRate;
use clap::Args;
use serde_json::json;

/// What is said otherwise; "" takes back what was said.
#[derive(Debug, Args)]
pub struct Billing {
    /// E-mail address or user name
    account: String,
    /// Whom the invoices are for; the account's own name if nothing is said
    #[arg(long)]
    name: Option<String>,
    /// A line of the address; give it once for each
    #[arg(long, value_name = "LINE")]
    address: Vec<String>,
    /// VAT id or tax number
    #[arg(long, value_name = "ID")]
    vat_id: Option<String>,
    /// Rate of tax; invoice.tax_percent of the settings if nothing is said
    #[arg(long, value_name = "PERCENT")]
    tax: Option<String>,
    /// A sentence for the end of each invoice, say about reverse charge
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command: shows what is said, after changing it where something is to be changed.
pub async fn run(context: &Context, billing: Billing) -> Result<()> {
    let app = billing.settings.open().await?;
    let changes = Changes {
        name: billing.name,
        address: (!billing.address.is_empty()).then_some(billing.address),
        vat_id: billing.vat_id,
        tax: billing.tax,
        note: billing.note,
    };
    let is_change = changes.name.is_some()
        || changes.address.is_some()
        || changes.vat_id.is_some()
        || changes.tax.is_some()
        || changes.note.is_some();
    let (account, details) = if is_change {
        billing_details::change(&app, &billing.account, changes).await?
    } else {
        billing_details::get(&app, &billing.account).await?
    };
    print(context, &account, &details, app.config().invoice.tax_rate());
    Ok(())
}

fn print(context: &Context, account: &Account, details: &BillingDetails, default: TaxRate) {
    if context.output.json {
        context.output.json(&json!({
            "account": account.email,
            "name": details.name,
            "address": details.address,
            "vat_id": details.vat_id,
            "tax_percent": details.tax_rate.map(TaxRate::percent),
            "note": details.note,
        }));
        return;
    }
    let tax = details.tax_rate.map_or_else(|| format!("{default} (the settings')"), |rate| rate.to_string());
    let name = details.name.clone().unwrap_or_else(|| account.full_name());
    let mut facts = vec![("account", account.email.clone()), ("name", name)];
    facts.extend(details.address.iter().map(|line| ("address", line.clone())));
    facts.extend(details.vat_id.clone().map(|id| ("VAT id", id)));
    facts.push(("tax", tax));
    facts.extend(details.note.clone().map(|note| ("note", note)));
    context.output.facts(&facts);
}
