//! Operations as their owner sees them: events in Cloude, tasks in Cloud at Cost.

use crate::app::App;
use crate::domain::access::Caller;
use bulut_model::operation::Operation;
use bulut_model::server::Server;
use bulut_model::{Error, OperationId, Result};
use bulut_store::{operations, servers};
use std::time::Duration;

/// How far back the lists look (both documents: one day).
const LISTED: Duration = Duration::from_secs(24 * 60 * 60);

/// The last day's operations of the account, newest last.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Operation>> {
    operations::list(app.store(), caller.account.id, app.clock().now().minus(LISTED)).await
}

/// The servers that these are about, gone ones too.
pub async fn servers(app: &App, caller: &Caller) -> Result<Vec<Server>> {
    servers::list_operated(app.store(), caller.account.id, app.clock().now().minus(LISTED)).await
}

/// One operation of the account, however old.
///
/// Errors: `NotFound`.
pub async fn get(app: &App, caller: &Caller, id: OperationId) -> Result<Operation> {
    operations::find_owned(app.store(), caller.account.id, id)
        .await?
        .ok_or_else(|| Error::not_found(format!("There is no event with id {id}.")))
}
