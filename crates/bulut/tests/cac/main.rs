//! The Cloud at Cost dialect: each call with its answer and its effect, every error, everywhere that clients put their
//! parameters, keys and from where they may be used, resource pools, run modes and limits.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod calls;
mod client;
mod encodings;
mod errors;
mod keys;
mod limits;
mod logs;
mod pools;
mod run_modes;
mod vnc;
