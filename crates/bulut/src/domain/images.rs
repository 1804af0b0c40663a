//! Room: the domain. Images: which there can be, which are here, and how one gets here: built from a recipe, pulled
//! from its distribution, or imported from a file. For operators only.
//!
//! Promises: the database names an image's files only when they are complete; an image that a server needs stays.
//! Must not know: the command line, how the database is spoken to.

use super::image_downloads::Downloads;
use super::image_files::{self, DISK, Digest, ImageDir, Workspace};
use super::image_recipes::{self, Description};
use crate::app::App;
use bulut_model::catalog::{DirectBoot, Image, ImageFiles, ImageKind};
use bulut_model::name::check_name;
use bulut_model::{Error, ImageId};
use bulut_store::{images, regions};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// What this project has recipes or addresses of.
const CATALOG: &str = include_str!("../../../../images/catalog.toml");

/// An image of the catalogue file, as far as its files are concerned. What customers see of it is seeded into the
/// database by `domain::catalog`.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// What the calls take.
    pub slug: String,
    /// For people.
    pub name: String,
    /// How it gets here; an application does not.
    pub source: Option<Source>,
    /// Another way, for a host where the first does not go.
    pub alternative: Option<Source>,
    /// Slug of the image whose files an application uses.
    pub base: Option<String>,
}

/// How an image gets here.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Made by a recipe.
    Build {
        /// The recipe's name.
        recipe: String,
    },
    /// Fetched from its distribution.
    Pull {
        /// Where the file is.
        url: String,
        /// Where the list with its checksum is.
        checksums: String,
    },
}

impl Entry {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.source.iter().chain(&self.alternative)
    }

    fn recipe(&self) -> Option<&str> {
        self.sources().find_map(|source| match source {
            Source::Build { recipe } => Some(recipe.as_str()),
            Source::Pull { .. } => None,
        })
    }

    fn download(&self) -> Option<(&str, &str)> {
        self.sources().find_map(|source| match source {
            Source::Pull { url, checksums } => Some((url.as_str(), checksums.as_str())),
            Source::Build { .. } => None,
        })
    }
}

#[derive(Deserialize)]
struct Catalog {
    image: Vec<Entry>,
}

/// Why an image could not be made or removed, and what the operator may do about it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What happened.
    pub error: Error,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// The operator can mend it.
    pub fn refused(why: impl Into<String>) -> Self {
        Error::conflict(why).into()
    }

    /// Something is broken: the network, the disk, a tool.
    pub fn broken(why: impl Into<String>) -> Self {
        Error::unavailable(why, "").into()
    }

    /// The file at `path` did not let us do `what`.
    pub fn file(what: &str, path: &Path, why: &std::io::Error) -> Self {
        Self::broken(format!("cannot {what} {}: {why}", path.display()))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// Whether it is not the operator's mistake.
    pub fn is_broken(&self) -> bool {
        matches!(self.error.kind, bulut_model::error::Kind::Unavailable | bulut_model::error::Kind::Internal)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, hint: None }
    }
}

/// Who is told how far the work is.
pub trait Report: Send + Sync {
    /// What is done now.
    fn stage(&self, text: &str);
    /// How many bytes are here, and of how many, if that is known.
    fn bytes(&self, done: u64, total: Option<u64>);
}

/// Tells nobody.
pub struct Silent;

impl Report for Silent {
    fn stage(&self, _text: &str) {}
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
}

/// An image as its operator sees it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What the database knows.
    pub image: Image,
    /// How many servers were made from it, or from an application whose base it is.
    pub servers: u64,
    /// Whether there is a recipe for it.
    pub can_build: bool,
    /// Whether its distribution offers it.
    pub can_pull: bool,
}

/// A file to be imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// A disk in any format that qemu-img reads.
    pub path: PathBuf,
    /// What the calls will take.
    pub slug: String,
    /// For people.
    pub name: String,
    /// `Debian`…
    pub distribution: String,
    /// Digest that the file must have.
    pub digest: Option<Digest>,
}

/// What the catalogue file offers.
///
/// Errors: `Internal` when the file that was built in is damaged.
pub fn catalog() -> Result<Vec<Entry>, Fault> {
    let catalog: Catalog =
        toml::from_str(CATALOG).map_err(|why| Error::internal(format!("images/catalog.toml: {why}")))?;
    Ok(catalog.image)
}

/// All images, with what can be done to get those that are not here.
pub async fn list(app: &App) -> Result<Vec<Listed>, Fault> {
    let entries = catalog()?;
    let mut listed = Vec::new();
    for image in images::list(app.store()).await? {
        let entry = entries.iter().find(|entry| entry.slug == image.slug);
        listed.push(Listed {
            servers: images::servers_using(app.store(), image.id).await?,
            can_build: entry.is_some_and(|entry| entry.recipe().is_some()),
            can_pull: entry.is_some_and(|entry| entry.download().is_some()),
            image,
        });
    }
    Ok(listed)
}

/// Makes an image by its recipe. `name` is its slug or the recipe's name.
///
/// Errors: refused for an application, which uses the files of its base; `NotFound` for a name that nothing has.
pub async fn build(app: &App, name: &str, report: &dyn Report) -> Result<(String, ImageFiles), Fault> {
    not_an_application(app, name, "build").await?;
    let entries = catalog()?;
    let buildable = entries.iter().find(|entry| entry.slug == name || entry.recipe() == Some(name));
    let entry = buildable.ok_or_else(|| unknown(name, &entries))?;
    let recipe = entry.recipe().ok_or_else(|| {
        Fault::refused(format!("there is no recipe for the image {}", entry.slug))
            .hint(format!("bulut image pull {}", entry.slug))
    })?;
    let dir = ImageDir::open(&app.config().images_dir())?;
    let made = dir.workspace()?;
    let scratch = dir.workspace()?;
    let cache = cache_dir()?.join("images");
    let description = image_recipes::run(recipe, made.path(), scratch.path(), &cache, report).await?;
    report.stage("taking the image in");
    let direct = direct_boot(description)?;
    let files = finish(app, &dir, made, direct, &entry.slug).await?;
    Ok((entry.slug.clone(), files))
}

/// Fetches an image from its distribution.
///
/// Errors: refused for an application, which uses the files of its base; `NotFound` for a slug that nothing has.
pub async fn pull(app: &App, slug: &str, report: &dyn Report) -> Result<ImageFiles, Fault> {
    not_an_application(app, slug, "pull").await?;
    let entries = catalog()?;
    let entry = entries.iter().find(|entry| entry.slug == slug).ok_or_else(|| unknown(slug, &entries))?;
    let (url, checksums) = entry.download().ok_or_else(|| {
        Fault::refused(format!("no distribution offers the image {slug}"))
            .hint(format!("bulut image build {slug}"))
    })?;
    let downloads = Downloads::new(&cache_dir()?.join("downloads"))?;
    let digest = downloads.published_digest(checksums, url).await?;
    report.stage(&format!("fetching {url}"));
    let file = downloads.fetch(url, &digest, report).await?;
    report.stage("taking the image in");
    take_in(app, &file, slug).await
}

/// Takes in a disk from a file; a slug that is new becomes an image that every region offers.
pub async fn import(app: &App, import: &Import, report: &dyn Report) -> Result<ImageFiles, Fault> {
    check_slug(&import.slug)?;
    check_name("name", &import.name)?;
    check_name("distribution", &import.distribution)?;
    not_an_application(app, &import.slug, "import").await?;
    if let Some(digest) = &import.digest {
        report.stage("checking its digest");
        if !digest.matches(&import.path).await? {
            return Err(Fault::refused(format!("{} does not have this digest", import.path.display()))
                .hint("the file is damaged, or another one"));
        }
    }
    report.stage("taking the image in");
    let dir = ImageDir::open(&app.config().images_dir())?;
    let made = dir.workspace()?;
    image_files::to_qcow2(&app.config().qemu_img, &import.path, &made.path().join(DISK)).await?;
    ensure(app, import).await?;
    finish(app, &dir, made, None, &import.slug).await
}

/// An application starts from the files of its base, and has none of its own.
async fn not_an_application(app: &App, slug: &str, verb: &str) -> Result<(), Fault> {
    let image = images::find(app.store(), slug).await?;
    let Some(base) = image.and_then(|image| image.base_slug) else { return Ok(()) };
    let why = format!("{slug} is an application and has no files of its own: it uses those of {base}");
    let hint = match verb {
        "import" => "import the disk under another slug".to_owned(),
        "remove" => format!("bulut image withdraw {slug}"),
        _ => format!("bulut image {verb} {base}"),
    };
    Err(Fault::refused(why).hint(hint))
}

/// Removes an image's files; its line in the catalogue stays, and it can be built or pulled again.
///
/// Errors: refused for an application, and while something rests on these files: the disk of a server that was made
/// from the image or from an application on it, or a snapshot that is booted with the image's kernel.
pub async fn remove(app: &App, slug: &str) -> Result<(), Fault> {
    not_an_application(app, slug, "remove").await?;
    let dir = ImageDir::open(&app.config().images_dir())?;
    let tx = app.store().begin().await?;
    let image = images::find(&tx, slug).await?.ok_or_else(|| no_image(slug))?;
    let Some(files) = image.files else {
        return Err(Fault::refused(format!("the image {slug} is not here")));
    };
    let servers = images::servers_using(&tx, image.id).await?;
    if servers > 0 {
        return Err(still_used(slug, servers, "server"));
    }
    let snapshots = images::snapshots_using(&tx, image.id).await?;
    if snapshots > 0 {
        return Err(still_used(slug, snapshots, "snapshot"));
    }
    images::set_files(&tx, slug, None).await?;
    let needed = images::directories(&tx).await?.contains(&files.directory)
        || images::is_planned(&tx, &files.directory).await?;
    tx.commit().await?;
    if needed { Ok(()) } else { dir.remove(&files.directory) }
}

fn still_used(slug: &str, count: u64, what: &str) -> Fault {
    let are = if count == 1 { format!("1 {what} was") } else { format!("{count} {what}s were") };
    Fault::refused(format!("{are} made from the image {slug}")).hint("destroy them first")
}

/// Says in the database that an image's files are there. Those of before stay until a [sweep](super::image_sweep)
/// finds that nothing needs them: an order that is being placed at this moment may.
pub async fn register(app: &App, slug: &str, files: &ImageFiles) -> Result<(), Fault> {
    let tx = app.store().begin().await?;
    if images::find(&tx, slug).await?.is_none() {
        return Err(no_image(slug));
    }
    images::set_files(&tx, slug, Some(files)).await?;
    Ok(tx.commit().await?)
}

/// Offers an image to customers, or offers it no more. Servers that were made from it stay.
pub async fn offer(app: &App, slug: &str, offered: bool) -> Result<(), Fault> {
    if images::find(app.store(), slug).await?.is_none() {
        return Err(no_image(slug));
    }
    Ok(images::set_active(app.store(), slug, offered).await?)
}

async fn take_in(app: &App, file: &Path, slug: &str) -> Result<ImageFiles, Fault> {
    let dir = ImageDir::open(&app.config().images_dir())?;
    let made = dir.workspace()?;
    image_files::to_qcow2(&app.config().qemu_img, file, &made.path().join(DISK)).await?;
    finish(app, &dir, made, None, slug).await
}

async fn finish(
    app: &App,
    dir: &ImageDir,
    made: Workspace,
    direct: Option<DirectBoot>,
    slug: &str,
) -> Result<ImageFiles, Fault> {
    let files = dir.adopt(made, &app.config().qemu_img, direct).await?;
    register(app, slug, &files).await?;
    tracing::info!(image.slug = slug, image.digest = files.digest, "image registered");
    Ok(files)
}

/// The image of an import in the database, offered everywhere.
async fn ensure(app: &App, import: &Import) -> Result<(), Fault> {
    let image = Image {
        id: ImageId(0),
        slug: import.slug.clone(),
        name: import.name.clone(),
        distribution: import.distribution.clone(),
        kind: ImageKind::Template,
        min_cpu: None,
        min_memory_mib: None,
        min_disk_gib: None,
        default_user: "root".into(),
        active: true,
        base_slug: None,
        recipe: None,
        files: None,
        regions: Vec::new(),
    };
    let tx = app.store().begin().await?;
    let everywhere: Vec<_> = regions::list(&tx).await?.into_iter().map(|region| region.id).collect();
    let position = i64::try_from(images::list(&tx).await?.len()).unwrap_or(i64::MAX);
    images::ensure(&tx, &image, &everywhere, None, position).await?;
    Ok(tx.commit().await?)
}

fn direct_boot(description: Description) -> Result<Option<DirectBoot>, Fault> {
    match (description.boot.as_str(), description.kernel, description.initrd, description.cmdline) {
        ("disk", ..) => Ok(None),
        ("direct", Some(kernel), Some(initrd), Some(cmdline)) => {
            Ok(Some(DirectBoot { kernel, initrd, cmdline }))
        }
        (boot, ..) => Err(Fault::broken(format!("the recipe's image.json is incomplete for a {boot} boot"))),
    }
}

pub(super) fn check_slug(slug: &str) -> Result<(), Fault> {
    let good = (1..=64).contains(&slug.len())
        && slug
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte))
        && slug.as_bytes()[0].is_ascii_alphanumeric();
    if good {
        return Ok(());
    }
    let why = "The slug must have 1 to 64 lower-case letters, digits, '-', '.' or '_', and begin with a letter or digit.";
    Err(Error::invalid("slug", why).into())
}

fn unknown(name: &str, entries: &[Entry]) -> Fault {
    let slugs = entries.iter().map(|entry| entry.slug.as_str()).collect::<Vec<_>>().join(", ");
    Fault::from(Error::not_found(format!("there is no image {name} in the catalogue")))
        .hint(format!("one of: {slugs}"))
}

pub(super) fn no_image(slug: &str) -> Fault {
    Fault::from(Error::not_found(format!("there is no image {slug}"))).hint("bulut image list --local")
}

/// Where downloads and packages are kept: outside of the state, and of any source tree.
fn cache_dir() -> Result<PathBuf, Fault> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let dir = base.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("bulut");
    fs::create_dir_all(&dir).map_err(|why| Fault::file("make", &dir, &why).hint("set XDG_CACHE_HOME"))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_of_the_catalogue_can_be_had() {
        let entries = catalog().unwrap();
        assert!(entries.iter().any(|entry| entry.slug == "tiny"));
        for entry in &entries {
            if let Some(base) = &entry.base {
                assert!(entry.sources().next().is_none(), "{} has no files of its own", entry.slug);
                let of = entries.iter().find(|other| other.slug == *base);
                assert!(of.is_some_and(|of| of.base.is_none() && of.recipe().is_some()), "{}", entry.slug);
                continue;
            }
            assert!(entry.sources().next().is_some(), "{}", entry.slug);
            for source in entry.sources() {
                match source {
                    Source::Build { recipe } => {
                        assert!(image_recipes::names().any(|name| name == recipe), "no recipe {recipe}");
                    }
                    Source::Pull { url, checksums } => {
                        assert!(
                            url.starts_with("https://") && checksums.starts_with("https://"),
                            "{}",
                            entry.slug
                        );
                    }
                }
            }
            check_slug(&entry.slug).unwrap();
        }
    }

    #[test]
    fn a_recipes_description_tells_how_to_boot() {
        let read = |text: &str| direct_boot(serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"boot": "disk", "slug": "debian-12-x64"}"#).unwrap(), None);
        let direct =
            read(r#"{"boot":"direct","kernel":"vmlinuz","initrd":"initrd.img","cmdline":"quiet"}"#).unwrap();
        assert_eq!(direct.unwrap().kernel, "vmlinuz");
        assert!(read(r#"{"boot":"direct","kernel":"vmlinuz"}"#).is_err());
    }

    #[test]
    fn a_slug_is_safe_in_paths_and_urls() {
        for good in ["tiny", "debian-12-x64", "1c_2.x"] {
            check_slug(good).unwrap();
        }
        for bad in ["", "A", "../x", ".hidden", "a/b", "a b", &"x".repeat(65)] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }
}
