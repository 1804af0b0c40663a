//! Laws of tags.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, account, at_once};
use bulut_model::tag::Tag;
use bulut_model::{AccountId, ServerId};
use bulut_store::{Session, Store, servers, tags};

laws! {
    both:
    tags_are_counted_and_told_oldest_first
    a_tag_is_as_old_as_its_first_use_that_still_counts
    a_tag_is_put_on_all_servers_that_are_named_and_on_nobody_elses
    a_tag_leaves_all_servers_of_its_account_and_no_others
    a_destroyed_server_has_no_tags
    many_that_put_the_same_tag_on_a_server_put_it_there_once;
}

/// Another account's server in the same region.
async fn foreign(db: &Db, world: &World) -> (AccountId, ServerId) {
    let bob = account(&db.store, "bob").await.id;
    let order = servers::New { account: bob, ..world.order("web1") };
    (bob, servers::insert(&db.store, &order, START).await.unwrap())
}

async fn on(s: &Store, account: AccountId, id: ServerId) -> Vec<String> {
    servers::find_owned(s, account, id).await.unwrap().unwrap().tags
}

fn used(word: &str, servers: i64, seconds: i64) -> Tag {
    Tag { word: word.into(), servers, created_at: at(seconds) }
}

async fn tags_are_counted_and_told_oldest_first(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    assert_eq!(tags::list(s, world.account).await.unwrap(), []);
    let (first, second) = (world.server(s, "web1").await, world.server(s, "web2").await);
    tags::ensure(s, first, "zeta", at(1)).await.unwrap();
    tags::ensure(s, second, "alpha ü", at(2)).await.unwrap();
    tags::ensure(s, second, "zeta", at(3)).await.unwrap();
    tags::ensure(s, second, "zeta", at(4)).await.unwrap();
    let listed = tags::list(s, world.account).await.unwrap();
    assert_eq!(listed, [used("zeta", 2, 1), used("alpha ü", 1, 2)]);
    let (bob, _) = foreign(&db, &world).await;
    assert_eq!(tags::list(s, bob).await.unwrap(), []);
}

async fn a_tag_is_as_old_as_its_first_use_that_still_counts(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (first, second) = (world.server(s, "web1").await, world.server(s, "web2").await);
    let (bob, bobs) = foreign(&db, &world).await;
    tags::ensure(s, first, "web", at(1)).await.unwrap();
    tags::ensure(s, second, "web", at(2)).await.unwrap();
    // The first one that carried it goes without; the tag is no younger for that.
    tags::remove(s, first, "web").await.unwrap();
    assert_eq!(tags::list(s, world.account).await.unwrap(), [used("web", 1, 1)]);
    tags::ensure_on(s, world.account, &[first, second], "web", at(3)).await.unwrap();
    servers::bury(s, second, at(4)).await.unwrap();
    assert_eq!(tags::list(s, world.account).await.unwrap(), [used("web", 1, 1)]);
    // Once nobody carries it, it is forgotten, and another account's is another tag.
    tags::remove(s, first, "web").await.unwrap();
    tags::ensure(s, bobs, "web", at(5)).await.unwrap();
    tags::ensure(s, first, "web", at(6)).await.unwrap();
    assert_eq!(tags::list(s, world.account).await.unwrap(), [used("web", 1, 6)]);
    assert_eq!(tags::list(s, bob).await.unwrap(), [used("web", 1, 5)]);
}

async fn a_tag_is_put_on_all_servers_that_are_named_and_on_nobody_elses(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    // More than one statement names.
    let mine = world.servers(s, 1005).await;
    let (bob, bobs) = foreign(&db, &world).await;
    let (spared, tagged) = mine.split_first().unwrap();
    let mut named = tagged.to_vec();
    named.push(bobs);
    for seconds in [1, 2] {
        tags::ensure_on(s, world.account, &named, "web", at(seconds)).await.unwrap();
        assert_eq!(tags::list(s, world.account).await.unwrap(), [used("web", 1004, 1)]);
    }
    assert_eq!(on(s, world.account, *spared).await, Vec::<String>::new());
    assert_eq!(on(s, bob, bobs).await, Vec::<String>::new());
    tags::ensure_on(s, world.account, &[], "none", at(3)).await.unwrap();
    assert_eq!(tags::list(s, world.account).await.unwrap().len(), 1);
}

async fn a_tag_leaves_all_servers_of_its_account_and_no_others(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let (first, second) = (world.server(s, "web1").await, world.server(s, "web2").await);
    let (bob, bobs) = foreign(&db, &world).await;
    for server in [first, second, bobs] {
        tags::ensure(s, server, "web", at(1)).await.unwrap();
    }
    tags::ensure(s, first, "Web", at(1)).await.unwrap();
    assert_eq!(tags::remove_all(s, world.account, "web").await.unwrap(), 2);
    assert_eq!(tags::remove_all(s, world.account, "web").await.unwrap(), 0);
    assert_eq!(tags::list(s, world.account).await.unwrap(), [used("Web", 1, 1)]);
    assert_eq!(on(s, bob, bobs).await, ["web"]);
}

async fn a_destroyed_server_has_no_tags(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let gone = world.server(s, "web1").await;
    tags::ensure(s, gone, "web", at(1)).await.unwrap();
    servers::bury(s, gone, at(2)).await.unwrap();
    tags::ensure_on(s, world.account, &[gone], "late", at(3)).await.unwrap();
    assert_eq!(tags::list(s, world.account).await.unwrap(), []);
    let rows = s.all("SELECT tag FROM tag", vec![]).await.unwrap();
    assert_eq!(rows.len(), 0);
}

async fn many_that_put_the_same_tag_on_a_server_put_it_there_once(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    at_once(10, |_| {
        let s = db.store.clone();
        async move { tags::ensure(&s, server, "web", at(1)).await.unwrap() }
    })
    .await;
    assert_eq!(tags::list(s, world.account).await.unwrap(), [used("web", 1, 1)]);
}
