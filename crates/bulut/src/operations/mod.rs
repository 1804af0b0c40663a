//! Durable operations: each a list of idempotent steps, carried out under a lease, undone when it cannot go on.
//!
//! One file per verb, named like it; [`engine`] walks the steps. Must not know: HTTP, or which engine runs machines.

pub mod engine;
pub mod machine;
mod server_create;
mod server_destroy;
mod server_hostname;
mod server_network;
mod server_password;
mod server_reboot;
mod server_reinstall;
mod server_restore;
mod server_start;
mod server_stop;
mod server_upgrade;
mod snapshot_create;
mod snapshot_destroy;
pub mod step;

use bulut_model::operation::OperationKind;
use step::Definition;

/// What carries out an operation of this kind.
pub fn definition(kind: OperationKind) -> &'static Definition {
    match kind {
        OperationKind::ServerCreate => &server_create::DEFINITION,
        OperationKind::ServerDestroy => &server_destroy::DEFINITION,
        OperationKind::ServerStart => &server_start::DEFINITION,
        OperationKind::ServerStop => &server_stop::DEFINITION,
        OperationKind::ServerReboot => &server_reboot::DEFINITION,
        OperationKind::ServerPassword => &server_password::DEFINITION,
        OperationKind::ServerUpgrade => &server_upgrade::DEFINITION,
        OperationKind::ServerRestore => &server_restore::DEFINITION,
        OperationKind::ServerReinstall => &server_reinstall::DEFINITION,
        OperationKind::ServerHostname => &server_hostname::DEFINITION,
        OperationKind::ServerNetwork => &server_network::DEFINITION,
        OperationKind::SnapshotCreate => &snapshot_create::DEFINITION,
        OperationKind::SnapshotDestroy => &snapshot_destroy::DEFINITION,
    }
}
