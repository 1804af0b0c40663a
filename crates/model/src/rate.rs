//! Rates: how fast a server may receive and send. Pure.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The slowest rate that can be chosen, bits per second: below it not even a sign-in gets through.
pub const BPS_MIN: u64 = 64_000;
/// The fastest, bits per second: beyond it is nothing to be held back.
pub const BPS_MAX: u64 = 400_000_000_000;

/// Bits per second in each direction; 0 is as many as there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// What the server receives.
    pub down_bps: u64,
    /// What the server sends.
    pub up_bps: u64,
}

impl Rates {
    /// The slower of these and `bps`, in each direction.
    #[must_use]
    pub const fn at_most(self, bps: u64) -> Self {
        Self { down_bps: slower(self.down_bps, bps), up_bps: slower(self.up_bps, bps) }
    }
}

/// The slower of two rates, of which 0 is the fastest.
const fn slower(one: u64, other: u64) -> u64 {
    if one == 0 || (other != 0 && other < one) { other } else { one }
}

/// Reads `100M`, `1G`, `512k`, a number of bits per second, or `unlimited`, which is 0.
///
/// Errors: `Invalid` for `field`.
pub fn parse_bps(field: &str, text: &str) -> Result<u64> {
    let text = text.trim();
    if text == "0" || text.eq_ignore_ascii_case("unlimited") {
        return Ok(0);
    }
    let refuse = || {
        let why = format!(
            "The {field} '{text}' must be bits per second like 512k, 100M or 1G, from {} to {}, or unlimited.",
            Bps(BPS_MIN),
            Bps(BPS_MAX)
        );
        Error::invalid(field, why)
    };
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1_000),
        Some((end, 'm' | 'M')) => (&text[..end], 1_000_000),
        Some((end, 'g' | 'G')) => (&text[..end], 1_000_000_000),
        _ => (text, 1),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = if plain { digits.parse::<u64>().ok() } else { None };
    let bps = number.and_then(|number| number.checked_mul(unit));
    bps.filter(|bps| (BPS_MIN..=BPS_MAX).contains(bps)).ok_or_else(refuse)
}

/// A rate as it is written: `100M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bps(pub u64);

impl fmt::Display for Bps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("unlimited"),
            bps if bps % 1_000_000_000 == 0 => write!(f, "{}G", bps / 1_000_000_000),
            bps if bps % 1_000_000 == 0 => write!(f, "{}M", bps / 1_000_000),
            bps if bps % 1_000 == 0 => write!(f, "{}k", bps / 1_000),
            bps => write!(f, "{bps}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for (text, bps) in [
            ("unlimited", 0),
            ("64k", 64_000),
            ("100M", 100_000_000),
            ("1G", 1_000_000_000),
            ("64001", 64_001),
        ] {
            assert_eq!(parse_bps("rate", text).unwrap(), bps);
            assert_eq!(Bps(bps).to_string(), text);
        }
        assert_eq!(parse_bps("rate", " 1000m ").unwrap(), 1_000_000_000);
        assert_eq!(parse_bps("rate", "0").unwrap(), 0);
        for bad in
            ["", "k", "-1M", "+1M", "1.5M", "63k", "401G", "1T", "1 M", "fast", "99999999999999999999", "é"]
        {
            assert!(parse_bps("rate", bad).unwrap_err().public.contains("The rate"), "{bad}");
        }
    }

    #[test]
    fn the_slower_of_two_counts_and_none_is_the_fastest() {
        let rates = Rates { down_bps: 0, up_bps: 500_000 };
        assert_eq!(rates.at_most(1_000_000), Rates { down_bps: 1_000_000, up_bps: 500_000 });
        assert_eq!(rates.at_most(100_000), Rates { down_bps: 100_000, up_bps: 100_000 });
        assert_eq!(rates.at_most(0), rates);
    }
}
