//! How machines are joined to the network: routed taps where there is root, user mode where there is none.
//!
//! Promises: one tap, one set of rules and one set of routes per machine, named after its id; `ensure` makes what is
//! missing, mends what drifted and leaves the rest alone; `keep` sees what drifted; `remove` leaves nothing. A guest is
//! never joined without the rules that keep it from speaking as another. Must not know: QEMU.
//!
//! Everything acts in the network namespace of the thread that calls it, which must always be the same.

mod drift;
mod expressions;
mod firewall;
mod forgeries;
mod host;
pub mod lengths;
mod links;
mod near;
mod nfnetlink;
mod rules;
mod shape;
mod sysctls;
mod tap;
mod transaction;
pub mod user;

pub use tap::TapHandle;

use crate::{DriverError, Nic, PoolNetwork};
use bulut_model::ServerId;
use drift::Known;
use links::Links;
use nfnetlink::Kernel;
use std::collections::BTreeSet;
use tokio::sync::Mutex;
use transaction::{Table, Transaction};

/// How the host is prepared.
#[derive(Debug, Clone)]
pub struct RoutedConfig {
    /// The networks that machines have their addresses from.
    pub pools: Vec<PoolNetwork>,
    /// The largest packet of all guests, bytes. One that has another has its packets for other guests go the long way.
    pub mtu: u16,
}

impl Default for RoutedConfig {
    fn default() -> Self {
        Self { pools: Vec::new(), mtu: 1500 }
    }
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

/// What somebody else had changed of a machine's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// The host forwarded nothing.
    Forwarding,
    /// There was no tap. A guest that runs has no part in the new one: it is cut off until it is stopped and started.
    Tap,
    /// The device that slows the tap was gone.
    Speed,
    /// The rules of the tap, or the firewall.
    Rules,
    /// The tap was down, or had another MTU.
    Link,
    /// The gateway's addresses on the tap.
    Addresses,
    /// Routes to the guest, or its neighbour entries.
    Routes,
    /// The kernel's switches of the tap.
    Switches,
}

/// Routed networking of this host.
#[derive(Debug)]
pub struct Routed {
    links: Links,
    kernel: Kernel,
    mtu: u16,
    /// Held while rules are changed or compared.
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    pools: Vec<PoolNetwork>,
    known: Known,
}

impl Rules {
    /// Makes the host's own rules, and the maps from addresses to taps.
    fn make_host(&mut self, kernel: &Kernel) -> Result<(), DriverError> {
        let mut change = Transaction::default();
        host::replace(&mut change, &self.pools, &host::shapes(kernel)?);
        self.known.near.replace(&mut change);
        let before = kernel.generation()?;
        kernel.commit(&change)?;
        self.known.remember_host(kernel, before)
    }

    /// Looks at all rules, if anybody has changed some or `thorough`, and mends those that hold for all guests.
    fn mend_host(&mut self, kernel: &Kernel, thorough: bool) -> Result<(), DriverError> {
        let changed = self.known.look(kernel)?;
        if self.known.host_is_adrift() {
            tracing::warn!("somebody changed the rules that hold for all guests; they are made anew");
        }
        if (changed || thorough) && self.known.near.look_around(kernel)? {
            self.known.distrust_host();
        }
        if self.known.host_is_adrift() { self.make_host(kernel) } else { Ok(()) }
    }
}

impl Routed {
    /// Prepares the host: forwarding, the rules that hold for all taps, masquerading. May be done again at any time.
    ///
    /// # Errors
    /// `Fatal` without the rights or the kernel's support (see [`routed_possible`]).
    pub async fn new(config: RoutedConfig) -> Result<Self, DriverError> {
        check_networks(&config.pools)?;
        sysctls::forward()?;
        let kernel = Kernel::open()?;
        let mut rules = Rules { pools: config.pools, known: Known::default() };
        rules.known.near.look_around(&kernel)?;
        rules.make_host(&kernel)?;
        Ok(Self { links: Links::open()?, kernel, mtu: config.mtu, rules: Mutex::new(rules) })
    }

    /// Replaces the host's own rules: another list of networks that machines have their addresses from.
    ///
    /// # Errors
    /// `Fatal` for what is no network, `Retry` when the kernel refuses for now.
    pub async fn set_pools(&self, pools: &[PoolNetwork]) -> Result<(), DriverError> {
        let mut rules = self.rules.lock().await;
        if rules.pools == pools {
            return Ok(());
        }
        check_networks(pools)?;
        let before = std::mem::replace(&mut rules.pools, pools.to_vec());
        let made = rules.make_host(&self.kernel);
        if made.is_err() {
            rules.pools = before;
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
    /// What had to be mended, for a person.
    ///
    /// # Errors
    /// As [`Routed::ensure`].
    pub async fn keep(&self, id: ServerId, nic: &Nic, thorough: bool) -> Result<Vec<Mended>, DriverError> {
        let mut rules = self.rules.lock().await;
        rules.mend_host(&self.kernel, thorough)?;
        let mut mended = Vec::new();
        if thorough && sysctls::forward()? {
            mended.push(Mended::Forwarding);
        }
        let adrift = rules.known.is_adrift(id);
        drop(rules);
        let name = tap::name(id)?;
        let lost = thorough && self.links.find(&name).await?.is_none();
        let slowed = thorough && nic.rates.up_bps > 0;
        let unslowed = slowed && self.links.find(&shape::device(id)).await?.is_none();
        let what = [(lost, Mended::Tap), (unslowed, Mended::Speed), (adrift, Mended::Rules)];
        mended.extend(what.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)));
        if lost || unslowed || adrift {
            self.ensure(id, nic).await?;
        } else if thorough {
            mended.extend(self.wire(id, nic, false).await?);
        }
        Ok(mended)
    }

    /// Makes the rules of a tap, and the device that they send frames through.
    async fn guard(&self, id: ServerId, nic: &Nic, fresh: bool) -> Result<(), DriverError> {
        let (name, device, table) = (tap::name(id)?, shape::device(id), rules::table(id));
        let slowed = nic.rates.up_bps > 0;
        let slowed_by =
            if slowed { Some(self.links.ensure_device(&device, nic.rates.up_bps).await?) } else { None };
        let takes_part = near::takes_part(nic, self.mtu);
        let who = rules::Identity {
            tap: &name,
            mac: links::mac(&nic.mac)?,
            ipv4: nic.ipv4,
            more_ipv4: &nic.more_ipv4,
            ipv6: nic.ipv6,
            slowed_by,
            near: takes_part && !slowed,
        };
        let mut rules = self.rules.lock().await;
        rules.mend_host(&self.kernel, false)?;
        let leads = if takes_part { nic.addresses() } else { Vec::new() };
        let step = rules.known.near.step(id, (tap::index(&name)?, leads));
        let mut change = Transaction::default();
        self.forget_former(&mut change, &name)?;
        rules::guard(&mut change, &table, &who, self.present(&table, &name)?, fresh);
        firewall::replace(&mut change, &name, &nic.firewall, firewall::present(&self.kernel, &name)?);
        rules.known.near.go(&mut change, &step);
        let before = self.kernel.generation()?;
        self.kernel.commit(&change)?;
        rules.known.near.went(step);
        rules.known.remember(&self.kernel, id, firewall::sides(&nic.firewall), before)?;
        drop(rules);
        if slowed { Ok(()) } else { self.links.remove_device(&device).await }
    }

    /// What there is of a tap's rules in a table.
    fn present(&self, table: &Table, tap: &str) -> Result<rules::Present, DriverError> {
        let counter = forgeries::packets(&self.kernel, table, tap)?.is_some();
        Ok(rules::Present { chain: self.kernel.has_chain(table, tap)?, counter })
    }

    /// Takes away what an earlier version left of a tap's rules.
    fn forget_former(&self, change: &mut Transaction, tap: &str) -> Result<(), DriverError> {
        let table = rules::former_table();
        rules::unguard(change, &table, tap, self.present(&table, tap)?);
        Ok(())
    }

    /// Brings all about a tap but its rules to what `nic` says. What was otherwise, but for rates, which are just set.
    async fn wire(&self, id: ServerId, nic: &Nic, fresh: bool) -> Result<Vec<Mended>, DriverError> {
        let name = tap::name(id)?;
        let switched = sysctls::tap(&name, nic.ipv6.is_some())?;
        let tap = self.links.find(&name).await?;
        let tap =
            tap.ok_or_else(|| DriverError::Retry(format!("tap {name} vanished while it was set up")))?;
        if nic.rates.up_bps > 0 {
            self.links.ensure_device(&shape::device(id), nic.rates.up_bps).await?;
        }
        self.links.limit(tap.index, nic.rates.down_bps, fresh).await?;
        let mut mended = self.links.settle(&tap, nic, fresh).await?;
        mended.extend(switched.then_some(Mended::Switches));
        Ok(mended)
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
        rules.mend_host(&self.kernel, false)?;
        let step = rules.known.near.step(id, (0, Vec::new()));
        let mut change = Transaction::default();
        let table = rules::table(id);
        self.forget_former(&mut change, &name)?;
        rules::unguard(&mut change, &table, &name, self.present(&table, &name)?);
        firewall::replace(&mut change, &name, &[], firewall::present(&self.kernel, &name)?);
        rules.known.near.go(&mut change, &step);
        let before = self.kernel.generation()?;
        self.kernel.commit(&change)?;
        rules.known.near.went(step);
        rules.known.forget(&self.kernel, id, before)?;
        drop(rules);
        self.links.remove_device(&shape::device(id)).await
    }

    /// Servers of which there is a tap or a counter, in order.
    ///
    /// # Errors
    /// `Retry` if the kernel cannot be asked.
    pub async fn list(&self) -> Result<Vec<ServerId>, DriverError> {
        let mut found: BTreeSet<ServerId> = self.links.servers().await?.into_iter().collect();
        let counted = forgeries::names(&self.kernel)?.into_iter();
        found.extend(counted.filter_map(|(table, counter)| {
            tap::server(&counter).filter(|id| rules::table(*id).name == table)
        }));
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
        let forged_frames = forgeries::packets(&self.kernel, &rules::table(id), &name)?.unwrap_or(0);
        Ok(Counters { received_bytes, sent_bytes, forged_frames })
    }
}

fn check_networks(pools: &[PoolNetwork]) -> Result<(), DriverError> {
    let wrong = pools.iter().find(|pool| pool.prefix > if pool.address.is_ipv4() { 32 } else { 128 });
    wrong.map_or(Ok(()), |pool| {
        Err(DriverError::Fatal(format!("{}/{} is not a network", pool.address, pool.prefix)))
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
    let private = |address, prefix| PoolNetwork { address, prefix, private: true };
    let pools =
        [private([10, 0, 0, 0].into(), 8), private(std::net::Ipv6Addr::from_bits(0xfd << 120).into(), 8)];
    let mut change = Transaction::default();
    // As on a host that has no rules of ours: what is there may have to go first.
    host::replace(&mut change, &pools, &host::Shapes::new());
    near::Near::default().replace(&mut change);
    let checked = Kernel::open().and_then(|kernel| kernel.check(&change));
    checked.map_err(|refusal| {
        format!("nf_tables does not work here ({refusal}): take a kernel with nf_tables, NAT and tables of the netdev family")
    })
}
