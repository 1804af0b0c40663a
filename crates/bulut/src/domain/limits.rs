//! Limits of how often somebody may ask: token buckets, in the memory of this process.
//!
//! A bucket holds as many tokens as may be spent at once, and fills at the pace that may be kept for long. Promises:
//! whoever stays below the pace is never refused; memory stays bounded whoever comes. Must not know: HTTP, or what is
//! asked.

use crate::app::App;
use bulut_model::error::Kind;
use bulut_model::{AccountId, ApiKeyId, Error, Result, Timestamp};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most buckets that are remembered. A full one is as good as none, and is forgotten first.
const BUCKETS_MAX: usize = 100_000;

/// What a request does, which says how dear it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It changes something.
    Change,
    /// It looks, which whoever waits does again and again.
    Read,
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// An account's.
    Account(AccountId),
    /// An API key's.
    ApiKey(ApiKeyId),
    /// A client's, by its address: an IPv6 one by its network, since that is what one client has.
    Address(IpAddr),
}

/// A bucket's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Calls(Who, Class),
    /// Attempts to sign in from an address as somebody, by a digest of the name: those may be long.
    Login(Option<IpAddr>, [u8; 16]),
}

/// How large a bucket is, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in a minute.
    pub per_minute: u32,
    /// Tokens that it holds.
    pub burst: u32,
}

/// What a bucket has to say after a token was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// How many tokens it holds.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// Seconds until it is full again, rounded up.
    pub reset_s: u64,
}

/// Why no token was taken, and what the bucket has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Seconds until there is a token, at least one.
    pub retry_after_s: u64,
    /// With nothing left.
    pub allowance: Allowance,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let retry_after_s = refusal.retry_after_s;
        Self::new(
            Kind::RateLimited { retry_after_s },
            format!("Too many requests: try again in {retry_after_s} s, and then less often."),
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Sixty-millionths of a token, of which every microsecond brings a whole number.
    level: u64,
    filled_at: Timestamp,
    rate: Rate,
}

const TOKEN: u64 = 60_000_000;

impl Rate {
    /// What comes in this time.
    fn in_time(self, time: Duration) -> u64 {
        u64::try_from(time.as_micros() * u128::from(self.per_minute)).unwrap_or(u64::MAX)
    }

    /// Seconds until so much has come, rounded up.
    fn seconds_for(self, parts: u64) -> u64 {
        parts.div_ceil(u64::from(self.per_minute.max(1)) * 1_000_000)
    }

    fn size(self) -> u64 {
        u64::from(self.burst) * TOKEN
    }
}

impl Bucket {
    fn full(rate: Rate, now: Timestamp) -> Self {
        Self { level: rate.size(), filled_at: now, rate }
    }

    /// Fills it up to now. A clock that was set back fills nothing, and takes nothing away.
    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let come = rate.in_time(now.since(self.filled_at));
        self.level = self.level.saturating_add(come).min(rate.size());
        self.filled_at = now;
        self.rate = rate;
    }

    fn is_full_at(&self, now: Timestamp) -> bool {
        self.level.saturating_add(self.rate.in_time(now.since(self.filled_at))) >= self.rate.size()
    }

    fn allowance(&self) -> Allowance {
        Allowance {
            limit: u64::from(self.rate.burst),
            remaining: self.level / TOKEN,
            reset_s: self.rate.seconds_for(self.rate.size() - self.level),
        }
    }
}

/// All buckets.
#[derive(Debug)]
pub struct Limits {
    buckets: Mutex<HashMap<Name, Bucket>>,
    buckets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { buckets: Mutex::default(), buckets_max: BUCKETS_MAX }
    }
}

impl Limits {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token.
    ///
    /// Errors: when there is none.
    fn take(&self, name: Name, rate: Rate, now: Timestamp) -> Result<Allowance, Refusal> {
        let mut buckets = self.lock();
        if buckets.len() >= self.buckets_max && !buckets.contains_key(&name) {
            make_room(&mut buckets, self.buckets_max, now);
        }
        let bucket = buckets.entry(name).or_insert_with(|| Bucket::full(rate, now));
        bucket.fill(rate, now);
        if bucket.level < TOKEN {
            let retry_after_s = rate.seconds_for(TOKEN - bucket.level).max(1);
            return Err(Refusal { retry_after_s, allowance: bucket.allowance() });
        }
        bucket.level -= TOKEN;
        Ok(bucket.allowance())
    }

    /// Gives a token back.
    fn give_back(&self, name: Name) {
        if let Some(bucket) = self.lock().get_mut(&name) {
            bucket.level = (bucket.level + TOKEN).min(bucket.rate.size());
        }
    }
}

/// Forgets the buckets that are full by now; if those are too few, a tenth of all, whichever come first. Whoever loses
/// an empty one so has a full one again: with so many clients at once that is the lesser harm.
fn make_room(buckets: &mut HashMap<Name, Bucket>, max: usize, now: Timestamp) {
    buckets.retain(|_, bucket| !bucket.is_full_at(now));
    let mut surplus = (buckets.len() + max / 10 + 1).saturating_sub(max);
    buckets.retain(|_, _| {
        let stays = surplus == 0;
        surplus = surplus.saturating_sub(1);
        stays
    });
}

/// The part of an address that tells clients apart.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Takes a token of somebody's bucket; `None` when requests are not limited.
///
/// Errors: when its bucket is empty.
pub fn charge(app: &App, who: Who, class: Class) -> Result<Option<Allowance>, Refusal> {
    let config = app.config();
    if !config.rates.enabled {
        return Ok(None);
    }
    let (per_minute, burst) = match class {
        Class::Change => (config.rates.changes_per_minute, config.rates.changes_burst),
        Class::Read => (config.rates.reads_per_minute, config.rates.reads_burst),
    };
    let (who, factor) = match who {
        Who::Address(address) => (Who::Address(network(address)), config.rates.address_factor),
        Who::Account(_) | Who::ApiKey(_) => (who, 1),
    };
    let rate = Rate { per_minute: per_minute.saturating_mul(factor), burst: burst.saturating_mul(factor) };
    app.limits().take(Name::Calls(who, class), rate, app.clock().now()).map(Some)
}

fn login_name(address: Option<IpAddr>, name: &str) -> Name {
    let digest = Sha256::digest(name.trim().to_lowercase());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    Name::Login(address.map(network), short)
}

/// Takes a token of those for signing in from this address as this user; [`login_succeeded`] gives it back.
///
/// Errors: `RateLimited`.
pub fn charge_login(app: &App, address: Option<IpAddr>, name: &str) -> Result<()> {
    let config = app.config();
    if !config.rates.enabled {
        return Ok(());
    }
    let rate = Rate { per_minute: config.rates.logins_per_minute, burst: config.rates.logins_burst };
    app.limits().take(login_name(address, name), rate, app.clock().now())?;
    Ok(())
}

/// Who knows the password is not guessing.
pub fn login_succeeded(app: &App, address: Option<IpAddr>, name: &str) {
    app.limits().give_back(login_name(address, name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 5 };
    const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn after(ms: u64) -> Timestamp {
        START.plus(Duration::from_millis(ms))
    }

    fn wait(taken: Result<Allowance, Refusal>) -> u64 {
        let refusal = taken.unwrap_err();
        assert_eq!(refusal.allowance.remaining, 0);
        refusal.retry_after_s
    }

    fn name(account: i64) -> Name {
        Name::Calls(Who::Account(AccountId(account)), Class::Change)
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_pace() {
        let limits = Limits::default();
        for left in (0..5).rev() {
            let told = limits.take(name(1), RATE, START).unwrap();
            assert_eq!((told.limit, told.remaining, told.reset_s), (5, left, 5 - left));
        }
        assert_eq!(wait(limits.take(name(1), RATE, START)), 1);
        assert_eq!(wait(limits.take(name(1), RATE, after(999))), 1);
        assert_eq!(limits.take(name(1), RATE, after(1000)).unwrap().remaining, 0);
        assert!(limits.take(name(1), RATE, after(1500)).is_err());
        assert_eq!(limits.take(name(2), RATE, after(1500)).unwrap().remaining, 4, "another's is another's");
        assert_eq!(limits.take(name(1), RATE, after(60_000)).unwrap().remaining, 4, "full, and not fuller");
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait() {
        let limits = Limits::default();
        let slow = Rate { per_minute: 2, burst: 1 };
        assert_eq!(limits.take(name(1), slow, START).unwrap().reset_s, 30);
        assert_eq!(wait(limits.take(name(1), slow, after(500))), 30);
        assert_eq!(wait(limits.take(name(1), slow, after(29_500))), 1);
        assert!(limits.take(name(1), slow, after(30_000)).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_neither_gives_nor_takes() {
        let limits = Limits::default();
        limits.take(name(1), RATE, after(10_000)).unwrap();
        assert_eq!(limits.take(name(1), RATE, START).unwrap().remaining, 3);
        assert_eq!(limits.take(name(1), RATE, after(1000)).unwrap().remaining, 3, "a second has come since");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_is_never_too_much() {
        let limits = Limits::default();
        let one = Rate { per_minute: 1, burst: 1 };
        limits.give_back(name(1));
        limits.take(name(1), one, START).unwrap();
        limits.give_back(name(1));
        limits.give_back(name(1));
        limits.take(name(1), one, START).unwrap();
        assert!(limits.take(name(1), one, START).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_full_ones_go_first() {
        let limits = Limits { buckets_max: 100, ..Limits::default() };
        for _ in 0..5 {
            limits.take(name(-1), RATE, after(9000)).unwrap();
        }
        for account in 0..100 {
            // Each is full again a second later, when the next comes.
            let _ = limits.take(name(account), RATE, after(10_000 + 1000 * u64::try_from(account).unwrap()));
        }
        assert!(limits.lock().len() <= 100);
        for account in 0..100_000 {
            let _ = limits.take(name(account), RATE, after(200_000));
        }
        assert!(limits.lock().len() <= 100, "even when none of them is full");
    }

    #[test]
    fn clients_are_told_apart_by_what_one_client_has() {
        let parsed = |text: &str| network(text.parse().unwrap());
        assert_eq!(parsed("2001:db8:1:2::7"), parsed("2001:db8:1:2:ffff::1"));
        assert_ne!(parsed("2001:db8:1:2::7"), parsed("2001:db8:1:3::7"));
        assert_eq!(parsed("::ffff:192.0.2.1"), parsed("192.0.2.1"));
        assert_ne!(parsed("192.0.2.1"), parsed("192.0.2.2"));
        let home = Some("192.0.2.1".parse().unwrap());
        assert_eq!(login_name(home, " Alice "), login_name(home, "alice"));
        assert_ne!(login_name(home, "alice"), login_name(None, "alice"));
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_pace_is_never_refused(gaps in prop::collection::vec(1000u64..5000, 1..200)) {
            let (limits, one) = (Limits::default(), Rate { per_minute: 60, burst: 1 });
            let mut at = 0;
            for gap in gaps {
                prop_assert!(limits.take(name(1), one, after(at)).is_ok());
                at += gap;
            }
        }

        #[test]
        fn nobody_gets_more_than_burst_and_pace(gaps in prop::collection::vec(0u64..3000, 1..200)) {
            let (limits, mut at, mut got) = (Limits::default(), 0, 0);
            for gap in gaps {
                at += gap;
                got += u64::from(limits.take(name(1), RATE, after(at)).is_ok());
            }
            prop_assert!(got <= 5 + at / 1000);
        }
    }
}
