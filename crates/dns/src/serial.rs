//! Serials of zones: numbers of 32 bits on a circle (RFC 1982).

/// Whether `a` comes after `b` on the circle. Of two that lie opposite each other neither does.
pub const fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// The serial after `serial`: the time where that comes after it, so that a zone whose past was lost still rises;
/// else the next number. Never 0, which some servers take for none.
pub fn after(serial: u32, unix_seconds: u64) -> u32 {
    let time = u32::try_from(unix_seconds & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let next = if is_after(time, serial) { time } else { serial.wrapping_add(1) };
    if next == 0 { 1 } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_is_taken_where_it_rises() {
        assert_eq!(after(0, 1_767_225_600), 1_767_225_600);
        assert_eq!(after(1_767_225_600, 1_767_225_600), 1_767_225_601);
        assert_eq!(
            after(1_767_225_700, 1_767_225_600),
            1_767_225_701,
            "a clock that went back changes nothing"
        );
        assert_eq!(after(u32::MAX, 0), 1);
    }

    proptest! {
        #[test]
        fn every_serial_is_followed_by_one_that_comes_after_it(serial: u32, now: u64) {
            prop_assert!(is_after(after(serial, now), serial));
            prop_assert!(after(serial, now) != 0);
        }

        #[test]
        fn of_two_serials_at_most_one_comes_after_the_other(a: u32, b: u32) {
            prop_assert!(!(is_after(a, b) && is_after(b, a)));
            prop_assert!(a == b || a.wrapping_sub(b) == 1 << 31 || is_after(a, b) || is_after(b, a));
        }
    }
}
