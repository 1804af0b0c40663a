//! Charging: soon after the end of each hour, and after any downtime, what has passed is charged.

use crate::app::App;
use crate::domain::charging;
use bulut_model::Result;

/// Charges what is due.
pub async fn look(app: &App) -> Result<()> {
    let charged = charging::run_due(app).await?;
    if charged > 0 {
        tracing::info!(accounts = charged, "hours charged");
    }
    Ok(())
}
