//! Metering: the one door through which priced spans begin and end.
//!
//! Promises: each function looks at what is so and makes the intervals say it, in the transaction of the change that
//! made it so; asked again, it does nothing. The transaction holds the account. Must not know: what anything costs in
//! sum, HTTP, drivers.

use crate::app::App;
use bulut_model::interval::{Interval, State, Subject, Terms, turn};
use bulut_model::operation::Operation;
use bulut_model::price::{Price, Priced, WhenStopped};
use bulut_model::rating::{HOUR, hour_of};
use bulut_model::server::{Phase, Power, Server};
use bulut_model::snapshot::{self, Snapshot};
use bulut_model::traffic_month::{Month, MonthUse};
use bulut_model::{AccountId, Error, Micros, PackageId, Result, ServerId, SnapshotId, Timestamp};
use bulut_store::addresses::further_ids;
use bulut_store::intervals::{self, New};
use bulut_store::{Session, accounts, charging, holds, prices, servers, snapshots};

/// What a thing is to have an open interval of.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    server: ServerId,
    package: Option<PackageId>,
    state: State,
    units: u64,
}

/// Makes the intervals of a server and of its further addresses true: after every change of its phase, power, package or
/// addresses.
pub async fn server(app: &App, s: &impl Session, id: ServerId, now: Timestamp) -> Result<()> {
    let found = servers::find(s, id).await?;
    let wanted = found.as_ref().filter(|server| is_priced(app, server)).map(|server| Wanted {
        server: id,
        package: Some(server.package),
        state: if server.power == Power::Stopped { State::Stopped } else { State::Running },
        units: 1,
    });
    let Some(account) = found.map(|server| server.account) else { return Ok(()) };
    settle(app, s, account, Subject::Server(id), wanted, now).await?;
    let held = if wanted.is_some() { further_ids(s, id).await? } else { Vec::new() };
    for address in intervals::open_addresses(s, account, id).await? {
        if !held.contains(&address) {
            settle(app, s, account, Subject::Address(address), None, now).await?;
        }
    }
    for address in held {
        let wanted = Wanted { server: id, package: None, state: State::Kept, units: 1 };
        settle(app, s, account, Subject::Address(address), Some(wanted), now).await?;
    }
    Ok(())
}

fn is_priced(app: &App, server: &Server) -> bool {
    app.config().billing.enabled && server.phase == Phase::Ready && !server.in_pool
}

/// Makes a snapshot's interval true: after every change of its phase.
pub async fn snapshot(app: &App, s: &impl Session, id: SnapshotId, now: Timestamp) -> Result<()> {
    let Some(found) = snapshots::find(s, id).await? else { return Ok(()) };
    let is_kept = app.config().billing.enabled && found.phase == snapshot::Phase::Ready;
    let wanted = is_kept.then(|| Wanted {
        server: found.server,
        package: None,
        state: State::Kept,
        units: kept_gib(&found),
    });
    settle(app, s, found.account, Subject::Snapshot(id), wanted, now).await
}

/// What a snapshot takes, GiB; begun ones count.
fn kept_gib(snapshot: &Snapshot) -> u64 {
    snapshot.size_bytes.div_ceil(1 << 30)
}

/// Writes down what a server moved beyond its package in this month and is not written down yet, in the hour in which it
/// is now. What is counted after the month's end is not billed any more. Run it in a transaction that holds the account.
pub async fn traffic(
    app: &App,
    s: &impl Session,
    used: &MonthUse,
    id: ServerId,
    now: Timestamp,
) -> Result<()> {
    let Some(server) = servers::find(s, id).await?.filter(|server| !server.in_pool) else { return Ok(()) };
    if !app.config().billing.enabled {
        return Ok(());
    }
    charging::begin(s, server.account, hour_of(now)).await?;
    let hour = hour_of(now).max(charging::charged_until(s, server.account).await?);
    let (begin, end) = (used.month.begin(), used.month.next().begin());
    let bytes = used.billable_bytes().saturating_sub(intervals::traffic_bytes(s, id, begin, end).await?);
    if bytes == 0 || Month::of(hour) != used.month {
        return Ok(());
    }
    let price = prices::get(s, Priced::Traffic(Some(server.package))).await?;
    let terms = Terms { monthly: None, ..terms_of(app, &price, Some(server.package), State::Moved, bytes) };
    let new = New { account: server.account, subject: Subject::Traffic(id), server: id, terms };
    intervals::add_traffic(s, &new, hour, hour.plus(HOUR)).await
}

/// What the end of an operation makes true: the intervals of what it changed, in the transaction that ends it.
pub async fn operation(app: &App, s: &impl Session, ended: &Operation, now: Timestamp) -> Result<()> {
    server(app, s, ended.server, now).await?;
    if let Some(id) = ended.snapshot {
        snapshot(app, s, id, now).await?;
    }
    holds::remove(s, ended.id).await
}

/// Gives the open intervals of all servers of a package the price that holds now, from this second on; what was before
/// keeps its own. Answers how many.
pub async fn reprice(app: &App, package: PackageId) -> Result<usize> {
    let mut changed = 0;
    for (account, subject) in intervals::open_of_package(app.store(), package).await? {
        let Subject::Server(id) = subject else { continue };
        let tx = app.store().begin().await?;
        accounts::hold(&tx, account).await?;
        let found = servers::find(&tx, id).await?;
        let open = intervals::find_open(&tx, subject).await?;
        if let (Some(server), Some(open)) = (found.filter(|server| server.package == package), open) {
            let terms = server_terms(app, &tx, &server, open.terms.state).await?;
            if terms != open.terms {
                exchange(&tx, account, &open, Some((server.id, terms)), app.clock().now()).await?;
                tx.commit().await?;
                changed += 1;
                continue;
            }
        }
        tx.rollback().await?;
    }
    Ok(changed)
}

/// Opens and closes what a change of the settings, or a version that metered nothing, has left: after a start.
pub async fn adopt(app: &App) -> Result<()> {
    let s = app.store();
    let all = if app.config().billing.enabled {
        intervals::unmetered(s).await?
    } else {
        intervals::list_open(s).await?
    };
    for (account, subject) in &all {
        let tx = s.begin().await?;
        accounts::hold(&tx, *account).await?;
        let now = app.clock().now();
        match *subject {
            Subject::Server(id) => server(app, &tx, id, now).await?,
            Subject::Snapshot(id) => snapshot(app, &tx, id, now).await?,
            Subject::Address(_) | Subject::Traffic(_) => {
                settle(app, &tx, *account, *subject, None, now).await?;
            }
        }
        tx.commit().await?;
    }
    if !all.is_empty() {
        tracing::info!(things = all.len(), enabled = app.config().billing.enabled, "metering begun or ended");
    }
    Ok(())
}

/// What an hour of a further address costs now.
pub async fn address_hourly(s: &impl Session) -> Result<Micros> {
    Ok(prices::get(s, Priced::Address).await?.unit)
}

/// What an hour of a running server of this package costs now.
pub async fn hourly(s: &impl Session, package: PackageId) -> Result<Micros> {
    Ok(prices::get(s, Priced::Package(package)).await?.unit)
}

/// How much more by the hour a server costs than now, running on this package: what an upgrade or a start adds.
pub async fn more_hourly(s: &impl Session, server: &Server, package: PackageId) -> Result<Micros> {
    let open = intervals::find_open(s, Subject::Server(server.id)).await?;
    let now = open.map_or(Micros::ZERO, |open| open.terms.hourly());
    Ok((hourly(s, package).await? - now).max(Micros::ZERO))
}

async fn settle(
    app: &App,
    s: &impl Session,
    account: AccountId,
    subject: Subject,
    wanted: Option<Wanted>,
    now: Timestamp,
) -> Result<()> {
    let open = intervals::find_open(s, subject).await?;
    match (&open, &wanted) {
        (None, None) => return Ok(()),
        (Some(open), Some(wanted)) if open.is_of(wanted.package, wanted.state, wanted.units) => return Ok(()),
        _ => {}
    }
    let opens = match wanted {
        Some(wanted) => Some((wanted.server, terms(app, s, subject, &wanted).await?)),
        None => None,
    };
    match open {
        Some(open) => exchange(s, account, &open, opens, now).await,
        None => {
            charging::begin(s, account, hour_of(now)).await?;
            let (charged, last) =
                (charging::charged_until(s, account).await?, intervals::last_end(s, subject).await?);
            let Some((server, terms)) = opens else { return Ok(()) };
            let at = turn(None, last, Some(terms), now, charged).at;
            intervals::open(s, &New { account, subject, server, terms }, at).await.map(drop)
        }
    }
}

/// Closes an interval, and opens the next one at the same second.
async fn exchange(
    s: &impl Session,
    account: AccountId,
    open: &Interval,
    opens: Option<(ServerId, Terms)>,
    now: Timestamp,
) -> Result<()> {
    let charged = charging::charged_until(s, account).await?;
    let turn = turn(Some(open), None, opens.map(|(_, terms)| terms), now, charged);
    intervals::close(s, open.id, turn.at, opens.is_some()).await?;
    if let Some((server, terms)) = opens {
        intervals::open(s, &New { account, subject: open.subject, server, terms }, turn.at).await?;
    }
    Ok(())
}

/// The terms that hold now.
async fn terms(app: &App, s: &impl Session, subject: Subject, wanted: &Wanted) -> Result<Terms> {
    let priced = match subject {
        Subject::Server(id) => {
            let server = servers::find(s, id).await?;
            let server = server.ok_or_else(|| Error::internal(format!("server {id} has no row")))?;
            return server_terms(app, s, &server, wanted.state).await;
        }
        Subject::Snapshot(_) => Priced::Snapshot,
        Subject::Address(_) => Priced::Address,
        Subject::Traffic(_) => Priced::Traffic(wanted.package),
    };
    let price = prices::get(s, priced).await?;
    Ok(terms_of(app, &price, wanted.package, wanted.state, wanted.units))
}

/// The terms of a server of its package that does this.
async fn server_terms(app: &App, s: &impl Session, server: &Server, state: State) -> Result<Terms> {
    let price = prices::get(s, Priced::Package(server.package)).await?;
    let full = terms_of(app, &price, Some(server.package), state, 1);
    if state == State::Running {
        return Ok(full);
    }
    let unit_price = match prices::when_stopped(s, server.package).await? {
        WhenStopped::Full => full.unit_price,
        WhenStopped::None => Micros::ZERO,
        WhenStopped::Disk => {
            let disk =
                prices::get(s, Priced::Disk).await?.unit.0.saturating_mul(server.disk_gib.cast_signed());
            let address = match server.ipv4 {
                Some(_) => prices::get(s, Priced::Address).await?.unit,
                None => Micros::ZERO,
            };
            Micros(disk.saturating_add(address.0)).min(full.unit_price)
        }
    };
    Ok(Terms { unit_price, ..full })
}

fn terms_of(app: &App, price: &Price, package: Option<PackageId>, state: State, units: u64) -> Terms {
    Terms {
        package,
        state,
        price: price.id,
        units,
        unit_price: price.unit,
        monthly: price.monthly,
        counting: app.config().billing.counting(),
    }
}
