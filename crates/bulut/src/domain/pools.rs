//! Resource pools: what an account may have in servers of free sizes, and building such servers.
//!
//! Servers of the pool cost nothing by the hour; what they take is taken in the transaction that orders them, and given
//! back in the one that ends them. Must not know: HTTP, or how orders of packages are priced.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{self, Begun, Change};
use crate::domain::orders::{self, Checked, Ordered, Source, check_fits};
use crate::domain::{accounts, catalog};
use bulut_model::account::Account;
use bulut_model::catalog::{Image, ImageFiles, Package, Region};
use bulut_model::error::Kind;
use bulut_model::pool::{Pool, Resources, TOTAL_MAX};
use bulut_model::{Error, ImageId, Micros, PackageId, Result};
use bulut_store::nodes::Size;
use bulut_store::{accounts as account_rows, images, packages, pools, ssh_keys};

/// The package of servers whose sizes are free. Nobody can order it by name, and no list shows it.
const PACKAGE: &str = "custom";
/// Traffic included in a month, TB.
const TRAFFIC_TB: u64 = 1;
/// Behind all packages.
const POSITION: i64 = 1_000_000;

/// The caller's pool; an empty one where the operator gave none.
pub async fn get(app: &App, caller: &Caller) -> Result<Pool> {
    pools::find(app.store(), caller.account.id).await
}

/// The pool of the account with this e-mail address or user name.
pub async fn get_named(app: &App, name: &str) -> Result<(Account, Pool)> {
    let account = accounts::named(app, name).await?;
    let pool = pools::find(app.store(), account.id).await?;
    Ok((account, pool))
}

/// The accounts that have a pool.
pub async fn list(app: &App) -> Result<Vec<(Account, Pool)>> {
    let mut listed = Vec::new();
    for (id, pool) in pools::list(app.store()).await? {
        if let Some(account) = account_rows::find(app.store(), id).await? {
            listed.push((account, pool));
        }
    }
    Ok(listed)
}

/// What of a pool's size is to change.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewTotal {
    /// Virtual CPUs.
    pub cpu: Option<u64>,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Disk, GiB.
    pub disk_gib: Option<u64>,
}

/// Gives the account with this name a pool of another size. Servers that are there stay, also when they have more than
/// that.
///
/// Errors: `NotFound`, `Invalid`.
pub async fn set(app: &App, name: &str, new: NewTotal) -> Result<(Account, Pool)> {
    let account = accounts::named(app, name).await?;
    for (field, value) in [("cpu", new.cpu), ("ram", new.memory_mib), ("storage", new.disk_gib)] {
        if value.is_some_and(|value| value > TOTAL_MAX) {
            return Err(Error::invalid(field, format!("The {field} of a pool must be at most {TOTAL_MAX}.")));
        }
    }
    let tx = app.store().begin().await?;
    account_rows::hold(&tx, account.id).await?;
    let now = pools::find(&tx, account.id).await?.total;
    let total = Resources {
        cpu: new.cpu.unwrap_or(now.cpu),
        memory_mib: new.memory_mib.unwrap_or(now.memory_mib),
        disk_gib: new.disk_gib.unwrap_or(now.disk_gib),
    };
    let pool = pools::set(&tx, account.id, size(total)).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, ?total, "resource pool set");
    Ok((account, pool))
}

fn size(of: Resources) -> Size {
    Size {
        cpu: of.cpu.cast_signed(),
        memory_mib: of.memory_mib.cast_signed(),
        disk_gib: of.disk_gib.cast_signed(),
    }
}

/// Takes from the pool of the account that the change holds.
///
/// Errors: `Quota`, naming what is not left.
pub(super) async fn take(change: &Change, wanted: Size) -> Result<()> {
    if pools::take(&change.tx, change.account.id, wanted).await? {
        return Ok(());
    }
    let pool = pools::find(&change.tx, change.account.id).await?;
    let count = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    pool.check_left(Resources {
        cpu: count(wanted.cpu),
        memory_mib: count(wanted.memory_mib),
        disk_gib: count(wanted.disk_gib),
    })?;
    Err(Error::internal(format!(
        "the pool of account {} gave nothing, though all is left",
        change.account.id
    )))
}

/// The images that can be built from, with their numbers.
pub async fn templates(app: &App) -> Result<Vec<(i64, Image)>> {
    let all = all_templates(app).await?;
    Ok(all.into_iter().filter(|(_, image)| image.active && image.is_ready()).collect())
}

/// All images with their numbers, also those that nothing can be built from any more.
pub async fn all_templates(app: &App) -> Result<Vec<(i64, Image)>> {
    images::templates(app.store()).await
}

/// A server to be built: its size, which is checked already, and what it starts from.
#[derive(Debug, Clone)]
pub struct Build {
    /// Its size.
    pub size: Resources,
    /// Its image, one of [`templates`].
    pub image: ImageId,
}

/// Orders a server of the pool, in the first region that offers its image and has room. It gets the account's ssh keys
/// and a name that derives from its id.
///
/// Errors: `Quota`, in the document's words; `Invalid` for an image that needs more; `Capacity`, `Forbidden`.
pub async fn build(app: &App, caller: &Caller, build: Build) -> Result<Ordered> {
    if let Some(answer) = changes::again(app, caller).await? {
        return Ok(answer);
    }
    let image = images::get(app.store(), build.image).await?;
    let files =
        image.files.clone().ok_or_else(|| Error::not_found("The image has no files on this cloud."))?;
    let cpu = u32::try_from(build.size.cpu).unwrap_or(u32::MAX);
    check_fits(&image, &files, cpu, build.size.memory_mib, build.size.disk_gib)?;
    let mut outcome = Err(no_region(&image));
    for region in catalog::regions(app).await? {
        if !region.active || !image.regions.contains(&region.slug) {
            continue;
        }
        outcome = build_in(app, caller, &build, &image, &files, &region).await;
        if !matches!(&outcome, Err(error) if error.kind == Kind::Capacity) {
            break;
        }
    }
    outcome
}

fn no_region(image: &Image) -> Error {
    Error::new(Kind::Capacity, format!("No region takes new servers with the image {}.", image.slug))
}

async fn build_in(
    app: &App,
    caller: &Caller,
    build: &Build,
    image: &Image,
    files: &ImageFiles,
    region: &Region,
) -> Result<Ordered> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let keys = ssh_keys::list(&change.tx, change.account.id).await?;
    let wanted = Checked {
        name: None,
        package: package(&change, build.size).await?,
        hostname: None,
        ssh_keys: keys.into_iter().map(|key| key.public_key).collect(),
        user_data: None,
        tags: Vec::new(),
        in_pool: true,
    };
    let source = Source {
        region: region.id,
        node: None,
        image: image.id,
        files: files.clone(),
        recipe: image.recipe.clone(),
        snapshot: None,
    };
    orders::place(app, change, wanted, source).await
}

/// The package of free sizes, with this one; it is made when the first such server is.
async fn package(change: &Change, size: Resources) -> Result<Package> {
    let custom = Package {
        id: PackageId(0),
        slug: PACKAGE.into(),
        cpu: 0,
        memory_mib: 0,
        disk_gib: 0,
        traffic_tb: TRAFFIC_TB,
        hourly: Micros::ZERO,
        monthly: Micros::ZERO,
        active: false,
        regions: Vec::new(),
    };
    packages::ensure(&change.tx, &custom, &[], POSITION).await?;
    let found = packages::find(&change.tx, PACKAGE).await?;
    let found = found.ok_or_else(|| Error::internal("the package of free sizes has no row"))?;
    Ok(Package {
        cpu: u32::try_from(size.cpu).unwrap_or(u32::MAX),
        memory_mib: size.memory_mib,
        disk_gib: size.disk_gib,
        ..found
    })
}
