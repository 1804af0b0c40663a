//! The compute driver door: what the control plane may ask of whatever runs machines.
//!
//! Promises: level-triggered, idempotent verbs keyed by our own ids; asking for what is so succeeds and
//! changes nothing; what a driver can do is data ([`Abilities`]). Must not know: accounts, money, HTTP, SQL.

pub mod conformance;
pub mod driver;
pub mod error;
pub mod qemu;
pub mod simulated;
pub mod spec;

pub use driver::{
    Applied, Console, ConsoleStream, Driver, GuestUsage, Hint, Observed, PasswordSet, Power, Present, Probe,
    SetupStatus, Stop, Taken, Usage,
};
pub use error::DriverError;
pub use spec::{
    Abilities, Boot, Image, Ipv4, Ipv6, MachineSpec, Networking, Nic, PasswordChange, PoolNetwork, Rates,
    Secret, Seed,
};
