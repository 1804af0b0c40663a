//! What the invoices of accounts say about them.

use crate::session::{Failure, Session, to_json};
use bulut_model::invoice::BillingDetails;
use bulut_model::tax::TaxRate;
use bulut_model::{AccountId, Result, Timestamp};

/// The account's details; empty ones where none were said.
pub async fn get(s: &impl Session, account: AccountId) -> Result<BillingDetails> {
    let sql = "SELECT name, address, vat_id, tax_millionths, note FROM billing_details WHERE account_id = $1";
    let Some(row) = s.one(sql, vec![account.0.into()]).await? else { return Ok(BillingDetails::default()) };
    let rate = |millionths| {
        TaxRate::from_millionths(millionths).ok_or_else(|| Failure::Fault("a rate of tax is none".into()))
    };
    Ok(BillingDetails {
        name: row.opt_text("name")?,
        address: row.json("address")?,
        vat_id: row.opt_text("vat_id")?,
        tax_rate: row.opt_int("tax_millionths")?.map(rate).transpose()?,
        note: row.opt_text("note")?,
    })
}

/// Says them anew. Invoices that are there keep what they say.
pub async fn set(
    s: &impl Session,
    account: AccountId,
    details: &BillingDetails,
    now: Timestamp,
) -> Result<()> {
    s.execute(
        "INSERT INTO billing_details (account_id, name, address, vat_id, tax_millionths, note, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (account_id) DO UPDATE SET name = excluded.name, \
         address = excluded.address, vat_id = excluded.vat_id, tax_millionths = excluded.tax_millionths, \
         note = excluded.note, updated_at = excluded.updated_at",
        vec![
            account.0.into(),
            details.name.clone().into(),
            to_json(&details.address)?.into(),
            details.vat_id.clone().into(),
            details.tax_rate.map(TaxRate::millionths).into(),
            details.note.clone().into(),
            now.0.into(),
        ],
    )
    .await?;
    Ok(())
}
