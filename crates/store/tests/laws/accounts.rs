//! Laws of accounts.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once, person};
use bulut_model::account::Standing;
use bulut_model::error::Kind;
use bulut_model::{AccountId, Error};
use bulut_store::accounts;

laws! {
    both:
    an_account_comes_back_as_it_was_made
    an_email_address_or_a_user_name_belongs_to_one_account
    accounts_without_a_user_name_do_not_collide
    of_two_that_sign_up_at_once_one_gets_the_name
    an_account_is_found_by_email_in_any_case_or_by_exact_user_name
    holding_an_account_raises_its_revision
    holds_at_once_are_all_counted
    holding_what_does_not_exist_is_not_found
    a_new_password_ends_the_tokens_before_it
    a_standing_can_be_taken_and_given_back
    a_sign_in_is_remembered;
}

async fn an_account_comes_back_as_it_was_made(db: Db) {
    let s = &db.store;
    let made =
        accounts::insert(s, &accounts::New { is_operator: true, ..person("alice") }, at(5)).await.unwrap();
    assert!(made.id.0 > 0 && made.is_operator && !made.is_verified);
    assert_eq!((made.token_epoch, made.revision), (0, 0));
    assert_eq!((made.created_at, made.last_login_at), (at(5), None));
    assert_eq!(made.standing, Standing::Active);
    assert_eq!(made.full_name(), "Ayşe Kaya");
    let bob = account(s, "bob").await;
    assert_eq!(accounts::find(s, made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(accounts::find(s, AccountId(999)).await.unwrap(), None);
    assert_eq!(accounts::list(s).await.unwrap(), [made, bob]);
}

fn taken<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert_eq!(outcome.unwrap_err().kind, Kind::AlreadyExists);
}

async fn an_email_address_or_a_user_name_belongs_to_one_account(db: Db) {
    let s = &db.store;
    let first = account(s, "alice").await;
    let same_email = accounts::New { user_name: Some("other".into()), ..person("alice") };
    let same_name = accounts::New { email: "other@example.com".into(), ..person("alice") };
    taken(accounts::insert(s, &same_email, at(0)).await);
    taken(accounts::insert(s, &same_name, at(0)).await);
    assert_eq!(accounts::list(s).await.unwrap(), [first], "a refused account leaves nothing");
}

async fn accounts_without_a_user_name_do_not_collide(db: Db) {
    let s = &db.store;
    for name in ["alice", "bob"] {
        let made =
            accounts::insert(s, &accounts::New { user_name: None, ..person(name) }, at(0)).await.unwrap();
        assert_eq!(made.user_name, None);
    }
}

async fn of_two_that_sign_up_at_once_one_gets_the_name(db: Db) {
    let outcomes = at_once(8, |_| {
        let s = db.store.clone();
        async move { accounts::insert(&s, &person("alice"), at(0)).await }
    })
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 7));
    refused.into_iter().for_each(taken);
}

async fn an_account_is_found_by_email_in_any_case_or_by_exact_user_name(db: Db) {
    let s = &db.store;
    account(s, "bob").await;
    let alice = account(s, "alice").await;
    for name in ["alice@example.com", "ALICE@Example.COM", "alice"] {
        let found = accounts::find_by_name(s, name).await.unwrap();
        assert_eq!(found, Some((alice.clone(), "$argon2id$first".to_owned())), "{name}");
    }
    for name in ["ALICE", "alice@example", "%", "", "ayşe"] {
        assert_eq!(accounts::find_by_name(s, name).await.unwrap(), None, "{name}");
    }
}

async fn holding_an_account_raises_its_revision(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await, account(s, "bob").await);
    let tx = s.begin().await.unwrap();
    let held = accounts::hold(&tx, alice.id).await.unwrap();
    assert_eq!(held.revision, alice.revision + 1);
    tx.commit().await.unwrap();
    assert_eq!(accounts::find(s, alice.id).await.unwrap(), Some(held));
    assert_eq!(accounts::find(s, bob.id).await.unwrap(), Some(bob));
}

async fn holds_at_once_are_all_counted(db: Db) {
    let id = account(&db.store, "alice").await.id;
    let mut seen = at_once(24, |_| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            let held = accounts::hold(&tx, id).await.unwrap();
            // Whoever holds the account reads it as it will stay until the end of its transaction.
            tokio::task::yield_now().await;
            assert_eq!(accounts::find(&tx, id).await.unwrap().as_ref(), Some(&held));
            tx.commit().await.unwrap();
            held.revision
        }
    })
    .await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=24).collect::<Vec<i64>>(), "each hold has a revision of its own");
}

async fn holding_what_does_not_exist_is_not_found(db: Db) {
    let refused = accounts::hold(&db.store, AccountId(7)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::NotFound);
}

async fn a_new_password_ends_the_tokens_before_it(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await, account(s, "bob").await);
    accounts::set_password(s, alice.id, "$argon2id$second").await.unwrap();
    let (after, hash) = accounts::find_by_name(s, "alice").await.unwrap().unwrap();
    assert_eq!(hash, "$argon2id$second");
    assert_eq!(after.token_epoch, alice.token_epoch + 1);
    assert_eq!(after.revision, alice.revision + 1);
    let other = accounts::find_by_name(s, "bob").await.unwrap().unwrap();
    assert_eq!(other, (bob, "$argon2id$first".to_owned()));
}

async fn a_standing_can_be_taken_and_given_back(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await;
    for (revision, standing) in [(1, Standing::Suspended), (2, Standing::Active)] {
        accounts::set_standing(s, alice.id, standing).await.unwrap();
        let after = accounts::find(s, alice.id).await.unwrap().unwrap();
        assert_eq!((after.standing, after.revision), (standing, revision));
        assert_eq!(after.token_epoch, alice.token_epoch, "a suspended account may still sign in and read");
    }
}

async fn a_sign_in_is_remembered(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await;
    accounts::set_last_login(s, alice.id, at(60)).await.unwrap();
    let after = accounts::find(s, alice.id).await.unwrap().unwrap();
    assert_eq!(after.last_login_at, Some(at(60)));
    assert_eq!(after.revision, alice.revision, "no list shows it");
}
