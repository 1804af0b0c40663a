//! Laws of operations: one at a time holds a server, each is claimed once, and who lost a lease is powerless.

use crate::databases::{Db, at, laws};
use crate::world::{World, account, at_once, fence};
use bulut_model::error::Kind;
use bulut_model::operation::{OperationKind, Status};
use bulut_model::{NodeId, OperationId, Timestamp};
use bulut_store::operations::{self, Claimed, Direction};
use bulut_store::{Session, nodes};
use std::collections::HashSet;

laws! {
    both:
    an_operation_comes_back_as_it_was_asked_for
    one_live_operation_holds_a_server
    of_many_that_ask_at_once_one_holds_the_server
    the_one_that_is_due_longest_is_claimed_first
    what_is_not_due_or_leased_or_elsewhere_is_not_claimed
    a_claim_carries_what_the_work_needs
    a_lease_that_ran_out_is_claimed_again_as_another_attempt
    a_renewed_lease_is_not_claimed
    a_worker_that_lost_its_lease_changes_nothing
    a_worker_that_gave_an_operation_back_changes_nothing
    a_worker_of_another_process_start_changes_nothing
    progress_is_remembered_and_forgives_failures
    a_failed_try_counts_and_waits
    an_operation_that_turned_around_is_undone_from_there
    a_settled_operation_stays_as_it_ended
    claimers_at_once_claim_each_operation_once
    the_next_due_moment_is_the_earliest
    a_list_begins_where_it_was_asked_to
    another_accounts_operation_does_not_exist
    operations_are_counted_by_kind_and_status;
}

/// The lease of these laws, seconds.
const LEASE: i64 = 30;

async fn claim(s: &impl Session, world: World, owner: &str, second: i64) -> Option<Claimed> {
    operations::claim(s, &[world.node], owner, at(second), at(second + LEASE)).await.unwrap()
}

async fn next_due(s: &impl Session) -> Option<Timestamp> {
    operations::next_due(s).await.unwrap()
}

/// Everything in the row but the lease itself.
async fn row(s: &impl Session, id: OperationId) -> String {
    let sql = "SELECT * FROM operation WHERE id = $1";
    let row = s.one(sql, vec![id.0.into()]).await.unwrap().unwrap();
    let texts = ["message", "direction", "owner", "last_error"].map(|column| row.opt_text(column).unwrap());
    let numbers = ["status", "step", "attempt", "failures", "run_at", "lease_until", "completed_at"]
        .map(|column| row.opt_int(column).unwrap());
    format!("{texts:?} {numbers:?}")
}

async fn an_operation_comes_back_as_it_was_asked_for(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    for kind in OperationKind::ALL {
        let server = world.server(s, kind.as_str()).await;
        let id = operations::insert(s, kind, world.subject(server), "{}", at(5)).await.unwrap();
        let found = operations::find_owned(s, world.account, id).await.unwrap().unwrap();
        assert_eq!((found.id, found.account, found.server, found.kind), (id, world.account, server, kind));
        assert_eq!((found.status, found.message), (Status::Running, None));
        assert_eq!((found.created_at, found.completed_at), (at(5), None));
    }
}

async fn one_live_operation_holds_a_server(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (server, other) = (world.server(s, "web1").await, world.server(s, "web2").await);
    let insert = async |kind| operations::insert(s, kind, world.subject(server), "{}", at(0)).await;
    insert(OperationKind::ServerStart).await.unwrap();
    let refused = insert(OperationKind::ServerStop).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(refused.public.contains(&server.to_string()), "{refused}");
    world.operation(s, other, at(1)).await;
    assert_eq!(
        operations::held_servers(s).await.unwrap().into_iter().collect::<HashSet<_>>(),
        [server, other].into()
    );

    let claimed = claim(s, world, "me", 0).await.unwrap();
    assert!(operations::settle(s, &fence("me", &claimed), Status::Error, Some("no"), at(1)).await.unwrap());
    insert(OperationKind::ServerStop).await.unwrap();
    assert_eq!(operations::list(s, world.account, at(0)).await.unwrap().len(), 3);
}

async fn of_many_that_ask_at_once_one_holds_the_server(db: Db) {
    let world = World::new(&db.store).await;
    let server = world.server(&db.store, "web1").await;
    let outcomes = at_once(10, |_| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            let kind = OperationKind::ServerStart;
            let asked = operations::insert(&tx, kind, world.subject(server), "{}", at(0)).await;
            if asked.is_ok() {
                tx.commit().await.unwrap();
            }
            asked.map_err(|error| error.kind)
        }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(
        outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == Err(Kind::Conflict)),
        "{outcomes:?}"
    );
}

async fn the_one_that_is_due_longest_is_claimed_first(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let third = world.work(s, "web1", at(3)).await;
    let first = world.work(s, "web2", at(1)).await;
    let second = world.work(s, "web3", at(1)).await;
    for expected in [first, second, third] {
        assert_eq!(claim(s, world, "me", 10).await.unwrap().operation.id, expected);
    }
    assert!(claim(s, world, "me", 10).await.is_none());
}

async fn what_is_not_due_or_leased_or_elsewhere_is_not_claimed(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let size = nodes::Size { cpu: 1, memory_mib: 1, disk_gib: 1 };
    let far = nodes::ensure(s, world.region, "far", "simulated", size, at(0)).await.unwrap().id;
    world.work(s, "web1", at(10)).await;
    assert!(claim(s, world, "me", 9).await.is_none(), "not due yet");
    for nodes in [vec![], vec![far], vec![NodeId(98), NodeId(99)]] {
        assert!(operations::claim(s, &nodes, "me", at(10), at(40)).await.unwrap().is_none(), "{nodes:?}");
    }
    let nodes = [far, world.node];
    assert!(operations::claim(s, &nodes, "me", at(10), at(40)).await.unwrap().is_some());
    assert!(claim(s, world, "me", 39).await.is_none(), "its lease holds");
    let other = World { node: far, ..world };
    let server = world.server(s, "web2").await;
    other.operation(s, server, at(0)).await;
    assert!(claim(s, world, "me", 20).await.is_none());
    assert!(claim(s, other, "me", 20).await.is_some());
}

async fn a_claim_carries_what_the_work_needs(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let params = r#"{"name":"ü \"x\" $1 {lock}"}"#;
    let kind = OperationKind::ServerCreate;
    let id = operations::insert(s, kind, world.subject(server), params, at(0)).await.unwrap();
    let claimed = claim(s, world, "me", 0).await.unwrap();
    assert_eq!(
        Some(&claimed.operation),
        operations::find_owned(s, world.account, id).await.unwrap().as_ref()
    );
    assert_eq!((claimed.node, claimed.params.as_str()), (world.node, params));
    assert_eq!((claimed.direction, claimed.step), (Direction::Forward, 0));
    assert_eq!((claimed.attempt, claimed.failures, claimed.last_error), (1, 0, None));
}

async fn a_lease_that_ran_out_is_claimed_again_as_another_attempt(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.work(s, "web1", at(0)).await;
    for (attempt, owner) in [(1, "first"), (2, "second"), (3, "second")] {
        let now = (attempt - 1) * LEASE;
        let claimed = claim(s, world, owner, now).await.unwrap();
        assert_eq!((claimed.operation.id, claimed.attempt), (id, attempt));
        assert_eq!(claimed.failures, 0, "a crash is no failed try");
        assert!(claim(s, world, "other", now + LEASE - 1).await.is_none());
    }
}

async fn a_renewed_lease_is_not_claimed(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    let claimed = claim(s, world, "me", 0).await.unwrap();
    assert!(operations::renew(s, &fence("me", &claimed), at(50)).await.unwrap());
    assert!(claim(s, world, "other", 49).await.is_none());
    assert!(claim(s, world, "other", 50).await.is_some());
}

/// Every write that a worker can try; each must answer `false`.
async fn powerless(s: &impl Session, fence: &operations::Fence) {
    let before = row(s, fence.id).await;
    assert!(!operations::renew(s, fence, at(9_999)).await.unwrap(), "renew");
    assert!(!operations::checkpoint(s, fence, Direction::Forward, 7).await.unwrap(), "checkpoint");
    assert!(!operations::turn_around(s, fence, 7, "public", "internal").await.unwrap(), "turn_around");
    assert!(!operations::retry_later(s, fence, at(9_999), "late").await.unwrap(), "retry_later");
    assert!(!operations::let_go(s, fence).await.unwrap(), "let_go");
    assert!(!operations::settle(s, fence, Status::Success, Some("late"), at(9_999)).await.unwrap(), "settle");
    assert_eq!(row(s, fence.id).await, before);
}

async fn a_worker_that_lost_its_lease_changes_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    let late = fence("late", &claim(s, world, "late", 0).await.unwrap());
    let next = fence("next", &claim(s, world, "next", LEASE).await.unwrap());
    powerless(s, &late).await;
    // The same process may claim again what it lost: its first worker is still a late one.
    let again = fence("late", &claim(s, world, "late", 2 * LEASE).await.unwrap());
    powerless(s, &late).await;
    powerless(s, &next).await;
    assert!(operations::checkpoint(s, &again, Direction::Forward, 1).await.unwrap());
}

async fn a_worker_that_gave_an_operation_back_changes_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    let first = fence("me", &claim(s, world, "me", 0).await.unwrap());
    assert!(operations::let_go(s, &first).await.unwrap());
    // Its heartbeat may still be on the way; it must not lease what nobody works on.
    powerless(s, &first).await;
    let second = fence("me", &claim(s, world, "me", 0).await.expect("free at once"));
    powerless(s, &first).await;
    assert!(operations::retry_later(s, &second, at(5), "try again").await.unwrap());
    powerless(s, &second).await;
    assert!(claim(s, world, "me", 4).await.is_none());
    let third = claim(s, world, "me", 5).await.expect("due, and leased by nobody");
    assert_eq!((third.attempt, third.failures), (3, 1));
}

async fn a_worker_of_another_process_start_changes_nothing(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    let mine = fence("me", &claim(s, world, "me", 0).await.unwrap());
    powerless(s, &operations::Fence { owner: "me, restarted".into(), ..mine.clone() }).await;
    powerless(s, &operations::Fence { attempt: 2, ..mine.clone() }).await;
    assert!(operations::renew(s, &mine, at(40)).await.unwrap());
}

async fn progress_is_remembered_and_forgives_failures(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    let first = fence("me", &claim(s, world, "me", 0).await.unwrap());
    assert!(operations::checkpoint(s, &first, Direction::Forward, 2).await.unwrap());
    assert!(operations::retry_later(s, &first, at(1), "step 3 failed").await.unwrap());
    let claimed = claim(s, world, "me", 1).await.unwrap();
    assert_eq!((claimed.direction, claimed.step, claimed.failures), (Direction::Forward, 2, 1));
    let second = fence("me", &claimed);
    assert!(operations::checkpoint(s, &second, Direction::Forward, 3).await.unwrap());
    let claimed = claim(s, world, "me", 1 + LEASE).await.unwrap();
    assert_eq!((claimed.step, claimed.failures), (3, 0), "each step has a budget of its own");
}

async fn a_failed_try_counts_and_waits(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    world.work(s, "web1", at(0)).await;
    for failures in 0..3 {
        let now = failures * 10;
        let claimed = claim(s, world, "me", now).await.unwrap();
        assert_eq!((claimed.failures, claimed.attempt), (failures, failures + 1));
        let why = format!("failure {failures}");
        assert!(operations::retry_later(s, &fence("me", &claimed), at(now + 10), &why).await.unwrap());
        assert_eq!(next_due(s).await, Some(at(now + 10)));
        assert!(claim(s, world, "me", now + 9).await.is_none());
    }
    let claimed = claim(s, world, "me", 30).await.unwrap();
    assert_eq!(claimed.last_error.as_deref(), Some("failure 2"));
    assert_eq!(claimed.operation.message, None, "the reason of a try is not for the customer");
    assert_eq!(claimed.operation.status, Status::Running);
}

async fn an_operation_that_turned_around_is_undone_from_there(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.work(s, "web1", at(0)).await;
    let first = fence("me", &claim(s, world, "me", 0).await.unwrap());
    assert!(operations::retry_later(s, &first, at(1), "once").await.unwrap());
    let second = fence("me", &claim(s, world, "me", 1).await.unwrap());
    assert!(operations::turn_around(s, &second, 3, "No room on the disk.", "ENOSPC").await.unwrap());
    // The process dies; the next one undoes.
    let claimed = claim(s, world, "other", 1 + LEASE).await.unwrap();
    assert_eq!((claimed.direction, claimed.step, claimed.failures), (Direction::Undo, 3, 0));
    assert_eq!(claimed.operation.message.as_deref(), Some("No room on the disk."));
    assert_eq!(claimed.last_error.as_deref(), Some("ENOSPC"));
    assert_eq!(claimed.operation.status, Status::Running, "it holds the server until all is undone");
    let third = fence("other", &claimed);
    assert!(operations::checkpoint(s, &third, Direction::Undo, 1).await.unwrap());
    let claimed = claim(s, world, "other", 1 + 2 * LEASE).await.unwrap();
    assert_eq!((claimed.direction, claimed.step), (Direction::Undo, 1));
    let last = fence("other", &claimed);
    let message = claimed.operation.message.as_deref();
    assert!(operations::settle(s, &last, Status::Error, message, at(99)).await.unwrap());
    let ended = operations::find_owned(s, world.account, id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.message.as_deref()), (Status::Error, Some("No room on the disk.")));
}

async fn a_settled_operation_stays_as_it_ended(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.work(s, "web1", at(0)).await;
    let mine = fence("me", &claim(s, world, "me", 0).await.unwrap());
    assert!(operations::settle(s, &mine, Status::Success, None, at(7)).await.unwrap());
    let ended = operations::find_owned(s, world.account, id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.message, ended.completed_at), (Status::Success, None, Some(at(7))));
    powerless(s, &mine).await;
    assert!(claim(s, world, "me", 9_999).await.is_none());
    assert_eq!(next_due(s).await, None);
    assert!(operations::held_servers(s).await.unwrap().is_empty());
}

async fn claimers_at_once_claim_each_operation_once(db: Db) {
    let world = World::new(&db.store).await;
    let tx = db.store.begin().await.unwrap();
    let mut waiting = HashSet::new();
    for i in 0..100 {
        waiting.insert(world.work(&tx, &format!("web{i}"), at(i % 7)).await);
    }
    tx.commit().await.unwrap();
    let claims = at_once(8, |i| {
        let s = db.store.clone();
        async move {
            let mut mine = Vec::new();
            while let Some(claimed) = claim(&s, world, &format!("worker{i}"), 10).await {
                assert_eq!(claimed.attempt, 1);
                mine.push(claimed.operation.id);
            }
            mine
        }
    })
    .await;
    let claimed: Vec<OperationId> = claims.concat();
    assert_eq!(claimed.len(), 100, "one was claimed twice");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), waiting);
}

async fn the_next_due_moment_is_the_earliest(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    assert_eq!(next_due(s).await, None);
    world.work(s, "web1", at(50)).await;
    assert_eq!(next_due(s).await, Some(at(50)));
    world.work(s, "web2", at(3)).await;
    assert_eq!(next_due(s).await, Some(at(3)));
    claim(s, world, "me", 3).await.unwrap();
    assert_eq!(next_due(s).await, Some(at(3 + LEASE)), "when its lease ends");
    claim(s, world, "me", 50).await.unwrap();
    claim(s, world, "me", 50).await.unwrap();
    assert_eq!(next_due(s).await, Some(at(50 + LEASE)));
}

async fn a_list_begins_where_it_was_asked_to(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let mut ids = Vec::new();
    for (i, second) in [10, 20, 20, 30].into_iter().enumerate() {
        ids.push(world.work(s, &format!("web{i}"), at(second)).await);
    }
    for (since, from) in [(0, 0), (10, 0), (11, 1), (20, 1), (30, 3), (31, 4)] {
        let listed = operations::list(s, world.account, at(since)).await.unwrap();
        assert_eq!(
            listed.iter().map(|operation| operation.id).collect::<Vec<_>>(),
            ids[from..],
            "since {since}"
        );
    }
}

async fn another_accounts_operation_does_not_exist(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let id = world.work(s, "web1", at(0)).await;
    let bob = account(s, "bob").await.id;
    assert_eq!(operations::find_owned(s, bob, id).await.unwrap(), None);
    assert_eq!(operations::list(s, bob, at(0)).await.unwrap(), []);
    assert_eq!(operations::find_owned(s, world.account, OperationId(99)).await.unwrap(), None);
}

async fn operations_are_counted_by_kind_and_status(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    for i in 0..3 {
        world.work(s, &format!("web{i}"), at(0)).await;
    }
    let server = world.server(s, "last").await;
    let kind = OperationKind::ServerStop;
    operations::insert(s, kind, world.subject(server), "{}", at(9)).await.unwrap();
    for status in [Status::Success, Status::Error] {
        let mine = fence("me", &claim(s, world, "me", 0).await.unwrap());
        assert!(operations::settle(s, &mine, status, None, at(1)).await.unwrap());
    }
    let row = |kind: &str, status, operations| (kind.to_owned(), status, operations);
    let expected = [
        row("server_start", -1, 1),
        row("server_start", 0, 1),
        row("server_start", 1, 1),
        row("server_stop", 0, 1),
    ];
    assert_eq!(operations::count(s).await.unwrap(), expected);
}
