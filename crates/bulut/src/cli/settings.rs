//! Room: the command line. Where a command on the box finds the cloud: its settings, its state directory, its
//! database.
//!
//! Promises: flags win over the environment, that over the file. Must not know: what the command does.

use super::failure::{Failure, Result};
use super::serve;
use crate::app::App;
use crate::config::{Config, Overrides};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the cloud of this machine is.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The settings file; bulut.toml in the state directory if absent
    #[arg(long, value_name = "FILE", env = "BULUT_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The state directory; ./.bulut if nothing else is said
    #[arg(long, value_name = "DIR", env = "BULUT_STATE", hide_env_values = true)]
    state: Option<PathBuf>,
}

impl Settings {
    /// The settings.
    pub fn load(&self) -> Result<Config> {
        self.load_with(None)
    }

    /// The settings, with another address to listen on.
    pub fn load_with(&self, listen: Option<SocketAddr>) -> Result<Config> {
        let overrides = Overrides { state: self.state.clone(), listen };
        Config::load(self.config.as_deref(), overrides).map_err(|error| {
            Failure::refused(format!("{error:#}")).hint("see the settings file and the BULUT_… variables")
        })
    }

    /// The application over a database that is there and up to date. No driver: whatever runs the machines is the
    /// business of `bulut serve`.
    pub async fn open(&self) -> Result<App> {
        let app = serve::open(self.load()?).await?;
        app.check_schema().await.map_err(|error| Failure::from(error).hint("bulut migrate"))?;
        Ok(app)
    }
}
