//! Tax: rates in millionths, VAT ids, and rounding to what can be paid.

use crate::{Error, Micros, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A rate of tax in millionths: 19 % is `TaxRate(190_000)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaxRate(u32);

/// One hundred percent.
const WHOLE: u32 = 1_000_000;

impl TaxRate {
    /// No tax.
    pub const ZERO: Self = Self(0);

    /// A rate of so many millionths, at most 100 %.
    pub const fn from_millionths(millionths: i64) -> Option<Self> {
        if millionths < 0 || millionths > WHOLE as i64 { None } else { Some(Self(millionths as u32)) }
    }

    /// The rate in millionths.
    pub const fn millionths(self) -> i64 {
        self.0 as i64
    }

    /// The rate in percent, the shortest exact decimal: `19`, `8.875`.
    pub fn percent(self) -> String {
        Micros(self.millionths() * 100).decimal()
    }

    /// Reads a rate in percent such as `19`, `8.875` or `19%`, with at most four digits behind the point.
    ///
    /// Errors: `Invalid` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(
                field,
                format!(
                    "The {field} '{text}' is not a rate of tax: write percent from 0 to 100, like 19 or 8.875."
                ),
            )
        };
        let percent = text.trim().trim_end_matches('%').trim_end();
        let micros = Micros::parse(percent).map_err(|_| refuse())?.0;
        // A millionth is a ten-thousandth of a percent.
        if micros % 100 != 0 {
            return Err(refuse());
        }
        Self::from_millionths(micros / 100).ok_or_else(refuse)
    }

    /// The tax on an amount, rounded once to a multiple of `unit`, halves away from zero.
    pub fn of(self, amount: Micros, unit: Micros) -> Micros {
        rounded(i128::from(amount.0) * i128::from(self.0), i128::from(WHOLE), unit)
    }
}

impl fmt::Display for TaxRate {
    /// In percent: `19 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

/// The smallest amount of a currency that can be paid (ISO 4217).
pub fn smallest_payable(currency: &str) -> Micros {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => Micros(1_000_000),
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => Micros(1_000),
        _ => Micros(10_000),
    }
}

/// An amount rounded to a multiple of `unit`, halves away from zero.
pub fn round_to(amount: Micros, unit: Micros) -> Micros {
    rounded(i128::from(amount.0), 1, unit)
}

/// The multiple of `unit` nearest to `numerator / denominator`.
fn rounded(numerator: i128, denominator: i128, unit: Micros) -> Micros {
    let step = denominator * i128::from(unit.0.max(1));
    let units = (2 * numerator.abs() + step) / (2 * step) * numerator.signum();
    Micros(i64::try_from(units * i128::from(unit.0.max(1))).unwrap_or(if units < 0 {
        i64::MIN
    } else {
        i64::MAX
    }))
}

/// Reads a VAT id as people write it: capitals and digits remain, blanks, points and dashes go. Whether it exists is for
/// the tax office to say.
///
/// Errors: `Invalid` for `vat_id`.
pub fn vat_id(text: &str) -> Result<String> {
    let id: String =
        text.chars().filter(|c| !c.is_whitespace() && !".-/".contains(*c)).collect::<String>().to_uppercase();
    if (4..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(Error::invalid(
        "vat_id",
        "The VAT id must have 4 to 20 letters and digits, like DE123456789 or 1234567890.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENT: Micros = Micros(10_000);

    #[test]
    fn rates_are_read_and_told_in_percent() {
        for (text, millionths, told) in [
            ("19", 190_000, "19 %"),
            ("8.875", 88_750, "8.875 %"),
            ("0", 0, "0 %"),
            ("100%", 1_000_000, "100 %"),
            (" 20 % ", 200_000, "20 %"),
            ("7.7001", 77_001, "7.7001 %"),
        ] {
            let rate = TaxRate::parse("rate", text).unwrap();
            assert_eq!((rate.millionths(), rate.to_string().as_str()), (millionths, told));
        }
        for bad in ["", "-1", "100.0001", "1.00001", "ten", "1,5", "%"] {
            assert!(TaxRate::parse("rate", bad).unwrap_err().public.contains("rate"), "{bad}");
        }
    }

    #[test]
    fn tax_is_rounded_once_halves_away_from_zero() {
        let rate = TaxRate::parse("rate", "19").unwrap();
        assert_eq!(rate.of(Micros(10_000_000), CENT), Micros(1_900_000));
        assert_eq!(rate.of(Micros(10_003_700), CENT), Micros(1_900_000));
        // 0.05 × 10 % is half a cent.
        let tenth = TaxRate::parse("rate", "10").unwrap();
        assert_eq!(tenth.of(Micros(50_000), CENT), CENT);
        assert_eq!(tenth.of(Micros(-50_000), CENT), -CENT);
        assert_eq!(tenth.of(Micros(49_990), CENT), Micros::ZERO);
        assert_eq!(round_to(Micros(5_002_400), CENT), Micros(5_000_000));
        assert_eq!(round_to(Micros(5_002_400), Micros(1)), Micros(5_002_400));
    }

    #[test]
    fn vat_ids_are_kept_as_one_word() {
        assert_eq!(vat_id("DE 123 456 789").unwrap(), "DE123456789");
        assert_eq!(vat_id("che-123.456.788").unwrap(), "CHE123456788");
        assert_eq!(vat_id("1234567890").unwrap(), "1234567890");
        for bad in ["", "DE", "ÄÖ123", "123456789012345678901", "<b>12"] {
            assert!(vat_id(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn rounding_moves_an_amount_by_half_a_unit_at_most(amount in -1i64 << 52..1i64 << 52, unit in 1i64..2_000_000) {
            let rounded = round_to(Micros(amount), Micros(unit)).0;
            prop_assert_eq!(rounded % unit, 0);
            prop_assert!((rounded - amount).abs() * 2 <= unit);
        }
    }
}
