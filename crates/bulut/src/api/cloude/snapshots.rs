//! Snapshots of the caller.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Changing, Signed};
use crate::api::cloude::parameters::{SERVER, SNAPSHOT_ID, SNAPSHOT_NAME};
use crate::api::cloude::wire::{EventStarted, SnapshotOrdered, SnapshotView};
use crate::app::App;
use crate::domain::snapshots;
use axum::extract::State;
use bulut_model::{ServerId, SnapshotId};

/// `GET /v1/snapshot/list`
pub async fn list(
    State(app): State<App>,
    Signed(caller): Signed,
) -> Result<Envelope<Vec<SnapshotView>>, Error> {
    let snapshots = snapshots::list(&app, &caller).await?;
    Ok(Envelope::new(snapshots.into_iter().map(Into::into).collect()))
}

/// `POST /v1/snapshot/create`
pub async fn create(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<SnapshotOrdered>, Error> {
    let (server, name) = (ServerId(params.integer(&SERVER)?), params.required(&SNAPSHOT_NAME)?);
    let ordered = snapshots::create(&app, &caller, server, &name).await?;
    Ok(Envelope::new(ordered.into()))
}

/// `DELETE /v1/snapshot/destroy`
pub async fn destroy(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<EventStarted>, Error> {
    let snapshot = SnapshotId(params.integer(&SNAPSHOT_ID)?);
    Ok(Envelope::new(snapshots::destroy(&app, &caller, snapshot).await?.into()))
}
