//! Settings of dunning: what becomes of prepaid accounts whose balance runs out.

use anyhow::{anyhow, bail};
use bulut_model::Micros;
use bulut_model::dunning::Rules;
use std::time::Duration;

const DAY_S: u64 = 24 * 60 * 60;

/// Settings of dunning.
#[derive(Debug, Clone, confique::Config)]
pub struct Dunning {
    /// Warn and suspend prepaid accounts whose balance runs out. Those that pay later are left alone.
    #[config(env = "BULUT_DUNNING", default = true)]
    pub enabled: bool,

    /// How often accounts are looked at, seconds.
    #[config(env = "BULUT_DUNNING_EVERY_S", default = 300)]
    pub look_every_s: u64,

    /// Below which balance an account with servers or snapshots is warned.
    #[config(env = "BULUT_DUNNING_WARN_BELOW", default = "5.00")]
    pub warn_below: String,

    /// Below which balance it is suspended: its servers are stopped, their disks and addresses are kept.
    #[config(env = "BULUT_DUNNING_SUSPEND_BELOW", default = "0.00")]
    pub suspend_below: String,

    /// How long after the warning that happens at the earliest, hours.
    #[config(env = "BULUT_DUNNING_SUSPEND_AFTER_HOURS", default = 24)]
    pub suspend_after_hours: u64,

    /// How long after the suspension its servers and snapshots are deleted, days. 0, the default: never.
    #[config(env = "BULUT_DUNNING_DELETE_AFTER_DAYS", default = 0)]
    pub delete_after_days: u64,

    /// How long before that it is announced once more, days.
    #[config(env = "BULUT_DUNNING_DELETE_NOTICE_DAYS", default = 7)]
    pub delete_notice_days: u64,

    /// Start the servers again that were running when the account was suspended, as soon as it has paid.
    #[config(env = "BULUT_DUNNING_RESTART", default = true)]
    pub restart: bool,
}

impl Dunning {
    /// Checks that the settings mean something.
    ///
    /// Errors: a sentence that names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.look_every_s == 0 {
            bail!("dunning.look_every_s must be at least 1");
        }
        let amount = |setting: &str, text: &str| {
            Micros::parse(text).map_err(|why| anyhow!("the setting dunning.{setting}: {why}"))
        };
        let warn_below = amount("warn_below", &self.warn_below)?;
        if amount("suspend_below", &self.suspend_below)? > warn_below {
            bail!("dunning.suspend_below must not be above dunning.warn_below");
        }
        if self.delete_after_days > 0 && self.delete_notice_days == 0 {
            bail!("dunning.delete_notice_days must be at least 1 where dunning.delete_after_days is set");
        }
        Ok(())
    }

    /// When what happens. The amounts were checked when the settings were read.
    pub fn rules(&self) -> Rules {
        let amount = |text: &str| Micros::parse(text).unwrap_or_default();
        let days = |days: u64| Duration::from_secs(days.saturating_mul(DAY_S));
        Rules {
            warn_below: amount(&self.warn_below),
            suspend_below: amount(&self.suspend_below),
            suspend_after: Duration::from_secs(self.suspend_after_hours.saturating_mul(3600)),
            delete_after: (self.delete_after_days > 0).then(|| days(self.delete_after_days)),
            delete_notice: days(self.delete_notice_days),
        }
    }

    /// How often accounts are looked at.
    pub fn look_every(&self) -> Duration {
        Duration::from_secs(self.look_every_s)
    }
}
