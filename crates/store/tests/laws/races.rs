//! Workers that work, pause, lose their leases and die as the dice say, all at once on the same operations.

use crate::databases::{Db, at, laws};
use crate::world::{Dice, World, at_once, fence};
use bulut_model::OperationId;
use bulut_model::operation::Status;
use bulut_store::operations::{self, Claimed, Direction};
use bulut_store::{Session, Store};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

laws! {
    both:
    operations_end_once_however_their_workers_die;
}

const WORKERS: usize = 6;
const OPERATIONS: usize = 40;
const STEPS: usize = 4;
const LEASE: i64 = 20;

/// What all workers share: a clock that they push on, and what each of them saw.
#[derive(Debug, Default)]
struct Seen {
    second: AtomicI64,
    settled: AtomicI64,
    claims: Mutex<HashSet<(OperationId, i64)>>,
    progress: Mutex<HashMap<OperationId, usize>>,
    ends: Mutex<Vec<OperationId>>,
}

async fn operations_end_once_however_their_workers_die(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let tx = s.begin().await.unwrap();
    for i in 0..OPERATIONS {
        world.work(&tx, &format!("web{i}"), at(0)).await;
    }
    tx.commit().await.unwrap();
    let seen = Arc::new(Seen::default());
    let workers = at_once(WORKERS, |i| work(db.store.clone(), world, seen.clone(), i));
    tokio::time::timeout(Duration::from_secs(60), workers).await.expect("the work never ended");

    let ends = seen.ends.lock().unwrap().clone();
    assert_eq!(ends.len(), OPERATIONS, "one ended twice");
    assert_eq!(ends.iter().collect::<HashSet<_>>().len(), OPERATIONS);
    assert_eq!(operations::next_due(s).await.unwrap(), None);
    let listed = operations::list(s, world.account, at(0)).await.unwrap();
    assert!(listed.iter().all(|operation| operation.status == Status::Success));
    let attempts = s.one("SELECT CAST(SUM(attempt) AS BIGINT) AS n FROM operation", vec![]).await.unwrap();
    let attempts = usize::try_from(attempts.unwrap().int("n").unwrap()).unwrap();
    assert_eq!(attempts, seen.claims.lock().unwrap().len(), "each attempt was one worker's");
    assert!(attempts > OPERATIONS, "nobody died: this law saw nothing");
}

async fn work(s: Store, world: World, seen: Arc<Seen>, worker: usize) {
    let mut dice = Dice::new(42, worker);
    let owner = format!("worker{worker}");
    while seen.settled.load(Ordering::SeqCst) < OPERATIONS as i64 {
        let now = seen.second.fetch_add(1, Ordering::SeqCst);
        // Taken before the claim: after it, whoever claims the same operation next may be further already.
        let known = seen.progress.lock().unwrap().clone();
        match operations::claim(&s, &[world.node], &owner, at(now), at(now + LEASE)).await.unwrap() {
            None => drop(seen.second.fetch_add(3, Ordering::SeqCst)),
            Some(claimed) => {
                let first = seen.claims.lock().unwrap().insert((claimed.operation.id, claimed.attempt));
                assert!(first, "an attempt was given twice");
                let (id, step) = (claimed.operation.id, claimed.step);
                let known = known.get(&id).copied().unwrap_or(0);
                assert!(step >= known, "operation {id} went back from step {known} to {step}");
                carry_out(&s, &seen, &mut dice, &owner, &claimed).await;
            }
        }
    }
}

/// Walks the steps until they are done, or the dice or the fence say stop.
async fn carry_out(s: &impl Session, seen: &Seen, dice: &mut Dice, owner: &str, claimed: &Claimed) {
    let id = claimed.operation.id;
    let mine = fence(owner, claimed);
    for step in claimed.step..STEPS {
        let now = seen.second.load(Ordering::SeqCst);
        match dice.roll(12) {
            // Dead without a word.
            0 => return,
            // Away for longer than the lease, and then goes on as if nothing had been.
            1 => drop(seen.second.fetch_add(LEASE + 5, Ordering::SeqCst)),
            2 => {
                let run_at = at(now + dice.roll(10) as i64);
                operations::retry_later(s, &mine, run_at, "the dice").await.unwrap();
                // The heartbeat of a worker that has just given up.
                assert!(!operations::renew(s, &mine, at(now + 1_000_000)).await.unwrap());
                return;
            }
            3 => {
                operations::let_go(s, &mine).await.unwrap();
                return;
            }
            4 if !operations::renew(s, &mine, at(now + LEASE)).await.unwrap() => return,
            _ => {}
        }
        if !operations::checkpoint(s, &mine, Direction::Forward, step + 1).await.unwrap() {
            return;
        }
        let mut progress = seen.progress.lock().unwrap();
        let known = progress.entry(id).or_insert(0);
        *known = (step + 1).max(*known);
    }
    let now = at(seen.second.load(Ordering::SeqCst));
    if operations::settle(s, &mine, Status::Success, None, now).await.unwrap() {
        seen.ends.lock().unwrap().push(id);
        seen.settled.fetch_add(1, Ordering::SeqCst);
    }
}
