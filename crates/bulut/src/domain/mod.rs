//! The verbs: authorize, decide, one transaction. What every dialect, the panel and the CLI may do is here.
//!
//! Must not know: HTTP, SQL, or which engine runs the machines.

pub mod access;
pub mod account_links;
pub mod accounts;
pub mod address_pools;
pub mod addresses;
pub mod api_keys;
pub mod callers;
pub mod catalog;
pub mod changes;
pub mod charging;
pub mod consoles;
pub mod firewalls;
pub mod image_applications;
pub mod image_downloads;
pub mod image_files;
pub mod image_recipes;
pub mod image_sweep;
pub mod images;
pub mod invoices;
pub mod ledger;
pub mod letters;
pub mod limits;
pub mod mails;
pub mod metering;
pub mod names;
pub mod networks;
pub mod nodes;
pub mod operations;
pub mod orders;
pub mod passwords;
pub mod plans;
pub mod pools;
pub mod rates;
pub mod run_modes;
pub mod servers;
pub mod sessions;
pub mod snapshots;
pub mod ssh_keys;
pub mod tags;
pub mod tokens;
pub mod traffic;
pub mod vnc_doors;
pub mod zones;
