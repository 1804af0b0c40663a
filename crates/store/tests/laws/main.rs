//! The laws of the store: each one holds on SQLite and on PostgreSQL, and is a test on either.
//!
//! Promises: a law gets a database of its own, which is gone afterwards; without `BULUT_TEST_POSTGRES` the
//! PostgreSQL half fails, it is never skipped. Must not know: HTTP, drivers, the domain's verbs.

#![expect(clippy::unwrap_used, reason = "a law that meets an error has failed")]

mod account_links;
mod accounts;
mod address_pools;
mod addresses;
mod api_keys;
mod catalogue;
mod consoles;
mod databases;
mod dunning;
mod idempotency;
mod images;
mod invoices;
mod ledger;
mod listening;
mod machine_usage;
mod mails;
mod metering;
mod migrations;
mod names;
mod nodes;
mod operations;
mod orders;
mod payments;
mod pools;
mod races;
mod server_networks;
mod servers;
mod sessions;
mod signing_keys;
mod ssh_keys;
mod tags;
mod traffic;
mod traffic_months;
mod transactions;
mod vnc_doors;
mod world;
