//! Operations: one durable change each, shown as an event (Cloude) and a task (Cloud at Cost).
//!
//! ```text
//!  queued ──claim──▶ running ──last step──▶ done            (status 1)
//!    ▲                 │  │
//!    └── retry later ──┘  └─ fatal, limit ─▶ undoing ──first step undone──▶ undone (status -1)
//! ```

use crate::{AccountId, OperationId, ServerId, SnapshotId, Timestamp};
use serde::{Deserialize, Serialize};

/// What an operation does. One name everywhere: file, database, log and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A new server.
    ServerCreate,
    /// The end of a server.
    ServerDestroy,
    /// Power on.
    ServerStart,
    /// Power off, gracefully first.
    ServerStop,
    /// Restart of the guest.
    ServerReboot,
    /// A new root password in the guest.
    ServerPassword,
    /// Another size.
    ServerUpgrade,
    /// The disk becomes a snapshot's again.
    ServerRestore,
    /// A new disk from an image; id, addresses and keys stay.
    ServerReinstall,
    /// Another host name in the guest, and the name that its addresses lead back to.
    ServerHostname,
    /// Another network: firewall, addresses, rates.
    ServerNetwork,
    /// A snapshot of a server's disk.
    SnapshotCreate,
    /// The end of a snapshot.
    SnapshotDestroy,
}

impl OperationKind {
    /// All of them, for tests and metrics that walk the registry.
    pub const ALL: [Self; 13] = [
        Self::ServerCreate,
        Self::ServerDestroy,
        Self::ServerStart,
        Self::ServerStop,
        Self::ServerReboot,
        Self::ServerPassword,
        Self::ServerUpgrade,
        Self::ServerRestore,
        Self::ServerReinstall,
        Self::ServerHostname,
        Self::ServerNetwork,
        Self::SnapshotCreate,
        Self::SnapshotDestroy,
    ];

    /// The name in the database, the log and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerCreate => "server_create",
            Self::ServerDestroy => "server_destroy",
            Self::ServerStart => "server_start",
            Self::ServerStop => "server_stop",
            Self::ServerReboot => "server_reboot",
            Self::ServerPassword => "server_password",
            Self::ServerUpgrade => "server_upgrade",
            Self::ServerRestore => "server_restore",
            Self::ServerReinstall => "server_reinstall",
            Self::ServerHostname => "server_hostname",
            Self::ServerNetwork => "server_network",
            Self::SnapshotCreate => "snapshot_create",
            Self::SnapshotDestroy => "snapshot_destroy",
        }
    }

    /// The reverse of [`OperationKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether it holds its server, so that no other operation may: all but the end of a snapshot, which touches
    /// no server.
    pub const fn holds_server(self) -> bool {
        !matches!(self, Self::SnapshotDestroy)
    }

    /// The event type of the Cloude document ("EVENT TYPES"); those of snapshots follow its pattern.
    pub const fn event(self) -> &'static str {
        match self {
            Self::ServerCreate => "VM.CREATE",
            Self::ServerDestroy => "VM.DESTROY",
            Self::ServerStart => "VM.START",
            Self::ServerStop => "VM.STOP",
            Self::ServerReboot => "VM.REBOOT",
            Self::ServerPassword | Self::ServerReinstall | Self::ServerHostname | Self::ServerNetwork => {
                "VM.UPDATE"
            }
            Self::ServerUpgrade => "VM.UPGRADE",
            Self::ServerRestore => "VM.RESTORE",
            Self::SnapshotCreate => "SNAPSHOT.CREATE",
            Self::SnapshotDestroy => "SNAPSHOT.DESTROY",
        }
    }
}

/// How an operation ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Under way (or being undone).
    Running,
    /// Done, and seen on the machine.
    Success,
    /// Not done; what it made is gone again.
    Error,
}

impl Status {
    /// The number in the Cloude document: 0 running, 1 success, -1 error.
    pub const fn code(self) -> i64 {
        match self {
            Self::Running => 0,
            Self::Success => 1,
            Self::Error => -1,
        }
    }

    /// The reverse of [`Status::code`].
    pub const fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Running,
            1 => Self::Success,
            _ => Self::Error,
        }
    }
}

/// An operation as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Whose it is.
    pub account: AccountId,
    /// The server that it is about.
    pub server: ServerId,
    /// The snapshot that it makes, uses or removes.
    pub snapshot: Option<SnapshotId>,
    /// What it does.
    pub kind: OperationKind,
    /// How it ended, or that it has not.
    pub status: Status,
    /// For a failed one: a sentence that says why.
    pub message: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_go_both_ways() {
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::from_word(kind.as_str()), Some(kind));
        }
        for status in [Status::Running, Status::Success, Status::Error] {
            assert_eq!(Status::from_code(status.code()), status);
        }
    }
}
