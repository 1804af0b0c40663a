//! Servers: looking, power, changes and the end. Each change is one transaction that writes the intent and its
//! operation; nothing here waits for a machine.

use crate::app::App;
use crate::clock::{random_bytes, random_password};
use crate::domain::access::Caller;
use crate::domain::changes::{self, Begun, Change};
use crate::domain::charging;
use crate::domain::metering;
use crate::domain::orders::{
    PASSWORD_LENGTH, check_fits, find_image, find_package, new_instance_id, no_room, password_place,
};
use crate::domain::plans::{DiskPlan, NewPassword, NewSize, Plan, size_of};
use crate::domain::snapshots;
use crate::domain::traffic;
use bulut_compute::{Console, ConsoleStream, DriverError, SetupStatus};
use bulut_model::account::check_password;
use bulut_model::catalog::Package;
use bulut_model::error::Kind;
use bulut_model::name::check_name;
use bulut_model::operation::OperationKind;
use bulut_model::server::{Phase, Power, Server, SizeChange};
use bulut_model::snapshot::check_disk;
use bulut_model::{AccountId, Error, Micros, OperationId, Result, ServerId, SnapshotId};
use bulut_store::operations::Subject;
use bulut_store::{Session, accounts, images, nodes, operations, rates, servers};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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

/// Root's passwords on the account's servers, unless its owner wants lists without them.
pub async fn passwords(app: &App, caller: &Caller) -> Result<HashMap<ServerId, String>> {
    if caller.account.hides_secrets {
        return Ok(HashMap::new());
    }
    let open = |(id, sealed): (ServerId, String)| {
        let password = app.vault().open_sealed(&password_place(id), &sealed)?;
        Ok((id, String::from_utf8_lossy(&password).into_owned()))
    };
    let sealed = servers::sealed_passwords(app.store(), caller.account.id).await?;
    sealed.into_iter().map(open).collect()
}

/// Checks that the account has this server, or had it once.
///
/// Errors: `NotFound`.
pub async fn check_was_owned(app: &App, caller: &Caller, id: ServerId) -> Result<()> {
    if servers::was_owned(app.store(), caller.account.id, id).await? { Ok(()) } else { Err(not_found(id)) }
}

/// A server that can be changed, in the transaction that changes it.
///
/// Errors: `NotFound`, also for somebody else's; `Conflict` while it is being made or removed.
pub async fn find_ready(s: &impl Session, account: AccountId, id: ServerId) -> Result<Server> {
    let server = servers::find_owned(s, account, id).await?.ok_or_else(|| not_found(id))?;
    match server.phase {
        Phase::Ready => Ok(server),
        Phase::Building | Phase::Destroying | Phase::Destroyed => Err(Error::conflict(format!(
            "Server {id} is being made or removed; wait until its event has ended (see event/list)."
        ))),
    }
}

fn not_found(id: ServerId) -> Error {
    Error::not_found(format!("There is no server with id {id}."))
}

/// Powers on. Asking for what is so succeeds and changes nothing.
pub async fn start(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_power(app, caller, id, OperationKind::ServerStart).await
}

/// Powers off: asks the guest first, pulls the plug after a time limit.
pub async fn stop(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_power(app, caller, id, OperationKind::ServerStop).await
}

/// Restarts the guest; a stopped server is started.
pub async fn reboot(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_power(app, caller, id, OperationKind::ServerReboot).await
}

/// Presses the reset button; a stopped server is started.
pub async fn reset(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    let plan = Plan { is_forced: true, ..Plan::default() };
    order_planned(app, caller, id, OperationKind::ServerReboot, &plan).await
}

/// Calls the server something else.
///
/// Errors: `Invalid` for a bad name, `NotFound`.
pub async fn rename(app: &App, caller: &Caller, id: ServerId, name: &str) -> Result<()> {
    check_name("name", name)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let found = servers::find_owned(&change.tx, change.account.id, id).await?;
    servers::set_name(&change.tx, found.ok_or_else(|| not_found(id))?.id, name, true).await?;
    change.commit(()).await
}

/// Ends a server for good. Its snapshots stay.
pub async fn destroy(app: &App, caller: &Caller, id: ServerId) -> Result<OperationId> {
    order_power(app, caller, id, OperationKind::ServerDestroy).await
}

/// Queues an operation without a plan on a server of the caller, which holds the server until it ends.
async fn order_power(app: &App, caller: &Caller, id: ServerId, kind: OperationKind) -> Result<OperationId> {
    order_planned(app, caller, id, kind, &Plan::default()).await
}

async fn order_planned(
    app: &App,
    caller: &Caller,
    id: ServerId,
    kind: OperationKind,
    plan: &Plan,
) -> Result<OperationId> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let server = servers::find_owned(&change.tx, account, id).await?.ok_or_else(|| not_found(id))?;
    if matches!(kind, OperationKind::ServerStart | OperationKind::ServerReboot) {
        traffic::check_may_run(&change.tx, id, change.now).await?;
    }
    let more = starting_costs(&change, &server, kind).await?;
    charging::check_covers(app, &change.tx, &change.account, more, change.now).await?;
    let operation = queue(&change, &server, kind, None, plan).await?;
    charging::hold(app, &change.tx, operation, account, more).await?;
    match kind {
        OperationKind::ServerDestroy => {
            servers::set_phase(&change.tx, id, Phase::Destroying).await?;
            // What is to be removed costs nothing any more, however long that takes.
            metering::server(app, &change.tx, id, change.now).await?;
        }
        OperationKind::ServerStop if server.power == Power::Running => {
            servers::set_power(&change.tx, id, Power::Stopping).await?;
        }
        _ => {}
    }
    change.commit(operation).await
}

/// How much more a server costs by the hour when it runs again.
async fn starting_costs(change: &Change, server: &Server, kind: OperationKind) -> Result<Micros> {
    use OperationKind::{ServerReboot, ServerReinstall, ServerStart};
    let starts = matches!(kind, ServerStart | ServerReboot | ServerReinstall);
    if !starts || server.power != Power::Stopped || server.in_pool {
        return Ok(Micros::ZERO);
    }
    metering::more_hourly(&change.tx, server, server.package).await
}

/// Queues an operation with its plan.
async fn queue(
    change: &Change,
    server: &Server,
    kind: OperationKind,
    snapshot: Option<SnapshotId>,
    plan: &Plan,
) -> Result<OperationId> {
    let subject = Subject { account: change.account.id, server: server.id, snapshot, node: server.node };
    let operation = operations::insert(&change.tx, kind, subject, &plan.to_json()?, change.now).await?;
    tracing::info!(
        server.id = server.id.0,
        operation.id = operation.0,
        kind = kind.as_str(),
        "operation ordered"
    );
    Ok(operation)
}

/// What asking for a new password answers.
#[derive(Clone, Serialize, Deserialize)]
pub struct PasswordOrdered {
    /// The operation that sets it.
    pub operation: OperationId,
    /// The password.
    pub password: String,
}

/// Gives root another password: the one that is named, or a new one.
///
/// Errors: `Invalid` for a password that is too short or too long or holds control characters.
pub async fn change_password(
    app: &App,
    caller: &Caller,
    id: ServerId,
    wanted: Option<String>,
) -> Result<PasswordOrdered> {
    if let Some(wanted) = &wanted {
        check_password(wanted)?;
        if wanted.chars().any(char::is_control) {
            return Err(Error::invalid("password", "The password must not hold control characters."));
        }
    }
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    let password = wanted.unwrap_or_else(|| random_password(PASSWORD_LENGTH));
    let sealed = app.vault().seal(&password_place(id), password.as_bytes())?;
    let nonce = random_bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    let plan = Plan { password: Some(NewPassword { sealed, nonce }), ..Plan::of(&server) };
    let operation = queue(&change, &server, OperationKind::ServerPassword, None, &plan).await?;
    change.commit(PasswordOrdered { operation, password }).await
}

/// Gives the server a snapshot's disk. Its id, addresses and keys stay.
///
/// Errors: `NotFound` for server or snapshot; `Invalid` when the snapshot's disk is larger than the server's;
/// `Conflict` while another operation holds the server or makes or removes the snapshot.
pub async fn restore(app: &App, caller: &Caller, id: ServerId, snapshot: SnapshotId) -> Result<OperationId> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let server = find_ready(&change.tx, account, id).await?;
    let snapshot = snapshots::find_ready(&change.tx, account, snapshot).await?;
    if snapshot.node != server.node {
        return Err(Error::invalid(
            "snapshot_id",
            format!("Snapshot {} is kept on another host than server {id} runs on.", snapshot.id),
        ));
    }
    check_disk(snapshot.disk_gib, server.disk_gib)?;
    let origin = bulut_store::snapshots::origin(&change.tx, snapshot.id).await?;
    let details = servers::details(&change.tx, id).await?;
    // The disk of this very server knows its instance and its password; another's gets what is this server's.
    let own = snapshot.server == id;
    let disk = DiskPlan {
        image: origin.image,
        image_files: origin.image_files,
        instance_id: if own { origin.instance_id } else { new_instance_id() },
        recipe: None,
        fresh_identity: !own,
        sealed_password: if own { origin.sealed_password } else { details.sealed_password.clone() },
        // A guest that was never told its password has to be told now.
        tells_password: !own || details.seed_secret,
    };
    let plan = Plan { disk: Some(disk), ..Plan::of(&server) };
    let operation = queue(&change, &server, OperationKind::ServerRestore, Some(snapshot.id), &plan).await?;
    change.commit(operation).await
}

/// Gives the server a new disk from an image. Its id, addresses, keys and password stay.
///
/// Errors: `NotFound` for the server; `Invalid` for an image that does not exist or does not fit.
pub async fn reinstall(app: &App, caller: &Caller, id: ServerId, image: &str) -> Result<OperationId> {
    if let Some(answer) = changes::again(app, caller).await? {
        return Ok(answer);
    }
    let server = get(app, caller, id).await?;
    let (image, files) = find_image(app, image, &server.region_slug).await?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    check_fits(&image, &files, server.cpu, server.memory_mib, server.disk_gib)?;
    let details = servers::details(&change.tx, id).await?;
    let disk = DiskPlan {
        image: image.id,
        image_files: files,
        instance_id: new_instance_id(),
        recipe: image.recipe,
        fresh_identity: false,
        sealed_password: details.sealed_password,
        tells_password: true,
    };
    let plan = Plan { disk: Some(disk), ..Plan::of(&server) };
    let more = starting_costs(&change, &server, OperationKind::ServerReinstall).await?;
    charging::check_covers(app, &change.tx, &change.account, more, change.now).await?;
    let operation = queue(&change, &server, OperationKind::ServerReinstall, None, &plan).await?;
    charging::hold(app, &change.tx, operation, change.account.id, more).await?;
    change.commit(operation).await
}

/// Gives the server another package.
///
/// Errors: `Invalid` for a server of the resource pool; for a package that does not exist, does not carry the server's image, would shrink the disk, is
/// what the server has already, or goes the other way than `how` says; `Capacity`; `Funds`, which names what is missing.
pub async fn upgrade(
    app: &App,
    caller: &Caller,
    id: ServerId,
    package: &str,
    how: SizeChange,
) -> Result<OperationId> {
    if let Some(answer) = changes::again(app, caller).await? {
        return Ok(answer);
    }
    let server = get(app, caller, id).await?;
    let package = find_package(app, package, &server.region_slug).await?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let server = find_ready(&change.tx, change.account.id, id).await?;
    if server.in_pool {
        return Err(Error::invalid(
            "package",
            format!(
                "Server {id} was built from the resource pool: its size is free, and it has no package to exchange."
            ),
        ));
    }
    let disk_gib = how.disk(&server, &package)?;
    check_carries(&change, &server, &package, disk_gib).await?;
    let size = NewSize {
        package: package.id,
        cpu: package.cpu,
        memory_mib: package.memory_mib,
        disk_gib,
        traffic_tb: package.traffic_tb,
        rates: Some(rates::of_package(&change.tx, package.id).await?),
    };
    // What it has stays reserved until it has the new size; only what it gets more is reserved now.
    let has = size_of(&server);
    let more = has.max(size.size()).less(has);
    if !nodes::reserve_on(&change.tx, server.node, more).await? {
        return Err(no_room(&package.slug));
    }
    let more = metering::more_hourly(&change.tx, &server, package.id).await?;
    charging::check_covers(app, &change.tx, &change.account, more, change.now).await?;
    let plan = Plan { size: Some(size), ..Plan::of(&server) };
    let operation = queue(&change, &server, OperationKind::ServerUpgrade, None, &plan).await?;
    charging::hold(app, &change.tx, operation, change.account.id, more).await?;
    change.commit(operation).await
}

/// Checks that the server's image runs with what the package gives.
async fn check_carries(change: &Change, server: &Server, package: &Package, disk_gib: u64) -> Result<()> {
    let image = images::get(&change.tx, server.image).await?;
    let details = servers::details(&change.tx, server.id).await?;
    check_fits(&image, &details.image_files, package.cpu, package.memory_mib, disk_gib)
}

/// Starts a server whose host restarted under it. Nobody asked, so nobody is refused: if an operation holds the
/// server already, that one decides.
pub async fn boot_again(app: &App, server: &Server) -> Result<()> {
    let tx = app.store().begin().await?;
    accounts::hold(&tx, server.account).await?;
    let now = app.clock().now();
    let kind = OperationKind::ServerStart;
    let subject = Subject { account: server.account, server: server.id, snapshot: None, node: server.node };
    match operations::insert(&tx, kind, subject, "{}", now).await {
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
