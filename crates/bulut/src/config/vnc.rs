//! Settings of direct VNC: a TCP port for each server's screen, for VNC programs.

use anyhow::bail;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Whether and where screens are reached by VNC programs.
#[derive(Debug, Clone, confique::Config)]
pub struct Vnc {
    /// Gives each server a port and a password for VNC programs, which Cloud at Cost shows as vncport and vncpass.
    /// What goes over it is not encrypted, and the protocol's passwords have eight letters at most.
    #[config(env = "BULUT_VNC_DIRECT", default = false)]
    pub direct: bool,

    /// The address of this host where those ports are.
    #[config(env = "BULUT_VNC_LISTEN", default = "127.0.0.1")]
    pub listen: IpAddr,

    /// The first port.
    #[config(env = "BULUT_VNC_FIRST_PORT", default = 45000)]
    pub first_port: u16,

    /// The last port; as many servers of this host can have one as lie between.
    #[config(env = "BULUT_VNC_LAST_PORT", default = 48999)]
    pub last_port: u16,
}

impl Vnc {
    /// Checks that the settings mean something.
    ///
    /// Errors: a sentence that names the settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.first_port == 0 || self.first_port > self.last_port {
            bail!("vnc.first_port must be at least 1 and at most vnc.last_port");
        }
        Ok(())
    }

    /// All ports that may be given.
    pub const fn ports(&self) -> RangeInclusive<u16> {
        self.first_port..=self.last_port
    }
}
