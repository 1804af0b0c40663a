//! Laws of console links and sessions.

use crate::databases::{Db, at, laws};
use crate::world::{World, at_once};
use bulut_model::{AccountId, ServerId};
use bulut_store::Session;
use bulut_store::consoles::{self, New};

laws! {
    both:
    of_many_who_open_a_link_one_gets_it
    a_link_opens_only_with_its_secret_and_before_its_end
    an_opened_link_remembers_its_session
    use_is_noted_and_never_taken_back
    a_revoked_console_stays_revoked_and_spares_the_others
    sweeping_forgets_what_was_made_long_ago_in_bounded_batches;
}

/// A link that opens until second 60.
async fn link(s: &impl Session, id: &str, account: AccountId, server: ServerId) {
    let new = New {
        id: id.into(),
        account,
        server,
        token_epoch: 3,
        token_hash: format!("hash of {id}"),
        expires_at: at(60),
    };
    consoles::insert(s, &new, at(0)).await.unwrap();
}

async fn open(s: &impl Session, id: &str, seconds: i64) -> Option<consoles::Console> {
    consoles::open(s, id, &format!("hash of {id}"), "session", at(seconds), at(1_000)).await.unwrap()
}

async fn of_many_who_open_a_link_one_gets_it(db: Db) {
    let world = World::new(&db.store).await;
    let server = world.server(&db.store, "web").await;
    let another = db.open_again().await;
    for round in 0..8 {
        let id = format!("console{round}");
        link(&db.store, &id, world.account, server).await;
        let opened = at_once(8, |i| {
            // Half of them come by way of another process.
            let (s, id) = (if i % 2 == 0 { db.store.clone() } else { another.clone() }, id.clone());
            async move {
                let tx = s.begin().await.unwrap();
                let hash = format!("hash of {id}");
                let opened =
                    consoles::open(&tx, &id, &hash, &format!("session{i}"), at(1), at(9)).await.unwrap();
                tx.commit().await.unwrap();
                opened
            }
        })
        .await;
        let winners: Vec<_> = opened.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(consoles::find(&db.store, &id).await.unwrap().as_ref(), winners.first());
    }
    another.close().await.unwrap();
}

async fn a_link_opens_only_with_its_secret_and_before_its_end(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    for id in ["one", "two", "three"] {
        link(s, id, world.account, server).await;
    }
    assert_eq!(consoles::open(s, "one", "hash of two", "session", at(1), at(9)).await.unwrap(), None);
    assert!(open(s, "one", 59).await.is_some());
    assert!(open(s, "one", 59).await.is_none(), "it was opened already");
    assert!(open(s, "two", 60).await.is_none(), "it has ended");
    assert!(open(s, "none", 1).await.is_none());
    consoles::revoke_all(s, world.account, at(2)).await.unwrap();
    assert!(open(s, "three", 3).await.is_none());
}

async fn an_opened_link_remembers_its_session(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    link(s, "one", world.account, server).await;
    assert_eq!(consoles::find(s, "one").await.unwrap().unwrap().opened, None);
    let console = open(s, "one", 7).await.unwrap();
    assert_eq!((console.account, console.server, console.token_epoch), (world.account, server, 3));
    let opened = console.opened.unwrap();
    assert_eq!(opened.session_hash, "session");
    assert_eq!((opened.at, opened.used_at, opened.ends_at), (at(7), at(7), at(1_000)));
}

async fn use_is_noted_and_never_taken_back(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    link(s, "one", world.account, server).await;
    open(s, "one", 7).await.unwrap();
    let used_at = async || consoles::find(s, "one").await.unwrap().unwrap().opened.unwrap().used_at;
    consoles::set_used(s, "one", at(20)).await.unwrap();
    assert_eq!(used_at().await, at(20));
    consoles::set_used(s, "one", at(19)).await.unwrap();
    assert_eq!(used_at().await, at(20), "a process that is late does not turn the time back");
}

async fn a_revoked_console_stays_revoked_and_spares_the_others(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    let bob = crate::world::account(s, "bob").await.id;
    link(s, "one", world.account, server).await;
    link(s, "two", world.account, server).await;
    link(s, "three", bob, server).await;
    open(s, "one", 1).await.unwrap();
    assert_eq!(consoles::revoke_all(s, world.account, at(2)).await.unwrap(), 2);
    assert_eq!(consoles::revoke_all(s, world.account, at(3)).await.unwrap(), 0);
    for (id, revoked) in [("one", true), ("two", true), ("three", false)] {
        assert_eq!(consoles::find(s, id).await.unwrap().unwrap().revoked, revoked, "{id}");
    }
}

async fn sweeping_forgets_what_was_made_long_ago_in_bounded_batches(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    for i in 0..5 {
        link(s, &format!("console{i}"), world.account, server).await;
    }
    assert_eq!(consoles::sweep(s, at(0), 100).await.unwrap(), 0);
    assert_eq!(consoles::sweep(s, at(1), 3).await.unwrap(), 3);
    assert_eq!(consoles::sweep(s, at(1), 3).await.unwrap(), 2);
    assert_eq!(consoles::sweep(s, at(1), 3).await.unwrap(), 0);
}
