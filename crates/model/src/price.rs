//! Prices: what is priced, by versions that never change. Pure.

use crate::{Error, Micros, PackageId, PriceId, Result, Timestamp};

/// What has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Priced {
    /// A server of a package, by the hour.
    Package(PackageId),
    /// A GiB of a stopped server's disk, by the hour.
    Disk,
    /// A GiB of a snapshot, by the hour.
    Snapshot,
    /// An additional address, by the hour; also the first one of a stopped server.
    Address,
    /// A GB of traffic beyond what the package includes; that of one package goes before that of all.
    Traffic(Option<PackageId>),
}

impl Priced {
    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package(_) => "package",
            Self::Disk => "disk",
            Self::Snapshot => "snapshot",
            Self::Address => "address",
            Self::Traffic(_) => "traffic",
        }
    }

    /// The reverse of [`Priced::as_str`].
    pub fn from_word(word: &str, package: Option<PackageId>) -> Option<Self> {
        match (word, package) {
            ("package", Some(package)) => Some(Self::Package(package)),
            ("disk", None) => Some(Self::Disk),
            ("snapshot", None) => Some(Self::Snapshot),
            ("address", None) => Some(Self::Address),
            ("traffic", package) => Some(Self::Traffic(package)),
            _ => None,
        }
    }

    /// The package that it is about.
    pub const fn package(self) -> Option<PackageId> {
        match self {
            Self::Package(package) => Some(package),
            Self::Traffic(package) => package,
            Self::Disk | Self::Snapshot | Self::Address => None,
        }
    }

    /// What its price is the price of.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Package(_) => "hour",
            Self::Disk | Self::Snapshot => "GiB and hour",
            Self::Address => "address and hour",
            Self::Traffic(_) => "GB",
        }
    }
}

/// One version of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Its id: a later version has a larger one.
    pub id: PriceId,
    /// What it is the price of.
    pub of: Priced,
    /// What a unit costs, see [`Priced::unit`].
    pub unit: Micros,
    /// Most that a calendar month costs; packages only.
    pub monthly: Option<Micros>,
    /// Since when.
    pub valid_from: Timestamp,
}

/// The largest price, so that no sum over an account's things overflows: a million of the currency for an hour.
pub const PRICE_MAX: Micros = Micros(1_000_000_000_000);

/// Checks that an amount can be a price: not negative, at most [`PRICE_MAX`].
///
/// Errors: `Invalid` for `field`.
pub fn check_price(field: &str, price: Micros) -> Result<()> {
    if (Micros::ZERO..=PRICE_MAX).contains(&price) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("The {field} must be a price from 0 to {PRICE_MAX}.")))
}

/// What a stopped server of a package costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStopped {
    /// As much as a running one: its place is kept.
    Full,
    /// Its disk and its address.
    Disk,
    /// Nothing.
    None,
}

impl WhenStopped {
    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disk => "disk",
            Self::None => "none",
        }
    }

    /// The reverse of [`WhenStopped::as_str`].
    ///
    /// Errors: `Invalid` naming `when_stopped`.
    pub fn parse(word: &str) -> Result<Self> {
        let found = [Self::Full, Self::Disk, Self::None].into_iter().find(|one| one.as_str() == word);
        found.ok_or_else(|| {
            Error::invalid("when_stopped", "What a stopped server costs must be full, disk or none.")
        })
    }
}

/// How time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counting {
    /// By the second.
    Second,
    /// Each hour of the clock that was begun counts whole, once, at the highest price that held in it.
    Hour,
}

impl Counting {
    /// The word in the database and the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Hour => "hour",
        }
    }

    /// The reverse of [`Counting::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Second, Self::Hour].into_iter().find(|one| one.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for priced in [
            Priced::Package(PackageId(7)),
            Priced::Disk,
            Priced::Snapshot,
            Priced::Address,
            Priced::Traffic(None),
            Priced::Traffic(Some(PackageId(7))),
        ] {
            assert_eq!(Priced::from_word(priced.as_str(), priced.package()), Some(priced));
        }
        assert_eq!(Priced::from_word("package", None), None);
        for stopped in [WhenStopped::Full, WhenStopped::Disk, WhenStopped::None] {
            assert_eq!(WhenStopped::parse(stopped.as_str()).unwrap(), stopped);
        }
        assert!(WhenStopped::parse("half").unwrap_err().public.contains("full, disk or none"));
        for counting in [Counting::Second, Counting::Hour] {
            assert_eq!(Counting::from_word(counting.as_str()), Some(counting));
        }
    }

    #[test]
    fn a_price_is_neither_negative_nor_absurd() {
        assert!(check_price("hourly", Micros::ZERO).is_ok() && check_price("hourly", PRICE_MAX).is_ok());
        for bad in [Micros(-1), Micros(PRICE_MAX.0 + 1)] {
            assert!(check_price("hourly", bad).unwrap_err().public.contains("hourly"));
        }
    }
}
