//! Sees when somebody else has changed our rules: what they were right after we made them is remembered, and compared with
//! what they are.
//!
//! Promises: as long as nobody has changed any rule of the host, a look is one question to the kernel, however many taps
//! there are. Must not know: what the rules mean, or how they are mended.

use super::firewall;
use super::nfnetlink::{Family, Question, attribute, dump, each, get, name, text};
use super::rules::{HOST_CHAINS, TABLE};
use super::tap;
use crate::DriverError;
use bulut_model::ServerId;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

const GET_RULE: u16 = 7; // NFT_MSG_GETRULE
const GET_ELEMENTS: u16 = 13; // NFT_MSG_GETSETELEM
const GET_GENERATION: u16 = 16; // NFT_MSG_GETGEN
const TABLE_NAME: u16 = 1; // NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE
const CHAIN_NAME: u16 = 2; // NFTA_RULE_CHAIN
const EXPRESSIONS: u16 = 4; // NFTA_RULE_EXPRESSIONS
const SET_NAME: u16 = 2; // NFTA_SET_ELEM_LIST_SET
const ELEMENTS: u16 = 3; // NFTA_SET_ELEM_LIST_ELEMENTS
const KEY: u16 = 1; // NFTA_SET_ELEM_KEY
const VALUE: u16 = 1; // NFTA_DATA_VALUE
const GENERATION: u16 = 1; // NFTA_GEN_ID

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
    host: [Print; HOST_CHAINS.len()],
    servers: BTreeMap<ServerId, Guard>,
    /// Servers whose rules were seen to be others.
    drifted: BTreeSet<ServerId>,
    host_drifted: bool,
}

/// All chains and elements of ours that the kernel has.
struct Seen {
    taps: BTreeMap<String, DefaultHasher>,
    host: BTreeMap<String, DefaultHasher>,
    maps: [BTreeSet<String>; 2],
}

fn failure(errno: Errno) -> DriverError {
    DriverError::Retry(format!("cannot compare the host's rules: {errno}"))
}

/// How often any rule of the host has changed; it wraps.
pub(super) fn generation() -> Result<u32, DriverError> {
    let answer = get(&Question { kind: GET_GENERATION, family: Family::Any, attributes: &[] });
    let answer = answer.map_err(failure)?;
    let id = attribute(&answer, GENERATION).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
    id.ok_or_else(|| failure(Errno::EBADMSG))
}

/// The rules of a table, or of one of its chains, by chain. A table or a chain that is not there has none.
fn rules(family: Family, chain: Option<&str>) -> Result<BTreeMap<String, DefaultHasher>, DriverError> {
    let mut found: BTreeMap<String, DefaultHasher> = BTreeMap::new();
    let mut attributes = vec![(TABLE_NAME, text(TABLE))];
    attributes.extend(chain.map(|chain| (CHAIN_NAME, text(chain))));
    let question = Question { kind: GET_RULE, family, attributes: &attributes };
    let seen = dump(&question, |rule| {
        let chain = attribute(rule, CHAIN_NAME).map(name).unwrap_or_default();
        // Its number and place are the kernel's own.
        attribute(rule, EXPRESSIONS).hash(found.entry(chain).or_default());
    });
    match seen {
        Ok(()) | Err(Errno::ENOENT) => Ok(found),
        Err(errno) => Err(failure(errno)),
    }
}

/// The keys of a map.
fn elements(map: &str) -> Result<BTreeSet<String>, DriverError> {
    let mut found = BTreeSet::new();
    let attributes = [(TABLE_NAME, text(TABLE)), (SET_NAME, text(map))];
    let question = Question { kind: GET_ELEMENTS, family: Family::Inet, attributes: &attributes };
    let seen = dump(&question, |part| {
        let list = attribute(part, ELEMENTS).unwrap_or_default();
        let keys = each(list).filter_map(|(_, element)| attribute(attribute(element, KEY)?, VALUE));
        found.extend(keys.map(name));
    });
    match seen {
        Ok(()) | Err(Errno::ENOENT) => Ok(found),
        Err(errno) => Err(failure(errno)),
    }
}

fn print(chains: &BTreeMap<String, DefaultHasher>, chain: &str) -> Print {
    chains.get(chain).map_or(0, DefaultHasher::finish)
}

impl Seen {
    fn all() -> Result<Self, DriverError> {
        let [senders, receivers] = firewall::MAPS;
        Ok(Self {
            taps: rules(Family::Netdev, None)?,
            host: rules(Family::Inet, None)?,
            maps: [elements(senders)?, elements(receivers)?],
        })
    }

    fn guard(&self, id: ServerId) -> Result<Guard, DriverError> {
        let tap = tap::name(id)?;
        let chains = firewall::chains(&tap);
        let side = |nth: usize| (self.maps[nth].contains(&tap), print(&self.host, &chains[nth]));
        Ok(Guard { tap: print(&self.taps, &tap), firewall: [side(0), side(1)] })
    }

    fn host(&self) -> [Print; HOST_CHAINS.len()] {
        HOST_CHAINS.map(|(chain, ..)| print(&self.host, chain))
    }
}

impl Known {
    /// Remembers a server's rules as they are, right after they were made. `sides`: whether its firewall has rules for what
    /// it sends, and for what it receives. `before`: the generation before they were made.
    pub fn remember(&mut self, id: ServerId, sides: [bool; 2], before: u32) -> Result<(), DriverError> {
        let tap = tap::name(id)?;
        let mut guard = Guard { tap: print(&rules(Family::Netdev, Some(&tap))?, &tap), ..Guard::default() };
        for (nth, chain) in firewall::chains(&tap).iter().enumerate().filter(|(nth, _)| sides[*nth]) {
            guard.firewall[nth] = (true, print(&rules(Family::Inet, Some(chain))?, chain));
        }
        self.servers.insert(id, guard);
        self.drifted.remove(&id);
        self.follow(before)
    }

    /// Remembers the host's own rules as they are, right after they were made.
    pub fn remember_host(&mut self, before: u32) -> Result<(), DriverError> {
        for (print, (chain, ..)) in self.host.iter_mut().zip(HOST_CHAINS) {
            *print = self::print(&rules(Family::Inet, Some(chain))?, chain);
        }
        self.host_drifted = false;
        self.follow(before)
    }

    /// Forgets a server whose rules were taken away.
    pub fn forget(&mut self, id: ServerId, before: u32) -> Result<(), DriverError> {
        self.servers.remove(&id);
        self.drifted.remove(&id);
        self.follow(before)
    }

    /// One change more than before it was ours: then all is as it was, and need not be looked at.
    fn follow(&mut self, before: u32) -> Result<(), DriverError> {
        let now = generation()?;
        if self.generation == Some(before) && now == before.wrapping_add(1) {
            self.generation = Some(now);
        }
        Ok(())
    }

    /// Compares all rules with what they were, unless nobody has changed any.
    pub fn look(&mut self) -> Result<(), DriverError> {
        let now = generation()?;
        if self.generation == Some(now) {
            return Ok(());
        }
        let seen = Seen::all()?;
        for (id, guard) in &self.servers {
            if seen.guard(*id)? != *guard {
                self.drifted.insert(*id);
            }
        }
        self.host_drifted |= seen.host() != self.host;
        self.generation = Some(now);
        Ok(())
    }

    /// Whether a server's rules were seen to be others, or were never made.
    pub fn is_adrift(&self, id: ServerId) -> bool {
        self.drifted.contains(&id) || !self.servers.contains_key(&id)
    }

    /// Whether the host's own rules were seen to be others.
    pub const fn host_is_adrift(&self) -> bool {
        self.host_drifted
    }
}
