//! Regions.

use crate::session::{Failure, Row, Session};
use bulut_model::catalog::Region;
use bulut_model::{RegionId, Result};

fn region(row: &Row) -> Result<Region, Failure> {
    Ok(Region {
        id: RegionId(row.int("id")?),
        slug: row.text("slug")?,
        name: row.text("name")?,
        country: row.text("country")?,
        active: row.flag("active")?,
    })
}

/// All regions, in their order.
pub async fn list(s: &impl Session) -> Result<Vec<Region>> {
    let rows =
        s.all("SELECT id, slug, name, country, active FROM region ORDER BY position, id", vec![]).await?;
    Ok(rows.iter().map(region).collect::<Result<_, _>>()?)
}

/// The region with this slug.
pub async fn find(s: &impl Session, slug: &str) -> Result<Option<Region>> {
    let row = s
        .one("SELECT id, slug, name, country, active FROM region WHERE slug = $1", vec![slug.into()])
        .await?;
    Ok(row.as_ref().map(region).transpose()?)
}

/// Adds a region that is not there yet; one that is stays as the operator made it. Answers its id.
pub async fn ensure(
    s: &impl Session,
    slug: &str,
    name: &str,
    country: &str,
    active: bool,
    position: i64,
) -> Result<RegionId> {
    s.execute(
        "INSERT INTO region (slug, name, country, active, position) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (slug) DO NOTHING",
        vec![slug.into(), name.into(), country.into(), i64::from(active).into(), position.into()],
    )
    .await?;
    let row = s.one("SELECT id FROM region WHERE slug = $1", vec![slug.into()]).await?;
    let row = row.ok_or_else(|| Failure::Fault(format!("region {slug} vanished")))?;
    Ok(RegionId(row.int("id")?))
}
