//! Room: the command line. `bulut server log`: what the serial console showed, also of a server that is off.

use super::One;
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use serde_json::json;

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, one: &One) -> Result<()> {
    let server = super::find(cloud, &one.server).await?;
    let log = read(cloud, server.id).await?;
    if context.output.json {
        context.output.json(&json!({"id": server.id, "log": String::from_utf8_lossy(&log)}));
    } else {
        context.output.foreign(&log);
    }
    Ok(())
}

/// The kept end of the serial log, as the guest wrote it.
pub async fn read(cloud: &Cloud, id: u64) -> Result<Vec<u8>> {
    cloud.bytes(&format!("/v2/servers/{id}/serial-log")).await
}
