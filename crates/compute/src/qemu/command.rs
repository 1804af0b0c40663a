//! QEMU's command line: a pure function of what the machine should be and of what the node is.
//!
//! Names inside QEMU are fixed, so that every later command can rely on them: block nodes `root-q` and `seed-r`,
//! devices `root`, `nic0` and `seed`, the network backend `n0`. Paths of the machine's own files are relative to its directory,
//! those of sockets are absolute. Nothing secret may stand here: every user of the host can read it.

use crate::MachineSpec;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the machine's specification does not say.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether KVM runs it; else TCG.
    pub kvm: bool,
    /// The directory of its sockets, absolute.
    pub run: PathBuf,
    /// The pid file, absolute.
    pub pidfile: PathBuf,
    /// The whole argument of `-netdev`; its id is `n0`.
    pub netdev: String,
    /// Arguments of `-object` that have to do with it.
    pub filters: Vec<String>,
    /// Kernel and initial ram disk as seen from the machine's directory, and the kernel's command line.
    pub direct: Option<(PathBuf, PathBuf, String)>,
}

/// The translator's cache, MiB. Left alone QEMU takes up to 1 GiB and never gives it back: an idle tiny guest then
/// is 60 MB larger. Too small a cache is thrown away whole each time it is full, which slows large guests, so it
/// grows with the guest.
pub fn translation_cache_mib(memory_mib: u64) -> u64 {
    (memory_mib / 8).clamp(32, 128)
}

/// What the process may take beyond the guest's memory, MiB.
pub fn overhead_mib(kvm: bool, memory_mib: u64) -> u64 {
    let cache = if kvm { 0 } else { translation_cache_mib(memory_mib) };
    256 + cache
}

/// The arguments after the program's name.
pub fn arguments(spec: &MachineSpec, facts: &Facts) -> Vec<OsString> {
    let mut line = Line::default();
    base(&mut line, spec, facts);
    disks(&mut line);
    devices(&mut line, spec, facts);
    if let Some((kernel, initrd, cmdline)) = &facts.direct {
        line.plain("-kernel", kernel);
        line.plain("-initrd", initrd);
        line.add("-append", cmdline);
    }
    line.plain("-pidfile", &facts.pidfile);
    line.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.0
}

/// The machine itself.
fn base(line: &mut Line, spec: &MachineSpec, facts: &Facts) {
    let name = format!("bulut-{}", spec.id);
    line.add("-name", &format!("guest={name},process={name}"));
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.add("-machine", "q35");
    if facts.kvm {
        line.add("-accel", "kvm");
        line.add("-cpu", "host");
    } else {
        line.add("-accel", &format!("tcg,thread=multi,tb-size={}", translation_cache_mib(spec.memory_mib)));
        line.add("-cpu", "max");
    }
    line.add("-smp", &format!("cpus={0},sockets=1,cores={0},threads=1", spec.cpu.max(1)));
    line.add("-m", &format!("size={}M", spec.memory_mib));
    line.add("-rtc", "base=utc");
    line.add("-msg", "timestamp=on");
    // A guest that sleeps looks dead to its owner, and nobody could wake it.
    line.add("-global", "ICH9-LPC.disable_s3=1");
    line.add("-global", "ICH9-LPC.disable_s4=1");
}

/// The root disk and the seed.
fn disks(line: &mut Line) {
    line.add("-blockdev", "driver=file,filename=disk.qcow2,node-name=root-f,discard=unmap");
    line.add("-blockdev", "driver=qcow2,file=root-f,node-name=root-q,discard=unmap");
    line.add("-device", "virtio-blk-pci,drive=root-q,id=root,bootindex=1");
    line.add("-blockdev", "driver=file,filename=seed.iso,node-name=seed-f,read-only=on");
    line.add("-blockdev", "driver=raw,file=seed-f,node-name=seed-r,read-only=on");
    line.add("-device", "virtio-blk-pci,drive=seed-r,id=seed");
}

/// Network, agent, randomness, consoles, monitors.
fn devices(line: &mut Line, spec: &MachineSpec, facts: &Facts) {
    let socket = |name: &str| value(&facts.run.join(name));
    line.add("-netdev", &facts.netdev);
    for filter in &facts.filters {
        line.add("-object", filter);
    }
    line.add("-device", &format!("virtio-net-pci,netdev=n0,id=nic0,mac={},romfile=", spec.nic.mac));
    line.flag_with("-chardev", concat("socket,id=qga,server=on,wait=off,path=", &socket("qga.sock")));
    line.add("-device", "virtio-serial-pci");
    line.add("-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0");
    line.add("-object", "rng-random,id=rng0,filename=/dev/urandom");
    line.add("-device", "virtio-rng-pci,rng=rng0");
    let serial = "socket,id=ser0,server=on,wait=off,logfile=serial.log,logappend=on,path=";
    line.flag_with("-chardev", concat(serial, &socket("serial.sock")));
    line.add("-serial", "chardev:ser0");
    line.add("-device", "VGA");
    line.flag_with("-vnc", concat("unix:", &socket("vnc.sock")));
    line.flag_with("-chardev", concat("socket,id=qmp0,server=on,wait=off,path=", &socket("qmp.sock")));
    line.add("-mon", "chardev=qmp0,mode=control");
    // For people on the node; the first one is the driver's, and a monitor serves one client at a time.
    line.flag_with("-chardev", concat("socket,id=mon0,server=on,wait=off,path=", &socket("mon.sock")));
    line.add("-mon", "chardev=mon0,mode=readline");
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn add(&mut self, flag: &str, value: &str) {
        self.0.extend([flag.into(), value.into()]);
    }

    fn plain(&mut self, flag: &str, path: &Path) {
        self.0.extend([flag.into(), path.into()]);
    }

    fn flag_with(&mut self, flag: &str, value: OsString) {
        self.0.extend([flag.into(), value]);
    }
}

/// A path inside an option list, where a comma has to be doubled.
fn value(path: &Path) -> OsString {
    let mut escaped = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        escaped.push(*byte);
        if *byte == b',' {
            escaped.push(b',');
        }
    }
    OsString::from_vec(escaped)
}

fn concat(before: &str, value: &OsString) -> OsString {
    let mut all = OsString::from(before);
    all.push(value);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Boot, Image, Nic, Rates, Secret, Seed};
    use bulut_model::ServerId;

    fn spec() -> MachineSpec {
        MachineSpec {
            id: ServerId(7),
            cpu: 2,
            memory_mib: 512,
            disk_gib: 1,
            image: Image { digest: "sha256:00".into(), disk: "/i/disk.qcow2".into(), boot: Boot::Disk },
            snapshot: None,
            nic: Nic {
                mac: "52:54:00:00:00:07".into(),
                ipv4: None,
                ipv6: None,
                resolvers: Vec::new(),
                more_ipv4: vec![],
                mtu: 1500,
                firewall: vec![],
                rates: Rates::default(),
            },
            seed: Seed {
                instance_id: "i".into(),
                hostname: "h".into(),
                renamed: false,
                ssh_keys: Vec::new(),
                root_password: Some(Secret("very-secret".into())),
                user_data: Some(b"also-secret".to_vec()),
                recipe: None,
                fresh_identity: false,
                password_change: None,
            },
        }
    }

    fn facts() -> Facts {
        Facts {
            kvm: false,
            run: "/run/b/7".into(),
            pidfile: "/run/b/7/pid/qemu.pid".into(),
            netdev: "tap,id=n0,fd=9".into(),
            filters: Vec::new(),
            direct: None,
        }
    }

    fn text(spec: &MachineSpec, facts: &Facts) -> String {
        arguments(spec, facts).join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn under_tcg() {
        let text = text(&spec(), &facts());
        for wanted in [
            "-machine q35 -accel tcg,thread=multi,tb-size=64 -cpu max -smp cpus=2,",
            "-m size=512M",
            "-netdev tap,id=n0,fd=9 -device virtio-net-pci,netdev=n0,id=nic0,mac=52:54:00:00:00:07,romfile=",
            "-chardev socket,id=qmp0,server=on,wait=off,path=/run/b/7/qmp.sock",
            "-pidfile /run/b/7/pid/qemu.pid",
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("-daemonize") && !text.contains("-kernel"));
    }

    #[test]
    fn under_kvm_with_its_own_kernel() {
        let direct = Some(("../../images/k".into(), "/abs/i".into(), "root=/dev/vda1 ro".into()));
        let text = text(&spec(), &Facts { kvm: true, direct, ..facts() });
        assert!(text.contains("-accel kvm -cpu host"));
        assert!(text.contains("-kernel ../../images/k -initrd /abs/i -append root=/dev/vda1 ro -pidfile"));
    }

    #[test]
    fn nothing_secret_is_on_the_line() {
        let text = text(&spec(), &facts());
        assert!(!text.contains("secret"));
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let text = text(&spec(), &Facts { run: "/run/a,b".into(), ..facts() });
        assert!(text.contains("path=/run/a,,b/qmp.sock"));
    }

    #[test]
    fn the_cache_grows_with_the_guest_within_bounds() {
        assert_eq!([64, 512, 65_536].map(translation_cache_mib), [32, 64, 128]);
        assert!(overhead_mib(false, 64) >= 256 && overhead_mib(true, 64) >= 256);
    }
}
