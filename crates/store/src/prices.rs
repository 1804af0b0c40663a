//! Prices, version by version. A version never changes; the last one holds.

use crate::session::{Failure, Row, Session};
use bulut_model::price::{Price, Priced, WhenStopped};
use bulut_model::{Error, Micros, PackageId, PriceId, Result, Timestamp};

const COLUMNS: &str = "id, kind, package_id, unit_micros, monthly_micros, valid_from";

fn price(row: &Row) -> Result<Price, Failure> {
    let kind = row.text("kind")?;
    let of = Priced::from_word(&kind, row.opt_int("package_id")?.map(PackageId));
    Ok(Price {
        id: PriceId(row.int("id")?),
        of: of.ok_or_else(|| Failure::Fault(format!("a price of kind {kind} is unknown")))?,
        unit: Micros(row.int("unit_micros")?),
        monthly: row.opt_int("monthly_micros")?.map(Micros),
        valid_from: Timestamp(row.int("valid_from")?),
    })
}

/// The version that holds now. Traffic of a package that has no price of its own has that of all.
///
/// Errors: `Internal` when there is none.
pub async fn get(s: &impl Session, of: Priced) -> Result<Price> {
    let by_package = match of {
        Priced::Package(_) => "package_id = $2",
        // The price of the package, if it has one, stands first.
        Priced::Traffic(_) => "(package_id = $2 OR package_id IS NULL)",
        Priced::Disk | Priced::Snapshot | Priced::Address => "(package_id IS NULL OR package_id = $2)",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM price WHERE kind = $1 AND {by_package} \
         ORDER BY CASE WHEN package_id IS NULL THEN 1 ELSE 0 END, id DESC LIMIT 1"
    );
    let package = of.package().map_or(0, |package| package.0);
    let row = s.one(&sql, vec![of.as_str().into(), package.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("{of:?} has no price")))?;
    Ok(price(&row)?)
}

/// Adds a version, which holds from now on.
pub async fn insert(
    s: &impl Session,
    of: Priced,
    unit: Micros,
    monthly: Option<Micros>,
    now: Timestamp,
) -> Result<PriceId> {
    let row = s
        .one(
            "INSERT INTO price (kind, package_id, unit_micros, monthly_micros, valid_from) \
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
            vec![
                of.as_str().into(),
                of.package().map(|package| package.0).into(),
                unit.0.into(),
                monthly.map(|monthly| monthly.0).into(),
                now.0.into(),
            ],
        )
        .await?;
    let row = row.ok_or_else(|| Error::internal("an inserted price came back without a row"))?;
    Ok(PriceId(row.int("id")?))
}

/// Sets the price of a package: a new version, which lists show from now on. Run it in a transaction.
pub async fn set_package(
    s: &impl Session,
    package: PackageId,
    hourly: Micros,
    monthly: Micros,
    now: Timestamp,
) -> Result<PriceId> {
    s.execute(
        "UPDATE package SET hourly_micros = $2, monthly_micros = $3 WHERE id = $1",
        vec![package.0.into(), hourly.0.into(), monthly.0.into()],
    )
    .await?;
    insert(s, Priced::Package(package), hourly, Some(monthly), now).await
}

/// All versions, oldest first.
pub async fn list(s: &impl Session) -> Result<Vec<Price>> {
    let rows = s.all(&format!("SELECT {COLUMNS} FROM price ORDER BY id"), vec![]).await?;
    Ok(rows.iter().map(price).collect::<Result<_, _>>()?)
}

/// What a stopped server of a package costs.
pub async fn when_stopped(s: &impl Session, package: PackageId) -> Result<WhenStopped> {
    let row = s.one("SELECT when_stopped FROM package WHERE id = $1", vec![package.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("package {package} has no row")))?;
    WhenStopped::parse(&row.text("when_stopped")?).map_err(|error| Error::internal(error.public))
}

/// Sets what a stopped server of a package costs, from its next stop on.
pub async fn set_when_stopped(s: &impl Session, package: PackageId, when: WhenStopped) -> Result<()> {
    let sql = "UPDATE package SET when_stopped = $2 WHERE id = $1";
    s.execute(sql, vec![package.0.into(), when.as_str().into()]).await?;
    Ok(())
}
