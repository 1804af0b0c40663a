//! How fast guests are, as the other side of a connection sees it.

use crate::frames::{OWN, OWN6};
use crate::ground::{in_namespace, nic, routed, sh};
use crate::stacks::{Place, Stack, WORLD, WORLD6, speed};
use bulut_compute::{Nic, Rates};
use bulut_model::ServerId;
use std::net::IpAddr;
use std::time::Duration;

const ID: ServerId = ServerId(20);
const MEGA: f64 = 1e6;

/// What is sent and received, bits per second of payload.
fn measure(guest: &Place, world: &Place, v4: bool, span: Duration) -> (f64, f64) {
    let (own, other): (IpAddr, IpAddr) =
        if v4 { (OWN.into(), WORLD.into()) } else { (OWN6.into(), WORLD6.into()) };
    let up = speed(guest, world, (other, 90).into(), span);
    (up, speed(world, guest, (own, 91).into(), span))
}

#[test]
fn a_guest_is_as_fast_as_it_may_be_each_way_and_a_change_holds_at_once() {
    in_namespace(|| async {
        let routed = routed().await;
        let free = nic();
        routed.ensure(ID, &free).await.unwrap();
        let (world, guest) = (Place::world(), Stack::new(routed.open_tap(ID).unwrap(), &free));
        let short = Duration::from_millis(700);
        let (free_up, free_down) = measure(&guest.place, &world, true, short);
        println!("free: {:.0} Mbit/s up, {:.0} down", free_up / MEGA, free_down / MEGA);

        for (up, down, v4) in [(8, 24, true), (24, 8, false)] {
            let rates = Rates { up_bps: up * 1_000_000, down_bps: down * 1_000_000 };
            routed.ensure(ID, &Nic { rates, ..free.clone() }).await.unwrap();
            let seen = measure(&guest.place, &world, v4, Duration::from_millis(1500));
            println!("{up} and {down} Mbit/s: {:.1} up, {:.1} down", seen.0 / MEGA, seen.1 / MEGA);
            for (seen, wanted, free) in [(seen.0, up, free_up), (seen.1, down, free_down)] {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let wanted = wanted as f64 * MEGA;
                // The first burst comes on top; a busy machine may not reach it.
                assert!(seen < 1.3 * wanted, "{:.1} Mbit/s is more than {:.1}", seen / MEGA, wanted / MEGA);
                assert!(
                    seen > 0.4 * wanted.min(free),
                    "{:.1} Mbit/s is far from {:.1}",
                    seen / MEGA,
                    wanted / MEGA
                );
                assert!(free > 1.5 * wanted, "it is no faster without a limit: this proves nothing");
            }
        }
        assert_eq!(routed.counters(ID).await.unwrap().forged_frames, 0);

        routed.ensure(ID, &free).await.unwrap();
        let (up, down) = measure(&guest.place, &world, true, short);
        assert!(
            up > 30.0 * MEGA && down > 30.0 * MEGA,
            "a limit that was taken away still holds: {up} {down}"
        );
        assert!(!sh("ip link").contains("bu20"), "a device was left behind");
    });
}

#[test]
fn nothing_is_left_of_a_slowed_guest_that_is_removed() {
    in_namespace(|| async {
        let routed = routed().await;
        let look = || sh("ip -br link; nft list ruleset; tc qdisc show");
        let before = look();
        let rates = Rates { up_bps: 5_000_000, down_bps: 20_000_000_000 };
        let nic = Nic { rates, ..nic() };
        routed.ensure(ID, &nic).await.unwrap();
        let once = look();
        assert!(once.contains("rate 5Mbit") && once.contains("rate 20Gbit"), "{once}");
        routed.ensure(ID, &nic).await.unwrap();
        assert_eq!(look(), once);
        routed.remove(ID).await.unwrap();
        assert_eq!(look(), before);
    });
}
