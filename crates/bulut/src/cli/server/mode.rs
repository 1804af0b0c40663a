//! Room: the command line. `bulut server mode` and `bulut server rename`: what becomes of a server that idles, and what
//! it is called.

use super::One;
use crate::cli::cloud::Cloud;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use clap::{Args, ValueEnum};
use reqwest::Method;

/// What becomes of a server that idles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It stays on
    Normal,
    /// It is powered off when it has been idle for long
    Safe,
}

/// Which server, and what becomes of it.
#[derive(Debug, Args)]
pub struct SetMode {
    #[command(flatten)]
    server: One,
    /// What becomes of it when it idles
    mode: Mode,
}

/// Which server, and its new name.
#[derive(Debug, Args)]
pub struct Rename {
    #[command(flatten)]
    server: One,
    /// The new name
    name: String,
}

/// Sets the run mode.
pub async fn run(context: &Context, cloud: &Cloud, set: SetMode) -> Result<()> {
    let id = super::find(cloud, &set.server.server).await?.id;
    let mode = match set.mode {
        Mode::Normal => "normal",
        Mode::Safe => "safe",
    };
    let path = format!("/v2/servers/{id}/run-mode");
    cloud.change(Method::PUT, &path, &[("mode", mode.to_owned())]).await?;
    super::show::print(context, cloud, id).await
}

/// Gives another name.
pub async fn rename(context: &Context, cloud: &Cloud, rename: Rename) -> Result<()> {
    let id = super::find(cloud, &rename.server.server).await?.id;
    cloud.change(Method::PUT, &format!("/v2/servers/{id}"), &[("name", rename.name)]).await?;
    super::show::print(context, cloud, id).await
}
