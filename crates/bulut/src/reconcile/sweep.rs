//! Sweep: what has expired is forgotten, a batch at a time.

use crate::app::App;
use crate::domain::changes::KEPT_FOR;
use crate::domain::consoles;
use crate::domain::image_sweep;
use bulut_model::Result;
use bulut_store::{account_links, idempotency, mails, sessions, traffic};
use std::time::Duration;

/// Rows in a batch.
const BATCH: i64 = 500;
/// How long the counters of a machine's earlier starts are kept, in case somebody is late with them.
const COUNTERS_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Forgets all that has expired.
pub async fn all(app: &App) -> Result<()> {
    sessions(app).await?;
    answers(app).await?;
    consoles(app).await?;
    counters(app).await?;
    letters(app).await?;
    images(app).await
}

/// Forgets sign-in sessions whose last token has expired.
async fn sessions(app: &App) -> Result<()> {
    while sessions::sweep(app.store(), app.clock().now(), BATCH).await? > 0 {}
    Ok(())
}

/// Forgets the answers to requests that can no longer be repeated.
async fn answers(app: &App) -> Result<()> {
    let before = app.clock().now().minus(KEPT_FOR);
    while idempotency::sweep(app.store(), before, BATCH).await? > 0 {}
    Ok(())
}

/// Forgets consoles long after their end.
async fn consoles(app: &App) -> Result<()> {
    while consoles::forget(app, BATCH).await? > 0 {}
    Ok(())
}

/// Forgets counters that nobody will read again.
async fn counters(app: &App) -> Result<()> {
    let before = app.clock().now().minus(COUNTERS_KEPT_FOR);
    while traffic::sweep(app.store(), before, BATCH).await? > 0 {}
    Ok(())
}

/// Forgets letters that need nothing any more, and links that open no more.
async fn letters(app: &App) -> Result<()> {
    let now = app.clock().now();
    let before = now.minus(app.config().mail.kept_for());
    while mails::sweep(app.store(), before, BATCH).await? > 0 {}
    while account_links::sweep(app.store(), now, BATCH).await? > 0 {}
    Ok(())
}

/// Removes files of images that nothing needs any more.
async fn images(app: &App) -> Result<()> {
    image_sweep::sweep(app).await.map(drop).map_err(|fault| fault.error)
}
