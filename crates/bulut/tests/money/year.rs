//! A simulated year of 1,000 servers: kinds of lives whose costs can be checked by hand.

use super::{DAY, HOUR, balance, charge};
use bulut::domain::{books, metering, prices as verbs};
use bulut_model::price::WhenStopped;
use bulut_model::server::{Phase, Power};
use bulut_model::{AccountId, Micros, NodeId, ServerId, Timestamp};
use bulut_store::nodes::Size;
use bulut_store::{accounts, packages, prices, servers};
use bulut_testkit::TestCloud;
use bulut_testkit::servers::row;
use std::collections::BTreeMap;

/// Servers of each kind.
const EACH: usize = 100;

/// What happens to a server.
#[derive(Debug, Clone, Copy)]
enum Event {
    Runs(&'static str),
    Stops,
    GetsPackage(&'static str),
    Goes,
}

use Event::{GetsPackage, Goes, Runs, Stops};

/// A kind of life: what happens when (hours after the year's beginning), and what one of them costs in the year.
struct Kind {
    what: &'static str,
    events: &'static [(u64, Event)],
    costs: i64,
}

/// Hours until the first of July, and until the 15th of January and of February.
const JULY: u64 = 181 * 24;
const MID_JANUARY: u64 = 14 * 24;
const MID_FEBRUARY: u64 = 45 * 24;

const KINDS: [Kind; 10] = [
    // 12 × 10.00, February too: 672 × 0.0150 would be 10.08.
    Kind { what: "eos2, all year", events: &[(0, Runs("eos2"))], costs: 120_000_000 },
    // 672 × 0.0074, which is below 5.
    Kind { what: "eos1, February", events: &[(744, Runs("eos1")), (1416, Goes)], costs: 4_972_800 },
    Kind { what: "eos1, 100 hours", events: &[(0, Runs("eos1")), (100, Goes)], costs: 740_000 },
    // A stopped one costs the same: 11 × 5.00 and February's 4.9728.
    Kind { what: "eos1, stopped", events: &[(0, Runs("eos1")), (1, Stops)], costs: 59_972_800 },
    // 6 × 10.00 and 6 × 20.00.
    Kind {
        what: "eos2, eos3 from July",
        events: &[(0, Runs("eos2")), (JULY, GetsPackage("eos3"))],
        costs: 180_000_000,
    },
    // 17 days of January and 14 of February: 408 × 0.0150 and 336 × 0.0150.
    Kind {
        what: "eos2, a month across two",
        events: &[(MID_JANUARY, Runs("eos2")), (MID_FEBRUARY, Goes)],
        costs: 11_160_000,
    },
    // eos4 costs nothing when it is stopped: 10 × 0.0600.
    Kind { what: "eos4, ten hours", events: &[(0, Runs("eos4")), (10, Stops)], costs: 600_000 },
    // 12 × 80.00; the price of July is for later ones.
    Kind { what: "eos5, before the price", events: &[(0, Runs("eos5"))], costs: 960_000_000 },
    // 6 × 90.00: 720 × 0.1300 are 93.60.
    Kind { what: "eos5, after the price", events: &[(JULY, Runs("eos5"))], costs: 540_000_000 },
    // 20 days of eos3 are 14.40; down to eos2, January costs no more, and 11 × 10.00 follow.
    Kind {
        what: "eos3, eos2 after 20 days",
        events: &[(0, Runs("eos3")), (480, GetsPackage("eos2"))],
        costs: 124_400_000,
    },
];

/// Rows as orders write them, without machines: what is measured is money.
struct Year<'a> {
    cloud: &'a TestCloud,
    node: NodeId,
    servers: BTreeMap<(usize, usize), ServerId>,
}

impl Year<'_> {
    async fn happen(&mut self, kind: usize, owner: AccountId, event: Event) {
        let (app, now) = (self.cloud.app(), self.cloud.app().clock().now());
        for number in 0..EACH {
            let tx = app.store().begin().await.unwrap();
            accounts::hold(&tx, owner).await.unwrap();
            let id = match event {
                Runs(slug) => self.insert(&tx, owner, slug).await,
                _ => self.servers[&(kind, number)],
            };
            match event {
                Runs(_) => {
                    servers::set_phase(&tx, id, Phase::Ready).await.unwrap();
                    servers::set_power(&tx, id, Power::Running).await.unwrap();
                }
                Stops => drop(servers::set_power(&tx, id, Power::Stopped).await.unwrap()),
                GetsPackage(slug) => {
                    let package = packages::find(&tx, slug).await.unwrap().unwrap();
                    let size = Size { cpu: 1, memory_mib: 1024, disk_gib: 20 };
                    servers::set_size(&tx, id, package.id, size, 1, None).await.unwrap();
                }
                Goes => servers::bury(&tx, id, now).await.unwrap(),
            }
            metering::server(app, &tx, id, now).await.unwrap();
            tx.commit().await.unwrap();
            self.servers.insert((kind, number), id);
        }
    }

    async fn insert(&self, tx: &bulut_store::Tx, account: AccountId, slug: &str) -> ServerId {
        let new = row(tx, account, self.node, slug).await;
        servers::insert(tx, &new, self.cloud.app().clock().now()).await.unwrap()
    }
}

#[tokio::test]
async fn a_year_of_a_thousand_servers_costs_what_can_be_counted_by_hand() {
    let cloud = TestCloud::new().await;
    let (app, store) = (cloud.app(), cloud.app().store());
    let begin = app.clock().now();
    assert_eq!(begin, Timestamp::from_wire("2026-01-01T00:00:00Z").unwrap());
    let eos4 = packages::find(store, "eos4").await.unwrap().unwrap().id;
    prices::set_when_stopped(store, eos4, WhenStopped::None).await.unwrap();
    let mut customers = Vec::new();
    for kind in 0..KINDS.len() {
        customers.push(cloud.customer(&format!("kind{kind}")).await);
    }
    let mut year = Year { cloud: &cloud, node: cloud.node(), servers: BTreeMap::new() };
    let mut events: BTreeMap<u64, Vec<(usize, Event)>> = BTreeMap::new();
    for (kind, life) in KINDS.iter().enumerate() {
        life.events.iter().for_each(|(hour, event)| events.entry(*hour).or_default().push((kind, *event)));
    }
    for (hour, happening) in events {
        let wait = begin.plus(HOUR * u32::try_from(hour).unwrap()).since(app.clock().now());
        app.clock().advance(wait);
        if hour == JULY {
            let price = |text| Some(Micros::parse(text).unwrap());
            let new =
                verbs::NewPrice { hourly: price("0.13"), monthly: price("90"), ..verbs::NewPrice::default() };
            verbs::set_package(app, "eos5", new).await.unwrap();
        }
        for (kind, event) in happening {
            year.happen(kind, customers[kind].account.id, event).await;
        }
        charge(&cloud).await;
    }
    app.clock().advance(begin.plus(365 * DAY).since(app.clock().now()));
    charge(&cloud).await;

    let mut total = Micros::ZERO;
    for (kind, customer) in KINDS.iter().zip(&customers) {
        let spent = Micros(50_000_000) - balance(&cloud, customer).await;
        assert_eq!(spent, Micros(kind.costs * EACH as i64), "{}", kind.what);
        total = total + spent;
    }
    // 120 + 4.9728 + 0.74 + 59.9728 + 180 + 11.16 + 0.6 + 960 + 540 + 124.4, a hundred times each.
    assert_eq!(total, Micros::parse("200184.56").unwrap());
    assert_eq!(year.servers.len(), 1000);
    assert_eq!(books::check(app).await.unwrap(), Vec::<String>::new());
}
