//! QEMU on trial with real guests of the tiny image by direct kernel boot: the conformance suite, and in `copies` what
//! becomes of long copies and frozen guests when something ends in the middle.
//!
//! `BULUT_TEST_IMAGES` names the directory with the built images (`tiny/`). With user networking it touches nothing
//! of the host's network; routed networking runs in a network namespace of its own and needs root.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "a test stops where its ground gives way, and prints for whoever reads its output"
)]

mod bench;
#[path = "../network/capture.rs"]
mod capture;
mod copies;
mod counters;
#[path = "../network/frames.rs"]
mod frames;
#[expect(dead_code, reason = "the tests of taps alone need more of it")]
#[path = "../network/ground.rs"]
mod ground;
mod neighbours;
#[expect(dead_code, reason = "the tests of taps alone need more of it")]
#[path = "../network/stacks.rs"]
mod stacks;

use bench::{Bench, in_namespace};
use bulut_compute::Networking;
use bulut_compute::conformance::{Law, Subject, WARM, check_cold, check_some, check_warm};
use bulut_model::ServerId;
use std::net::{Ipv6Addr, SocketAddr};

#[tokio::test]
async fn the_cold_laws_hold() {
    let bench = Bench::new(Networking::User).await;
    check_cold(&bench, ServerId(2)).await.unwrap();
}

#[tokio::test]
async fn the_warm_laws_hold_with_user_networking() {
    let bench = Bench::new(Networking::User).await;
    check_warm(&bench, ServerId(2)).await.unwrap();
}

/// With routed networking: one boot, since what differs is only the way to the guest.
#[test]
fn the_laws_hold_with_routed_networking() {
    in_namespace(async {
        let bench = Bench::new(Networking::Routed).await;
        let id = ServerId(2);
        let named = |names: &[&str]| -> Vec<Law> {
            let laws: Vec<Law> = WARM.iter().filter(|it| names.contains(&it.name)).copied().collect();
            assert_eq!(laws.len(), names.len(), "a law was renamed");
            laws
        };
        let while_up = [
            "a_started_guest_boots",
            "counters_only_grow_within_an_epoch",
            "a_reopened_driver_leaves_the_guest_alone",
        ];
        check_some(&bench, &named(&while_up), id).await.unwrap();
        let usage = bench.driver().usage(id).await.unwrap();
        assert!(usage.received_bytes > 1000 && usage.sent_bytes > 1000, "{usage:?}");
        assert_eq!(usage.forged_frames, 0, "an honest guest is said to forge");
        let pings = "ping -c 1 -W 5 10.77.0.1 >/dev/null && ping -6 -c 1 -W 5 fe80::1%eth0 >/dev/null && echo reached";
        assert_eq!(
            bench.ask(id, pings).await.as_deref(),
            Some("reached"),
            "the guest does not reach its gateways"
        );
        let by_ipv6 = SocketAddr::new(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2).into(), 22);
        let name = bench.ask_at(by_ipv6, "hostname").await;
        assert_eq!(name.as_deref(), Some("law2"), "the host does not reach the guest over IPv6");
        let at_the_end =
            ["a_graceful_stop_lets_the_guest_shut_down", "nothing_is_left_of_a_machine_that_lived"];
        check_some(&bench, &named(&at_the_end), id).await.unwrap();
    });
}
