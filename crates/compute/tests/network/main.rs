//! Routed networking against the real kernel, in network namespaces of its own: nothing of the host is touched.
//!
//! Needs root; without it each test says so and returns. A guest is played by writing frames into the tap's
//! descriptor, as the hypervisor does.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test stops where its ground gives way, and prints for whoever reads its output"
)]

mod addresses;
mod drift;
mod firewall;
mod frames;
mod ground;
mod near;
mod shaping;
mod stacks;
mod taps;
