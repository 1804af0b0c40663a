//! How many connections to consoles an account has open in this process.
//!
//! Promises: a seat is given back however its connection ends. Must not know: what a connection carries.

use bulut_model::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most of an account: each costs buffers here and, for a screen, an encoder in QEMU.
const MAX: usize = 32;

/// The seats of all accounts.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Mutex<HashMap<AccountId, usize>>>);

/// One of them, taken.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    account: AccountId,
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, if the account may have one more.
    pub fn take(&self, account: AccountId) -> Option<Seat> {
        let mut taken = self.taken();
        let count = taken.entry(account).or_default();
        if *count >= MAX {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), account })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_only_so_many_and_gets_them_back() {
        let seats = Seats::default();
        let mut taken: Vec<_> = (0..MAX).map(|_| seats.take(AccountId(1)).unwrap()).collect();
        assert!(seats.take(AccountId(1)).is_none());
        assert!(seats.take(AccountId(2)).is_some(), "others have their own");
        taken.pop();
        taken.push(seats.take(AccountId(1)).unwrap());
        assert!(seats.take(AccountId(1)).is_none());
        drop(taken);
        assert!(seats.taken().is_empty(), "nothing is remembered of who is not there");
    }
}
