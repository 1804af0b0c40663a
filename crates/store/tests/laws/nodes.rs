//! Laws of nodes and the room on them.

use crate::databases::{Db, START, laws};
use crate::world::{ROOM, at_once};
use bulut_model::{NodeId, RegionId};
use bulut_store::nodes::{self, Node, Size};
use bulut_store::{Session, regions};
use std::time::Duration;

laws! {
    both:
    a_node_comes_back_as_it_was_made
    a_node_that_comes_back_with_another_size_keeps_what_is_reserved
    room_is_refused_in_every_dimension
    the_least_filled_ready_node_of_the_region_is_taken
    what_is_given_back_is_what_was_taken
    an_order_that_waited_sees_what_the_one_before_it_took
    orders_at_once_never_overfill_a_node
    orders_at_once_that_are_undone_reserve_nothing;
}

async fn region(s: &impl Session) -> RegionId {
    regions::ensure(s, "ist1", "Ist-01", "TR", true, 1).await.unwrap()
}

/// A node with room for so many of [`ROOM`].
async fn node(s: &impl Session, region: RegionId, name: &str, servers: i64) -> NodeId {
    let capacity = Size { cpu: servers, memory_mib: servers * 1024, disk_gib: servers * 25 };
    nodes::ensure(s, region, name, "simulated", capacity, START).await.unwrap().id
}

async fn reserved(s: &impl Session, id: NodeId) -> Size {
    nodes::list(s).await.unwrap().into_iter().find(|node| node.id == id).unwrap().reserved
}

fn rooms(count: i64) -> Size {
    Size { cpu: count, memory_mib: count * 1024, disk_gib: count * 25 }
}

async fn a_node_comes_back_as_it_was_made(db: Db) {
    let s = &db.store;
    let region = region(s).await;
    let capacity = Size { cpu: 64, memory_mib: 1 << 40, disk_gib: 7 };
    let made = nodes::ensure(s, region, "node1", "qemu", capacity, START).await.unwrap();
    let expected = Node {
        id: made.id,
        region,
        name: "node1".into(),
        driver: "qemu".into(),
        state: "ready".into(),
        capacity,
        reserved: Size::default(),
    };
    assert_eq!(made, expected);
    assert_eq!(nodes::list(s).await.unwrap(), [made]);
}

async fn a_node_that_comes_back_with_another_size_keeps_what_is_reserved(db: Db) {
    let s = &db.store;
    let region = region(s).await;
    let id = node(s, region, "node1", 2).await;
    assert_eq!(nodes::reserve(s, region, ROOM).await.unwrap(), Some(id));
    s.execute("UPDATE node SET state = 'draining'", vec![]).await.unwrap();
    let smaller = Size { cpu: 0, memory_mib: 1, disk_gib: 2 };
    let again = nodes::ensure(s, region, "node1", "qemu", smaller, START).await.unwrap();
    assert_eq!((again.id, again.capacity, again.reserved), (id, smaller, ROOM));
    assert_eq!((again.driver.as_str(), again.state.as_str()), ("qemu", "draining"));
    s.execute("UPDATE node SET state = 'ready'", vec![]).await.unwrap();
    assert_eq!(nodes::reserve(s, region, ROOM).await.unwrap(), None, "a node that is too full takes nothing");
    nodes::release(s, id, ROOM).await.unwrap();
    assert_eq!(reserved(s, id).await, Size::default());
}

async fn room_is_refused_in_every_dimension(db: Db) {
    let s = &db.store;
    let region = region(s).await;
    let id = node(s, region, "node1", 3).await;
    for too_large in [
        Size { cpu: 4, ..rooms(3) },
        Size { memory_mib: 3073, ..rooms(3) },
        Size { disk_gib: 76, ..rooms(3) },
    ] {
        assert_eq!(nodes::reserve(s, region, too_large).await.unwrap(), None, "{too_large:?}");
    }
    assert_eq!(nodes::reserve(s, RegionId(99), ROOM).await.unwrap(), None);
    assert_eq!(nodes::reserve(s, region, rooms(3)).await.unwrap(), Some(id), "the last of it may be taken");
    assert_eq!(reserved(s, id).await, rooms(3));
    assert_eq!(nodes::reserve(s, region, Size { cpu: 1, ..Size::default() }).await.unwrap(), None);
}

async fn the_least_filled_ready_node_of_the_region_is_taken(db: Db) {
    let s = &db.store;
    let here = region(s).await;
    let elsewhere = regions::ensure(s, "ams1", "Ams-01", "NL", true, 2).await.unwrap();
    let small = node(s, here, "small", 2).await;
    let large = node(s, here, "large", 4).await;
    node(s, elsewhere, "elsewhere", 100).await;
    let draining = node(s, here, "draining", 100).await;
    let sql = "UPDATE node SET state = 'draining' WHERE id = $1";
    s.execute(sql, vec![draining.0.into()]).await.unwrap();
    let mut taken = Vec::new();
    while let Some(id) = nodes::reserve(s, here, ROOM).await.unwrap() {
        taken.push(id);
    }
    // Free memory decides, then age: 4, 3, 2 against 2 is a tie that the older node wins.
    assert_eq!(taken, [large, large, small, large, small, large]);
}

async fn what_is_given_back_is_what_was_taken(db: Db) {
    let s = &db.store;
    let region = region(s).await;
    let id = node(s, region, "node1", 10).await;
    let other = node(s, region, "node2", 1).await;
    let odd = Size { cpu: 1, memory_mib: 700, disk_gib: 3 };
    for size in [ROOM, odd] {
        assert_eq!(nodes::reserve(s, region, size).await.unwrap(), Some(id));
    }
    nodes::release(s, id, ROOM).await.unwrap();
    assert_eq!(reserved(s, id).await, odd);
    nodes::release(s, id, odd).await.unwrap();
    assert_eq!(reserved(s, id).await, Size::default());
    assert_eq!(reserved(s, other).await, Size::default());
}

async fn an_order_that_waited_sees_what_the_one_before_it_took(db: Db) {
    let region = region(&db.store).await;
    let id = node(&db.store, region, "node1", 1).await;
    for (kept, left_for_the_next) in [(false, Some(id)), (true, None)] {
        nodes::release(&db.store, id, reserved(&db.store, id).await).await.unwrap();
        let first = db.store.begin().await.unwrap();
        assert_eq!(nodes::reserve(&first, region, ROOM).await.unwrap(), Some(id));
        let s = db.store.clone();
        let mut next = tokio::spawn(async move { nodes::reserve(&s, region, ROOM).await.unwrap() });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
        assert!(early.is_err(), "it answered {early:?} while the last room was neither taken nor free");
        if kept {
            first.commit().await.unwrap()
        } else {
            first.rollback().await.unwrap()
        }
        assert_eq!(next.await.unwrap(), left_for_the_next);
        assert_eq!(reserved(&db.store, id).await, ROOM);
    }
}

async fn orders_at_once_never_overfill_a_node(db: Db) {
    let region = region(&db.store).await;
    let (first, second) =
        (node(&db.store, region, "node1", 20).await, node(&db.store, region, "node2", 13).await);
    let given = at_once(50, |_| {
        let s = db.store.clone();
        async move { nodes::reserve(&s, region, ROOM).await.unwrap() }
    })
    .await;
    let count = |id| given.iter().filter(|node| **node == Some(id)).count();
    assert_eq!((count(first), count(second)), (20, 13), "all the room is given, and no more");
    assert_eq!(reserved(&db.store, first).await, rooms(20));
    assert_eq!(reserved(&db.store, second).await, rooms(13));
}

async fn orders_at_once_that_are_undone_reserve_nothing(db: Db) {
    let region = region(&db.store).await;
    let id = node(&db.store, region, "node1", 25).await;
    let kept = at_once(50, |i| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            let given = nodes::reserve(&tx, region, ROOM).await.unwrap();
            match i % 3 {
                0 => tx.commit().await.unwrap(),
                1 => tx.rollback().await.unwrap(),
                _ => drop(tx),
            }
            given.is_some() && i % 3 == 0
        }
    })
    .await;
    let kept = kept.into_iter().filter(|kept| *kept).count();
    assert_eq!(kept, 17, "each waited for the one before it, so nobody was refused for room that came back");
    assert_eq!(reserved(&db.store, id).await, rooms(17));
}
