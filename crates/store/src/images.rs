//! Images: what the catalogue names, and the files that are there.

use crate::packages::{offered, signed};
use crate::session::{Failure, Row, Session, to_json};
use bulut_model::catalog::{Image, ImageFiles, ImageKind};
use bulut_model::{Error, ImageId, RegionId, Result};

const COLUMNS: &str = "id, slug, name, distribution, kind, min_cpu, min_memory_mib, min_disk_gib, \
                       default_user, active, files";

const OFFERED: &str = "SELECT image_region.image_id AS id, region.slug AS slug FROM image_region \
                       JOIN region ON region.id = image_region.region_id \
                       ORDER BY region.position, region.id";

fn opt_unsigned(row: &Row, column: &str) -> Result<Option<u64>, Failure> {
    match row.opt_int(column)? {
        None => Ok(None),
        Some(_) => row.unsigned(column).map(Some),
    }
}

fn image(row: &Row, regions: Vec<String>) -> Result<Image, Failure> {
    let kind = row.text("kind")?;
    Ok(Image {
        id: ImageId(row.int("id")?),
        slug: row.text("slug")?,
        name: row.text("name")?,
        distribution: row.text("distribution")?,
        kind: ImageKind::from_word(&kind)
            .ok_or_else(|| Failure::Fault(format!("image kind {kind} is unknown")))?,
        min_cpu: match row.opt_int("min_cpu")? {
            None => None,
            Some(_) => Some(row.small("min_cpu")?),
        },
        min_memory_mib: opt_unsigned(row, "min_memory_mib")?,
        min_disk_gib: opt_unsigned(row, "min_disk_gib")?,
        default_user: row.text("default_user")?,
        active: row.flag("active")?,
        files: match row.opt_text("files")? {
            None => None,
            Some(_) => Some(row.json("files")?),
        },
        regions,
    })
}

/// All images, in their order, whether or not they are active or their files are there.
pub async fn list(s: &impl Session) -> Result<Vec<Image>> {
    let mut offered = offered(s, OFFERED).await?;
    let rows = s.all(&format!("SELECT {COLUMNS} FROM image ORDER BY position, id"), vec![]).await?;
    rows.iter().map(|row| Ok(image(row, offered.remove(&row.int("id")?).unwrap_or_default())?)).collect()
}

/// The image with this slug.
pub async fn find(s: &impl Session, slug: &str) -> Result<Option<Image>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM image WHERE slug = $1"), vec![slug.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut offered = offered(s, OFFERED).await?;
    Ok(Some(image(&row, offered.remove(&row.int("id")?).unwrap_or_default())?))
}

/// The image with this id.
pub async fn get(s: &impl Session, id: ImageId) -> Result<Image> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM image WHERE id = $1"), vec![id.0.into()]).await?;
    let row = row.ok_or_else(|| Error::not_found(format!("There is no image with id {id}.")))?;
    let mut offered = offered(s, OFFERED).await?;
    Ok(image(&row, offered.remove(&id.0).unwrap_or_default())?)
}

/// Adds an image that is not there yet, with the regions that offer it; one that is there stays as it is.
/// `cac_id` is its number in Cloud at Cost's list of templates. Run it in a transaction.
///
/// Errors: `AlreadyExists` when another image has that number.
pub async fn ensure(
    s: &impl Session,
    new: &Image,
    regions: &[RegionId],
    cac_id: Option<i64>,
    position: i64,
) -> Result<()> {
    let inserted = s
        .one(
            "INSERT INTO image (slug, name, distribution, kind, min_cpu, min_memory_mib, min_disk_gib, \
             default_user, active, cac_id, position) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (slug) DO NOTHING RETURNING id",
            vec![
                new.slug.clone().into(),
                new.name.clone().into(),
                new.distribution.clone().into(),
                new.kind.as_str().into(),
                new.min_cpu.map(i64::from).into(),
                new.min_memory_mib.map(signed).transpose()?.into(),
                new.min_disk_gib.map(signed).transpose()?.into(),
                new.default_user.clone().into(),
                i64::from(new.active).into(),
                cac_id.into(),
                position.into(),
            ],
        )
        .await;
    let row = match (inserted, cac_id) {
        (Ok(Some(row)), _) => row,
        (Ok(None), _) => return Ok(()),
        (Err(Failure::Unique), Some(number)) => {
            let why =
                format!("The template number {number} of image '{}' belongs to another image.", new.slug);
            return Err(Error::exists(why));
        }
        (Err(other), _) => return Err(other.into()),
    };
    let id = row.int("id")?;
    for region in regions {
        s.execute(
            "INSERT INTO image_region (image_id, region_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            vec![id.into(), region.0.into()],
        )
        .await?;
    }
    Ok(())
}

/// Says that the image's files are there (or, with `None`, that they no longer are).
///
/// Errors: `NotFound` for a slug that the catalogue does not have.
pub async fn set_files(s: &impl Session, slug: &str, files: Option<&ImageFiles>) -> Result<()> {
    let files = files.map(to_json).transpose()?;
    let changed =
        s.execute("UPDATE image SET files = $2 WHERE slug = $1", vec![slug.into(), files.into()]).await?;
    if changed == 0 {
        return Err(Error::not_found(format!("There is no image '{slug}' in the catalogue.")));
    }
    Ok(())
}

/// How many servers that exist were made from this image.
pub async fn servers_using(s: &impl Session, id: ImageId) -> Result<u64> {
    let row = s
        .one(
            "SELECT COUNT(*) AS servers FROM server WHERE image_id = $1 AND phase <> 'destroyed'",
            vec![id.0.into()],
        )
        .await?;
    Ok(row.map(|row| row.unsigned("servers")).transpose()?.unwrap_or(0))
}
