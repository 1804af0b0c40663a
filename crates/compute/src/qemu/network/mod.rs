//! How machines are joined to the network: routed taps where there is root, user mode where there is none.
//!
//! Promises: one tap, one set of rules and one set of routes per machine, named after its id; `ensure` makes what is
//! missing, mends what drifted and leaves the rest alone; `keep` sees what drifted; `remove` leaves nothing. A guest is
//! never joined without the rules that keep it from speaking as another. Must not know: QEMU.
//!
//! Everything acts in the network namespace of the thread that calls it.

mod drift;
mod firewall;
mod forgeries;
pub mod lengths;
mod links;
mod nfnetlink;
mod nft;
mod rules;
mod shape;
mod sysctls;
mod tap;
pub mod user;

pub use tap::TapHandle;

use crate::{DriverError, Nic};
use bulut_model::ServerId;
use drift::Known;
use links::Links;
use std::collections::BTreeSet;
use std::net::IpAddr;
use tokio::sync::Mutex;

/// How the host is prepared.
#[derive(Debug, Clone, Default)]
pub struct RoutedConfig {
    /// Private pools, as address and prefix length: they are masqueraded when they leave the host.
    pub nat_sources: Vec<(IpAddr, u8)>,
}

/// What passed a machine's tap since the tap was made. It outlives restarts of the guest, so a driver that counts
/// by epoch subtracts what was there when the epoch began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Bytes that the guest sent, forged frames included.
    pub sent_bytes: u64,
    /// Frames dropped because the guest had no right to send them.
    pub forged_frames: u64,
}

/// Routed networking of this host.
#[derive(Debug)]
pub struct Routed {
    links: Links,
    /// Held while rules are changed or compared.
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    /// The networks that are masqueraded.
    masqueraded: Vec<(IpAddr, u8)>,
    known: Known,
}

impl Rules {
    /// Makes the host's own rules.
    async fn make_host(&mut self) -> Result<(), DriverError> {
        let before = drift::generation()?;
        nft::apply(&rules::host(&self.masqueraded)).await?;
        self.known.remember_host(before)
    }
}

impl Routed {
    /// Prepares the host: forwarding, the rules that hold for all taps, masquerading. May be done again at any time.
    ///
    /// # Errors
    /// `Fatal` without the rights or the kernel's support (see [`routed_possible`]).
    pub async fn new(config: RoutedConfig) -> Result<Self, DriverError> {
        check_networks(&config.nat_sources)?;
        sysctls::forward()?;
        let mut rules = Rules { masqueraded: config.nat_sources, known: Known::default() };
        rules.make_host().await?;
        Ok(Self { links: Links::open()?, rules: Mutex::new(rules) })
    }

    /// Replaces the host's own rules: another list of networks that are masqueraded.
    ///
    /// # Errors
    /// `Fatal` for what is no network, `Retry` when the kernel refuses for now.
    pub async fn masquerade(&self, networks: &[(IpAddr, u8)]) -> Result<(), DriverError> {
        let mut rules = self.rules.lock().await;
        if rules.masqueraded == networks {
            return Ok(());
        }
        check_networks(networks)?;
        let before = std::mem::replace(&mut rules.masqueraded, networks.to_vec());
        let made = rules.make_host().await;
        if made.is_err() {
            rules.masqueraded = before;
        }
        made
    }

    /// Makes or mends the tap of a server with its addresses, routes, neighbours and rules.
    ///
    /// # Errors
    /// `Fatal` for an interface that cannot be (a wrong MAC, a name taken by another link), else `Retry`.
    pub async fn ensure(&self, id: ServerId, nic: &Nic) -> Result<(), DriverError> {
        let name = tap::name(id)?;
        links::mac(&nic.mac)?;
        let before = self.links.find(&name).await?;
        if let Some(tap) = &before {
            tap.checked()?;
        } else {
            tap::create(&name)
                .map_err(|error| DriverError::Fatal(format!("cannot make tap {name}: {error}")))?;
        }
        let fresh = before.is_none();
        // The rules come first: no frame passes a tap that has none.
        self.guard(id, nic, fresh).await?;
        self.wire(id, nic, fresh).await.map(drop)
    }

    /// Mends what somebody else has changed of a server's network, and the host's own rules. As long as nobody touches
    /// the host's rules this is one question to the kernel; `thorough` looks at links, addresses, routes and switches too.
    /// Whether anything had to be mended.
    ///
    /// # Errors
    /// As [`Routed::ensure`].
    pub async fn keep(&self, id: ServerId, nic: &Nic, thorough: bool) -> Result<bool, DriverError> {
        let mut rules = self.rules.lock().await;
        rules.known.look()?;
        if rules.known.host_is_adrift() {
            tracing::warn!("somebody changed the rules that hold for all guests; they are made anew");
            rules.make_host().await?;
        }
        let adrift = rules.known.is_adrift(id);
        drop(rules);
        let slowed = nic.rates.up_bps > 0;
        let lost = thorough
            && (self.links.find(&tap::name(id)?).await?.is_none()
                || slowed && self.links.find(&shape::device(id)).await?.is_none());
        if adrift || lost {
            self.ensure(id, nic).await?;
            return Ok(true);
        }
        if thorough { self.wire(id, nic, false).await } else { Ok(false) }
    }

    /// Makes the rules of a tap, and the device that they send frames through.
    async fn guard(&self, id: ServerId, nic: &Nic, fresh: bool) -> Result<(), DriverError> {
        let (name, device) = (tap::name(id)?, shape::device(id));
        let slowed = nic.rates.up_bps > 0;
        if slowed {
            self.links.ensure_device(&device, nic.rates.up_bps).await?;
        }
        let addresses = nic.ipv4.iter().flat_map(|own| std::iter::once(&own.address).chain(&nic.more_ipv4));
        let who = rules::Identity {
            tap: &name,
            mac: &nic.mac,
            ipv4: addresses.copied().collect(),
            ipv6: nic.ipv6,
            slowed_by: slowed.then_some(&device),
        };
        let mut rules = self.rules.lock().await;
        let before = drift::generation()?;
        nft::apply(&rules::guard(&who, &nic.firewall, fresh)).await?;
        rules.known.remember(id, firewall::sides(&nic.firewall), before)?;
        drop(rules);
        if slowed { Ok(()) } else { self.links.remove_device(&device).await }
    }

    /// Brings all about a tap but its rules to what `nic` says. Whether anything was otherwise, but for rates, which are
    /// just set.
    async fn wire(&self, id: ServerId, nic: &Nic, fresh: bool) -> Result<bool, DriverError> {
        let name = tap::name(id)?;
        let switched = sysctls::tap(&name, nic.ipv6.is_some())?;
        let tap = self.links.find(&name).await?;
        let tap =
            tap.ok_or_else(|| DriverError::Retry(format!("tap {name} vanished while it was set up")))?;
        if nic.rates.up_bps > 0 {
            self.links.ensure_device(&shape::device(id), nic.rates.up_bps).await?;
        }
        self.links.limit(tap.index, nic.rates.down_bps, fresh).await?;
        let settled = self.links.settle(&tap, nic, fresh).await?;
        Ok(switched || settled)
    }

    /// Opens a server's tap for its hypervisor; one process at a time may have it open.
    ///
    /// # Errors
    /// `Gone` if [`Routed::ensure`] was not done, `Retry` if another process has it open.
    pub fn open_tap(&self, id: ServerId) -> Result<TapHandle, DriverError> {
        tap::open(id)
    }

    /// Removes all that was made for a server, also half-made and with a hypervisor still there. Absent is fine.
    ///
    /// # Errors
    /// `Retry` if the kernel refuses for now.
    pub async fn remove(&self, id: ServerId) -> Result<(), DriverError> {
        // The tap goes first: it must not live without its rules.
        let name = tap::name(id)?;
        self.links.remove(&name).await?;
        let mut rules = self.rules.lock().await;
        let before = drift::generation()?;
        nft::apply(&rules::unguard(&name)).await?;
        rules.known.forget(id, before)?;
        drop(rules);
        self.links.remove_device(&shape::device(id)).await
    }

    /// Servers of which there is a tap or a counter, in order.
    ///
    /// # Errors
    /// `Retry` if the kernel cannot be asked.
    pub async fn list(&self) -> Result<Vec<ServerId>, DriverError> {
        let mut found: BTreeSet<ServerId> = self.links.servers().await?.into_iter().collect();
        found.extend(forgeries::names(rules::TABLE)?.iter().filter_map(|name| tap::server(name)));
        Ok(found.into_iter().collect())
    }

    /// What passed a server's tap.
    ///
    /// # Errors
    /// `Gone` if it has none.
    pub async fn counters(&self, id: ServerId) -> Result<Counters, DriverError> {
        let name = tap::name(id)?;
        let tap = self.links.find(&name).await?;
        let tap = tap.ok_or_else(|| DriverError::Gone(format!("server {id} has no tap {name}")))?;
        let (sent_bytes, received_bytes) = tap.bytes();
        let forged_frames = forgeries::packets(rules::TABLE, &name)?.unwrap_or(0);
        Ok(Counters { received_bytes, sent_bytes, forged_frames })
    }
}

fn check_networks(networks: &[(IpAddr, u8)]) -> Result<(), DriverError> {
    let wrong = networks.iter().find(|(address, prefix)| *prefix > if address.is_ipv4() { 32 } else { 128 });
    wrong.map_or(Ok(()), |(address, prefix)| {
        Err(DriverError::Fatal(format!("{address}/{prefix} is not a network")))
    })
}

/// Whether this process can do routed networking here: root, taps, nftables with all that the rules need.
///
/// # Errors
/// What is missing and how to mend it, for a person.
pub fn routed_possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("routed networking needs root: run as root, or go on with user networking".to_owned());
    }
    tap::probe().map_err(|error| {
        let device = tap::DEVICE;
        format!("no tap can be made through {device} ({error}): load the tun module (`modprobe tun`) and let root open {device}")
    })?;
    let pool = [([10, 0, 0, 0].into(), 8), (std::net::Ipv6Addr::from_bits(0xfd << 120).into(), 8)];
    let document = nft::document(&rules::host(&pool)).to_string();
    nft::check(&document).map_err(|refusal| {
        format!("nftables does not work here ({refusal}): install the package nftables, and a kernel with nf_tables, NAT and netdev tables")
    })
}
