//! Which engine runs this host's machines: the one place that knows them by name.

use crate::app::App;
use crate::config::Config;
use anyhow::Context as _;
use bulut_compute::qemu::{Acceleration, QemuConfig, QemuDriver};
use bulut_compute::simulated::{Simulated, SimulatedConfig, World};
use bulut_compute::{Driver, Networking};
use bulut_store::images;
use std::sync::Arc;

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
    let driver = QemuDriver::open(qemu_config(app).await?).await.context("the QEMU driver cannot start")?;
    Ok(driver)
}

/// The QEMU driver's settings; the images that boot directly lend their kernel to the probe of KVM.
pub async fn qemu_config(app: &App) -> anyhow::Result<QemuConfig> {
    let config = app.config();
    let mut qemu = base_qemu_config(config);
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
    qemu.machine_uid_base = Some(config.machine_uid_base);
    qemu
}
