//! Which accelerator runs the guests, and why.
//!
//! An openable `/dev/kvm` proves little: where virtualisation is nested badly the firmware runs and the kernel hangs.
//! So KVM is taken only when the processor claims it, the device opens, and a probe guest reaches user space.

use super::config::{Acceleration, QemuConfig};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

/// How long the probe guest may take: a kernel is in user space after one or two seconds under a KVM that works.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// The device, and what opening it needs.
pub const DEVICE: &str = "/dev/kvm";

/// The accelerator and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// KVM, else TCG.
    pub kvm: bool,
    /// For the log and the doctor.
    pub reason: String,
}

impl Choice {
    fn tcg(reason: impl Into<String>) -> Self {
        Self { kvm: false, reason: reason.into() }
    }

    fn kvm(reason: impl Into<String>) -> Self {
        Self { kvm: true, reason: reason.into() }
    }

    /// `kvm` or `tcg`.
    pub fn name(&self) -> &'static str {
        if self.kvm { "kvm" } else { "tcg" }
    }
}

/// Decides. What `Auto` finds out is remembered as long as this process lives.
pub async fn choose(config: &QemuConfig, binary: &Path) -> Choice {
    static FOUND: OnceCell<Choice> = OnceCell::const_new();
    match config.acceleration {
        Acceleration::Kvm => Choice::kvm("the configuration says so"),
        Acceleration::Tcg => Choice::tcg("the configuration says so"),
        Acceleration::Auto => FOUND.get_or_init(|| find(config, binary)).await.clone(),
    }
}

async fn find(config: &QemuConfig, binary: &Path) -> Choice {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !virtualises(&flags) {
        return Choice::tcg("the processor offers no virtualisation (neither vmx nor svm in /proc/cpuinfo)");
    }
    if let Err(e) = fs::OpenOptions::new().read(true).write(true).open(DEVICE) {
        return Choice::tcg(format!("{DEVICE} cannot be opened: {e}"));
    }
    let Some((kernel, initrd)) = &config.probe_kernel else {
        return Choice::tcg("there is no probe guest to prove that KVM really works");
    };
    match probe(binary, "kvm", kernel, initrd, PROBE_LIMIT).await {
        Ok(()) => Choice::kvm("a probe guest reached user space"),
        Err(why) => Choice::tcg(format!("the probe guest failed under KVM: {why}")),
    }
}

/// Whether the processor claims to virtualise.
fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// Boots a kernel and waits until its first process has run.
async fn probe(
    binary: &Path,
    accel: &str,
    kernel: &Path,
    initrd: &Path,
    limit: Duration,
) -> Result<(), String> {
    let mut child = tokio::process::Command::new(binary)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
            "q35",
            "-m",
            "256",
        ])
        .args(["-accel", accel, "-cpu", if accel == "kvm" { "host" } else { "max" }, "-serial", "stdio"])
        // An empty root disk: the guest need not wait for one, fails to mount it and says so.
        .args(["-blockdev", "driver=null-co,node-name=none,size=1048576,read-zeroes=on"])
        .args(["-device", "virtio-blk-pci,drive=none"])
        .args(["-append", "root=/dev/vda console=ttyS0,115200 panic=-1 no_timer_check"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    let Some(mut output) = child.stdout.take() else { return Err("it has no output".into()) };
    let mut text = String::new();
    let watched = tokio::time::timeout(limit, async {
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buffer).await {
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
            if in_user_space(&text) {
                return true;
            }
        }
        false
    })
    .await;
    // Killed and reaped whatever came out; a process that has ended already is fine.
    let _ = child.kill().await;
    match watched {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("it ended early: {}", text.lines().last().unwrap_or("without a word"))),
        Err(_) => Err(format!("it did not reach user space within {} s", limit.as_secs())),
    }
}

/// Whether a kernel's console shows that its first process ran: it ended, or something else than the kernel spoke
/// after the kernel had started it.
fn in_user_space(console: &str) -> bool {
    if console.contains("Attempted to kill init!") {
        return true;
    }
    let Some(begun) = console.find(" as init process") else { return false };
    let after = console[begun..].split_once('\n').map_or("", |(_, after)| after);
    // Only whole lines are judged; the kernel's begin with a time stamp.
    let whole = after.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_a_word_of_the_flags() {
        assert!(virtualises("processor: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(virtualises("flags\t\t: fpu svm\n"));
        assert!(!virtualises("flags\t\t: fpu vmxoff sse\nvmx flags\t: svm\nmodel name: vmx\n"));
    }

    #[tokio::test]
    async fn a_probe_guest_is_seen_to_live_and_seen_to_fail() {
        let Some(images) = std::env::var_os("BULUT_TEST_IMAGES") else { return };
        let tiny = std::path::PathBuf::from(images).join("tiny");
        let (kernel, initrd) = (tiny.join("vmlinuz"), tiny.join("initrd.img"));
        let qemu = Path::new("qemu-system-x86_64");
        probe(qemu, "tcg", &kernel, &initrd, Duration::from_secs(120)).await.unwrap();
        let slow = probe(qemu, "tcg", &kernel, &initrd, Duration::from_millis(100)).await;
        assert!(slow.unwrap_err().contains("did not reach user space"));
        let broken = probe(qemu, "tcg", Path::new("/etc/hostname"), &initrd, Duration::from_secs(60)).await;
        assert!(broken.unwrap_err().contains("ended early"));
    }

    #[test]
    fn user_space_is_what_speaks_after_the_kernel_started_it() {
        let kernel = "[    0.1] Linux version 6\n[    1.0] Run /init as init process\n";
        assert!(!in_user_space(kernel));
        assert!(!in_user_space(&format!("{kernel}[    1.1]   with arguments:\n")));
        assert!(!in_user_space(&format!("{kernel}[    1.1] x\nhel")), "half a line proves nothing");
        assert!(in_user_space(&format!("{kernel}hello\n")));
        assert!(in_user_space("[    1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0\n"));
    }
}
