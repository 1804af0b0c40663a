//! Snapshots: those on a node that no row wants any more are removed. Half-made ones belong to an operation that makes
//! them anew, so that they are left alone as long as their row is.

use crate::app::App;
use bulut_model::Result;
use bulut_model::snapshot::Phase;
use bulut_store::snapshots;

/// Looks at the snapshots of this process's nodes once.
pub async fn look(app: &App) -> Result<()> {
    for node in app.nodes() {
        let driver = app.driver(node)?;
        let kept = match driver.snapshots().await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(node.id = node.0, %error, "the node does not tell its snapshots");
                continue;
            }
        };
        for id in kept {
            match snapshots::find(app.store(), id).await? {
                Some(row) if row.phase == Phase::Destroyed => {
                    app.metrics().drifted();
                    tracing::warn!(snapshot.id = id.0, "a snapshot outlived its row; removing it");
                    if let Err(error) = driver.remove_snapshot(id).await {
                        tracing::warn!(snapshot.id = id.0, %error, "the snapshot could not be removed");
                    }
                }
                Some(_) => {}
                // The database may be the wrong one.
                None => {
                    tracing::warn!(
                        snapshot.id = id.0,
                        "the node has a snapshot that this database does not know"
                    );
                }
            }
        }
    }
    Ok(())
}
