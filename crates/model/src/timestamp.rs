//! Points in time, UTC, as whole microseconds since 1970: what the database stores and the rules compare.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description,
};

const WIRE: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

const US_DATE: &[BorrowedFormatItem<'static>] = format_description!("[month]/[day]/[year]");

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant `seconds` after 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`, the form of every time in the Cloude document.
    pub fn wire(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.unix_seconds())
            .ok()
            .and_then(|t| t.format(WIRE).ok())
            .unwrap_or_default()
    }

    /// `MM/DD/YYYY`, the form of days in the Cloud at Cost document.
    pub fn us_date(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.unix_seconds())
            .ok()
            .and_then(|t| t.format(US_DATE).ok())
            .unwrap_or_default()
    }

    /// The reverse of [`Timestamp::wire`].
    pub fn from_wire(text: &str) -> Option<Self> {
        let time = PrimitiveDateTime::parse(text, WIRE).ok()?;
        Some(Self::from_unix_seconds(time.assume_utc().unix_timestamp()))
    }

    /// This instant moved into the future.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant moved into the past.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` until this instant; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_documents() {
        let documented = Timestamp::from_unix_seconds(1_515_064_474);
        assert_eq!(documented.wire(), "2018-01-04T11:14:34Z");
        assert_eq!(Timestamp::from_wire("2018-01-04T11:14:34Z"), Some(documented));
        for other in
            ["", "2018-01-04", "2018-01-04 11:14:34", "2018-13-04T11:14:34Z", "2018-01-04T11:14:34+01:00"]
        {
            assert_eq!(Timestamp::from_wire(other), None, "{other}");
        }
    }

    #[test]
    fn a_day_is_the_documents() {
        assert_eq!(Timestamp::from_unix_seconds(1_390_694_400).us_date(), "01/26/2014");
    }

    #[test]
    fn a_span_back_and_forth_is_the_same_instant() {
        let t = Timestamp::from_unix_seconds(1_700_000_000);
        let day = Duration::from_secs(86_400);
        assert_eq!(t.plus(day).minus(day), t);
        assert_eq!(t.plus(day).since(t), day);
        assert_eq!(t.since(t.plus(day)), Duration::ZERO);
    }
}
