//! Intervals: priced spans, opened and closed by the transactions that change what they are about.

use crate::packages::signed;
use crate::session::{Failure, Row, Session};
use bulut_model::interval::{Interval, State, Subject, Terms};
use bulut_model::price::Counting;
use bulut_model::{AccountId, Error, IntervalId, Micros, PackageId, PriceId, Result, ServerId, Timestamp};

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

/// The intervals of these accounts that have a part in the span from `from` until before `to`, in the order in which
/// they are rated: by account, kind and thing, then by their beginnings.
pub async fn list(
    s: &impl Session,
    accounts: (AccountId, AccountId),
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Interval>> {
    // Two questions of the index: a single one with OR would read every interval that ever was.
    let select = format!("SELECT {COLUMNS} FROM usage_interval WHERE account_id BETWEEN $1 AND $2");
    let sql = format!(
        "SELECT * FROM ({select} AND closed_at > $3 AND opened_at < $4 \
         UNION ALL {select} AND closed_at IS NULL AND opened_at < $4) AS found \
         ORDER BY account_id, kind, subject_id, opened_at, id"
    );
    let (first, last) = accounts;
    let rows = s.all(&sql, vec![first.0.into(), last.0.into(), from.0.into(), to.0.into()]).await?;
    intervals(&rows)
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

/// The accounts that have servers or snapshots whose intervals may have to be opened or closed, because those are
/// there without one, or the other way round.
pub async fn accounts_with_things(s: &impl Session) -> Result<Vec<AccountId>> {
    let sql = "SELECT account_id FROM server WHERE phase = 'ready' \
               UNION SELECT account_id FROM snapshot WHERE phase = 'ready' \
               UNION SELECT account_id FROM usage_interval WHERE closed_at IS NULL ORDER BY account_id";
    let rows = s.all(sql, vec![]).await?;
    Ok(rows.iter().map(|row| row.int("account_id").map(AccountId)).collect::<Result<_, Failure>>()?)
}
