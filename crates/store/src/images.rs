//! Images: what the catalogue names, and the files that are there. An application has the files of its base.

use crate::packages::{offered, signed};
use crate::session::{Failure, Row, Session, to_json};
use bulut_model::catalog::{Image, ImageFiles, ImageKind};
use bulut_model::{Error, ImageId, RegionId, Result};
use std::collections::{BTreeSet, HashMap};

const SELECT: &str = "SELECT image.id AS id, image.slug AS slug, image.name AS name, \
     image.distribution AS distribution, image.kind AS kind, image.min_cpu AS min_cpu, \
     image.min_memory_mib AS min_memory_mib, image.min_disk_gib AS min_disk_gib, \
     image.default_user AS default_user, image.active AS active, image.base_slug AS base_slug, \
     image.recipe AS recipe, \
     CASE WHEN image.base_slug IS NULL THEN image.files ELSE base.files END AS files \
     FROM image LEFT JOIN image AS base ON base.slug = image.base_slug";

/// The image itself, and the applications whose base it is: their disks start from the same files.
const WITH_APPLICATIONS: &str = "(SELECT image.id FROM image WHERE image.id = $1 OR image.base_slug = (SELECT base.slug FROM image AS base \
     WHERE base.id = $1))";

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
        base_slug: row.opt_text("base_slug")?,
        recipe: row.opt_text("recipe")?,
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
    let rows = s.all(&format!("{SELECT} ORDER BY image.position, image.id"), vec![]).await?;
    rows.iter().map(|row| Ok(image(row, offered.remove(&row.int("id")?).unwrap_or_default())?)).collect()
}

/// All images with their numbers in Cloud at Cost's list of templates. One that was given none has one that derives from
/// its id, beyond those that are given.
pub async fn templates(s: &impl Session) -> Result<Vec<(i64, Image)>> {
    let numbers = s.all("SELECT id, COALESCE(cac_id, 1000 + id) AS number FROM image", vec![]).await?;
    let numbers: HashMap<i64, i64> =
        numbers.iter().map(|row| Ok((row.int("id")?, row.int("number")?))).collect::<Result<_, Failure>>()?;
    let images = list(s).await?.into_iter();
    Ok(images.filter_map(|image| Some((*numbers.get(&image.id.0)?, image))).collect())
}

/// The image with this slug.
pub async fn find(s: &impl Session, slug: &str) -> Result<Option<Image>> {
    let row = s.one(&format!("{SELECT} WHERE image.slug = $1"), vec![slug.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut offered = offered(s, OFFERED).await?;
    Ok(Some(image(&row, offered.remove(&row.int("id")?).unwrap_or_default())?))
}

/// The image with this id.
pub async fn get(s: &impl Session, id: ImageId) -> Result<Image> {
    let row = s.one(&format!("{SELECT} WHERE image.id = $1"), vec![id.0.into()]).await?;
    let row = row.ok_or_else(|| Error::not_found(format!("There is no image with id {id}.")))?;
    let mut offered = offered(s, OFFERED).await?;
    Ok(image(&row, offered.remove(&id.0).unwrap_or_default())?)
}

/// Adds an image that is not there yet, with the regions that offer it; one that is there stays as it is.
/// `cac_id` is its number in Cloud at Cost's list of templates. Answers whether it was added. Run it in a
/// transaction.
///
/// Errors: `AlreadyExists` when another image has that number.
pub async fn ensure(
    s: &impl Session,
    new: &Image,
    regions: &[RegionId],
    cac_id: Option<i64>,
    position: i64,
) -> Result<bool> {
    let inserted = s
        .one(
            "INSERT INTO image (slug, name, distribution, kind, min_cpu, min_memory_mib, min_disk_gib, \
             default_user, active, cac_id, position, base_slug, recipe) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (slug) DO NOTHING RETURNING id",
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
                new.base_slug.clone().into(),
                new.recipe.clone().into(),
            ],
        )
        .await;
    let row = match (inserted, cac_id) {
        (Ok(Some(row)), _) => row,
        (Ok(None), _) => return Ok(false),
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
    Ok(true)
}

/// What makes an application of an image.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// What the program calls it; `None` for one of the operator's own.
    pub name: Option<&'a str>,
    /// The image whose disk it starts from.
    pub base_slug: &'a str,
    /// The cloud-config.
    pub text: &'a str,
}

/// Gives an application its base and recipe; servers that are there keep theirs.
///
/// Errors: `NotFound` when there is no application with this slug.
pub async fn set_recipe(s: &impl Session, slug: &str, recipe: Recipe<'_>) -> Result<()> {
    let changed = s
        .execute(
            "UPDATE image SET base_slug = $2, recipe = $3, recipe_name = $4 \
             WHERE slug = $1 AND kind = 'application'",
            vec![
                slug.into(),
                recipe.base_slug.into(),
                recipe.text.into(),
                recipe.name.map(str::to_owned).into(),
            ],
        )
        .await?;
    if changed == 0 {
        return Err(Error::not_found(format!("There is no application '{slug}' in the catalogue.")));
    }
    Ok(())
}

/// Gives the applications that follow the program's recipe of this name what it is now.
pub async fn refresh_recipe(s: &impl Session, name: &str, base_slug: &str, text: &str) -> Result<()> {
    s.execute(
        "UPDATE image SET base_slug = $2, recipe = $3 WHERE recipe_name = $1",
        vec![name.into(), base_slug.into(), text.into()],
    )
    .await?;
    Ok(())
}

/// Says whether the image can be ordered.
///
/// Errors: `NotFound` for a slug that the catalogue does not have.
pub async fn set_active(s: &impl Session, slug: &str, active: bool) -> Result<()> {
    let values = vec![slug.into(), i64::from(active).into()];
    match s.execute("UPDATE image SET active = $2 WHERE slug = $1", values).await? {
        0 => Err(unknown(slug)),
        _ => Ok(()),
    }
}

/// Says that the image's files are there (or, with `None`, that they no longer are).
///
/// Errors: `NotFound` for a slug that the catalogue does not have, or that is an application: that has none of
/// its own.
pub async fn set_files(s: &impl Session, slug: &str, files: Option<&ImageFiles>) -> Result<()> {
    let files = files.map(to_json).transpose()?;
    let sql = "UPDATE image SET files = $2 WHERE slug = $1 AND base_slug IS NULL";
    match s.execute(sql, vec![slug.into(), files.into()]).await? {
        0 => Err(unknown(slug)),
        _ => Ok(()),
    }
}

fn unknown(slug: &str) -> Error {
    Error::not_found(format!("There is no image '{slug}' in the catalogue."))
}

/// How many servers that exist were made from this image, or from an application whose base it is.
pub async fn servers_using(s: &impl Session, id: ImageId) -> Result<u64> {
    let sql = format!(
        "SELECT COUNT(*) AS servers FROM server WHERE phase <> 'destroyed' AND image_id IN {WITH_APPLICATIONS}"
    );
    let row = s.one(&sql, vec![id.0.into()]).await?;
    Ok(row.map(|row| row.unsigned("servers")).transpose()?.unwrap_or(0))
}

/// How many snapshots that exist need the files of this image: theirs is the disk, but not the kernel that the
/// hypervisor boots it with.
pub async fn snapshots_using(s: &impl Session, id: ImageId) -> Result<u64> {
    let sql = format!(
        "SELECT image_files FROM snapshot WHERE phase <> 'destroyed' AND image_id IN {WITH_APPLICATIONS}"
    );
    let mut using = 0;
    for row in s.all(&sql, vec![id.0.into()]).await? {
        let files: ImageFiles = row.json("image_files")?;
        using += u64::from(files.direct.is_some());
    }
    Ok(using)
}

/// Every directory of image files that something needs: the catalogue, a server that exists, a snapshot that boots
/// directly.
pub async fn directories(s: &impl Session) -> Result<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    for (sql, always) in [
        ("SELECT files FROM image WHERE files IS NOT NULL", true),
        ("SELECT DISTINCT image_files AS files FROM server WHERE phase <> 'destroyed'", true),
        ("SELECT DISTINCT image_files AS files FROM snapshot WHERE phase <> 'destroyed'", false),
    ] {
        for row in s.all(sql, vec![]).await? {
            let files: ImageFiles = row.json("files")?;
            if always || files.direct.is_some() {
                needed.insert(files.directory);
            }
        }
    }
    Ok(needed)
}

/// Whether an operation under way is about to give a server a disk from this directory.
pub async fn is_planned(s: &impl Session, directory: &str) -> Result<bool> {
    let sql = "SELECT id FROM operation WHERE status = 0 AND params LIKE $1 LIMIT 1";
    Ok(s.one(sql, vec![format!("%\"{directory}\"%").into()]).await?.is_some())
}
