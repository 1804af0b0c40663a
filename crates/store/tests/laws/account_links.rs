//! Laws of the links in letters.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::AccountId;
use bulut_model::account::LinkPurpose::{self, PasswordReset, Verification};
use bulut_store::account_links::{self, Link};
use bulut_store::{Session, accounts};

laws! {
    both:
    a_link_opens_once_for_its_purpose_until_its_time
    of_many_who_open_a_link_at_once_one_does
    ending_the_links_of_an_account_spares_other_purposes_and_others
    sweeping_forgets_what_opens_no_more;
}

fn link(account: AccountId, digest: &str, purpose: LinkPurpose) -> Link {
    let (token_digest, email) = (digest.to_owned(), "alice@example.com".to_owned());
    Link { token_digest, account, purpose, email, token_epoch: 3, expires_at: at(100) }
}

async fn make(s: &impl Session, account: AccountId, digest: &str, purpose: LinkPurpose) {
    account_links::insert(s, &link(account, digest, purpose), at(0)).await.unwrap();
}

async fn a_link_opens_once_for_its_purpose_until_its_time(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    make(s, alice, "d1", Verification).await;
    assert_eq!(account_links::take(s, "d1", PasswordReset, at(1)).await.unwrap(), None);
    assert_eq!(account_links::take(s, "d2", Verification, at(1)).await.unwrap(), None);
    assert_eq!(account_links::take(s, "d1", Verification, at(100)).await.unwrap(), None);
    let expected = Some(link(alice, "d1", Verification));
    assert_eq!(account_links::find(s, "d1", Verification, at(99)).await.unwrap(), expected);
    assert_eq!(account_links::take(s, "d1", Verification, at(99)).await.unwrap(), expected);
    assert_eq!(account_links::find(s, "d1", Verification, at(99)).await.unwrap(), None);
    assert_eq!(account_links::take(s, "d1", Verification, at(99)).await.unwrap(), None);
    accounts::set_verified(s, alice).await.unwrap();
    assert!(accounts::find(s, alice).await.unwrap().unwrap().is_verified);
}

async fn of_many_who_open_a_link_at_once_one_does(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    make(s, alice, "d1", PasswordReset).await;
    let opened = at_once(8, |_| {
        let store = s.clone();
        async move { account_links::take(&store, "d1", PasswordReset, at(1)).await.unwrap().is_some() }
    })
    .await;
    assert_eq!(opened.into_iter().filter(|opened| *opened).count(), 1);
}

async fn ending_the_links_of_an_account_spares_other_purposes_and_others(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for (owner, digest, purpose) in [
        (alice, "a1", PasswordReset),
        (alice, "a2", PasswordReset),
        (alice, "a3", Verification),
        (bob, "b1", PasswordReset),
    ] {
        make(s, owner, digest, purpose).await;
    }
    assert_eq!(account_links::end_all(s, alice, PasswordReset, at(1)).await.unwrap(), 2);
    assert_eq!(account_links::find(s, "a1", PasswordReset, at(1)).await.unwrap(), None);
    assert!(account_links::find(s, "a3", Verification, at(1)).await.unwrap().is_some());
    assert!(account_links::find(s, "b1", PasswordReset, at(1)).await.unwrap().is_some());
}

async fn sweeping_forgets_what_opens_no_more(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    for i in 0..3 {
        make(s, alice, &format!("d{i}"), Verification).await;
    }
    assert_eq!(account_links::sweep(s, at(100), 10).await.unwrap(), 0);
    assert_eq!(account_links::sweep(s, at(101), 2).await.unwrap(), 2);
    assert_eq!(account_links::sweep(s, at(101), 2).await.unwrap(), 1);
}
