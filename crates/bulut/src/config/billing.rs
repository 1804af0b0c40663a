//! Settings of money: whether there is any, how time is counted, and how much of a balance an order needs.

use anyhow::bail;
use bulut_model::price::Counting;

/// Whether and how servers are paid for.
#[derive(Debug, Clone, confique::Config)]
pub struct Billing {
    /// Whether there is money at all. Without it nothing is metered, charged or refused for want of balance.
    #[config(env = "BULUT_BILLING", default = true)]
    pub enabled: bool,

    /// The currency of all prices and balances, an ISO 4217 code. Nothing is converted when it changes.
    #[config(env = "BULUT_CURRENCY", default = "EUR")]
    pub currency: String,

    /// How time is counted: second, or hour, by which each hour of the clock that was begun costs whole.
    #[config(env = "BULUT_BILLING_COUNTING", default = "second")]
    pub counting: String,

    /// For how many hours a prepaid balance must cover all that the account has and what is ordered.
    #[config(env = "BULUT_BILLING_COVER_HOURS", default = 24)]
    pub cover_hours: u32,
}

impl Billing {
    /// Checks that the settings mean something.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if Counting::from_word(&self.counting).is_none() {
            bail!("the setting billing.counting is '{}', but must be second or hour", self.counting);
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            bail!("the setting billing.currency must be three capital letters such as EUR");
        }
        Ok(())
    }

    /// How time is counted in intervals that begin now.
    pub fn counting(&self) -> Counting {
        Counting::from_word(&self.counting).unwrap_or(Counting::Second)
    }
}
