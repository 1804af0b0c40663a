//! The accounts behind requests, read once for all requests that wait for the same one.
//!
//! Promises: what a request is told was read after the request came, so that a suspension, a changed password
//! or a changed list counts at once, whichever process made the change. Nothing is remembered beyond that: a
//! request that finds nobody else waiting reads by itself. Must not know: tokens, or what an account may do.

use crate::app::App;
use bulut_model::account::Account;
use bulut_model::{AccountId, Result};
use bulut_store::accounts;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Accounts share a place when their ids agree in this many places; two that do wait for each other's reads.
/// Well above the connections to the database, which bound the reads that run at the same time anyway.
const PLACES: usize = 64;

/// How often a read is put off at most because more requests come that it can answer too.
const PUT_OFF_MAX: usize = 8;

/// Places for accounts. A client that sends many requests at once makes most of them wait while one reads; the
/// next read begins after all of those came, and answers them together.
pub struct Callers([Place; PLACES]);

#[derive(Default)]
struct Place {
    /// Rises with each request and each read, which tells what came before what.
    clock: AtomicU64,
    /// What was read last.
    seen: Mutex<Option<Seen>>,
}

/// One read and what it saw.
struct Seen {
    begun: u64,
    id: AccountId,
    /// A failure too: a database that is away would otherwise let those who wait find out one after the other.
    found: Result<Option<Account>>,
}

impl Default for Callers {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Place::default()))
    }
}

impl Place {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Lets requests come that have arrived, but were not looked at yet. Where nothing else is to be done, this
    /// takes a microsecond, far less than a read.
    async fn let_come(&self) {
        for _ in 0..PUT_OFF_MAX {
            let before = self.clock.load(Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.clock.load(Ordering::SeqCst) == before {
                return;
            }
        }
    }
}

impl Callers {
    fn place(&self, id: AccountId) -> &Place {
        &self.0[usize::try_from(id.0.rem_euclid(PLACES as i64)).unwrap_or(0)]
    }

    /// Answers what `read` finds, or found for somebody else since this call.
    async fn find(
        &self,
        id: AccountId,
        read: impl AsyncFnOnce() -> Result<Option<Account>>,
    ) -> Result<Option<Account>> {
        let place = self.place(id);
        let came = place.tick();
        // Whoever holds the place reads; the others queue in the order in which they came.
        let mut seen = place.seen.lock().await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.id == id && seen.begun > came) {
            return seen.found.clone();
        }
        place.let_come().await;
        let begun = place.tick();
        let found = read().await;
        *seen = Some(Seen { begun, id, found: found.clone() });
        found
    }
}

/// The account with this id as it is now.
pub async fn find(app: &App, id: AccountId) -> Result<Option<Account>> {
    app.callers().find(id, async || accounts::find(app.store(), id).await).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulut_model::account::Standing;
    use bulut_model::{Error, Timestamp};
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;
    use tokio::sync::Semaphore;

    /// A database of one account, whose reads stop until they are let go.
    struct Database {
        callers: Callers,
        revision: AtomicI64,
        reads: AtomicU64,
        gate: Semaphore,
    }

    impl Database {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                callers: Callers::default(),
                revision: AtomicI64::new(0),
                reads: AtomicU64::new(0),
                gate: Semaphore::new(0),
            })
        }

        async fn read(&self, id: AccountId) -> Result<Option<Account>> {
            let revision = self.revision.load(Ordering::SeqCst);
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.map_err(Error::internal)?.forget();
            Ok(Some(account(id, revision)))
        }

        /// A request; it has come when this returns.
        async fn request(self: &Arc<Self>, id: AccountId) -> tokio::task::JoinHandle<i64> {
            let this = Arc::clone(self);
            let clock = || self.callers.place(id).clock.load(Ordering::SeqCst);
            let before = clock();
            let task = tokio::spawn(async move {
                let found = this.callers.find(id, async || this.read(id).await).await.unwrap();
                found.unwrap().revision
            });
            while clock() == before {
                tokio::task::yield_now().await;
            }
            task
        }
    }

    fn account(id: AccountId, revision: i64) -> Account {
        Account {
            id,
            email: "a@example.com".into(),
            user_name: None,
            first_name: "A".into(),
            last_name: String::new(),
            standing: Standing::Active,
            is_operator: false,
            lacks_funds: false,
            is_verified: false,
            hides_secrets: false,
            is_postpaid: false,
            token_epoch: 0,
            revision,
            created_at: Timestamp::default(),
            last_login_at: None,
        }
    }

    const ALICE: AccountId = AccountId(1);

    #[tokio::test]
    async fn a_change_is_seen_by_every_request_that_comes_after_it() {
        let database = Database::new();
        let early = database.request(ALICE).await;
        while database.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The first read is under way and will say 0; whoever comes now must not be told that.
        database.revision.store(1, Ordering::SeqCst);
        let late =
            [database.request(ALICE).await, database.request(ALICE).await, database.request(ALICE).await];
        database.gate.add_permits(100);
        assert_eq!(early.await.unwrap(), 0);
        for late in late {
            assert_eq!(late.await.unwrap(), 1);
        }
        assert_eq!(database.reads.load(Ordering::SeqCst), 2, "those that waited share one read");
        database.revision.store(2, Ordering::SeqCst);
        assert_eq!(database.request(ALICE).await.await.unwrap(), 2, "nothing is remembered");
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_holds_nobody_up() {
        let database = Database::new();
        let first = database.request(ALICE).await;
        let second = database.request(ALICE).await;
        first.abort();
        database.gate.add_permits(1);
        assert_eq!(second.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn accounts_that_share_a_place_are_not_mixed_up() {
        let database = Database::new();
        let neighbour = AccountId(ALICE.0 + PLACES as i64);
        let alice = database.request(ALICE).await;
        let tasks = [database.request(neighbour).await, database.request(ALICE).await];
        database.gate.add_permits(100);
        alice.await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        let found = database.callers.find(neighbour, async || Ok(None)).await.unwrap();
        assert_eq!(found, None);
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_wait_and_forgotten_then() {
        let callers = Callers::default();
        let (reads, gate) = (AtomicU64::new(0), Semaphore::new(0));
        let away = async || {
            reads.fetch_add(1, Ordering::SeqCst);
            drop(gate.acquire().await);
            Err(Error::internal("away"))
        };
        let open = async { gate.add_permits(1) };
        let find = || callers.find(ALICE, away);
        let (one, two, three, ()) = tokio::join!(find(), find(), find(), open);
        assert!(one.is_err() && two.is_err() && three.is_err());
        assert_eq!(reads.load(Ordering::SeqCst), 1, "all of them came before it began");
        let found = callers.find(ALICE, async || Ok(Some(account(ALICE, 3)))).await.unwrap();
        assert_eq!(found.map(|account| account.revision), Some(3));
    }
}
