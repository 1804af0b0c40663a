//! bulut: a VPS cloud in one binary. The library behind `main.rs`, so that tests can run it in process.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod documents;
pub mod domain;
pub mod engines;
pub mod faults;
pub mod host_addresses;
pub mod mailer;
pub mod metrics;
pub mod operations;
pub mod panel;
pub mod reconcile;
pub mod vault;
pub mod vnc;
