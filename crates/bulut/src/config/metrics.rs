//! Settings of `/metrics`: who may read it.

use super::networks;
use anyhow::bail;
use bulut_model::network::Network;
use std::net::IpAddr;

/// Shortest token, characters.
const TOKEN_MIN: usize = 16;

/// Who may read `/metrics`. Its figures tell how many customers do what.
#[derive(Clone, confique::Config)]
pub struct Metrics {
    /// Addresses and networks (10.0.0.0/8, fd00::/8) that may read /metrics without a token. This host alone by default.
    #[config(env = "BULUT_METRICS_NETWORKS", default = ["127.0.0.0/8", "::1"], parse_env = networks)]
    pub networks: Vec<Network>,

    /// A token that opens /metrics from anywhere, sent as "Authorization: Bearer …"; at least 16 characters. None by default.
    #[config(env = "BULUT_METRICS_TOKEN")]
    pub token: Option<String>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Checks that the token is not one that can be guessed.
    ///
    /// Errors: a sentence that names the setting and not its value.
    pub fn check(&self) -> anyhow::Result<()> {
        match &self.token {
            Some(token) if token.chars().count() < TOKEN_MIN => {
                bail!("the setting metrics.token must have at least {TOKEN_MIN} characters")
            }
            _ => Ok(()),
        }
    }

    /// Whether whoever asks from this address may read without a token.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}
