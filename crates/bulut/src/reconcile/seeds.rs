//! Seeds: once a guest has set itself up, its root password leaves the seed on the node.

use crate::app::App;
use bulut_compute::SetupStatus;
use bulut_model::Result;
use bulut_store::servers;

/// Takes the passwords out of the seeds of guests that have used them.
pub async fn forget(app: &App) -> Result<()> {
    for node in app.nodes() {
        let driver = app.driver(node)?;
        for id in servers::list_with_seed_secret(app.store(), node).await? {
            let used = matches!(driver.setup_status(id).await, Ok(SetupStatus::Done | SetupStatus::Failed));
            if !used {
                continue;
            }
            match driver.forget_secrets(id).await {
                Ok(()) => {
                    servers::set_seed_secret(app.store(), id, false).await?;
                    tracing::debug!(server.id = id.0, "the seed's password is forgotten");
                }
                Err(error) => tracing::warn!(server.id = id.0, %error, "the seed could not be rewritten"),
            }
        }
    }
    Ok(())
}
