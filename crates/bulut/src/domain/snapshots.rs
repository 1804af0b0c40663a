//! Snapshots of the caller's servers: asking for one, looking, ending it.
//!
//! Must not know: HTTP, SQL, or how a disk is copied.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::metering;
use crate::domain::servers;
use bulut_model::error::Kind;
use bulut_model::name::check_name;
use bulut_model::operation::OperationKind;
use bulut_model::server::Server;
use bulut_model::snapshot::{Facts, Phase, Snapshot};
use bulut_model::{AccountId, Error, OperationId, Result, ServerId, SnapshotId};
use bulut_store::operations::Subject;
use bulut_store::snapshots::{New, Origin};
use bulut_store::{Session, operations, snapshots};
use serde::{Deserialize, Serialize};

/// What asking for a snapshot answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ordered {
    /// The operation that takes it.
    pub operation: OperationId,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// The account's snapshots, oldest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Snapshot>> {
    snapshots::list(app.store(), caller.account.id, None).await
}

/// The snapshots of one of the account's servers, also of one that is gone.
///
/// Errors: `NotFound` for a server that the account never had.
pub async fn list_of(app: &App, caller: &Caller, server: ServerId) -> Result<Vec<Snapshot>> {
    servers::check_was_owned(app, caller, server).await?;
    snapshots::list(app.store(), caller.account.id, Some(server)).await
}

/// One snapshot of the account.
///
/// Errors: `NotFound`, also for somebody else's.
pub async fn get(app: &App, caller: &Caller, id: SnapshotId) -> Result<Snapshot> {
    find(app.store(), caller.account.id, id).await
}

async fn find(s: &impl Session, account: AccountId, id: SnapshotId) -> Result<Snapshot> {
    let found = snapshots::find_owned(s, account, id).await?;
    found.ok_or_else(|| Error::not_found(format!("There is no snapshot with snapshot_id {id}.")))
}

/// A snapshot that can be used, in the transaction that begins to use it.
///
/// Errors: `NotFound`; `Conflict` while it is being made or removed.
pub async fn find_ready(s: &impl Session, account: AccountId, id: SnapshotId) -> Result<Snapshot> {
    let snapshot = find(s, account, id).await?;
    match snapshot.phase {
        Phase::Ready => Ok(snapshot),
        Phase::Creating => Err(Error::conflict(format!(
            "Snapshot {id} is still being made; wait until its event has ended (see event/list)."
        ))),
        Phase::Destroying | Phase::Destroyed => {
            Err(Error::conflict(format!("Snapshot {id} is being removed.")))
        }
    }
}

/// Asks for a snapshot of a server.
///
/// Errors: `Invalid` for the name, `NotFound` for the server, `Conflict` when another operation holds it, `Quota`.
pub async fn create(app: &App, caller: &Caller, server: ServerId, name: &str) -> Result<Ordered> {
    check_name("name", name)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let server = servers::find_ready(&change.tx, account, server).await?;
    let most = app.config().snapshots_max;
    if snapshots::count(&change.tx, account).await? >= most {
        return Err(Error::new(
            Kind::Quota,
            format!("The account has {most} snapshots, which is the most; remove one first."),
        ));
    }
    let details = bulut_store::servers::details(&change.tx, server.id).await?;
    let new = New {
        account,
        server: server.id,
        node: server.node,
        region: server.region,
        name: name.to_owned(),
        disk_gib: server.disk_gib,
        facts: facts(&server),
        origin: Origin {
            image: server.image,
            image_files: details.image_files,
            instance_id: details.instance_id,
            sealed_password: details.sealed_password,
        },
    };
    let snapshot = snapshots::insert(&change.tx, &new, change.now).await?;
    let kind = OperationKind::SnapshotCreate;
    let subject = Subject { account, server: server.id, snapshot: Some(snapshot), node: server.node };
    let operation = operations::insert(&change.tx, kind, subject, "{}", change.now).await?;
    let ordered = change.commit(Ordered { operation, snapshot }).await?;
    tracing::info!(
        server.id = server.id.0,
        snapshot.id = snapshot.0,
        operation.id = operation.0,
        "snapshot ordered"
    );
    Ok(ordered)
}

fn facts(server: &Server) -> Facts {
    Facts {
        cpu: server.cpu,
        memory_mib: server.memory_mib,
        power: server.power,
        region_slug: server.region_slug.clone(),
        image_slug: server.image_slug.clone(),
        package_slug: server.package_slug.clone(),
        ipv4: server.ipv4.clone(),
        ipv6: server.ipv6.clone(),
    }
}

/// Ends a snapshot for good.
///
/// Errors: `NotFound`; `Conflict` while an operation makes or uses it.
pub async fn destroy(app: &App, caller: &Caller, id: SnapshotId) -> Result<OperationId> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let snapshot = find_ready(&change.tx, account, id).await?;
    if operations::uses_snapshot(&change.tx, id).await? {
        return Err(Error::conflict(format!(
            "An operation uses snapshot {id}; wait until it has ended (see event/list) and try again."
        )));
    }
    snapshots::set_phase(&change.tx, id, Phase::Destroying).await?;
    metering::snapshot(app, &change.tx, id, change.now).await?;
    let kind = OperationKind::SnapshotDestroy;
    let subject = Subject { account, server: snapshot.server, snapshot: Some(id), node: snapshot.node };
    let operation = operations::insert(&change.tx, kind, subject, "{}", change.now).await?;
    tracing::info!(snapshot.id = id.0, operation.id = operation.0, "the end of a snapshot ordered");
    change.commit(operation).await
}
