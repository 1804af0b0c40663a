//! The app's clock and its source of randomness: the only places that ask the system for either.

use bulut_model::Timestamp;
use rand::TryRngCore as _;
use std::sync::Mutex;
use std::time::Duration;

/// Where the time comes from.
#[derive(Debug)]
pub enum Clock {
    /// The host's.
    System,
    /// A test's: stands still until it is moved.
    Frozen(Mutex<Timestamp>),
}

impl Clock {
    /// A clock that stands at `now` until it is moved.
    pub fn frozen(now: Timestamp) -> Self {
        Self::Frozen(Mutex::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the app's clock")]
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp(since.map_or(0, |span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
            }
            Self::Frozen(at) => *at.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        }
    }

    /// Moves a frozen clock; the system's cannot be moved.
    pub fn advance(&self, span: Duration) {
        if let Self::Frozen(at) = self {
            let mut at = at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *at = at.plus(span);
        }
    }
}

/// Bytes that nobody can guess, from the operating system.
///
/// Panics when the operating system has none to give: nothing may go on without.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    #[expect(clippy::expect_used, reason = "without randomness no secret may be made")]
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A password that people can read out: letters and digits without look-alikes, about 5.8 bits each.
pub fn random_password(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut password = String::with_capacity(length);
    while password.len() < length {
        // Bytes past the last whole multiple would make the first letters likelier: pass them over.
        for byte in random_bytes::<32>() {
            let limit = 256 - 256 % LETTERS.len();
            if usize::from(byte) < limit && password.len() < length {
                password.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
            }
        }
    }
    password
}
