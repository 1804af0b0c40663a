//! Settings of traffic: how long its samples are kept, and how fine.

use anyhow::bail;
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

/// Settings of traffic. The sums of months are kept for ever.
#[derive(Debug, Clone, confique::Config)]
pub struct Traffic {
    /// How long traffic is kept by the minute, days; after that it is rolled up into hours.
    #[config(env = "BULUT_TRAFFIC_MINUTES_DAYS", default = 7)]
    pub minutes_days: u64,

    /// How long traffic is kept by the hour, days; after that it is rolled up into days.
    #[config(env = "BULUT_TRAFFIC_HOURS_DAYS", default = 60)]
    pub hours_days: u64,

    /// How long traffic is kept by the day, days.
    #[config(env = "BULUT_TRAFFIC_DAYS_DAYS", default = 366)]
    pub days_days: u64,
}

impl Traffic {
    /// Checks that what is coarser is kept longer.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if 1 <= self.minutes_days && self.minutes_days < self.hours_days && self.hours_days < self.days_days {
            return Ok(());
        }
        bail!(
            "traffic.minutes_days must be at least 1, traffic.hours_days more than that, and days_days more again"
        )
    }

    /// How long minutes are kept.
    pub fn minutes_kept_for(&self) -> Duration {
        Duration::from_secs(self.minutes_days.saturating_mul(DAY))
    }

    /// How long hours are kept.
    pub fn hours_kept_for(&self) -> Duration {
        Duration::from_secs(self.hours_days.saturating_mul(DAY))
    }

    /// How long days are kept.
    pub fn days_kept_for(&self) -> Duration {
        Duration::from_secs(self.days_days.saturating_mul(DAY))
    }
}
