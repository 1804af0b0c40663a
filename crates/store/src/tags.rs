//! Tags on servers.

use crate::session::Session;
use bulut_model::{Result, ServerId, Timestamp};

/// Puts a tag on a server; one that is there stays.
pub async fn ensure(s: &impl Session, server: ServerId, tag: &str, now: Timestamp) -> Result<()> {
    s.execute(
        "INSERT INTO tag (server_id, tag, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        vec![server.0.into(), tag.into(), now.0.into()],
    )
    .await?;
    Ok(())
}
