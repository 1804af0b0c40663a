//! Money as whole micro-units of the installation's currency; never a float.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

/// An amount in micro-units: 1 000 000 is one unit of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal such as `0.0074` or `-12`, with at most six digits behind the point.
    ///
    /// Errors: a sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("'{text}' is not an amount: write it like 12 or 0.0074, with at most six decimals");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > 6 {
            return Err(refuse());
        }
        if digits.ends_with('.') {
            return Err(refuse());
        }
        let whole: i64 = whole.parse().map_err(|_| refuse())?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| refuse())?;
        let micros = whole.checked_mul(1_000_000).and_then(|w| w.checked_add(fraction)).ok_or_else(refuse)?;
        Ok(Self(if negative { -micros } else { micros }))
    }

    /// With four decimals, the form of prices in the Cloude document: `0.0074`. Further digits are cut off.
    pub fn four_decimals(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        format!("{sign}{}.{:04}", micros / 1_000_000, micros % 1_000_000 / 100)
    }

    /// The shortest exact decimal with at least two digits behind the point, the form of sums on paper: `10.00`, `0.0074`.
    pub fn two_decimals(self) -> String {
        let text = self.decimal();
        match text.split_once('.') {
            None => text + ".00",
            Some((_, fraction)) if fraction.len() < 2 => text + "0",
            Some(_) => text,
        }
    }

    /// The shortest exact decimal: `6.25`, `0`, `-1.5`.
    pub fn decimal(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
        if fraction == 0 {
            return format!("{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.decimal())
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Micros {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_have_the_documents_form() {
        assert_eq!(Micros::parse("0.0074").map(Micros::four_decimals), Ok("0.0074".into()));
        assert_eq!(Micros::parse("10").map(Micros::four_decimals), Ok("10.0000".into()));
        assert_eq!(Micros(6_250_000).decimal(), "6.25");
        assert_eq!(Micros(0).decimal(), "0");
        for (micros, text) in [(10_000_000, "10.00"), (-1_500_000, "-1.50"), (7_400, "0.0074"), (0, "0.00")] {
            assert_eq!(Micros(micros).two_decimals(), text);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", "-", ".5", "5.", "1e3", "0x1", "1,5", "1.0000001", "99999999999999999999", "+1", "NaN"]
        {
            assert!(Micros::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_an_amount_is_the_identity(micros in -9_000_000_000_000_000i64..9_000_000_000_000_000) {
            prop_assert_eq!(Micros::parse(&Micros(micros).decimal()), Ok(Micros(micros)));
        }
    }
}
