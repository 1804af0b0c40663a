//! Laws of prices, intervals, holds and of how far accounts are charged.

use crate::databases::{Db, START, at, laws};
use crate::world::{World, at_once};
use bulut_model::interval::{State, Subject, Terms};
use bulut_model::price::{Counting, PRICE_MAX, Priced, WhenStopped};
use bulut_model::{AccountId, Micros, ServerId, SnapshotId, Timestamp};
use bulut_store::intervals::New;
use bulut_store::{Session, charging, holds, intervals, packages, prices};

laws! {
    both:
    a_package_has_a_price_from_its_beginning
    a_new_version_holds_and_the_old_one_stays
    traffic_of_a_package_may_have_a_price_of_its_own
    an_interval_is_told_as_it_was_opened
    one_thing_has_one_open_interval
    intervals_are_listed_by_the_span_that_they_have_a_part_in
    traffic_of_an_hour_adds_up
    what_all_costs_by_the_hour_is_exact
    holds_count_until_they_are_removed
    an_account_is_due_while_it_has_something_uncharged
    an_account_is_never_charged_from_before_it_had_anything;
}

const HOUR: i64 = 3600;

/// A server's hour at the price of the world's package.
async fn terms(s: &impl Session, world: &World, state: State) -> Terms {
    let price = prices::get(s, Priced::Package(world.package)).await.unwrap();
    Terms {
        package: Some(world.package),
        state,
        price: price.id,
        units: 1,
        unit_price: price.unit,
        monthly: price.monthly,
        counting: Counting::Second,
    }
}

async fn new(s: &impl Session, world: &World, server: ServerId) -> New {
    let terms = terms(s, world, State::Running).await;
    New { account: world.account, subject: Subject::Server(server), server, terms }
}

async fn a_package_has_a_price_from_its_beginning(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let price = prices::get(s, Priced::Package(world.package)).await.unwrap();
    assert_eq!((price.unit, price.monthly), (Micros(7_400), Some(Micros(5_000_000))));
    assert_eq!(price.valid_from, Timestamp::default());
    assert_eq!(prices::when_stopped(s, world.package).await.unwrap(), WhenStopped::Full);
    prices::set_when_stopped(s, world.package, WhenStopped::Disk).await.unwrap();
    assert_eq!(prices::when_stopped(s, world.package).await.unwrap(), WhenStopped::Disk);
    for free in [Priced::Disk, Priced::Snapshot, Priced::Address, Priced::Traffic(None)] {
        assert_eq!(prices::get(s, free).await.unwrap().unit, Micros::ZERO);
    }
}

async fn a_new_version_holds_and_the_old_one_stays(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let old = prices::get(s, Priced::Package(world.package)).await.unwrap();
    let id = prices::set_package(s, world.package, Micros(8_000), PRICE_MAX, at(5)).await.unwrap();
    let new = prices::get(s, Priced::Package(world.package)).await.unwrap();
    assert!(new.id == id && new.id > old.id);
    assert_eq!((new.unit, new.monthly, new.valid_from), (Micros(8_000), Some(PRICE_MAX), at(5)));
    let listed = prices::list(s).await.unwrap();
    assert!(listed.contains(&old) && listed.contains(&new));
    let package = packages::find(s, "eos1").await.unwrap().unwrap();
    assert_eq!((package.hourly, package.monthly), (Micros(8_000), PRICE_MAX), "lists show what holds");
    prices::insert(s, Priced::Snapshot, Micros(70), None, at(6)).await.unwrap();
    assert_eq!(prices::get(s, Priced::Snapshot).await.unwrap().unit, Micros(70));
}

async fn traffic_of_a_package_may_have_a_price_of_its_own(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let price = async |package| prices::get(s, Priced::Traffic(package)).await.unwrap().unit;
    prices::insert(s, Priced::Traffic(Some(world.package)), Micros(3), None, at(1)).await.unwrap();
    prices::insert(s, Priced::Traffic(None), Micros(5), None, at(2)).await.unwrap();
    assert_eq!((price(Some(world.package)).await, price(None).await), (Micros(3), Micros(5)));
    assert_eq!(price(Some(bulut_model::PackageId(999))).await, Micros(5));
}

async fn an_interval_is_told_as_it_was_opened(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let new = new(s, &world, server).await;
    assert_eq!(intervals::find_open(s, new.subject).await.unwrap(), None);
    let id = intervals::open(s, &new, at(10)).await.unwrap();
    let open = intervals::find_open(s, new.subject).await.unwrap().unwrap();
    assert_eq!(
        (open.id, open.account, open.server, open.terms, open.opened_at, open.closed_at, open.continues),
        (id, world.account, server, new.terms, at(10), None, false)
    );
    intervals::close(s, id, at(20), true).await.unwrap();
    assert_eq!(intervals::find_open(s, new.subject).await.unwrap(), None);
    // Closed is closed.
    intervals::close(s, id, at(30), false).await.unwrap();
    let all = intervals::list_of_server(s, world.account, server).await.unwrap();
    assert_eq!((all.len(), all[0].closed_at, all[0].continues), (1, Some(at(20)), true));
    assert_eq!(intervals::list_all(s, world.account).await.unwrap(), all);
}

async fn one_thing_has_one_open_interval(db: Db) {
    let s = db.store.clone();
    let world = World::new(&s).await;
    let server = world.server(&s, "web1").await;
    let new = new(&s, &world, server).await;
    let opened = at_once(6, |_| {
        let s = s.clone();
        async move { intervals::open(&s, &new, at(1)).await.is_ok() }
    })
    .await;
    assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
    // A snapshot with the same number is another thing.
    let snapshot = New { subject: Subject::Snapshot(SnapshotId(server.0)), ..new };
    intervals::open(&s, &snapshot, at(1)).await.unwrap();
}

async fn intervals_are_listed_by_the_span_that_they_have_a_part_in(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let mut ids = Vec::new();
    for (name, from, to) in [
        ("before", 0, Some(10)),
        ("within", 11, Some(19)),
        ("across", 5, Some(30)),
        ("open", 12, None),
        ("after", 20, None),
    ] {
        let server = world.server(s, name).await;
        let id = intervals::open(s, &new(s, &world, server).await, at(from)).await.unwrap();
        if let Some(to) = to {
            intervals::close(s, id, at(to), false).await.unwrap();
        }
        ids.push(id);
    }
    let listed = intervals::list(s, world.account, at(10), at(20)).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>(), ids[1..4]);
    let other = AccountId(world.account.0 + 1);
    assert_eq!(intervals::list(s, other, at(0), at(100)).await.unwrap(), []);
}

async fn traffic_of_an_hour_adds_up(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let terms =
        Terms { state: State::Moved, units: 7, monthly: None, ..terms(s, &world, State::Moved).await };
    let new = New { subject: Subject::Traffic(server), terms, ..new(s, &world, server).await };
    for hour in [0, 0, HOUR, 0] {
        intervals::add_traffic(s, &new, at(hour), at(hour + HOUR)).await.unwrap();
    }
    let all = intervals::list_of_server(s, world.account, server).await.unwrap();
    let told: Vec<_> = all.iter().map(|it| (it.terms.units, it.opened_at, it.closed_at)).collect();
    assert_eq!(told, [(21, at(0), Some(at(HOUR))), (7, at(HOUR), Some(at(2 * HOUR)))]);
}

async fn what_all_costs_by_the_hour_is_exact(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    assert_eq!(intervals::hourly(s, world.account).await.unwrap(), Micros::ZERO);
    let mut last = None;
    for name in ["web1", "web2"] {
        let server = world.server(s, name).await;
        let mut new = new(s, &world, server).await;
        // One more than a float of 64 bits can tell from its neighbour.
        new.terms.unit_price = Micros((1 << 53) + 1);
        last = Some(intervals::open(s, &new, START).await.unwrap());
    }
    let snapshot = Terms { units: 30, unit_price: Micros(70), ..terms(s, &world, State::Kept).await };
    let server = world.server(s, "web3").await;
    let kept =
        New { subject: Subject::Snapshot(SnapshotId(1)), terms: snapshot, ..new(s, &world, server).await };
    intervals::open(s, &kept, START).await.unwrap();
    assert_eq!(intervals::hourly(s, world.account).await.unwrap(), Micros((1 << 54) + 2 + 2_100));
    intervals::close(s, last.unwrap(), at(1), false).await.unwrap();
    assert_eq!(intervals::hourly(s, world.account).await.unwrap(), Micros((1 << 53) + 1 + 2_100));
}

async fn holds_count_until_they_are_removed(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let first = world.work(s, "web1", START).await;
    let second = world.work(s, "web2", START).await;
    holds::insert(s, first, world.account, Micros(7_400)).await.unwrap();
    holds::insert(s, second, world.account, Micros(600)).await.unwrap();
    assert_eq!(holds::hourly(s, world.account).await.unwrap(), Micros(8_000));
    holds::remove(s, first).await.unwrap();
    holds::remove(s, first).await.unwrap();
    assert_eq!(holds::hourly(s, world.account).await.unwrap(), Micros(600));
    assert_eq!(holds::stale(s).await.unwrap(), []);
    s.execute("UPDATE operation SET status = 1", vec![]).await.unwrap();
    assert_eq!(holds::stale(s).await.unwrap(), [second]);
}

async fn an_account_is_due_while_it_has_something_uncharged(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let due = async |seconds| charging::due(s, at(seconds), AccountId(0), 10).await.unwrap();
    assert_eq!(due(100 * HOUR).await, []);
    charging::begin(s, world.account, at(0)).await.unwrap();
    let id = intervals::open(s, &new(s, &world, server).await, at(10)).await.unwrap();
    assert_eq!((due(0).await, due(HOUR).await), (vec![], vec![world.account]));
    charging::advance(s, world.account, at(HOUR)).await.unwrap();
    assert_eq!(charging::charged_until(s, world.account).await.unwrap(), at(HOUR));
    assert_eq!((due(HOUR).await, due(2 * HOUR).await), (vec![], vec![world.account]));
    intervals::close(s, id, at(HOUR + 30), false).await.unwrap();
    charging::advance(s, world.account, at(HOUR)).await.unwrap();
    assert_eq!(due(2 * HOUR).await, [world.account], "its last hour is not charged yet");
    charging::advance(s, world.account, at(2 * HOUR)).await.unwrap();
    assert_eq!(due(100 * HOUR).await, []);
}

async fn an_account_is_never_charged_from_before_it_had_anything(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    charging::begin(s, world.account, at(5 * HOUR)).await.unwrap();
    assert_eq!(charging::charged_until(s, world.account).await.unwrap(), at(5 * HOUR));
    // While it has something, and after a clock was set back, what is charged stays charged.
    charging::begin(s, world.account, at(7 * HOUR)).await.unwrap();
    assert_eq!(charging::charged_until(s, world.account).await.unwrap(), at(5 * HOUR));
    charging::advance(s, world.account, at(6 * HOUR)).await.unwrap();
    charging::begin(s, world.account, at(2 * HOUR)).await.unwrap();
    assert_eq!(charging::charged_until(s, world.account).await.unwrap(), at(6 * HOUR));
}
