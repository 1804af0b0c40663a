//! Laws of dunning.

use crate::databases::{Db, at, laws};
use crate::world::{World, account, at_once};
use bulut_model::account::Standing;
use bulut_model::dunning::{Dunning, Stage};
use bulut_model::{AccountId, Micros};
use bulut_store::ledger::{self, Entry};
use bulut_store::{Session, accounts, dunning, servers};

laws! {
    both:
    an_account_is_suspended_exactly_while_its_stage_says_so
    candidates_are_those_at_a_stage_and_those_with_too_little
    the_last_look_is_told_once_to_each_who_looks
    what_waits_moves_with_the_clock
    servers_are_remembered_until_they_are_forgotten
    events_are_told_newest_first;
}

fn stage(stage: Stage) -> Dunning {
    Dunning { stage, round: 2, entered_at: at(10), due_at: Some(at(20)) }
}

async fn an_account_is_suspended_exactly_while_its_stage_says_so(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    assert_eq!(dunning::find(s, alice).await.unwrap(), Dunning::NONE);
    for each in Stage::ALL.into_iter().chain([Stage::Fine]) {
        dunning::set(s, alice, &stage(each)).await.unwrap();
        assert_eq!(dunning::find(s, alice).await.unwrap(), stage(each));
        let account = accounts::find(s, alice).await.unwrap().unwrap();
        assert_eq!(account.lacks_funds, each.is_suspended());
        assert_eq!(account.standing == Standing::Suspended, each.is_suspended());
    }
    // What an operator said stays said.
    accounts::set_standing(s, alice, Standing::Suspended).await.unwrap();
    dunning::set(s, alice, &stage(Stage::Suspended)).await.unwrap();
    dunning::set(s, alice, &stage(Stage::Fine)).await.unwrap();
    assert_eq!(accounts::find(s, alice).await.unwrap().unwrap().standing, Standing::Suspended);
}

async fn credit(s: &impl Session, account: AccountId, micros: i64) {
    let entries = [
        Entry { book: "customer", account: Some(account), amount: Micros(micros) },
        Entry { book: "credits", account: None, amount: Micros(-micros) },
    ];
    ledger::post(s, &format!("{account}/{micros}"), "credit", "", "", &entries, at(0)).await.unwrap();
}

async fn candidates_are_those_at_a_stage_and_those_with_too_little(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let mut ids = Vec::new();
    for (name, micros, in_pool) in
        [("a", 5, false), ("b", 4, false), ("c", 9, true), ("d", 0, false), ("e", 5, false), ("f", 4, true)]
    {
        let id = account(s, name).await.id;
        credit(s, id, micros).await;
        let order = servers::New { account: id, in_pool, ..world.order(name) };
        servers::insert(s, &order, at(0)).await.unwrap();
        ids.push(id);
    }
    // This one has nothing that costs.
    credit(s, account(s, "g").await.id, 4).await;
    dunning::set(s, ids[2], &stage(Stage::Warned)).await.unwrap();
    dunning::set(s, ids[4], &stage(Stage::Fine)).await.unwrap();
    let of =
        async |after: i64, count| dunning::candidates(s, Micros(5), AccountId(after), count).await.unwrap();
    assert_eq!(of(0, 10).await, [ids[1], ids[2], ids[3]]);
    assert_eq!(of(0, 2).await, [ids[1], ids[2]]);
    assert_eq!(of(ids[2].0, 2).await, [ids[3]]);
}

async fn the_last_look_is_told_once_to_each_who_looks(db: Db) {
    let s = &db.store;
    assert_eq!(dunning::tick(s, at(5)).await.unwrap(), at(5), "nobody has looked before");
    let told = at_once(4, |i| {
        let store = s.clone();
        async move {
            let tx = store.begin().await.unwrap();
            let before = dunning::tick(&tx, at(10 + i as i64)).await.unwrap();
            tx.commit().await.unwrap();
            before
        }
    })
    .await;
    let mut told = told;
    told.push(dunning::tick(s, at(99)).await.unwrap());
    told.sort();
    assert_eq!(told, [at(5), at(10), at(11), at(12), at(13)], "each look follows another one");
}

async fn what_waits_moves_with_the_clock(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    dunning::set(s, alice, &stage(Stage::Warned)).await.unwrap();
    dunning::set(s, bob, &Dunning { due_at: None, ..stage(Stage::Suspended) }).await.unwrap();
    assert_eq!(dunning::shift(s, 7_000_000).await.unwrap(), 2);
    let moved = dunning::find(s, alice).await.unwrap();
    assert_eq!((moved.entered_at, moved.due_at), (at(17), Some(at(27))));
    let moved = dunning::find(s, bob).await.unwrap();
    assert_eq!((moved.entered_at, moved.due_at), (at(17), None));
    dunning::shift(s, -7_000_000).await.unwrap();
    assert_eq!(dunning::find(s, alice).await.unwrap(), stage(Stage::Warned));
}

async fn servers_are_remembered_until_they_are_forgotten(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let mut ids = Vec::new();
    for name in ["web1", "web2"] {
        let id = servers::insert(s, &world.order(name), at(0)).await.unwrap();
        dunning::remember(s, world.account, id).await.unwrap();
        dunning::remember(s, world.account, id).await.unwrap();
        ids.push(id);
    }
    assert_eq!(dunning::remembered(s, world.account).await.unwrap(), ids);
    dunning::forget(s, ids[0]).await.unwrap();
    assert_eq!(dunning::remembered(s, world.account).await.unwrap(), ids[1..]);
    let found = dunning::candidates(s, Micros(-1), AccountId(0), 10).await.unwrap();
    assert_eq!(found, [world.account], "somebody has to start it");
}

async fn events_are_told_newest_first(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for (second, kind) in [(1, "balance_low"), (2, "suspended"), (3, "resumed")] {
        dunning::tell(s, alice, kind, "Words.", at(second)).await.unwrap();
    }
    let told = dunning::events(s, alice, 2).await.unwrap();
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!((kinds, told[0].created_at), (vec!["resumed", "suspended"], at(3)));
    assert_eq!(dunning::events(s, bob, 2).await.unwrap(), []);
}
