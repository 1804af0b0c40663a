//! Money: what is measured, charged and refused, in a whole cloud.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod books;
mod charging;
mod funds;
mod intervals;
mod networks;
mod year;

use bulut_model::interval::Interval;
use bulut_model::{Micros, ServerId};
use bulut_store::{intervals as rows, ledger};
use bulut_testkit::{Customer, TestCloud};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The intervals of a server, oldest first.
async fn of_server(cloud: &TestCloud, customer: &Customer<'_>, server: i64) -> Vec<Interval> {
    rows::list_of_server(cloud.app().store(), customer.account.id, ServerId(server)).await.unwrap()
}

/// Each interval as (state, hourly price, seconds since the tests' beginning until its end).
async fn told(
    cloud: &TestCloud,
    customer: &Customer<'_>,
    server: i64,
) -> Vec<(&'static str, i64, i64, Option<i64>)> {
    let begin = bulut_testkit::cloud::BEGINNING.unix_seconds();
    let tell = |one: &Interval| {
        (
            one.terms.state.as_str(),
            one.terms.unit_price.0,
            one.opened_at.unix_seconds() - begin,
            one.closed_at.map(|at| at.unix_seconds() - begin),
        )
    };
    of_server(cloud, customer, server).await.iter().map(tell).collect()
}

async fn balance(cloud: &TestCloud, customer: &Customer<'_>) -> Micros {
    ledger::balance(cloud.app().store(), customer.account.id).await.unwrap()
}

/// Sends a change and carries it out, signed in anew: tokens end while tests let time pass.
async fn done(cloud: &TestCloud, customer: &Customer<'_>, method: &str, path: &str, form: &str) {
    cloud.sign_in(&customer.account).await.send(method, path, form).await.data();
    cloud.run_until_idle().await;
}

async fn charge(cloud: &TestCloud) -> usize {
    bulut::domain::charging::run_due(cloud.app()).await.unwrap()
}
