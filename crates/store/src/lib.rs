//! Every SQL statement of bulut, one file per table family, for SQLite and PostgreSQL alike.
//!
//! Promises: functions take a session (the pool or a transaction) and plain values, and answer domain types;
//! a unique violation becomes a named outcome at its statement; opening never migrates. Must not know: HTTP,
//! drivers, who may do what. The few differences between the databases are in [`forks`].

pub mod account_links;
pub mod accounts;
pub mod address_pools;
pub mod addresses;
pub mod api_keys;
pub mod billing_details;
pub mod charging;
pub mod consoles;
pub mod dunning;
pub mod firewalls;
pub mod forks;
pub mod holds;
pub mod idempotency;
pub mod images;
pub mod intervals;
pub mod invoices;
pub mod ledger;
pub mod machine_usage;
pub mod mails;
pub mod migrations;
pub mod names;
pub mod nodes;
pub mod operations;
pub mod packages;
pub mod payments;
pub mod pools;
pub mod prices;
pub mod rates;
pub mod regions;
pub mod servers;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod signing_keys;
pub mod snapshots;
pub mod ssh_keys;
pub mod tags;
pub mod traffic;
pub mod traffic_months;
pub mod vnc_doors;

pub use session::{Session, Store, Tx};
