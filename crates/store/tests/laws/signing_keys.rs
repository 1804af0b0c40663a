//! Laws of signing keys.

use crate::databases::{Db, at, laws};
use bulut_store::{Session, signing_keys};

laws! {
    both:
    the_newest_key_comes_first
    a_key_retires_once_a_newer_one_has_signed_long_enough;
}

async fn kids(s: &impl Session) -> Vec<String> {
    signing_keys::list(s).await.unwrap().into_iter().map(|key| key.kid).collect()
}

async fn the_newest_key_comes_first(db: Db) {
    let s = &db.store;
    assert_eq!(kids(s).await, Vec::<String>::new());
    for (kid, second) in [("b", 20), ("a", 10), ("d", 30), ("c", 30)] {
        signing_keys::insert(s, kid, &format!("sealed {kid}"), at(second)).await.unwrap();
    }
    // Two of one instant (two replicas that start together) stand in the same order for everybody.
    assert_eq!(kids(s).await, ["d", "c", "b", "a"]);
    assert!(
        signing_keys::list(s).await.unwrap().iter().all(|key| key.sealed == format!("sealed {}", key.kid))
    );
    assert!(signing_keys::insert(s, "a", "another", at(40)).await.is_err(), "a key is never replaced");
}

async fn a_key_retires_once_a_newer_one_has_signed_long_enough(db: Db) {
    let s = &db.store;
    assert_eq!(signing_keys::retire(s, at(0), at(0)).await.unwrap(), 0);
    for (kid, second) in [("a", 100), ("b", 200), ("c", 300)] {
        signing_keys::insert(s, kid, "sealed", at(second)).await.unwrap();
    }
    for (before, retired, left) in [
        (99, 0, vec!["c", "b", "a"]),
        (199, 0, vec!["c", "b", "a"]),
        (200, 1, vec!["c", "b"]),
        (250, 0, vec!["c", "b"]),
        (9_999, 1, vec!["c"]),
        (99_999, 0, vec!["c"]),
    ] {
        assert_eq!(signing_keys::retire(s, at(before), at(before)).await.unwrap(), retired, "at {before}");
        assert_eq!(kids(s).await, left, "at {before}");
    }
}
