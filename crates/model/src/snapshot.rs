//! Snapshots: a disk's content at one moment, kept apart from the server that it was taken of.
//!
//! ```text
//!  creating ──snapshot_create done──▶ ready ──snapshot_destroy──▶ destroying ──▶ destroyed
//!     └────────undone──────────────────────────────────────────────────────────────▲
//! ```

use crate::address::{ServerIpv4, ServerIpv6};
use crate::server::Power;
use crate::{AccountId, Error, NodeId, RegionId, Result, ServerId, SnapshotId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its `snapshot_create` is under way.
    Creating,
    /// It is whole.
    Ready,
    /// Its `snapshot_destroy` is under way.
    Destroying,
    /// It is gone; the row stays, so that its id is never given again.
    Destroyed,
}

impl Phase {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }

    /// The reverse of [`Phase::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Creating, Self::Ready, Self::Destroying, Self::Destroyed]
            .into_iter()
            .find(|phase| phase.as_str() == word)
    }
}

/// How far a snapshot's content can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// The server did not run: nothing was under way.
    Stopped,
    /// The guest's agent held all file systems still at that moment.
    Filesystem,
    /// The guest ran and could not be asked: as after a power cut, journals have to be replayed.
    Crash,
}

impl Consistency {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Filesystem => "filesystem",
            Self::Crash => "crash",
        }
    }

    /// The reverse of [`Consistency::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Stopped, Self::Filesystem, Self::Crash].into_iter().find(|found| found.as_str() == word)
    }
}

/// The server as it was when the snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Whether it ran.
    pub power: Power,
    /// Slug of its region.
    pub region_slug: String,
    /// Slug of its image.
    pub image_slug: String,
    /// Slug of its package.
    pub package_slug: String,
    /// Its IPv4 address.
    pub ipv4: Option<ServerIpv4>,
    /// Its IPv6 address.
    pub ipv6: Option<ServerIpv6>,
}

/// A snapshot as the house sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Whose it is.
    pub account: AccountId,
    /// The server that it was taken of, which may be gone.
    pub server: ServerId,
    /// The node that keeps it.
    pub node: NodeId,
    /// The region of that node.
    pub region: RegionId,
    /// What its owner calls it.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// How much of it is copied, percent.
    pub progress: u8,
    /// How far its content can be trusted, once it is whole.
    pub consistency: Option<Consistency>,
    /// Size of the disk that it holds, GiB.
    pub disk_gib: u64,
    /// Bytes that it takes on the node.
    pub size_bytes: u64,
    /// The server as it was.
    pub facts: Facts,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Operations under way that make, use or remove it.
    pub active_operations: Vec<i64>,
}

/// Checks that a package's disk can carry a snapshot.
///
/// Errors: `Invalid` for `package`, in the document's own words (cloude-api-v1, "Create from snapshot").
pub fn check_disk(snapshot_gib: u64, package_gib: u64) -> Result<()> {
    if package_gib >= snapshot_gib {
        return Ok(());
    }
    Err(Error::invalid(
        "package",
        format!(
            "The selected package disk size must be greater than or equal to the snapshot disk size. \
             ( {snapshot_gib}/{package_gib} GB )."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for phase in [Phase::Creating, Phase::Ready, Phase::Destroying, Phase::Destroyed] {
            assert_eq!(Phase::from_word(phase.as_str()), Some(phase));
        }
        for consistency in [Consistency::Stopped, Consistency::Filesystem, Consistency::Crash] {
            assert_eq!(Consistency::from_word(consistency.as_str()), Some(consistency));
        }
    }

    #[test]
    fn the_disk_rule_speaks_as_the_document_does() {
        assert!(check_disk(20, 20).is_ok());
        assert_eq!(
            check_disk(40, 20).unwrap_err().public,
            "The selected package disk size must be greater than or equal to the snapshot disk size. ( 40/20 GB )."
        );
    }
}
