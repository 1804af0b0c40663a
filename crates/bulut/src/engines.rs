//! Which engine runs this host's machines: the one place that knows them by name.

use crate::app::App;
use crate::config::Config;
use crate::domain::address_pools;
use anyhow::Context as _;
use bulut_compute::qemu::{Acceleration, QemuConfig, QemuDriver};
use bulut_compute::simulated::{Simulated, SimulatedConfig, World};
use bulut_compute::{Driver, Networking};
use bulut_store::{addresses, images};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Opens the driver that the settings name.
///
/// Errors: the driver's own sentence.
pub async fn open_driver(app: &App) -> anyhow::Result<Arc<dyn Driver>> {
    let config = app.config();
    if config.driver == "simulated" {
        let [cpu, memory_mib, disk_gib] = config.simulated_size[..] else {
            anyhow::bail!("simulated_size must be three numbers");
        };
        let size = SimulatedConfig {
            cpu: u32::try_from(cpu)?,
            memory_mib,
            disk_gib,
            keep_specs: false,
            ..SimulatedConfig::default()
        };
        let world = World::persistent(&config.state)?;
        return Ok(Simulated::open(size, world));
    }
    if nix::unistd::geteuid().is_root() && config.networking != "user" {
        own_the_network()?;
    } else {
        let run_dir = config.run_dir();
        ensure_private(run_dir.parent().unwrap_or(&run_dir))?;
    }
    let driver = QemuDriver::open(qemu_config(app).await?).await.context("the QEMU driver cannot start")?;
    Ok(driver)
}

/// Taps and rules of routed networking belong to one cloud at a time in each network namespace: a second one
/// would take the first one's for its own. Held until the process ends.
fn own_the_network() -> anyhow::Result<()> {
    static OWNED: OnceLock<Flock<File>> = OnceLock::new();
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino());
    let path = PathBuf::from(format!("/run/bulut-network-{namespace}.lock"));
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow::anyhow!(
            "another bulut joins machines to this host's network already: stop it, or set networking to user"
        )
    })?;
    OWNED.get_or_init(|| lock);
    Ok(())
}

/// A directory below which sockets lie has to be ours alone: whoever may rename in it could put theirs in the
/// place of ours. Directories that somebody else keeps (a parent of a chosen run_dir) are not our business.
fn ensure_private(dir: &Path) -> anyhow::Result<()> {
    if !dir.starts_with("/tmp") || dir == Path::new("/tmp") {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = std::fs::symlink_metadata(dir)?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    anyhow::ensure!(
        ours,
        "{} is not a directory of this user alone: remove it, or set run_dir to another one",
        dir.display()
    );
    Ok(())
}

/// The QEMU driver's settings; the images that boot directly lend their kernel to the probe of KVM.
pub async fn qemu_config(app: &App) -> anyhow::Result<QemuConfig> {
    let config = app.config();
    let mut qemu = base_qemu_config(config);
    qemu.routed.pools = address_pools::networks(&addresses::all_pools(app.store()).await?);
    for image in images::list(app.store()).await? {
        if let Some(files) = image.files
            && let Some(direct) = files.direct
        {
            let dir = config.images_dir().join(&files.directory);
            qemu.probe_kernel = Some((dir.join(direct.kernel), dir.join(direct.initrd)));
        }
    }
    Ok(qemu)
}

/// The QEMU driver's settings that need no database.
pub fn base_qemu_config(config: &Config) -> QemuConfig {
    let mut qemu = QemuConfig::new(&config.state, config.run_dir());
    qemu.binary.clone_from(&config.qemu);
    qemu.qemu_img.clone_from(&config.qemu_img);
    qemu.acceleration = match config.acceleration.as_str() {
        "kvm" => Acceleration::Kvm,
        "tcg" => Acceleration::Tcg,
        _ => Acceleration::Auto,
    };
    qemu.networking = match config.networking.as_str() {
        "routed" => Some(Networking::Routed),
        "user" => Some(Networking::User),
        _ => None,
    };
    qemu.routed.mtu = config.guest_mtu;
    qemu.machine_uid_base = Some(config.machine_uid_base);
    qemu
}
