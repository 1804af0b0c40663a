//! Settings of invoices: who writes them, with which tax, and when.

use anyhow::{Context as _, bail};
use bulut_model::invoice::{NumberForm, Party};
use bulut_model::tax::TaxRate;
use std::time::Duration;

/// Settings of invoices.
#[derive(Debug, Clone, confique::Config)]
pub struct Invoice {
    /// Whether an account gets an invoice at the end of each month (UTC) in which it had something that costs. Without, only
    /// `bulut invoice issue` makes them.
    #[config(env = "BULUT_INVOICE_MONTHLY", default = true)]
    pub monthly: bool,

    /// How long after the end of a month its invoices are made, minutes: what is measured last comes in by then.
    #[config(env = "BULUT_INVOICE_DELAY_MINUTES", default = 10)]
    pub delay_minutes: u32,

    /// How invoices are numbered: `{number}`, or `{number:5}` for five digits at least, between letters, digits, '-' and
    /// '_'; with `{year}`, each year begins at one again.
    #[config(env = "BULUT_INVOICE_NUMBER", default = "{year}-{number:5}")]
    pub number: String,

    /// Who writes the invoices; mail.name if absent.
    #[config(env = "BULUT_INVOICE_ISSUER")]
    pub issuer: Option<String>,

    /// The lines of the issuer's address.
    #[config(env = "BULUT_INVOICE_ISSUER_ADDRESS", default = [], parse_env = confique::env::parse::list_by_semicolon)]
    pub issuer_address: Vec<String>,

    /// The issuer's VAT id or tax number.
    #[config(env = "BULUT_INVOICE_ISSUER_VAT_ID", default = "")]
    pub issuer_vat_id: String,

    /// Tax on top of all prices, percent, for accounts that have no rate of their own (`bulut account billing`).
    #[config(env = "BULUT_INVOICE_TAX_PERCENT", default = "0")]
    pub tax_percent: String,

    /// Days that a postpaid account has to pay.
    #[config(env = "BULUT_INVOICE_DUE_DAYS", default = 14)]
    pub due_days: u32,

    /// What stands below the sums of each invoice: bank details, terms.
    #[config(env = "BULUT_INVOICE_NOTE", default = "")]
    pub note: String,
}

impl Invoice {
    /// Checks that the settings mean something.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        self.number_form()?;
        TaxRate::parse("invoice.tax_percent", &self.tax_percent)
            .map_err(|why| anyhow::anyhow!(why.public))?;
        if self.due_days > 3650 || self.delay_minutes > 40_000 {
            bail!("invoice.due_days must be at most 3650, and invoice.delay_minutes at most 40000");
        }
        Ok(())
    }

    /// How invoices are numbered.
    ///
    /// Errors: what is wrong with the setting.
    pub fn number_form(&self) -> anyhow::Result<NumberForm> {
        NumberForm::parse(&self.number).context("the setting invoice.number is wrong")
    }

    /// The rate of tax of accounts that have none of their own.
    pub fn tax_rate(&self) -> TaxRate {
        TaxRate::parse("invoice.tax_percent", &self.tax_percent).unwrap_or_default()
    }

    /// Who writes the invoices; `cloud` where no name is set.
    pub fn issuer(&self, cloud: &str) -> Party {
        Party {
            name: self.issuer.clone().unwrap_or_else(|| cloud.to_owned()),
            address: self.issuer_address.clone(),
            vat_id: self.issuer_vat_id.clone(),
        }
    }

    /// How long after the end of a month its invoices are made.
    pub fn delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.delay_minutes) * 60)
    }

    /// How long a postpaid account has to pay.
    pub fn due_in(&self) -> Duration {
        Duration::from_secs(u64::from(self.due_days) * 24 * 60 * 60)
    }
}
