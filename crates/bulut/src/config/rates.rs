//! Settings of how often who may ask: token buckets, each with a pace that may be kept for long and with what may be sent
//! at once.

use anyhow::bail;

/// How often who may ask.
#[derive(Debug, Clone, confique::Config)]
pub struct Rates {
    /// Whether requests are limited: by account or API key, by address, and failed attempts to sign in.
    #[config(env = "BULUT_RATE_LIMITS", default = true)]
    pub enabled: bool,

    /// Requests that change something: how many an account or API key may send in a minute for long.
    #[config(env = "BULUT_RATE_CHANGES_PER_MINUTE", default = 600)]
    pub changes_per_minute: u32,

    /// Requests that change something: how many it may send at once.
    #[config(env = "BULUT_RATE_CHANGES_BURST", default = 300)]
    pub changes_burst: u32,

    /// Requests that only read, which waiting clients repeat: how many in a minute for long.
    #[config(env = "BULUT_RATE_READS_PER_MINUTE", default = 60_000)]
    pub reads_per_minute: u32,

    /// Requests that only read: how many at once.
    #[config(env = "BULUT_RATE_READS_BURST", default = 20_000)]
    pub reads_burst: u32,

    /// How many times as much an address may send as an account, since many may share one.
    #[config(env = "BULUT_RATE_ADDRESS_FACTOR", default = 4)]
    pub address_factor: u32,

    /// Failed attempts to sign in as one user from one address: how many in a minute for long.
    #[config(env = "BULUT_RATE_LOGINS_PER_MINUTE", default = 10)]
    pub logins_per_minute: u32,

    /// Failed attempts to sign in as one user from one address: how many at once.
    #[config(env = "BULUT_RATE_LOGINS_BURST", default = 20)]
    pub logins_burst: u32,
}

impl Rates {
    /// Checks that nobody is shut out for ever.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        let rates = [
            self.changes_per_minute,
            self.changes_burst,
            self.reads_per_minute,
            self.reads_burst,
            self.address_factor,
            self.logins_per_minute,
            self.logins_burst,
        ];
        if rates.contains(&0) {
            bail!("the settings rates.… must be at least 1; rates.enabled = false switches the limits off");
        }
        Ok(())
    }
}
