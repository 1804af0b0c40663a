//! Invoices: soon after the end of each month, and after any downtime, what was used becomes invoices; and invoices of
//! prepaid accounts that were in debt are paid once the balance is up again.

use crate::app::App;
use crate::domain::invoices::{issuing, settle};
use bulut_model::Result;

/// Makes the invoices that are due, and settles those that can be.
pub async fn look(app: &App) -> Result<()> {
    let made = issuing::run_due(app).await;
    let settled = settle(app).await?;
    let made = made?;
    if made + settled > 0 {
        tracing::info!(made, settled, "invoices made and settled");
    }
    Ok(())
}
