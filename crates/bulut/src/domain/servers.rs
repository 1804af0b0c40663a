//! Servers: ordering, looking, power and the end. Each change is one transaction that writes the intent and
//! its operation; nothing here waits for a machine.

use crate::app::App;
use crate::clock::{random_bytes, random_password};
use crate::domain::access::Caller;
use crate::domain::ssh_keys;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bulut_compute::{Console, ConsoleStream, DriverError, SetupStatus};
use bulut_model::address::{ServerIpv6, ipv6_for};
use bulut_model::catalog::{Image, ImageFiles, Package, Region};
use bulut_model::error::Kind;
use bulut_model::name::{check_hostname, check_name, excerpt, hostname_from};
use bulut_model::operation::OperationKind;
use bulut_model::server::{Minimum, Phase, Power, Server, USER_DATA_MAX, check_minimum};
use bulut_model::{Error, OperationId, Result, ServerId};
use bulut_store::nodes::Size;
use bulut_store::{Tx, accounts, addresses, images, nodes, operations, packages, regions, servers, tags};
use bytes::Bytes;
use std::net::IpAddr;

/// What a customer orders. Shapes only; the rules are checked by [`create`].
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Free text, required.
    pub name: String,
    /// Slug, required.
    pub region: String,
    /// Slug, required.
    pub package: String,
    /// Slug, required.
    pub image: String,
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
#[derive(Debug, Clone, Copy)]
pub struct Ordered {
    /// The operation that makes the server.
    pub operation: OperationId,
    /// The server.
    pub server: ServerId,
}

/// What was chosen for an order, checked.
struct Choice {
    region: Region,
    package: Package,
    image: Image,
    files: ImageFiles,
    hostname: Option<String>,
    ssh_keys: Vec<String>,
    user_data: Option<String>,
}

/// Length of a generated root password, characters.
const PASSWORD_LENGTH: usize = 20;
/// Most tags that an order may carry.
const TAGS_MAX: usize = 32;

/// Orders a server: room on a node, an address and the operation in one transaction, or nothing.
///
/// Errors: `Invalid` naming the parameter, `Forbidden`, `Capacity`.
pub async fn create(app: &App, caller: &Caller, order: Order) -> Result<Ordered> {
    caller.may_change()?;
    let choice = choose(app, caller, &order).await?;
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, caller.account.id).await?;
    let now = app.clock().now();
    let package = &choice.package;
    let size = Size {
        cpu: i64::from(package.cpu),
        memory_mib: package.memory_mib.cast_signed(),
        disk_gib: package.disk_gib.cast_signed(),
    };
    let node = nodes::reserve(&tx, choice.region.id, size).await?.ok_or_else(|| {
        Error::new(
            Kind::Capacity,
            format!(
                "The region {} has no room for the package {} at the moment; choose a smaller package or try later.",
                choice.region.slug, package.slug
            ),
        )
    })?;
    let new = servers::New {
        account: account.id,
        region: choice.region.id,
        node,
        package: package.id,
        image: choice.image.id,
        name: order.name.clone(),
        hostname: choice.hostname.clone().unwrap_or_default(),
        cpu: package.cpu,
        memory_mib: package.memory_mib,
        disk_gib: package.disk_gib,
        traffic_tb: package.traffic_tb,
        instance_id: format!("i-{}", URL_SAFE_NO_PAD.encode(random_bytes::<12>())),
        image_files: choice.files.clone(),
        ssh_keys: choice.ssh_keys.clone(),
        sealed_password: None,
        user_data: choice.user_data.clone(),
    };
    let server = servers::insert(&tx, &new, now).await?;
    finish_identity(app, &tx, server, &choice, &order).await?;
    for tag in &order.tags {
        tags::ensure(&tx, server, tag, now).await?;
    }
    let kind = OperationKind::ServerCreate;
    let operation = operations::insert(&tx, kind, account.id, server, node, "{}", now).await?;
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(
        server.id = server.0,
        operation.id = operation.0,
        account.id = account.id.0,
        node.id = node.0,
        "server ordered"
    );
    Ok(Ordered { operation, server })
}

/// What depends on the new server's id: its addresses, its host name, its sealed password.
async fn finish_identity(app: &App, tx: &Tx, server: ServerId, choice: &Choice, order: &Order) -> Result<()> {
    let now = app.clock().now();
    let quarantine = app.config().address_quarantine();
    if addresses::take_ipv4(tx, choice.region.id, server, now, quarantine).await?.is_none() {
        return Err(Error::new(
            Kind::Capacity,
            format!("The region {} has no free IPv4 address at the moment; try later.", choice.region.slug),
        ));
    }
    if let Some(pool) = addresses::pools(tx, choice.region.id, 6).await?.first()
        && let (IpAddr::V6(prefix), IpAddr::V6(gateway)) = (pool.network, pool.gateway)
    {
        let ipv6 = ServerIpv6 { address: ipv6_for(prefix, server), prefix: 128, gateway };
        servers::set_ipv6(tx, server, &ipv6).await?;
    }
    if choice.hostname.is_none() {
        let hostname = hostname_from(&order.name, &format!("server-{server}"));
        servers::set_hostname(tx, server, &hostname).await?;
    }
    let password = zeroize::Zeroizing::new(random_password(PASSWORD_LENGTH));
    let sealed = app.vault().seal(&password_place(server), password.as_bytes())?;
    servers::set_sealed_password(tx, server, &sealed).await
}

/// The place that a server's root password is sealed for.
pub fn password_place(server: ServerId) -> String {
    format!("server/{server}/password")
}

/// Checks an order and finds what it names.
async fn choose(app: &App, caller: &Caller, order: &Order) -> Result<Choice> {
    check_name("name", &order.name)?;
    if let Some(hostname) = &order.hostname {
        check_hostname("hostname", hostname)?;
    }
    check_tags(&order.tags)?;
    let region = regions::find(app.store(), &order.region).await?;
    let region = region.ok_or_else(|| unknown("region", &order.region, "region/list"))?;
    if !region.active {
        return Err(Error::invalid(
            "region",
            format!(
                "The region '{}' takes no new servers; region/list shows those with status true.",
                region.slug
            ),
        ));
    }
    let package = packages::find(app.store(), &order.package).await?;
    let package =
        package.filter(|p| p.active).ok_or_else(|| unknown("package", &order.package, "package/list"))?;
    let image = images::find(app.store(), &order.image).await?;
    let (image, files) = image
        .filter(|image| image.active)
        .and_then(|image| image.files.clone().map(|files| (image, files)))
        .ok_or_else(|| unknown("image", &order.image, "image/list"))?;
    for (field, offered) in [("package", &package.regions), ("image", &image.regions)] {
        if !offered.contains(&region.slug) {
            return Err(Error::invalid(
                field,
                format!(
                    "The {field} is not offered in the region '{}', only in: {}.",
                    region.slug,
                    offered.join(", ")
                ),
            ));
        }
    }
    let needs = Minimum {
        cpu: image.min_cpu,
        memory_mib: image.min_memory_mib,
        disk_gib: image.min_disk_gib.max(Some(files.virtual_bytes.div_ceil(1 << 30))),
    };
    check_minimum(&image.slug, needs, package.cpu, package.memory_mib, package.disk_gib)?;
    let ssh_keys = ssh_keys::resolve(app, caller, &order.ssh_keys).await?;
    let user_data = order.user_data.as_deref().map(check_user_data).transpose()?;
    Ok(Choice { region, package, image, files, hostname: order.hostname.clone(), ssh_keys, user_data })
}

fn unknown(field: &str, slug: &str, list: &str) -> Error {
    Error::invalid(
        field,
        format!("The {field} '{}' does not exist; {list} shows those that do.", excerpt(slug)),
    )
}

fn check_tags(tags: &[String]) -> Result<()> {
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid("tags", format!("The tags must be at most {TAGS_MAX}.")));
    }
    for tag in tags {
        if tag.is_empty()
            || tag.chars().count() > 64
            || tag.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',')
        {
            return Err(Error::invalid(
                "tags",
                "Each of the tags must have 1 to 64 characters, without blanks and commas.",
            ));
        }
    }
    Ok(())
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

/// The account's servers that exist, oldest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Server>> {
    servers::list(app.store(), caller.account.id).await
}

/// One server of the account.
///
/// Errors: `NotFound`, also for somebody else's.
pub async fn get(app: &App, caller: &Caller, id: ServerId) -> Result<Server> {
    servers::find_owned(app.store(), caller.account.id, id).await?.ok_or_else(|| not_found(id))
}

fn not_found(id: ServerId) -> Error {
    Error::not_found(format!("There is no server with id {id}."))
}

/// Powers on. Asking for what is so succeeds and changes nothing.
pub async fn start(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_change(app, caller, id, OperationKind::ServerStart).await
}

/// Powers off: asks the guest first, pulls the plug after a time limit.
pub async fn stop(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_change(app, caller, id, OperationKind::ServerStop).await
}

/// Restarts the guest; a stopped server is started.
pub async fn reboot(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_change(app, caller, id, OperationKind::ServerReboot).await
}

/// Ends a server for good.
pub async fn destroy(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_change(app, caller, id, OperationKind::ServerDestroy).await
}

/// Queues one operation on a server of the caller, which holds the server until it ends.
async fn order_change(app: &App, caller: &Caller, id: ServerId, kind: OperationKind) -> Result<OperationId> {
    caller.may_change()?;
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, caller.account.id).await?;
    let server = servers::find_owned(&tx, account.id, id).await?.ok_or_else(|| not_found(id))?;
    let now = app.clock().now();
    let operation = operations::insert(&tx, kind, account.id, id, server.node, "{}", now).await?;
    match kind {
        OperationKind::ServerDestroy => servers::set_phase(&tx, id, Phase::Destroying).await?,
        OperationKind::ServerStop if server.power == Power::Running => {
            servers::set_power(&tx, id, Power::Stopping).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(server.id = id.0, operation.id = operation.0, kind = kind.as_str(), "operation ordered");
    Ok(operation)
}

/// Starts a server whose host restarted under it. Nobody asked, so nobody is refused: if an operation holds the
/// server already, that one decides.
pub async fn boot_again(app: &App, server: &Server) -> Result<()> {
    let tx = app.store().begin().await?;
    accounts::hold(&tx, server.account).await?;
    let now = app.clock().now();
    let kind = OperationKind::ServerStart;
    match operations::insert(&tx, kind, server.account, server.id, server.node, "{}", now).await {
        Ok(operation) => {
            tx.commit().await?;
            app.work().notify_one();
            tracing::info!(
                server.id = server.id.0,
                operation.id = operation.0,
                "the host restarted; starting again"
            );
            Ok(())
        }
        Err(error) if error.kind == Kind::Conflict => tx.rollback().await,
        Err(error) => Err(error),
    }
}

/// How far the guest's own set-up is, as the guest says.
pub async fn setup_status(app: &App, caller: &Caller, id: ServerId) -> Result<SetupStatus> {
    let server = get(app, caller, id).await?;
    app.driver(server.node)?.setup_status(id).await.map_err(from_driver)
}

/// The end of the kept serial log, at most `limit` bytes.
pub async fn serial_log(app: &App, caller: &Caller, id: ServerId, limit: usize) -> Result<Bytes> {
    let server = get(app, caller, id).await?;
    app.driver(server.node)?.serial_log(id, limit).await.map_err(from_driver)
}

/// Opens a console of a running server.
///
/// Errors: `Conflict` when it does not run; `Forbidden` for a suspended account, since a console changes things.
pub async fn console(
    app: &App,
    caller: &Caller,
    id: ServerId,
    console: Console,
) -> Result<Box<dyn ConsoleStream>> {
    caller.may_change()?;
    let server = get(app, caller, id).await?;
    if server.power == Power::Stopped {
        return Err(Error::conflict(format!(
            "Server {id} does not run, so that it has no console; start it first."
        )));
    }
    app.driver(server.node)?.console(id, console).await.map_err(from_driver)
}

/// A driver's refusal of something that a caller waits for.
fn from_driver(error: DriverError) -> Error {
    match error {
        DriverError::Gone(context) => Error::conflict(
            "The machine of this server is not there yet; try again when its creation has ended.",
        )
        .with_internal(context),
        DriverError::Retry(context) | DriverError::Unreachable(context) => {
            Error::unavailable("The machine does not answer at the moment; try again.", context)
        }
        DriverError::Fatal(context) => Error::internal(context),
    }
}
