//! TestCloud: a whole bulut in the test's process, on a simulated node, under a frozen clock; and the tools of
//! the end-to-end tests, which drive the real program.
//!
//! Promises: nothing here sleeps for luck; a cloud that is dropped has no unfinished operation and a balanced
//! ledger, or the test fails. Must not know: what any single test is about.

#![expect(clippy::expect_used, reason = "this crate is for tests: a broken premise is best said at once")]
#![expect(clippy::missing_panics_doc, reason = "everything here may panic, as tests do")]

pub mod browser;
pub mod cloud;
mod contract;
pub mod database;
pub mod http;
pub mod images;
pub mod namespace;
pub mod program;
pub mod servers;
pub mod shell;

pub use cloud::{Customer, TestCloud};
pub use database::Database;
pub use http::Answer;
pub use shell::Shell;
