//! Settings of what machines use, and of servers in safe mode, which are powered off when they idle.

use anyhow::bail;
use bulut_model::run_mode::IdleRules;
use std::time::Duration;

/// What counts as idle, and for how long a server may be.
#[derive(Debug, Clone, confique::Config)]
pub struct Idle {
    /// How often processor, memory, disk and network of machines are looked at, seconds.
    #[config(env = "BULUT_USAGE_EVERY_S", default = 60)]
    pub look_every_s: u64,

    /// How long a server in safe mode may idle before it is powered off, seconds; by default seven days.
    #[config(env = "BULUT_IDLE_LIMIT_S", default = 604_800)]
    pub limit_s: u64,

    /// The most of all its processors that an idle server uses, percent.
    #[config(env = "BULUT_IDLE_CPU_PERCENT", default = 5.0)]
    pub cpu_percent: f64,

    /// The most that an idle server receives and sends together in a minute, KiB.
    #[config(env = "BULUT_IDLE_NETWORK_KIB", default = 64)]
    pub network_kib: u64,
}

impl Idle {
    /// Checks that the settings mean something.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.look_every_s == 0 || self.limit_s == 0 {
            bail!("idle.look_every_s and idle.limit_s must be at least 1");
        }
        if !(0.0..=100.0).contains(&self.cpu_percent) {
            bail!("idle.cpu_percent must be 0 to 100");
        }
        Ok(())
    }

    /// What counts as idle. A look that is late, or two that are missed, spoil nothing.
    pub fn rules(&self) -> IdleRules {
        IdleRules {
            cpu_permille: (self.cpu_percent * 10.0).round() as u64,
            traffic_bytes: self.network_kib.saturating_mul(1024),
            gap_max: self.look_every().saturating_mul(3),
        }
    }

    /// How long a server in safe mode may idle.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.limit_s)
    }

    /// How often machines are looked at.
    pub fn look_every(&self) -> Duration {
        Duration::from_secs(self.look_every_s)
    }
}
