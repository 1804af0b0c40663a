//! Rendered lists of servers, one for each account, for as long as nothing in them changes.
//!
//! Promises: bounded in entries and bytes; the account that asked least lately goes first. Must not know: what
//! is in a list, or when it changes: the account's revision says so.

use bulut_model::AccountId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most accounts that are remembered.
const ENTRIES_MAX: usize = 1024;
/// Most bytes that are remembered.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The lists.
#[derive(Debug)]
pub struct ListCache {
    entries_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<AccountId, Entry>,
    bytes: usize,
    /// Rises with every use; an entry's own value says when it was last used.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    revision: i64,
    body: Bytes,
    used: u64,
}

impl Default for ListCache {
    fn default() -> Self {
        Self::new(ENTRIES_MAX, BYTES_MAX)
    }
}

impl ListCache {
    /// A cache of at most so many accounts and bytes.
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { entries_max, bytes_max, state: Mutex::default() }
    }

    /// The list of the account, if it was rendered at this very revision.
    pub fn find(&self, account: AccountId, revision: i64) -> Option<Bytes> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(&account).filter(|entry| entry.revision == revision)?;
        entry.used = now;
        Some(entry.body.clone())
    }

    /// Remembers a list that was read after the account had this revision. An older revision than the one that
    /// is remembered comes from a request that was overtaken, and is dropped.
    pub fn put(&self, account: AccountId, revision: i64, body: Bytes) {
        if body.len() > self.bytes_max {
            return;
        }
        let mut state = self.lock();
        if state.entries.get(&account).is_some_and(|entry| entry.revision > revision) {
            return;
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += body.len();
        if let Some(old) = state.entries.insert(account, Entry { revision, body, used }) {
            state.bytes -= old.body.len();
        }
        while state.entries.len() > self.entries_max || state.bytes > self.bytes_max {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id)
            else {
                break;
            };
            if let Some(gone) = state.entries.remove(&oldest) {
                state.bytes -= gone.body.len();
            }
        }
    }

    /// Nothing that runs under the lock leaves the state half changed, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: AccountId = AccountId(1);
    const BOB: AccountId = AccountId(2);
    const CAROL: AccountId = AccountId(3);

    #[test]
    fn a_list_is_found_at_its_revision_only() {
        let cache = ListCache::default();
        cache.put(ALICE, 7, Bytes::from_static(b"seven"));
        assert_eq!(cache.find(ALICE, 7).as_deref(), Some(&b"seven"[..]));
        assert_eq!(cache.find(ALICE, 8), None);
        assert_eq!(cache.find(BOB, 7), None);
        cache.put(ALICE, 6, Bytes::from_static(b"six, late"));
        assert_eq!(cache.find(ALICE, 7).as_deref(), Some(&b"seven"[..]));
    }

    #[test]
    fn who_asked_least_lately_goes_first() {
        let cache = ListCache::new(2, 1000);
        cache.put(ALICE, 1, Bytes::from_static(b"a"));
        cache.put(BOB, 1, Bytes::from_static(b"b"));
        assert!(cache.find(ALICE, 1).is_some());
        cache.put(CAROL, 1, Bytes::from_static(b"c"));
        assert!(cache.find(ALICE, 1).is_some());
        assert!(cache.find(BOB, 1).is_none());
    }

    proptest! {
        #[test]
        fn it_never_outgrows_its_bounds(puts in prop::collection::vec((0i64..20, 0i64..5, 0usize..40), 0..100)) {
            let cache = ListCache::new(5, 60);
            for (account, revision, length) in puts {
                cache.put(AccountId(account), revision, Bytes::from(vec![0; length]));
                let state = cache.lock();
                let bytes: usize = state.entries.values().map(|entry| entry.body.len()).sum();
                prop_assert_eq!(bytes, state.bytes);
                prop_assert!(bytes <= 60 && state.entries.len() <= 5);
            }
        }
    }
}
