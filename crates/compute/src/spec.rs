//! What a machine should be: plain data that the control plane decides and a driver carries out.

use bulut_model::firewall::FirewallRule;
use bulut_model::{ServerId, SnapshotId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// How a driver joins a machine to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Networking {
    /// A tap per machine with host routes and anti-spoofing rules; needs root.
    Routed,
    /// QEMU's user-mode stack with the same static address inside and a forwarded ssh port; needs nothing.
    User,
}

/// What a driver can do, as data: the control plane asks here and never gets an "unsupported" error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// How machines are joined to the network.
    pub networking: Networking,
    /// Whether there is a VGA screen to show by VNC.
    pub vnc: bool,
    /// Whether there is a serial line to read and write.
    pub serial: bool,
    /// Whether the driver can ask an agent in the guest.
    pub agent: bool,
    /// Whether [`Nic::firewall`] and [`Nic::rates`] are held to, and further addresses are reached from outside. Without it
    /// they are kept and mean nothing.
    pub filters: bool,
}

/// How an image starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "boot", rename_all = "snake_case")]
pub enum Boot {
    /// From its own disk through the firmware.
    Disk,
    /// The hypervisor loads the kernel itself; the files lie beside the disk.
    Direct {
        /// Absolute path of the kernel on the node.
        kernel: PathBuf,
        /// Absolute path of the initial ram disk on the node.
        initrd: PathBuf,
        /// The kernel's command line.
        cmdline: String,
    },
}

/// An immutable base image on the node, named by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:` and 64 hexadecimal digits of the disk file.
    pub digest: String,
    /// Absolute path of the qcow2 file on the node; never changes once it is there.
    pub disk: PathBuf,
    /// How it starts.
    pub boot: Boot,
}

/// An IPv4 address as the guest configures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv4 {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Length of the network prefix, 0 to 32.
    pub prefix: u8,
    /// The gateway, inside the prefix.
    pub gateway: Ipv4Addr,
}

/// An IPv6 address as the guest configures it. The gateway is reached on-link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// The machine's address.
    pub address: Ipv6Addr,
    /// Length of the network prefix, 64 to 128: 128 where the machine has a single address. With a shorter one the whole
    /// network is the machine's: it is routed to it, and the machine may speak as any address in it.
    pub prefix: u8,
    /// The gateway (`fe80::1` with routed taps).
    pub gateway: Ipv6Addr,
}

/// One network interface. The MAC and the addresses are ours, always set, and the only ones it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Six octets, `52:54:00:…`, lower case.
    pub mac: String,
    /// The IPv4 address, if any.
    pub ipv4: Option<Ipv4>,
    /// Further IPv4 addresses, each routed to the machine by itself (a /32 in the guest). They need an [`Nic::ipv4`], whose
    /// gateway is theirs too.
    #[serde(default)]
    pub more_ipv4: Vec<Ipv4Addr>,
    /// The IPv6 address, if any.
    pub ipv6: Option<Ipv6>,
    /// DNS servers for the guest, in order of preference.
    pub resolvers: Vec<IpAddr>,
    /// Largest packet, bytes; 1500 unless the path has less.
    pub mtu: u16,
    /// Who may begin to speak to whom, in order; the first rule that fits decides, and what none fits is allowed.
    #[serde(default)]
    pub firewall: Vec<FirewallRule>,
    /// How fast it may be.
    #[serde(default)]
    pub rates: Rates,
}

impl Nic {
    /// All addresses of the machine: IPv4 with the further ones, then IPv6.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.ipv4.iter().flat_map(|own| std::iter::once(&own.address).chain(&self.more_ipv4));
        v4.map(|it| IpAddr::V4(*it)).chain(self.ipv6.map(|it| it.address.into())).collect()
    }
}

/// The network of a pool of addresses, which machines of this node may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolNetwork {
    /// An address in it.
    pub address: IpAddr,
    /// Length of its prefix, 0 to 32 or to 128.
    pub prefix: u8,
    /// Whether its addresses mean nothing outside: then what leaves the node is masqueraded.
    pub private: bool,
}

/// How fast a machine's network is, bits per second on the wire; 0 is as fast as it can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// What the machine sends.
    pub up_bps: u64,
    /// What the machine receives.
    pub down_bps: u64,
}

/// A text that must never be printed: passwords in a seed. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A new root password that the guest sets at its next boot and says so on its serial line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChange {
    /// The password as in `/etc/shadow` (`$6$…`).
    pub hash: Secret,
    /// Letters and digits that no earlier change had.
    pub nonce: String,
}

impl PasswordChange {
    /// The line that the guest writes to its serial line once `/etc/shadow` holds the password.
    pub fn confirmation(&self) -> String {
        format!("bulut: root password {} is set", self.nonce)
    }
}

/// What cloud-init is told at the first boot of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Changes whenever the guest has to set itself up anew (a new disk); stable otherwise.
    pub instance_id: String,
    /// RFC 1123 host name, possibly fully qualified.
    pub hostname: String,
    /// The host name is another one than when the instance began: the guest takes it at its next boot, once.
    #[serde(default)]
    pub renamed: bool,
    /// OpenSSH public key lines for root.
    pub ssh_keys: Vec<String>,
    /// Root's password, plain; `None` locks it.
    pub root_password: Option<Secret>,
    /// The customer's user-data, decoded: a script, a cloud-config, a MIME multipart document, or gzip of one.
    pub user_data: Option<Vec<u8>>,
    /// The cloud-config of the application that the image is, merged between ours and the customer's.
    #[serde(default)]
    pub recipe: Option<String>,
    /// The disk is a copy of another server's: the guest gives itself a machine-id of its own, once.
    #[serde(default)]
    pub fresh_identity: bool,
    /// A password to be changed at the next boot.
    #[serde(default)]
    pub password_change: Option<PasswordChange>,
}

/// Everything a driver needs to make a machine, and to make it again after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Our id; whatever the driver makes has a name derived from it.
    pub id: ServerId,
    /// Virtual CPUs, at least 1.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Size of the root disk, GiB; a disk never shrinks.
    pub disk_gib: u64,
    /// What the disk starts from, and how the machine boots.
    pub image: Image,
    /// The disk starts from this snapshot instead of the image's own disk.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// The interface.
    pub nic: Nic,
    /// What the guest is told at its first boot.
    pub seed: Seed,
}
