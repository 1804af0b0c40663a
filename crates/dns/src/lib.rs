//! Names on the wire: an authoritative DNS server over zones that never change, and signed updates to other servers.
//!
//! Promises: what is answered comes from one snapshot, whole, and a new one takes its place at once; no packet, however
//! broken, ends anything but its own answer; what strangers can have us keep is bounded. Must not know: accounts,
//! servers, databases or where names come from.
//!
//! Where to read on: `zone` is what is served, `answer` makes a reply of a request, `server` has the sockets,
//! `reverse` names the zones of networks, `update` tells other servers.

mod answer;
mod question;
pub mod reverse;
pub mod serial;
mod server;
mod transfer;
pub mod update;
mod zone;

pub use answer::{Reply, Transport, answer};
pub use server::{Bound, Limits, Served, serve};
pub use transfer::Transfer;
pub use zone::{Content, Data, Malformed, Record, Snapshot, Zone};
