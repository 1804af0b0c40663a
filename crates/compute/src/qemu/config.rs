//! What the QEMU driver is told by the operator's configuration.
//!
//! Plain data; nothing here looks at the host.

use super::network::RoutedConfig;
use crate::spec::Networking;
use std::path::PathBuf;

/// Which accelerator runs the guests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceleration {
    /// KVM when the processor has it and a probe guest proves it, else TCG.
    #[default]
    Auto,
    /// KVM, whatever a probe would say.
    Kvm,
    /// QEMU's own translator: works everywhere, several times slower.
    Tcg,
}

/// Settings of a [`QemuDriver`](super::QemuDriver).
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Where machines live, absolute: one directory `machines/<id>/` each.
    pub state_dir: PathBuf,
    /// Where sockets and pid files live, absolute and short (a socket's path has 107 bytes at most): one directory `<id>/` each.
    pub run_dir: PathBuf,
    /// The emulator: `qemu-system-x86_64`, by name or by path.
    pub binary: PathBuf,
    /// The image tool: `qemu-img`, by name or by path.
    pub qemu_img: PathBuf,
    /// Which accelerator runs the guests.
    pub acceleration: Acceleration,
    /// How machines are joined to the network; `None` takes routed taps where the host allows them, else user mode.
    pub networking: Option<Networking>,
    /// How the host is prepared for routed taps.
    pub routed: RoutedConfig,
    /// Root only: machine `id` runs as user and group `base + id`. `None` takes [`DEFAULT_UID_BASE`].
    pub machine_uid_base: Option<u32>,
    /// Cores that the node says it has; `None` asks the host.
    pub cpu: Option<u32>,
    /// Memory that the node says it has, MiB; `None` asks the host.
    pub memory_mib: Option<u64>,
    /// Space for disks that the node says it has, GiB; `None` asks the file system of `state_dir`.
    pub disk_gib: Option<u64>,
    /// Kernel and initial ram disk of the guest that proves KVM. Without them `Auto` takes TCG.
    pub probe_kernel: Option<(PathBuf, PathBuf)>,
}

/// The first user id of machines when the operator chose none: above every range that distributions hand out.
pub const DEFAULT_UID_BASE: u32 = 1_900_000_000;

impl QemuConfig {
    /// The usual settings for a pair of directories, both absolute.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            binary: "qemu-system-x86_64".into(),
            qemu_img: "qemu-img".into(),
            acceleration: Acceleration::Auto,
            networking: None,
            routed: RoutedConfig::default(),
            machine_uid_base: None,
            cpu: None,
            memory_mib: None,
            disk_gib: None,
            probe_kernel: None,
        }
    }
}
