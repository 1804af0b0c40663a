//! Intervals: priced spans, opened and closed by the transactions that change what they are about.

use crate::packages::signed;
use crate::session::{Failure, Row, Session};
use bulut_model::interval::{Interval, State, Subject, Terms};
use bulut_model::price::Counting;
use bulut_model::{
    AccountId, AddressId, Error, IntervalId, Micros, PackageId, PriceId, Result, ServerId, Timestamp,
};

/// An interval to be opened.
#[derive(Debug, Clone, Copy)]
pub struct New {
    /// Who pays.
    pub account: AccountId,
    /// What it is about.
    pub subject: Subject,
    /// The server that it belongs to.
    pub server: ServerId,
    /// What it costs.
    pub terms: Terms,
}

const COLUMNS: &str = "id, account_id, kind, subject_id, server_id, package_id, state, price_id, units, \
                       unit_micros, monthly_micros, counting, opened_at, closed_at, continues";

fn interval(row: &Row) -> Result<Interval, Failure> {
    let unknown = |what: &str, word: &str| Failure::Fault(format!("the {what} '{word}' is unknown"));
    let (kind, state, counting) = (row.text("kind")?, row.text("state")?, row.text("counting")?);
    let terms = Terms {
        package: row.opt_int("package_id")?.map(PackageId),
        state: State::from_word(&state).ok_or_else(|| unknown("state", &state))?,
        price: PriceId(row.int("price_id")?),
        units: row.unsigned("units")?,
        unit_price: Micros(row.int("unit_micros")?),
        monthly: row.opt_int("monthly_micros")?.map(Micros),
        counting: Counting::from_word(&counting).ok_or_else(|| unknown("counting", &counting))?,
    };
    Ok(Interval {
        id: IntervalId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        subject: Subject::from_row(&kind, row.int("subject_id")?).ok_or_else(|| unknown("kind", &kind))?,
        server: ServerId(row.int("server_id")?),
        terms,
        opened_at: Timestamp(row.int("opened_at")?),
        closed_at: row.opt_int("closed_at")?.map(Timestamp),
        continues: row.flag("continues")?,
    })
}

fn intervals(rows: &[Row]) -> Result<Vec<Interval>> {
    Ok(rows.iter().map(interval).collect::<Result<_, _>>()?)
}

/// Opens an interval. One thing has one open interval.
///
/// Errors: `Internal` when the thing has an open one.
pub async fn open(s: &impl Session, new: &New, at: Timestamp) -> Result<IntervalId> {
    let row = s.one(INSERT_RETURNING, values(new, at, None)?).await?;
    let row = row.ok_or_else(|| Error::internal("an inserted interval came back without a row"))?;
    Ok(IntervalId(row.int("id")?))
}

const INSERT_RETURNING: &str = "INSERT INTO usage_interval (account_id, kind, subject_id, server_id, package_id, \
     state, price_id, units, unit_micros, monthly_micros, counting, opened_at, closed_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id";

const ADD_BYTES: &str = "INSERT INTO usage_interval (account_id, kind, subject_id, server_id, package_id, \
     state, price_id, units, unit_micros, monthly_micros, counting, opened_at, closed_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
     ON CONFLICT (subject_id, opened_at) WHERE kind = 'traffic' \
     DO UPDATE SET units = usage_interval.units + excluded.units";

fn values(
    new: &New,
    opened_at: Timestamp,
    closed_at: Option<Timestamp>,
) -> Result<Vec<sea_orm::Value>, Failure> {
    let terms = &new.terms;
    Ok(vec![
        new.account.0.into(),
        new.subject.kind().into(),
        new.subject.id().into(),
        new.server.0.into(),
        terms.package.map(|package| package.0).into(),
        terms.state.as_str().into(),
        terms.price.0.into(),
        signed(terms.units)?.into(),
        terms.unit_price.0.into(),
        terms.monthly.map(|monthly| monthly.0).into(),
        terms.counting.as_str().into(),
        opened_at.0.into(),
        closed_at.map(|at| at.0).into(),
    ])
}

/// Adds bytes to what a server moved beyond its package in the hour that begins at `hour`. Its price is the one that
/// held with the first of them.
pub async fn add_traffic(s: &impl Session, new: &New, hour: Timestamp, end: Timestamp) -> Result<()> {
    s.execute(ADD_BYTES, values(new, hour, Some(end))?).await?;
    Ok(())
}

/// The open interval of a thing.
pub async fn find_open(s: &impl Session, subject: Subject) -> Result<Option<Interval>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM usage_interval WHERE kind = $1 AND subject_id = $2 AND closed_at IS NULL"
    );
    let row = s.one(&sql, vec![subject.kind().into(), subject.id().into()]).await?;
    Ok(row.as_ref().map(interval).transpose()?)
}

/// Closes an open interval; `continues`: the next one of the same thing is opened at the same second.
pub async fn close(s: &impl Session, id: IntervalId, at: Timestamp, continues: bool) -> Result<()> {
    s.execute(
        "UPDATE usage_interval SET closed_at = $2, continues = $3 WHERE id = $1 AND closed_at IS NULL",
        vec![id.0.into(), at.0.into(), i64::from(continues).into()],
    )
    .await?;
    Ok(())
}

/// The intervals of an account that have a part in the span from `from` until before `to`, in the order in which they
/// are rated: by kind and thing, then by their beginnings.
pub async fn list(
    s: &impl Session,
    account: AccountId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Interval>> {
    // Two questions of the index: a single one with OR would read every interval that ever was.
    let select = format!("SELECT {COLUMNS} FROM usage_interval WHERE account_id = $1");
    let sql = format!(
        "SELECT * FROM ({select} AND closed_at > $2 AND opened_at < $3 \
         UNION ALL {select} AND closed_at IS NULL AND opened_at < $3) AS found \
         ORDER BY kind, subject_id, opened_at, id"
    );
    intervals(&s.all(&sql, vec![account.0.into(), from.0.into(), to.0.into()]).await?)
}

/// All intervals of a server and of what belongs to it, oldest first.
pub async fn list_of_server(s: &impl Session, account: AccountId, server: ServerId) -> Result<Vec<Interval>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM usage_interval WHERE account_id = $1 AND server_id = $2 ORDER BY opened_at, id"
    );
    let rows = s.all(&sql, vec![account.0.into(), server.0.into()]).await?;
    intervals(&rows)
}

/// Every interval of an account, in the order in which they are rated.
pub async fn list_all(s: &impl Session, account: AccountId) -> Result<Vec<Interval>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM usage_interval WHERE account_id = $1 ORDER BY kind, subject_id, opened_at, id"
    );
    intervals(&s.all(&sql, vec![account.0.into()]).await?)
}

/// What all that the account has costs by the hour, as its open intervals say.
pub async fn hourly(s: &impl Session, account: AccountId) -> Result<Micros> {
    let row = s
        .one(
            "SELECT CAST(COALESCE(SUM(units * unit_micros), 0) AS BIGINT) AS hourly FROM usage_interval \
             WHERE account_id = $1 AND closed_at IS NULL AND kind <> 'traffic'",
            vec![account.0.into()],
        )
        .await?;
    Ok(Micros(row.map(|row| row.int("hourly")).transpose()?.unwrap_or(0)))
}

/// The end of a thing's last interval, if it had one.
pub async fn last_end(s: &impl Session, subject: Subject) -> Result<Option<Timestamp>> {
    let sql = "SELECT MAX(closed_at) AS ended FROM usage_interval WHERE kind = $1 AND subject_id = $2";
    let row = s.one(sql, vec![subject.kind().into(), subject.id().into()]).await?;
    Ok(row.map(|row| row.opt_int("ended")).transpose()?.flatten().map(Timestamp))
}

/// The further addresses of a server that have open intervals.
pub async fn open_addresses(
    s: &impl Session,
    account: AccountId,
    server: ServerId,
) -> Result<Vec<AddressId>> {
    let sql = "SELECT subject_id FROM usage_interval WHERE account_id = $1 AND closed_at IS NULL \
               AND kind = 'address' AND server_id = $2 ORDER BY subject_id";
    let rows = s.all(sql, vec![account.0.into(), server.0.into()]).await?;
    Ok(rows.iter().map(|row| row.int("subject_id").map(AddressId)).collect::<Result<_, Failure>>()?)
}

/// What is written down of the traffic of a server beyond its package in a span of time, bytes.
pub async fn traffic_bytes(
    s: &impl Session,
    server: ServerId,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64> {
    let sql = "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) AS bytes FROM usage_interval \
               WHERE kind = 'traffic' AND subject_id = $1 AND opened_at >= $2 AND opened_at < $3";
    let row = s.one(sql, vec![server.0.into(), from.0.into(), to.0.into()]).await?;
    Ok(row.map(|row| row.unsigned("bytes")).transpose()?.unwrap_or(0))
}

fn subjects(rows: &[Row]) -> Result<Vec<(AccountId, Subject)>> {
    let one = |row: &Row| {
        let kind = row.text("kind")?;
        let subject = Subject::from_row(&kind, row.int("subject_id")?);
        let subject = subject.ok_or_else(|| Failure::Fault(format!("the kind '{kind}' is unknown")))?;
        Ok((AccountId(row.int("account_id")?), subject))
    };
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// Servers and snapshots that cost something and have no open interval, by account; none in a sound database.
pub async fn unmetered(s: &impl Session) -> Result<Vec<(AccountId, Subject)>> {
    let open = |kind: &str| {
        format!(
            "NOT EXISTS (SELECT 1 FROM usage_interval WHERE usage_interval.kind = '{kind}' AND \
             usage_interval.subject_id = {kind}.id AND usage_interval.closed_at IS NULL)"
        )
    };
    let sql = format!(
        "SELECT account_id, 'server' AS kind, id AS subject_id FROM server \
         WHERE phase = 'ready' AND in_pool = 0 AND {} \
         UNION ALL SELECT account_id, 'snapshot' AS kind, id AS subject_id FROM snapshot \
         WHERE phase = 'ready' AND {} ORDER BY account_id, kind, subject_id",
        open("server"),
        open("snapshot"),
    );
    subjects(&s.all(&sql, vec![]).await?)
}

/// All that has an open interval, by account.
pub async fn list_open(s: &impl Session) -> Result<Vec<(AccountId, Subject)>> {
    let sql = "SELECT account_id, kind, subject_id FROM usage_interval WHERE closed_at IS NULL \
               ORDER BY account_id, kind, subject_id";
    subjects(&s.all(sql, vec![]).await?)
}

/// The servers of a package that have open intervals, by account.
pub async fn open_of_package(s: &impl Session, package: PackageId) -> Result<Vec<(AccountId, Subject)>> {
    let sql = "SELECT account_id, kind, subject_id FROM usage_interval WHERE closed_at IS NULL \
               AND kind = 'server' AND package_id = $1 ORDER BY account_id, subject_id";
    subjects(&s.all(sql, vec![package.0.into()]).await?)
}

/// Open intervals that do not say what is so: of servers that are gone, draw on a pool, or have another package or power
/// than theirs, of snapshots that are not there, and of addresses that another has. None in a sound database.
pub async fn untrue(s: &impl Session) -> Result<Vec<IntervalId>> {
    let sql = "SELECT usage_interval.id AS id FROM usage_interval \
         JOIN server ON server.id = usage_interval.subject_id \
         WHERE usage_interval.kind = 'server' AND closed_at IS NULL AND (server.phase <> 'ready' \
         OR server.in_pool <> 0 OR server.package_id <> usage_interval.package_id OR usage_interval.state <> \
         CASE WHEN server.power = 'stopped' THEN 'stopped' ELSE 'running' END) \
         UNION ALL SELECT usage_interval.id AS id FROM usage_interval \
         JOIN snapshot ON snapshot.id = usage_interval.subject_id \
         WHERE usage_interval.kind = 'snapshot' AND closed_at IS NULL AND snapshot.phase <> 'ready' \
         UNION ALL SELECT usage_interval.id AS id FROM usage_interval \
         JOIN address ON address.id = usage_interval.subject_id \
         WHERE usage_interval.kind = 'address' AND closed_at IS NULL \
         AND COALESCE(address.further_server_id, 0) <> usage_interval.server_id ORDER BY id";
    let rows = s.all(sql, vec![]).await?;
    Ok(rows.iter().map(|row| row.int("id").map(IntervalId)).collect::<Result<_, Failure>>()?)
}
