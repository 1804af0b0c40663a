//! Servers: the customer's machines, their life, and what an order must satisfy.
//!
//! ```text
//!  building ──server_create done──▶ ready ──server_destroy──▶ destroying ──▶ destroyed
//!     └────────undone──────────────────────────────────────────────────────────▲
//! ```

use crate::address::{ServerIpv4, ServerIpv6};
use crate::catalog::Package;
use crate::run_mode::RunMode;
use crate::{AccountId, Error, ImageId, NodeId, PackageId, RegionId, Result, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its `server_create` is under way.
    Building,
    /// It is there.
    Ready,
    /// Its `server_destroy` is under way.
    Destroying,
    /// It is gone; the row stays, so that its id is never given again.
    Destroyed,
}

impl Phase {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }

    /// The reverse of [`Phase::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Building, Self::Ready, Self::Destroying, Self::Destroyed]
            .into_iter()
            .find(|phase| phase.as_str() == word)
    }
}

/// Whether a server runs, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
    /// It was asked to stop and has not yet.
    Stopping,
}

impl Power {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
        }
    }

    /// The reverse of [`Power::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Stopping].into_iter().find(|power| power.as_str() == word)
    }

    /// The word in the Cloude document's example answers.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Stopping => "Stopping",
        }
    }
}

/// A server as the house sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its id, the `subscription_id` of the Cloude document.
    pub id: ServerId,
    /// Whose it is.
    pub account: AccountId,
    /// Its region.
    pub region: RegionId,
    /// The node that runs it.
    pub node: NodeId,
    /// Its package.
    pub package: PackageId,
    /// What its disk started from.
    pub image: ImageId,
    /// Slug of the region.
    pub region_slug: String,
    /// Slug of the package.
    pub package_slug: String,
    /// Slug of the image.
    pub image_slug: String,
    /// What its owner calls it.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// What its owner had its addresses lead back to; none: the default.
    pub reverse_name: Option<String>,
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
    /// Traffic included in a month, TB.
    pub traffic_tb: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it runs.
    pub power: Power,
    /// Its IPv4 address; none once it is released.
    pub ipv4: Option<ServerIpv4>,
    /// Its IPv6 address, where the region has a prefix.
    pub ipv6: Option<ServerIpv6>,
    /// Where its ssh port is reached from the node, `address:port`, once it was made.
    pub ssh_endpoint: Option<String>,
    /// Whether it draws on its account's resource pool, and so costs nothing by the hour.
    pub in_pool: bool,
    /// Whether its owner chose its name.
    pub is_named: bool,
    /// What becomes of it when it idles.
    pub run_mode: RunMode,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// Operations under way.
    pub active_operations: Vec<i64>,
    /// Tags, sorted.
    pub tags: Vec<String>,
}

/// What an image asks of the machine that it runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minimum {
    /// Fewest CPUs.
    pub cpu: Option<u32>,
    /// Least memory, MiB.
    pub memory_mib: Option<u64>,
    /// Smallest disk, GiB.
    pub disk_gib: Option<u64>,
}

/// Checks that a package of this size can carry an image with these needs.
///
/// Errors: `Invalid` for `package`, naming what is too small and both sizes.
pub fn check_minimum(image: &str, needs: Minimum, cpu: u32, memory_mib: u64, disk_gib: u64) -> Result<()> {
    let refuse = |what: &str, least: String, has: String| {
        Err(Error::invalid(
            "package",
            format!("The image {image} needs at least {least} {what}; the chosen package has {has}."),
        ))
    };
    if needs.cpu.is_some_and(|least| cpu < least) {
        return refuse("CPUs", needs.cpu.unwrap_or(0).to_string(), cpu.to_string());
    }
    if needs.memory_mib.is_some_and(|least| memory_mib < least) {
        return refuse("MiB of memory", needs.memory_mib.unwrap_or(0).to_string(), memory_mib.to_string());
    }
    if needs.disk_gib.is_some_and(|least| disk_gib < least) {
        return refuse("GiB of disk", needs.disk_gib.unwrap_or(0).to_string(), disk_gib.to_string());
    }
    Ok(())
}

/// How a server is to change its size (the contract's `type` of upgrade_package).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SizeChange {
    /// CPUs, memory and disk.
    #[default]
    Full,
    /// CPUs and memory only, so that there is a way back.
    Flexible,
    /// As `Full`, and nothing may become smaller.
    Upgrade,
    /// As `Flexible`, and neither CPUs nor memory may become larger.
    Downgrade,
}

impl SizeChange {
    /// By its word on the wire, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "full" => Some(Self::Full),
            "flexible" => Some(Self::Flexible),
            "upgrade" => Some(Self::Upgrade),
            "downgrade" => Some(Self::Downgrade),
            _ => None,
        }
    }

    /// The disk that the server has after this change, GiB.
    ///
    /// Errors: `Invalid` for `package` when the disk would shrink (naming both sizes), when nothing would change, or
    /// when the package goes the other way.
    pub fn disk(self, server: &Server, package: &Package) -> Result<u64> {
        let refuse = |why: String| Err(Error::invalid("package", why));
        let (slug, disk_gib) = (&package.slug, package.disk_gib);
        let grows = package.cpu > server.cpu || package.memory_mib > server.memory_mib;
        let shrinks = package.cpu < server.cpu || package.memory_mib < server.memory_mib;
        let after = match self {
            Self::Full | Self::Upgrade => disk_gib,
            Self::Flexible | Self::Downgrade => server.disk_gib,
        };
        if after < server.disk_gib {
            return refuse(format!(
                "The package {slug} has a disk of {disk_gib} GB, the server one of {} GB, and a disk never \
                 shrinks; choose a package with at least {} GB, or send type=flexible to change CPUs and memory only.",
                server.disk_gib, server.disk_gib
            ));
        }
        if self == Self::Upgrade && shrinks {
            return refuse(format!("The package {slug} is smaller than the server; send type=downgrade."));
        }
        if self == Self::Downgrade && grows {
            return refuse(format!("The package {slug} is larger than the server; send type=upgrade."));
        }
        let same_package = package.id == server.package;
        if same_package && !grows && !shrinks && after == server.disk_gib {
            return refuse(format!("The server has the package {slug} already."));
        }
        Ok(after)
    }
}

/// Longest user-data, bytes after decoding.
pub const USER_DATA_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_refused_on_a_package_that_is_too_small() {
        let needs = Minimum { cpu: Some(2), memory_mib: Some(2048), disk_gib: Some(20) };
        assert!(check_minimum("wordpress", needs, 2, 2048, 20).is_ok());
        for (cpu, memory, disk, word) in
            [(1, 2048, 20, "CPUs"), (2, 1024, 20, "memory"), (2, 2048, 10, "disk")]
        {
            let error = check_minimum("wordpress", needs, cpu, memory, disk).unwrap_err();
            assert!(error.public.contains(word), "{}", error.public);
        }
    }

    #[test]
    fn words_go_both_ways() {
        for phase in [Phase::Building, Phase::Ready, Phase::Destroying, Phase::Destroyed] {
            assert_eq!(Phase::from_word(phase.as_str()), Some(phase));
        }
        for power in [Power::Running, Power::Stopped, Power::Stopping] {
            assert_eq!(Power::from_word(power.as_str()), Some(power));
        }
    }
}
