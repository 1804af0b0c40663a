//! Sees when somebody else has changed our rules: what they were right after we made them is remembered, and compared with
//! what they are.
//!
//! Promises: as long as nobody has changed any rule of the host, a look is one question to the kernel, however many taps
//! there are. Must not know: what the rules mean, or how they are mended.

use super::expressions::Protocol;
use super::firewall;
use super::host::{self, CHAINS};
use super::near::{self, Near};
use super::nfnetlink::{Kernel, Question, attribute, each, name, text};
use super::transaction::{Family, Table};
use super::{rules, tap};
use crate::DriverError;
use bulut_model::ServerId;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

const GET_RULE: u16 = 7; // NFT_MSG_GETRULE
const GET_ELEMENTS: u16 = 13; // NFT_MSG_GETSETELEM
const TABLE_NAME: u16 = 1; // NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE
const CHAIN_NAME: u16 = 2; // NFTA_RULE_CHAIN
const EXPRESSIONS: u16 = 4; // NFTA_RULE_EXPRESSIONS
const SET_NAME: u16 = 2; // NFTA_SET_ELEM_LIST_SET
const ELEMENTS: u16 = 3; // NFTA_SET_ELEM_LIST_ELEMENTS
const KEY: u16 = 1; // NFTA_SET_ELEM_KEY
const DATA: u16 = 2; // NFTA_SET_ELEM_DATA
const VALUE: u16 = 1; // NFTA_DATA_VALUE

/// What a chain's rules say, in short.
type Print = u64;

/// What a server's rules say: those against forgery, and whether each side of its firewall is found and what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Guard {
    tap: Print,
    firewall: [(bool, Print); 2],
}

/// The rules as they were when we had made them.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The kernel's count of changes when everything was last seen to be right.
    generation: Option<u32>,
    host: [Print; CHAINS.len()],
    servers: BTreeMap<ServerId, Guard>,
    /// Servers whose rules were seen to be others.
    drifted: BTreeSet<ServerId>,
    host_drifted: bool,
    /// Which addresses lead to which taps.
    pub near: Near,
}

/// Rules by the table's name and the chain's.
type Chains = BTreeMap<(String, String), DefaultHasher>;

/// What a map has: keys and values, as the kernel has them.
type Elements = BTreeMap<Vec<u8>, Vec<u8>>;

/// All chains and elements of ours that the kernel has.
struct Seen {
    taps: Chains,
    host: Chains,
    maps: [BTreeSet<String>; 2],
}

fn failure(errno: Errno) -> DriverError {
    DriverError::Retry(format!("cannot compare the host's rules: {errno}"))
}

/// The rules of a family's tables, or of one chain. A table or a chain that is not there has none.
fn rules_of(kernel: &Kernel, family: Family, chain: Option<(&Table, &str)>) -> Result<Chains, DriverError> {
    let mut found = Chains::new();
    let attributes: Vec<(u16, Vec<u8>)> = chain
        .map(|(table, chain)| vec![(TABLE_NAME, text(&table.name)), (CHAIN_NAME, text(chain))])
        .unwrap_or_default();
    let question = Question { kind: GET_RULE, family, attributes: &attributes };
    let seen = kernel.dump(&question, |rule| {
        let named = |kind| attribute(rule, kind).map(name).unwrap_or_default();
        let hasher = found.entry((named(TABLE_NAME), named(CHAIN_NAME))).or_default();
        // Its number and place are the kernel's own.
        attribute(rule, EXPRESSIONS).hash(hasher);
    });
    match seen {
        Ok(()) | Err(Errno::ENOENT) => Ok(found),
        Err(errno) => Err(failure(errno)),
    }
}

/// What a map has, keys and values; `None` if there is no such map.
fn elements(kernel: &Kernel, table: &Table, map: &str) -> Result<Option<Elements>, DriverError> {
    let mut found = BTreeMap::new();
    let attributes = [(TABLE_NAME, text(&table.name)), (SET_NAME, text(map))];
    let question = Question { kind: GET_ELEMENTS, family: table.family, attributes: &attributes };
    let seen = kernel.dump(&question, |part| {
        let list = attribute(part, ELEMENTS).unwrap_or_default();
        for (_, element) in each(list) {
            let value = |kind| attribute(attribute(element, kind)?, VALUE).map(<[u8]>::to_vec);
            found.extend(value(KEY).map(|key| (key, value(DATA).unwrap_or_default())));
        }
    });
    match seen {
        Ok(()) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failure(errno)),
    }
}

fn print(chains: &Chains, table: &Table, chain: &str) -> Print {
    chains.get(&(table.name.clone(), chain.to_owned())).map_or(0, DefaultHasher::finish)
}

/// Whether all maps of taps have what they should.
fn near_is_right(kernel: &Kernel, near: &Near) -> Result<bool, DriverError> {
    for protocol in [Protocol::Ipv4, Protocol::Ipv6] {
        let wanted: Elements =
            near.elements(protocol).into_iter().map(|(it, tap)| (it, tap.to_ne_bytes().into())).collect();
        for table in rules::tables() {
            if elements(kernel, &table, near::map(protocol))?.as_ref() != Some(&wanted) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

impl Seen {
    fn all(kernel: &Kernel) -> Result<Self, DriverError> {
        let map = |map: &str| -> Result<BTreeSet<String>, DriverError> {
            let elements = elements(kernel, &host::table(), map)?.unwrap_or_default();
            Ok(elements.keys().map(|it| name(it)).collect())
        };
        let [senders, receivers] = firewall::MAPS;
        Ok(Self {
            taps: rules_of(kernel, Family::Netdev, None)?,
            host: rules_of(kernel, Family::Inet, None)?,
            maps: [map(senders)?, map(receivers)?],
        })
    }

    fn guard(&self, id: ServerId) -> Result<Guard, DriverError> {
        let tap = tap::name(id)?;
        let chains = firewall::chains(&tap);
        let side =
            |nth: usize| (self.maps[nth].contains(&tap), print(&self.host, &host::table(), &chains[nth]));
        Ok(Guard { tap: print(&self.taps, &rules::table(id), &tap), firewall: [side(0), side(1)] })
    }

    fn host(&self) -> [Print; CHAINS.len()] {
        CHAINS.map(|(chain, ..)| print(&self.host, &host::table(), chain))
    }
}

impl Known {
    /// Remembers a server's rules as they are, right after they were made. `sides`: whether its firewall has rules for what
    /// it sends, and for what it receives. `before`: the generation before they were made.
    pub fn remember(
        &mut self,
        kernel: &Kernel,
        id: ServerId,
        sides: [bool; 2],
        before: u32,
    ) -> Result<(), DriverError> {
        let (tap, taps, host) = (tap::name(id)?, rules::table(id), host::table());
        let chain = |table: &Table, chain: &str| -> Result<Print, DriverError> {
            Ok(print(&rules_of(kernel, table.family, Some((table, chain)))?, table, chain))
        };
        let mut guard = Guard { tap: chain(&taps, &tap)?, ..Guard::default() };
        for (nth, name) in firewall::chains(&tap).iter().enumerate().filter(|(nth, _)| sides[*nth]) {
            guard.firewall[nth] = (true, chain(&host, name)?);
        }
        self.servers.insert(id, guard);
        self.drifted.remove(&id);
        self.follow(kernel, before)
    }

    /// Remembers the host's own rules as they are, right after they were made.
    pub fn remember_host(&mut self, kernel: &Kernel, before: u32) -> Result<(), DriverError> {
        let table = host::table();
        for (print, (chain, ..)) in self.host.iter_mut().zip(CHAINS) {
            *print = self::print(&rules_of(kernel, table.family, Some((&table, chain)))?, &table, chain);
        }
        self.host_drifted = false;
        self.follow(kernel, before)
    }

    /// Forgets a server whose rules were taken away.
    pub fn forget(&mut self, kernel: &Kernel, id: ServerId, before: u32) -> Result<(), DriverError> {
        self.servers.remove(&id);
        self.drifted.remove(&id);
        self.follow(kernel, before)
    }

    /// One change more than before it was ours: then all is as it was, and need not be looked at.
    fn follow(&mut self, kernel: &Kernel, before: u32) -> Result<(), DriverError> {
        let now = kernel.generation()?;
        if self.generation == Some(before) && now == before.wrapping_add(1) {
            self.generation = Some(now);
        }
        Ok(())
    }

    /// Compares all rules with what they were, unless nobody has changed any; whether somebody has.
    pub fn look(&mut self, kernel: &Kernel) -> Result<bool, DriverError> {
        let now = kernel.generation()?;
        if self.generation == Some(now) {
            return Ok(false);
        }
        let seen = Seen::all(kernel)?;
        for (id, guard) in &self.servers {
            if seen.guard(*id)? != *guard {
                self.drifted.insert(*id);
            }
        }
        self.host_drifted |= seen.host() != self.host
            || host::shapes(kernel)? != host::right_shapes()
            || !near_is_right(kernel, &self.near)?;
        self.generation = Some(now);
        Ok(true)
    }

    /// Whether a server's rules were seen to be others, or were never made.
    pub fn is_adrift(&self, id: ServerId) -> bool {
        self.drifted.contains(&id) || !self.servers.contains_key(&id)
    }

    /// Has the host's own rules made anew, whatever they are.
    pub const fn distrust_host(&mut self) {
        self.host_drifted = true;
    }

    /// Whether the host's own rules were seen to be others.
    pub const fn host_is_adrift(&self) -> bool {
        self.host_drifted
    }
}
