//! Laws of the queue of mails.

use crate::databases::{Db, at, laws};
use crate::world::{account, at_once};
use bulut_model::mail::{Letter, MailState};
use bulut_model::{AccountId, MailId, Micros};
use bulut_store::mails::{self, New};
use bulut_store::{Session, Store};

laws! {
    both:
    a_letter_comes_back_as_it_was_written
    a_letter_with_a_purpose_is_written_once
    letters_of_a_transaction_that_is_undone_are_not_sent
    each_letter_is_claimed_once_and_those_due_longest_first
    a_claim_whose_lease_has_run_out_settles_nothing
    a_letter_that_failed_waits_for_its_time
    what_waits_or_was_given_up_is_tried_again_when_told
    sweeping_forgets_what_was_settled_long_ago_and_what_it_was_for;
}

fn new(uuid: &str, account: Option<AccountId>, once: Option<&str>) -> New {
    New {
        uuid: uuid.into(),
        account,
        recipient: "alice@example.com".into(),
        letter: Letter::Test,
        once: once.map(str::to_owned),
        expires_at: None,
    }
}

/// Writes a letter that is due at `second`.
async fn write(s: &impl Session, uuid: &str, second: i64) -> MailId {
    mails::insert(s, &new(uuid, None, None), at(second)).await.unwrap().unwrap()
}

async fn a_letter_comes_back_as_it_was_written(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let letter = Letter::LowBalance {
        balance: Micros(4_990_000),
        suspended_below: Micros(-1),
        suspended_from: at(99),
    };
    let written = New { letter: letter.clone(), expires_at: Some(at(50)), ..new("u1", Some(alice), None) };
    let id = mails::insert(s, &written, at(5)).await.unwrap().unwrap();
    let found = mails::find(s, id).await.unwrap().unwrap();
    assert_eq!((found.id, found.uuid.as_str(), found.account), (id, "u1", Some(alice)));
    assert_eq!((found.recipient.as_str(), found.letter), ("alice@example.com", letter));
    assert_eq!((found.state, found.failures, found.last_error), (MailState::Waiting, 0, None));
    assert_eq!((found.run_at, found.created_at, found.expires_at), (at(5), at(5), Some(at(50))));
    assert_eq!(mails::find(s, MailId(id.0 + 1)).await.unwrap(), None);
    assert_eq!(mails::count_since(s, alice, "low_balance", at(4)).await.unwrap(), 1);
    assert_eq!(mails::count_since(s, alice, "low_balance", at(5)).await.unwrap(), 0);
    assert_eq!(mails::count_since(s, alice, "test", at(0)).await.unwrap(), 0);
}

async fn a_letter_with_a_purpose_is_written_once(db: Db) {
    let s = &db.store;
    let written = at_once(8, |i| {
        let store = s.clone();
        async move {
            let new = new(&format!("u{i}"), None, Some("invoice/7"));
            mails::insert(&store, &new, at(0)).await.unwrap()
        }
    })
    .await;
    assert_eq!(written.iter().flatten().count(), 1, "{written:?}");
    assert_eq!(mails::list(s, None, 100).await.unwrap().len(), 1);
    // Two without a purpose are two.
    assert!(write(s, "a", 0).await < write(s, "b", 0).await);
}

async fn letters_of_a_transaction_that_is_undone_are_not_sent(db: Db) {
    let tx = db.store.begin().await.unwrap();
    write(&tx, "u1", 0).await;
    tx.rollback().await.unwrap();
    assert_eq!(mails::list(&db.store, None, 100).await.unwrap(), []);
}

async fn each_letter_is_claimed_once_and_those_due_longest_first(db: Db) {
    let s = &db.store;
    for i in 0..10 {
        write(s, &format!("u{i}"), 10 - i).await;
    }
    let first = mails::claim(s, "p0", at(10), at(20)).await.unwrap().unwrap();
    assert_eq!(first.0.run_at, at(1));
    let claimed: Vec<Vec<MailId>> = at_once(4, |i| {
        let store = s.clone();
        async move {
            let owner = format!("p{}", i + 1);
            let mut mine = Vec::new();
            while let Some((mail, fence)) = mails::claim(&store, &owner, at(10), at(20)).await.unwrap() {
                assert!(mails::settle(&store, &fence, MailState::Sent, None, at(11)).await.unwrap());
                mine.push(mail.id);
            }
            mine
        }
    })
    .await;
    let mut all: Vec<MailId> = claimed.into_iter().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9, "each of the others was sent once");
    assert!(!all.contains(&first.0.id));
}

async fn a_claim_whose_lease_has_run_out_settles_nothing(db: Db) {
    let s = &db.store;
    let id = write(s, "u1", 0).await;
    let (_, dead) = mails::claim(s, "p1", at(0), at(10)).await.unwrap().unwrap();
    assert_eq!(mails::claim(s, "p2", at(9), at(19)).await.unwrap(), None, "it is being sent");
    assert_eq!(mails::retry(s, Some(id), at(9)).await.unwrap(), 0);
    let (_, alive) = mails::claim(s, "p2", at(10), at(20)).await.unwrap().unwrap();
    assert!(!mails::settle(s, &dead, MailState::Sent, None, at(11)).await.unwrap());
    assert!(!mails::retry_later(s, &dead, at(99), "late").await.unwrap());
    assert!(mails::settle(s, &alive, MailState::Sent, None, at(12)).await.unwrap());
    assert!(!mails::settle(s, &alive, MailState::GivenUp, None, at(13)).await.unwrap());
    let mail = mails::find(s, id).await.unwrap().unwrap();
    assert_eq!((mail.state, mail.settled_at, mail.last_error), (MailState::Sent, Some(at(12)), None));
}

async fn a_letter_that_failed_waits_for_its_time(db: Db) {
    let s = &db.store;
    let id = write(s, "u1", 0).await;
    let (_, fence) = mails::claim(s, "p1", at(0), at(10)).await.unwrap().unwrap();
    assert!(mails::retry_later(s, &fence, at(60), "greylisted").await.unwrap());
    assert_eq!(mails::claim(s, "p1", at(59), at(70)).await.unwrap(), None);
    let (mail, fence) = mails::claim(s, "p1", at(60), at(70)).await.unwrap().unwrap();
    assert_eq!((mail.failures, mail.last_error.as_deref()), (1, Some("greylisted")));
    assert!(mails::settle(s, &fence, MailState::GivenUp, Some("no such user"), at(61)).await.unwrap());
    let mail = mails::find(s, id).await.unwrap().unwrap();
    assert_eq!((mail.state, mail.failures, mail.settled_at), (MailState::GivenUp, 2, Some(at(61))));
    assert_eq!(mail.last_error.as_deref(), Some("no such user"));
}

async fn end(s: &Store, state: MailState) {
    let (_, fence) = mails::claim(s, "p1", at(0), at(10)).await.unwrap().unwrap();
    assert!(mails::settle(s, &fence, state, None, at(1)).await.unwrap());
}

async fn what_waits_or_was_given_up_is_tried_again_when_told(db: Db) {
    let s = &db.store;
    for (i, state) in [MailState::Sent, MailState::GivenUp, MailState::Expired].into_iter().enumerate() {
        write(s, &format!("u{i}"), 0).await;
        end(s, state).await;
    }
    write(s, "u3", 0).await;
    assert_eq!(mails::list(s, Some(MailState::GivenUp), 100).await.unwrap().len(), 1);
    assert_eq!(mails::list(s, None, 2).await.unwrap().len(), 2);
    assert_eq!(mails::retry(s, None, at(30)).await.unwrap(), 2);
    let waiting = mails::list(s, Some(MailState::Waiting), 100).await.unwrap();
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|mail| (mail.failures, mail.run_at, mail.settled_at) == (0, at(30), None)));
    let sent = mails::list(s, Some(MailState::Sent), 100).await.unwrap()[0].id;
    assert_eq!(mails::retry(s, Some(sent), at(30)).await.unwrap(), 0);
}

async fn sweeping_forgets_what_was_settled_long_ago_and_what_it_was_for(db: Db) {
    let s = &db.store;
    for i in 0..3 {
        write(s, &format!("u{i}"), 0).await;
        end(s, MailState::Sent).await;
    }
    let once = |uuid: &str| new(uuid, None, Some("invoice/7"));
    mails::insert(s, &once("for an invoice"), at(0)).await.unwrap().unwrap();
    end(s, MailState::Sent).await;
    mails::insert(s, &new("waits", None, Some("invoice/8")), at(0)).await.unwrap().unwrap();
    assert_eq!(mails::sweep(s, at(1), 100).await.unwrap(), 0);
    assert_eq!(mails::insert(s, &once("again"), at(0)).await.unwrap(), None);
    assert_eq!(mails::sweep(s, at(2), 3).await.unwrap(), 3);
    assert_eq!(mails::sweep(s, at(2), 3).await.unwrap(), 1);
    let left: Vec<String> =
        mails::list(s, None, 100).await.unwrap().into_iter().map(|mail| mail.uuid).collect();
    assert_eq!(left, ["waits"]);
    assert!(mails::insert(s, &once("anew"), at(0)).await.unwrap().is_some());
}
