//! Laws of regions, packages and settings.

use crate::databases::{Db, laws};
use crate::world::{at_once, package};
use bulut_model::RegionId;
use bulut_model::catalog::Package;
use bulut_store::{Session, packages, regions, settings};

laws! {
    both:
    a_region_is_made_once_and_stays_as_the_operator_made_it
    regions_come_in_their_order
    a_package_comes_back_as_it_was_made
    a_package_is_made_once_and_stays_as_the_operator_made_it
    a_package_names_its_regions_in_the_regions_order
    replicas_that_start_at_once_make_one_catalogue
    a_setting_is_given_once_and_changed_at_will;
}

async fn a_region_is_made_once_and_stays_as_the_operator_made_it(db: Db) {
    let s = &db.store;
    let id = regions::ensure(s, "ist1", "Ist-01", "TR", true, 1).await.unwrap();
    let sql = "UPDATE region SET name = 'İstanbul', active = 0 WHERE id = $1";
    s.execute(sql, vec![id.0.into()]).await.unwrap();
    assert_eq!(regions::ensure(s, "ist1", "Ist-01", "TR", true, 1).await.unwrap(), id);
    let region = regions::find(s, "ist1").await.unwrap().unwrap();
    assert_eq!((region.name.as_str(), region.country.as_str(), region.active), ("İstanbul", "TR", false));
    assert_eq!(regions::find(s, "IST1").await.unwrap(), None);
}

async fn regions_come_in_their_order(db: Db) {
    let s = &db.store;
    for (slug, position) in [("c", 3), ("b", 1), ("a", 3), ("d", 2)] {
        regions::ensure(s, slug, slug, "TR", true, position).await.unwrap();
    }
    let slugs: Vec<String> = regions::list(s).await.unwrap().into_iter().map(|region| region.slug).collect();
    assert_eq!(slugs, ["b", "d", "c", "a"], "by position, then by age");
}

/// Three regions whose order is neither their age nor their alphabet.
pub async fn three_regions(s: &impl Session) -> [RegionId; 3] {
    let mut ids = [RegionId(0); 3];
    for (id, (slug, position)) in ids.iter_mut().zip([("ams1", 2), ("zrh1", 1), ("ist1", 3)]) {
        *id = regions::ensure(s, slug, slug, "NL", true, position).await.unwrap();
    }
    ids
}

async fn a_package_comes_back_as_it_was_made(db: Db) {
    let s = &db.store;
    let new = Package { active: false, memory_mib: 1 << 40, ..package("1c-1r-25d") };
    packages::ensure(s, &new, &[], 1).await.unwrap();
    let found = packages::find(s, "1c-1r-25d").await.unwrap().unwrap();
    assert!(found.id.0 > 0);
    assert_eq!(found, Package { id: found.id, ..new });
    assert_eq!(packages::find(s, "eos1").await.unwrap(), None);
    let too_large = Package { disk_gib: u64::MAX, ..package("huge") };
    assert!(packages::ensure(s, &too_large, &[], 1).await.is_err());
}

async fn a_package_is_made_once_and_stays_as_the_operator_made_it(db: Db) {
    let s = &db.store;
    let [first, second, _] = three_regions(s).await;
    packages::ensure(s, &package("eos1"), &[first], 1).await.unwrap();
    s.execute("UPDATE package SET hourly_micros = 99, active = 0", vec![]).await.unwrap();
    let edited = packages::list(s).await.unwrap();
    packages::ensure(s, &package("eos1"), &[first, second], 5).await.unwrap();
    assert_eq!(packages::list(s).await.unwrap(), edited);
    assert_eq!(
        (edited[0].hourly.0, edited[0].active, edited[0].regions.as_slice()),
        (99, false, &["ams1".into()][..])
    );
}

async fn a_package_names_its_regions_in_the_regions_order(db: Db) {
    let s = &db.store;
    let [ams, zrh, ist] = three_regions(s).await;
    packages::ensure(s, &package("everywhere"), &[ist, ams, zrh], 2).await.unwrap();
    packages::ensure(s, &package("twice"), &[ist, zrh, ist], 1).await.unwrap();
    packages::ensure(s, &package("nowhere"), &[], 3).await.unwrap();
    let listed: Vec<(String, Vec<String>)> =
        packages::list(s).await.unwrap().into_iter().map(|package| (package.slug, package.regions)).collect();
    let expected =
        [("twice", vec!["zrh1", "ist1"]), ("everywhere", vec!["zrh1", "ams1", "ist1"]), ("nowhere", vec![])];
    assert_eq!(
        listed,
        expected.map(|(slug, offered)| (slug.to_owned(), offered.into_iter().map(str::to_owned).collect()))
    );
    let found = packages::find(s, "everywhere").await.unwrap().unwrap();
    assert_eq!(found.regions, ["zrh1", "ams1", "ist1"]);
}

async fn replicas_that_start_at_once_make_one_catalogue(db: Db) {
    let ids = at_once(6, |_| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            let region = regions::ensure(&tx, "ist1", "Ist-01", "TR", true, 1).await.unwrap();
            packages::ensure(&tx, &package("eos1"), &[region], 1).await.unwrap();
            tx.commit().await.unwrap();
            region
        }
    })
    .await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let listed = packages::list(&db.store).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].regions, ["ist1"]);
}

async fn a_setting_is_given_once_and_changed_at_will(db: Db) {
    let s = &db.store;
    assert_eq!(settings::find(s, "installation").await.unwrap(), None);
    let held = at_once(6, |i| {
        let s = db.store.clone();
        async move { settings::ensure(&s, "installation", &format!("{i}")).await.unwrap() }
    })
    .await;
    assert!(held.iter().all(|value| *value == held[0]), "all agree on one value: {held:?}");
    assert_eq!(settings::find(s, "installation").await.unwrap().as_ref(), held.first());
    settings::set(s, "installation", "ü").await.unwrap();
    settings::set(s, "other", "").await.unwrap();
    assert_eq!(settings::ensure(s, "installation", "x").await.unwrap(), "ü");
    assert_eq!(settings::find(s, "other").await.unwrap().as_deref(), Some(""));
}
