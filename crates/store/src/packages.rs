//! Packages: sizes and their prices.

use crate::prices;
use crate::session::{Failure, Row, Session};
use bulut_model::catalog::Package;
use bulut_model::price::Priced;
use bulut_model::{Micros, PackageId, RegionId, Result, Timestamp};
use std::collections::HashMap;

const COLUMNS: &str =
    "id, slug, cpu, memory_mib, disk_gib, traffic_tb, hourly_micros, monthly_micros, active";

fn package(row: &Row, regions: Vec<String>) -> Result<Package, Failure> {
    Ok(Package {
        id: PackageId(row.int("id")?),
        slug: row.text("slug")?,
        cpu: row.small("cpu")?,
        memory_mib: row.unsigned("memory_mib")?,
        disk_gib: row.unsigned("disk_gib")?,
        traffic_tb: row.unsigned("traffic_tb")?,
        hourly: Micros(row.int("hourly_micros")?),
        monthly: Micros(row.int("monthly_micros")?),
        active: row.flag("active")?,
        regions,
    })
}

/// Slugs of regions by the id of what they offer, from a link table.
pub(crate) async fn offered(s: &impl Session, sql: &str) -> Result<HashMap<i64, Vec<String>>, Failure> {
    let mut offered: HashMap<i64, Vec<String>> = HashMap::new();
    for row in s.all(sql, vec![]).await? {
        offered.entry(row.int("id")?).or_default().push(row.text("slug")?);
    }
    Ok(offered)
}

const OFFERED: &str = "SELECT package_region.package_id AS id, region.slug AS slug FROM package_region \
                       JOIN region ON region.id = package_region.region_id \
                       ORDER BY region.position, region.id";

/// All packages, in their order, inactive ones too.
pub async fn list(s: &impl Session) -> Result<Vec<Package>> {
    let mut offered = offered(s, OFFERED).await?;
    let rows = s.all(&format!("SELECT {COLUMNS} FROM package ORDER BY position, id"), vec![]).await?;
    rows.iter().map(|row| Ok(package(row, offered.remove(&row.int("id")?).unwrap_or_default())?)).collect()
}

/// The package with this slug.
pub async fn find(s: &impl Session, slug: &str) -> Result<Option<Package>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM package WHERE slug = $1"), vec![slug.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut offered = offered(s, OFFERED).await?;
    Ok(Some(package(&row, offered.remove(&row.int("id")?).unwrap_or_default())?))
}

/// Adds a package that is not there yet, with the regions that offer it; one that is there stays as it is.
/// Run it in a transaction.
pub async fn ensure(s: &impl Session, new: &Package, regions: &[RegionId], position: i64) -> Result<()> {
    let row = s
        .one(
            "INSERT INTO package (slug, cpu, memory_mib, disk_gib, traffic_tb, hourly_micros, monthly_micros, \
             active, position) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (slug) DO NOTHING RETURNING id",
            vec![
                new.slug.clone().into(),
                i64::from(new.cpu).into(),
                signed(new.memory_mib)?.into(),
                signed(new.disk_gib)?.into(),
                signed(new.traffic_tb)?.into(),
                new.hourly.0.into(),
                new.monthly.0.into(),
                i64::from(new.active).into(),
                position.into(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    let id = row.int("id")?;
    prices::insert(s, Priced::Package(PackageId(id)), new.hourly, Some(new.monthly), Timestamp::default())
        .await?;
    for region in regions {
        s.execute(
            "INSERT INTO package_region (package_id, region_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            vec![id.into(), region.0.into()],
        )
        .await?;
    }
    Ok(())
}

/// An unsigned size as the database holds it.
pub(crate) fn signed(size: u64) -> Result<i64, Failure> {
    i64::try_from(size).map_err(|_| Failure::Fault(format!("{size} does not fit the database")))
}
