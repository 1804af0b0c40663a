//! Room: the command line. The doctor's look at what runs machines: QEMU, its accelerator, the network.
//!
//! Promises: KVM is judged by the driver's own probe, the one that decides in `bulut serve`; what the probe needs is
//! made in a directory of its own, which goes again.

use super::{Finding, Level};
use crate::config::Config;
use crate::engines;
use bulut_compute::Driver as _;
use bulut_compute::qemu::{QemuDriver, network};
use bulut_compute::{Networking, Probe};
use bulut_model::catalog::Image;
use std::path::{Path, PathBuf};

/// The oldest QEMU that is supported: Debian 12's.
const OLDEST: (u32, u32) = (7, 2);

/// Checks what runs machines.
pub async fn check(config: &Config, images: &[Image]) -> Vec<Finding> {
    if config.driver != "qemu" {
        let found = format!("the driver is {}: machines are not real", config.driver);
        return vec![Finding::warn("driver", found, "set driver = \"qemu\" (BULUT_DRIVER) for real ones")];
    }
    let emulator = version("QEMU", &config.qemu, "apt-get install qemu-system-x86").await;
    let broken = emulator.level == Level::Fail;
    let mut findings =
        vec![emulator, version("qemu-img", &config.qemu_img, "apt-get install qemu-utils").await];
    if !broken {
        findings.push(acceleration(config, images).await);
    }
    findings.push(tun());
    findings.push(networking(config).await);
    findings
}

async fn version(check: &'static str, program: &Path, mend: &str) -> Finding {
    let output = tokio::process::Command::new(program).arg("--version").kill_on_drop(true).output().await;
    let said = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(why) => return Finding::fail(check, format!("cannot run {}: {why}", program.display()), mend),
    };
    judge_version(check, &said, mend)
}

fn judge_version(check: &'static str, said: &str, mend: &str) -> Finding {
    let oldest = format!("at least {}.{} is needed", OLDEST.0, OLDEST.1);
    let Some(number) = said.split_once("version ").and_then(|(_, rest)| rest.split_ascii_whitespace().next())
    else {
        return Finding::fail(check, format!("it does not tell its version; {oldest}"), mend);
    };
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST {
        return Finding::fail(check, format!("version {number}; {oldest}"), mend);
    }
    Finding::ok(check, format!("version {number}"))
}

/// Asks the driver itself, in a directory in which there are no machines.
async fn acceleration(config: &Config, images: &[Image]) -> Finding {
    match probe(config, images).await {
        Ok(probe) if probe.acceleration == "kvm" => {
            Finding::ok("acceleration", format!("KVM: {}", probe.reason))
        }
        Ok(probe) => Finding::warn(
            "acceleration",
            format!("{}: {}", probe.acceleration.to_uppercase(), probe.reason),
            mend_acceleration(&probe, config),
        ),
        Err(why) => Finding::fail("acceleration", why, "the lines above may say what is missing"),
    }
}

fn mend_acceleration(probe: &Probe, config: &Config) -> String {
    if config.acceleration == "tcg" {
        return "guests run several times slower; acceleration = \"auto\" (BULUT_ACCELERATION) uses KVM where it works".into();
    }
    let what = if probe.reason.contains("probe guest to prove") {
        "bulut image build tiny makes the guest that can prove KVM"
    } else if probe.reason.contains("cannot be opened") {
        "load the module (modprobe kvm_intel or kvm_amd), and let this user open the device (group kvm)"
    } else {
        "turn virtualisation on in the firmware; in a virtual machine, let its host nest"
    };
    format!("guests run several times slower; {what}")
}

async fn probe(config: &Config, images: &[Image]) -> Result<Probe, String> {
    let mut qemu = engines::base_qemu_config(config);
    let direct = images.iter().filter_map(|image| image.files.as_ref()).find_map(|files| {
        let dir = config.images_dir().join(&files.directory);
        files.direct.as_ref().map(|direct| (dir.join(&direct.kernel), dir.join(&direct.initrd)))
    });
    let scratch = Scratch::make().map_err(|why| format!("cannot make a directory to try it in: {why}"))?;
    qemu.probe_kernel = direct.or(qemu.probe_kernel);
    qemu.state_dir = scratch.0.join("state");
    qemu.run_dir = scratch.0.join("run");
    // The network is another check.
    qemu.networking = Some(Networking::User);
    let driver = QemuDriver::open(qemu).await.map_err(|why| why.to_string())?;
    driver.probe().await.map_err(|why| why.to_string())
}

/// A directory that goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> std::io::Result<Self> {
        // One name for all runs: the driver derives the names of other things from it, and those do not pile up.
        let dir = std::env::temp_dir().join(format!("bulut-doctor-{}", nix::unistd::geteuid()));
        match std::fs::remove_dir_all(&dir) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        // Fails when somebody else has put something there meanwhile.
        std::fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn tun() -> Finding {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    match opened {
        Ok(_) => Finding::ok("tun", "/dev/net/tun can be opened"),
        Err(why) => {
            let mend = match why.kind() {
                std::io::ErrorKind::PermissionDenied => "run as root; user networking does without it",
                _ => "modprobe tun",
            };
            Finding::warn("tun", format!("/dev/net/tun cannot be opened: {why}"), mend)
        }
    }
}

async fn networking(config: &Config) -> Finding {
    if config.networking == "user" {
        let found =
            "user mode, as the settings say: an ssh port on loopback for each server, no other way in";
        return Finding::ok("networking", found);
    }
    let possible = tokio::task::spawn_blocking(network::routed_possible).await;
    match possible {
        Ok(Ok(())) => Finding::ok("networking", "routed: an address of its own for each server, guarded"),
        Ok(Err(why)) if config.networking == "routed" => Finding::fail(
            "networking",
            format!("routed networking is set, but: {why}"),
            "or set networking = \"auto\"",
        ),
        Ok(Err(why)) => Finding::warn(
            "networking",
            "user mode: an ssh port on loopback for each server, no other way in",
            format!("for addresses of their own: {why}"),
        ),
        Err(why) => Finding::fail("networking", format!("the check was cut short: {why}"), "try again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let level = |said: &str| judge_version("QEMU", said, "apt").level;
        assert_eq!(level("QEMU emulator version 10.0.2 (Debian 1:10.0.2)"), Level::Ok);
        assert_eq!(level("QEMU emulator version 7.2.22"), Level::Ok);
        assert_eq!(level("qemu-img version 7.1.0"), Level::Fail);
        assert_eq!(level("something else"), Level::Fail);
    }
}
