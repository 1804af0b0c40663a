//! Laws of payments and their keys.

use crate::databases::{Db, at, laws};
use crate::world::account;
use bulut_model::error::Kind;
use bulut_model::{Micros, PaymentKeyId};
use bulut_store::payments::{self, New};

laws! {
    both:
    a_key_is_found_until_it_is_removed_and_its_secret_goes_with_it
    a_payment_is_written_down_once_for_each_name_of_each_key;
}

async fn a_key_is_found_until_it_is_removed_and_its_secret_goes_with_it(db: Db) {
    let s = &db.store;
    let key = payments::insert_key(s, "cards", at(1)).await.unwrap();
    payments::set_secret(s, key.id, "sealed").await.unwrap();
    assert_eq!(payments::find_key(s, key.id).await.unwrap(), Some((key.clone(), "sealed".into())));
    assert_eq!(payments::find_key(s, PaymentKeyId(key.id.0 + 1)).await.unwrap(), None);
    assert!(payments::remove_key(s, key.id, at(2)).await.unwrap());
    assert!(!payments::remove_key(s, key.id, at(3)).await.unwrap());
    assert_eq!(payments::find_key(s, key.id).await.unwrap(), None);
    assert_eq!(payments::list_keys(s).await.unwrap()[0].removed_at, Some(at(2)));
}

async fn a_payment_is_written_down_once_for_each_name_of_each_key(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let (one, two) = (
        payments::insert_key(s, "a", at(0)).await.unwrap(),
        payments::insert_key(s, "b", at(0)).await.unwrap(),
    );
    let new = New {
        key: one.id,
        idempotency_key: "p1".into(),
        fingerprint: "f".into(),
        account: alice,
        amount: Micros(5),
        balance: Micros(7),
        reference: "pi_7".into(),
    };
    assert_eq!(payments::find(s, one.id, "p1").await.unwrap(), None);
    let payment = payments::insert(s, &new, at(4)).await.unwrap();
    assert_eq!((payment.account, payment.amount, payment.balance), (alice, Micros(5), Micros(7)));
    assert_eq!(payments::find(s, one.id, "p1").await.unwrap(), Some((payment, "f".into())));
    assert_eq!(payments::insert(s, &new, at(5)).await.unwrap_err().kind, Kind::Conflict);
    payments::insert(s, &New { key: two.id, ..new.clone() }, at(5)).await.unwrap();
    payments::insert(s, &New { idempotency_key: "p2".into(), ..new }, at(6)).await.unwrap();
    let used: Vec<_> =
        payments::list_keys(s).await.unwrap().into_iter().map(|key| key.last_used_at).collect();
    assert_eq!(used, [Some(at(6)), Some(at(5))]);
}
