//! Orders and burials of two accounts, as the dice say, all at once on a region that is too small for them.

use crate::databases::{Db, START, laws};
use crate::world::{Dice, ROOM, World, account, at_once};
use bulut_model::operation::OperationKind;
use bulut_model::{AccountId, ServerId};
use bulut_store::nodes::{self, Size};
use bulut_store::{Store, accounts, addresses, operations, servers};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

laws! {
    both:
    whatever_is_ordered_and_buried_at_once_the_books_agree;
}

const TASKS: usize = 6;
const TURNS: usize = 25;
const ROOMS: i64 = 12;
const ADDRESSES: u8 = 9;

type Live = Arc<Mutex<Vec<(AccountId, ServerId)>>>;

async fn whatever_is_ordered_and_buried_at_once_the_books_agree(db: Db) {
    let s = &db.store;
    let world = World::with_room(s, ROOMS).await;
    world.pool(s, 1, ADDRESSES).await;
    let people = [world.account, account(s, "bob").await.id];
    let live = Live::default();
    at_once(TASKS, |task| {
        let (s, live) = (db.store.clone(), live.clone());
        async move {
            let mut dice = Dice::new(3, task);
            for turn in 0..TURNS {
                let world = World { account: people[dice.roll(2) as usize], ..world };
                if dice.roll(5) < 3 {
                    order(&s, world, &live, &mut dice, &format!("web{task}-{turn}")).await;
                } else {
                    bury(&s, &live, &mut dice).await;
                }
            }
        }
    })
    .await;

    let live: HashSet<_> = live.lock().unwrap().iter().copied().collect();
    let mut listed = Vec::new();
    for person in people {
        listed.extend(servers::list(s, person).await.unwrap());
    }
    assert_eq!(listed.iter().map(|server| (server.account, server.id)).collect::<HashSet<_>>(), live);
    assert!(!live.is_empty(), "nothing was left to agree on");
    let given: HashSet<_> = listed.iter().map(|server| server.ipv4.clone().unwrap().address).collect();
    assert_eq!(given.len(), live.len(), "one address for each server");
    assert_eq!(addresses::taken(s).await.unwrap(), live.len() as u64);
    let count = live.len() as i64;
    let expected =
        Size { cpu: ROOM.cpu * count, memory_mib: ROOM.memory_mib * count, disk_gib: ROOM.disk_gib * count };
    assert_eq!(nodes::list(s).await.unwrap()[0].reserved, expected);
}

/// An order as the domain makes it: all in one transaction, or nothing.
async fn order(s: &Store, world: World, live: &Live, dice: &mut Dice, name: &str) {
    let tx = s.begin().await.unwrap();
    accounts::hold(&tx, world.account).await.unwrap();
    if nodes::reserve(&tx, world.region, ROOM).await.unwrap().is_none() {
        return;
    }
    let id = servers::insert(&tx, &world.order(name), START).await.unwrap();
    if addresses::take_ipv4(&tx, world.region, id, START, Duration::ZERO).await.unwrap().is_none() {
        return;
    }
    let kind = OperationKind::ServerCreate;
    operations::insert(&tx, kind, world.subject(id), "{}", START).await.unwrap();
    if dice.roll(5) == 0 {
        return;
    }
    tx.commit().await.unwrap();
    live.lock().unwrap().push((world.account, id));
}

/// A burial as the end of an operation makes it, now and then undone or done twice.
async fn bury(s: &Store, live: &Live, dice: &mut Dice) {
    let chosen = {
        let mut live = live.lock().unwrap();
        if live.is_empty() {
            return;
        }
        let last = live.len() as u64;
        live.swap_remove(dice.roll(last) as usize)
    };
    let tx = s.begin().await.unwrap();
    accounts::hold(&tx, chosen.0).await.unwrap();
    for _ in 0..=dice.roll(2) {
        servers::bury(&tx, chosen.1, START).await.unwrap();
    }
    if dice.roll(4) == 0 {
        drop(tx);
        live.lock().unwrap().push(chosen);
        return;
    }
    tx.commit().await.unwrap();
}
