//! Sweep: what has expired is forgotten, a batch at a time.

use crate::app::App;
use bulut_model::Result;
use bulut_store::sessions;

/// Rows in a batch.
const BATCH: i64 = 500;

/// Forgets sign-in sessions whose last token has expired.
pub async fn sessions(app: &App) -> Result<()> {
    while sessions::sweep(app.store(), app.clock().now(), BATCH).await? > 0 {}
    Ok(())
}
