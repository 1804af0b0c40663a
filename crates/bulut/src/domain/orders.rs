//! Orders of new servers, from an image or from a snapshot: room on a node, an address and the operation in one
//! transaction, or nothing.
//!
//! Must not know: HTTP, SQL, or which engine runs the machines.

use crate::app::App;
use crate::clock::{random_bytes, random_password};
use crate::domain::access::Caller;
use crate::domain::addresses;
use crate::domain::changes::{self, Begun, Change};
use crate::domain::charging;
use crate::domain::metering;
use crate::domain::plans::size_of_package;
use crate::domain::pools;
use crate::domain::snapshots;
use crate::domain::ssh_keys;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bulut_model::catalog::{Image, ImageFiles, Package, Region};
use bulut_model::error::Kind;
use bulut_model::name::{check_hostname, check_name, excerpt, hostname_from};
use bulut_model::operation::OperationKind;
use bulut_model::run_mode::RunMode;
use bulut_model::server::{Minimum, USER_DATA_MAX, check_minimum};
use bulut_model::snapshot::{Snapshot, check_disk};
use bulut_model::tag::check as check_tags;
use bulut_model::{
    AccountId, Error, ImageId, Micros, NodeId, OperationId, RegionId, Result, ServerId, SnapshotId,
};
use bulut_store::operations::Subject;
use bulut_store::{Tx, images, nodes, operations, packages, regions, servers, tags};
use serde::{Deserialize, Serialize};

/// What a customer orders. Shapes only; the rules are checked by [`create`].
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Region, required.
    pub region: String,
    /// Image, required.
    pub image: String,
    /// All else.
    pub server: Wanted,
}

/// What an order says about the server, whatever its disk starts from.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Free text, required.
    pub name: String,
    /// Slug, required.
    pub package: String,
    /// Host name; made from the name if absent.
    pub hostname: Option<String>,
    /// Fingerprints (MD5 with colons) or names of the account's keys.
    pub ssh_keys: Vec<String>,
    /// Base64 as it came.
    pub user_data: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// What an order answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ordered {
    /// The operation that makes the server.
    pub operation: OperationId,
    /// The server.
    pub server: ServerId,
}

/// What an order says about the server, checked.
pub(super) struct Checked {
    /// None where one is to be made from its id.
    pub name: Option<String>,
    /// Its size; the package itself where it has one.
    pub package: Package,
    /// None where one is to be made from its name.
    pub hostname: Option<String>,
    /// OpenSSH public key lines.
    pub ssh_keys: Vec<String>,
    /// Plain Base64.
    pub user_data: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Whether its size is taken from the account's resource pool.
    pub in_pool: bool,
}

/// What the server's disk starts from.
pub(super) struct Source {
    /// Where it is to be.
    pub region: RegionId,
    /// Where it has to be; none where any node of the region will do.
    pub node: Option<NodeId>,
    /// Its image.
    pub image: ImageId,
    /// That image's files.
    pub files: ImageFiles,
    /// The cloud-config of the application that the image is.
    pub recipe: Option<String>,
    /// The snapshot that it is a copy of.
    pub snapshot: Option<SnapshotId>,
}

/// Length of a generated root password, characters.
pub const PASSWORD_LENGTH: usize = 20;

/// Orders a server from an image.
///
/// Errors: `Invalid` naming the parameter, `Forbidden`, `Capacity`; `Funds`, which names what is missing.
pub async fn create(app: &App, caller: &Caller, order: Order) -> Result<Ordered> {
    if let Some(answer) = changes::again(app, caller).await? {
        return Ok(answer);
    }
    check_name("name", &order.server.name)?;
    let region = find_region(app, &order.region).await?;
    let (image, files) = find_image(app, &order.image, &region.slug).await?;
    let checked = check(app, caller, order.server, &region.slug).await?;
    check_fits(&image, &files, checked.package.cpu, checked.package.memory_mib, checked.package.disk_gib)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let source = Source {
        region: region.id,
        node: None,
        image: image.id,
        files,
        recipe: image.recipe.clone(),
        snapshot: None,
    };
    place(app, change, checked, source).await
}

/// Orders a server whose disk starts as a copy of a snapshot. It has an identity of its own.
///
/// Errors: `Invalid` naming the parameter, for a package that is too small in the document's own sentence; `NotFound`
/// for the snapshot; `Conflict` while it is being made or removed; `Forbidden`, `Capacity`, `Funds`.
pub async fn create_from_snapshot(
    app: &App,
    caller: &Caller,
    id: SnapshotId,
    wanted: Wanted,
) -> Result<Ordered> {
    if let Some(answer) = changes::again(app, caller).await? {
        return Ok(answer);
    }
    check_name("name", &wanted.name)?;
    let snapshot = snapshots::get(app, caller, id).await?;
    let region = snapshot.facts.region_slug.clone();
    let checked = check(app, caller, wanted, &region).await?;
    check_disk(snapshot.disk_gib, checked.package.disk_gib)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let snapshot = snapshots::find_ready(&change.tx, change.account.id, id).await?;
    let source = origin(&change.tx, &snapshot).await?;
    place(app, change, checked, source).await
}

async fn origin(tx: &Tx, snapshot: &Snapshot) -> Result<Source> {
    let origin = bulut_store::snapshots::origin(tx, snapshot.id).await?;
    Ok(Source {
        region: snapshot.region,
        node: Some(snapshot.node),
        image: origin.image,
        files: origin.image_files,
        // What the application's recipe did is on the disk.
        recipe: None,
        snapshot: Some(snapshot.id),
    })
}

/// Reserves all that the server needs and queues its operation.
pub(super) async fn place(
    app: &App,
    change: Box<Change>,
    wanted: Checked,
    source: Source,
) -> Result<Ordered> {
    let package = &wanted.package;
    let size = size_of_package(package);
    let mut hourly = Micros::ZERO;
    if wanted.in_pool {
        pools::take(&change, size).await?;
    } else {
        hourly = metering::hourly(&change.tx, package.id).await?;
        charging::check_covers(app, &change.tx, &change.account, hourly, change.now).await?;
    }
    let node = match source.node {
        Some(node) => nodes::reserve_on(&change.tx, node, size).await?.then_some(node),
        None => nodes::reserve(&change.tx, source.region, size).await?,
    };
    let node = node.ok_or_else(|| no_room(&package.slug))?;
    let new = servers::New {
        account: change.account.id,
        region: source.region,
        node,
        package: package.id,
        image: source.image,
        name: wanted.name.clone().unwrap_or_default(),
        hostname: wanted.hostname.clone().unwrap_or_default(),
        cpu: package.cpu,
        memory_mib: package.memory_mib,
        disk_gib: package.disk_gib,
        traffic_tb: package.traffic_tb,
        instance_id: new_instance_id(),
        image_files: source.files,
        ssh_keys: wanted.ssh_keys.clone(),
        sealed_password: None,
        user_data: wanted.user_data.clone(),
        recipe: source.recipe,
        fresh_identity: source.snapshot.is_some(),
        in_pool: wanted.in_pool,
        is_named: wanted.name.is_some(),
        // What costs nothing is not to run for nothing (the contract: servers of the pool start in safe mode).
        run_mode: if wanted.in_pool { RunMode::Safe } else { RunMode::Normal },
    };
    let server = servers::insert(&change.tx, &new, change.now).await?;
    finish_identity(app, &change, server, &new).await?;
    for tag in &wanted.tags {
        tags::ensure(&change.tx, server, tag, change.now).await?;
    }
    let kind = OperationKind::ServerCreate;
    let subject = Subject { account: change.account.id, server, snapshot: source.snapshot, node };
    let operation = operations::insert(&change.tx, kind, subject, "{}", change.now).await?;
    let account = change.account.id;
    charging::hold(app, &change.tx, operation, account, hourly).await?;
    let ordered = change.commit(Ordered { operation, server }).await?;
    tracing::info!(
        server.id = server.0,
        operation.id = operation.0,
        account.id = account.0,
        node.id = node.0,
        "server ordered"
    );
    Ok(ordered)
}

/// cloud-init's name for an instance that it has not seen.
pub fn new_instance_id() -> String {
    format!("i-{}", URL_SAFE_NO_PAD.encode(random_bytes::<12>()))
}

/// What a caller is told when no node can carry a package.
pub fn no_room(package: &str) -> Error {
    Error::new(
        Kind::Capacity,
        format!(
            "There is no room for the package {package} at the moment; choose a smaller package or try later."
        ),
    )
}

/// What depends on the new server's id: its addresses, its host name, its sealed password.
async fn finish_identity(app: &App, change: &Change, server: ServerId, new: &servers::New) -> Result<()> {
    let tx = &change.tx;
    addresses::take(app, tx, new.region, server, change.now).await?;
    let name = if new.is_named {
        new.name.clone()
    } else {
        let made = made_name(new.account, server);
        servers::set_name(tx, server, &made, false).await?;
        made
    };
    if new.hostname.is_empty() {
        let hostname = hostname_from(&name, &format!("server-{server}"));
        servers::set_hostname(tx, server, &hostname).await?;
    }
    let password = zeroize::Zeroizing::new(random_password(PASSWORD_LENGTH));
    let sealed = app.vault().seal(&password_place(server), password.as_bytes())?;
    servers::set_sealed_password(tx, server, &sealed).await
}

/// What a server is called that nobody has named.
pub fn made_name(account: AccountId, server: ServerId) -> String {
    format!("c{account}-{server}")
}

/// The place that a server's root password is sealed for.
pub fn password_place(server: ServerId) -> String {
    format!("server/{server}/password")
}

/// Checks what does not depend on the disk's source.
async fn check(app: &App, caller: &Caller, wanted: Wanted, region: &str) -> Result<Checked> {
    if let Some(hostname) = &wanted.hostname {
        check_hostname("hostname", hostname)?;
    }
    check_tags(&wanted.tags)?;
    let package = find_package(app, &wanted.package, region).await?;
    let ssh_keys = ssh_keys::resolve(app, caller, &wanted.ssh_keys).await?;
    let user_data = wanted.user_data.as_deref().map(check_user_data).transpose()?;
    let Wanted { name, hostname, tags, .. } = wanted;
    Ok(Checked { name: Some(name), package, hostname, ssh_keys, user_data, tags, in_pool: false })
}

async fn find_region(app: &App, slug: &str) -> Result<Region> {
    let region = regions::find(app.store(), slug).await?;
    let region = region.ok_or_else(|| unknown("region", slug, "region/list"))?;
    if region.active {
        return Ok(region);
    }
    Err(Error::invalid(
        "region",
        format!(
            "The region '{}' takes no new servers; region/list shows those with status true.",
            region.slug
        ),
    ))
}

/// A package that can be ordered in this region.
///
/// Errors: `Invalid`.
pub async fn find_package(app: &App, slug: &str, region: &str) -> Result<Package> {
    let package = packages::find(app.store(), slug).await?;
    let package = package.filter(|p| p.active).ok_or_else(|| unknown("package", slug, "package/list"))?;
    check_offered("package", &package.regions, region)?;
    Ok(package)
}

/// An image that can be ordered in this region, and its files.
///
/// Errors: `Invalid`.
pub async fn find_image(app: &App, slug: &str, region: &str) -> Result<(Image, ImageFiles)> {
    let image = images::find(app.store(), slug).await?;
    let (image, files) = image
        .filter(|image| image.active)
        .and_then(|image| image.files.clone().map(|files| (image, files)))
        .ok_or_else(|| unknown("image", slug, "image/list"))?;
    check_offered("image", &image.regions, region)?;
    Ok((image, files))
}

fn check_offered(field: &str, offered: &[String], region: &str) -> Result<()> {
    if offered.iter().any(|slug| slug == region) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!("The {field} is not offered in the region '{region}', only in: {}.", offered.join(", ")),
    ))
}

/// Checks that a machine of this size can carry the image.
///
/// Errors: `Invalid` for `package`.
pub fn check_fits(image: &Image, files: &ImageFiles, cpu: u32, memory_mib: u64, disk_gib: u64) -> Result<()> {
    let needs = Minimum {
        cpu: image.min_cpu,
        memory_mib: image.min_memory_mib,
        disk_gib: image.min_disk_gib.max(Some(files.virtual_bytes.div_ceil(1 << 30))),
    };
    check_minimum(&image.slug, needs, cpu, memory_mib, disk_gib)
}

fn unknown(field: &str, slug: &str, list: &str) -> Error {
    Error::invalid(
        field,
        format!("The {field} '{}' does not exist; {list} shows those that do.", excerpt(slug)),
    )
}

/// Checks the customer's user-data and answers it in plain Base64.
fn check_user_data(encoded: &str) -> Result<String> {
    let compact: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = STANDARD
        .decode(&compact)
        .or_else(|_| STANDARD_NO_PAD.decode(&compact))
        .or_else(|_| URL_SAFE_NO_PAD.decode(compact.trim_end_matches('=')))
        .map_err(|_| Error::invalid("user_data", "The user_data must be Base64."))?;
    if decoded.len() > USER_DATA_MAX {
        return Err(Error::invalid(
            "user_data",
            format!(
                "The user_data must have at most {USER_DATA_MAX} bytes when decoded; this one has {}.",
                decoded.len()
            ),
        ));
    }
    Ok(STANDARD.encode(decoded))
}
