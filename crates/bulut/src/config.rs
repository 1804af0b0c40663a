//! Settings of the process: a TOML file, overridden by environment variables, overridden by flags.
//!
//! What belongs to the cloud (regions, packages, pools, prices) is data in the database, not a setting.

mod billing;
mod dns;
mod dunning;
mod idle;
mod invoice;
mod mail;
mod metrics;
mod rates;
mod traffic;
mod vnc;

pub use billing::Billing;
pub use dns::Dns;
pub use dunning::Dunning;
pub use idle::Idle;
pub use invoice::Invoice;
pub use mail::{Mail, Secret};
pub use metrics::Metrics;
pub use rates::Rates;
pub use traffic::Traffic;
pub use vnc::Vnc;

use anyhow::{Context as _, bail};
use bulut_model::network::{Network, parse_all};
use confique::Config as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings, each with its environment variable.
#[derive(Debug, Clone, confique::Config)]
pub struct Config {
    /// The state directory: database, keys, images, machines.
    #[config(env = "BULUT_STATE", default = "./.bulut")]
    pub state: PathBuf,

    /// Address and port of the HTTP server. Loopback only unless you change it.
    #[config(env = "BULUT_LISTEN", default = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// sqlite:///path or postgres://user@host/database; by default a SQLite file in the state directory.
    #[config(env = "BULUT_DATABASE")]
    pub database: Option<String>,

    /// Most connections to the database.
    #[config(env = "BULUT_DATABASE_CONNECTIONS", default = 8)]
    pub database_connections: u32,

    /// What runs machines on this host: qemu, or simulated for developing without it.
    #[config(env = "BULUT_DRIVER", default = "qemu")]
    pub driver: String,

    /// auto, kvm or tcg. auto takes KVM only when a probe guest really runs.
    #[config(env = "BULUT_ACCELERATION", default = "auto")]
    pub acceleration: String,

    /// auto, routed (taps, needs root) or user (needs nothing).
    #[config(env = "BULUT_NETWORKING", default = "auto")]
    pub networking: String,

    /// The largest packet that guests send and receive, bytes: 1280 to 9000. No more than the host's uplink carries.
    #[config(env = "BULUT_GUEST_MTU", default = 1500)]
    pub guest_mtu: u16,

    /// The QEMU program.
    #[config(env = "BULUT_QEMU", default = "qemu-system-x86_64")]
    pub qemu: PathBuf,

    /// The qemu-img program.
    #[config(env = "BULUT_QEMU_IMG", default = "qemu-img")]
    pub qemu_img: PathBuf,

    /// Where sockets of machines live; has to be short. By default below /run (root) or the runtime directory.
    #[config(env = "BULUT_RUN_DIR")]
    pub run_dir: Option<PathBuf>,

    /// With root, machine N runs as user id BASE + N.
    #[config(env = "BULUT_MACHINE_UID_BASE", default = 2_000_000)]
    pub machine_uid_base: u32,

    /// Name of this host among the nodes.
    #[config(env = "BULUT_NODE", default = "local")]
    pub node: String,

    /// Slug of the region that this host belongs to.
    #[config(env = "BULUT_REGION", default = "ist2")]
    pub region: String,

    /// Virtual CPUs that may be reserved, in percent of the host's cores.
    #[config(env = "BULUT_CPU_OVERCOMMIT_PERCENT", default = 800)]
    pub cpu_overcommit_percent: u32,

    /// Memory that may be reserved, in percent of the host's.
    #[config(env = "BULUT_MEMORY_OVERCOMMIT_PERCENT", default = 90)]
    pub memory_overcommit_percent: u32,

    /// Disk that may be reserved, in percent of the space below the state directory; disks grow as they fill.
    #[config(env = "BULUT_DISK_OVERCOMMIT_PERCENT", default = 400)]
    pub disk_overcommit_percent: u32,

    /// How long a guest may take to shut down before its plug is pulled, seconds.
    #[config(env = "BULUT_STOP_LIMIT_S", default = 60)]
    pub stop_limit_s: u64,

    /// How long a released address rests before it is given again, seconds.
    #[config(env = "BULUT_ADDRESS_QUARANTINE_S", default = 60)]
    pub address_quarantine_s: u64,

    /// Most IPv4 addresses that a server may have besides the one that it was made with.
    #[config(env = "BULUT_FURTHER_ADDRESSES_MAX", default = 8)]
    pub further_addresses_max: u64,

    /// Most snapshots that an account may have.
    #[config(env = "BULUT_SNAPSHOTS_MAX", default = 100)]
    pub snapshots_max: u64,

    /// How long a guest without an agent may take to boot and confirm a new root password, seconds.
    #[config(env = "BULUT_PASSWORD_LIMIT_S", default = 300)]
    pub password_limit_s: u64,

    /// How long the agent of a guest that is starting is waited for when the server gets another host name, seconds.
    #[config(env = "BULUT_HOSTNAME_LIMIT_S", default = 120)]
    pub hostname_limit_s: u64,

    /// Names of servers and addresses.
    #[config(nested)]
    pub dns: Dns,

    /// Traffic of servers.
    #[config(nested)]
    pub traffic: Traffic,

    /// Screens for VNC programs.
    #[config(nested)]
    pub vnc: Vnc,

    /// Prices and balances.
    #[config(nested)]
    pub billing: Billing,

    /// Operations that run at the same time.
    #[config(env = "BULUT_WORKERS", default = 8)]
    pub workers: usize,

    /// How long a process holds an operation without renewing, milliseconds.
    #[config(env = "BULUT_LEASE_MS", default = 15000)]
    pub lease_ms: u64,

    /// text or json.
    #[config(env = "BULUT_LOG_FORMAT", default = "text")]
    pub log_format: String,

    /// What is logged, as in tracing's EnvFilter: info, bulut=debug, …
    #[config(env = "BULUT_LOG", default = "info,sqlx=warn")]
    pub log: String,

    /// Origins that browsers may call the APIs from; `*` for any. None by default.
    #[config(env = "BULUT_CORS_ORIGINS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub cors_origins: Vec<String>,

    /// The URL that the cloud is reached at from outside, with the path prefix of a reverse proxy if there is one:
    /// the beginning of every URL that the APIs hand out. By default it is what the request was sent to.
    #[config(env = "BULUT_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Addresses and networks (10.0.0.0/8, fd00::/8) of reverse proxies that are believed: the host and scheme that they
    /// were asked for (X-Forwarded-Host, X-Forwarded-Proto), and the client's address (proxy_header), by which limits,
    /// API keys and /metrics go. None by default.
    #[config(env = "BULUT_TRUSTED_PROXIES", default = [], parse_env = networks)]
    pub trusted_proxies: Vec<Network>,

    /// The header in which trusted proxies say for which addresses they forward, the last one added behind a comma.
    #[config(env = "BULUT_PROXY_HEADER", default = "x-forwarded-for")]
    pub proxy_header: String,

    /// How long a client may take to send the head of a request, seconds. A connection on which nothing is asked for so
    /// long is closed.
    #[config(env = "BULUT_REQUEST_HEAD_LIMIT_S", default = 30)]
    pub request_head_limit_s: u64,

    /// From where new API keys may be used unless their owner says otherwise: addresses and networks, or any. From
    /// nowhere by default.
    #[config(env = "BULUT_API_KEY_DEFAULT_ADDRESSES", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub api_key_default_addresses: Vec<String>,

    /// Tell the totals of a resource pool as an object, as later Cloud at Cost clients expect, instead of a list of one.
    #[config(env = "BULUT_CAC_PLAIN_TOTALS", default = false)]
    pub cac_plain_totals: bool,

    /// Invoices.
    #[config(nested)]
    pub invoice: Invoice,

    /// What machines use, and servers that idle.
    #[config(nested)]
    pub idle: Idle,

    /// Accounts whose balance runs out.
    #[config(nested)]
    pub dunning: Dunning,

    /// Letters to customers.
    #[config(nested)]
    pub mail: Mail,

    /// How often who may ask.
    #[config(nested)]
    pub rates: Rates,

    /// Who may read the counters of the process.
    #[config(nested)]
    pub metrics: Metrics,

    /// How long a link to a console waits to be opened, seconds.
    #[config(env = "BULUT_CONSOLE_LINK_S", default = 60)]
    pub console_link_s: u64,

    /// How long a console session lasts in which nobody types or points at anything, seconds.
    #[config(env = "BULUT_CONSOLE_IDLE_S", default = 1800)]
    pub console_idle_s: u64,

    /// How long a console session lasts at most, seconds.
    #[config(env = "BULUT_CONSOLE_SESSION_S", default = 28800)]
    pub console_session_s: u64,

    /// Size of the simulated node: cores, MiB and GiB.
    #[config(env = "BULUT_SIMULATED_SIZE", default = [64, 262144, 16384], parse_env = confique::env::parse::list_by_comma)]
    pub simulated_size: Vec<u64>,
}

/// What a command's flags say; it wins over environment and file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The state directory.
    pub state: Option<PathBuf>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// Reads the flags' overrides, below them the environment and, below it, `file`, or `bulut.toml` in the state directory where there is one.
    ///
    /// Errors: a sentence that names the file or variable.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> anyhow::Result<Self> {
        let state = overrides
            .state
            .clone()
            .or_else(|| std::env::var_os("BULUT_STATE").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("./.bulut"));
        let path = match file {
            Some(path) if !path.exists() => bail!("the settings file {} does not exist", path.display()),
            Some(path) => path.to_owned(),
            None => state.join("bulut.toml"),
        };
        let mut config = Self::builder()
            .env()
            .file(&path)
            .load()
            .with_context(|| format!("the settings (environment, {}) cannot be read", path.display()))?;
        config.state = std::path::absolute(overrides.state.as_deref().unwrap_or(&config.state))?;
        config.listen = overrides.listen.unwrap_or(config.listen);
        if let Some(url) = &mut config.public_url {
            *url = public_url(url)?;
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let one_of = |name: &str, value: &str, accepted: &[&str]| {
            if accepted.contains(&value) {
                return Ok(());
            }
            bail!("the setting {name} is '{value}', but must be one of: {}", accepted.join(", "))
        };
        one_of("driver", &self.driver, &["qemu", "simulated"])?;
        one_of("acceleration", &self.acceleration, &["auto", "kvm", "tcg"])?;
        one_of("networking", &self.networking, &["auto", "routed", "user"])?;
        one_of("log_format", &self.log_format, &["text", "json"])?;
        if self.simulated_size.len() != 3 {
            bail!("the setting simulated_size must be three numbers: cores, MiB, GiB");
        }
        if !(1280..=9000).contains(&self.guest_mtu) {
            bail!("the setting guest_mtu is {}, but must be 1280 to 9000", self.guest_mtu);
        }
        if self.workers == 0 || self.lease_ms < 300 {
            bail!("workers must be at least 1 and lease_ms at least 300");
        }
        self.dns.check()?;
        self.dunning.check()?;
        self.mail.check()?;
        self.invoice.check()?;
        self.traffic.check()?;
        self.vnc.check()?;

        self.billing.check()?;
        self.check_requests()
    }

    fn check_requests(&self) -> anyhow::Result<()> {
        parse_all("api_key_default_addresses", &self.api_key_default_addresses)
            .map_err(|error| anyhow::anyhow!("the setting api_key_default_addresses: {}", error.public))?;
        if !self.proxy_header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            || self.proxy_header.is_empty()
        {
            bail!("the setting proxy_header must be the name of a header");
        }
        if self.request_head_limit_s == 0 {
            bail!("request_head_limit_s must be at least 1");
        }
        self.idle.check()?;
        self.metrics.check()?;
        self.rates.check()
    }

    /// A commented example of the settings file.
    pub fn example() -> String {
        confique::toml::template::<Self>(confique::toml::FormatOptions::default())
    }

    /// The database's URL.
    pub fn database_url(&self) -> String {
        self.database.clone().unwrap_or_else(|| format!("sqlite://{}", self.state.join("bulut.db").display()))
    }

    /// Where the cloud is reached, without a slash at the end: what links in letters begin with. Never taken from a
    /// request, whose sender could write any host into it.
    pub fn base_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen))
    }

    /// Where images lie.
    pub fn images_dir(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Where machines' sockets live: short enough for a socket's name, and its own for each state directory.
    pub fn run_dir(&self) -> PathBuf {
        if let Some(dir) = &self.run_dir {
            return dir.clone();
        }
        let tag = fold(self.state.as_os_str().as_encoded_bytes());
        if nix::unistd::geteuid().is_root() {
            return PathBuf::from(format!("/run/bulut-{tag:08x}"));
        }
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/tmp/bulut-{}", nix::unistd::geteuid())),
            |dir| PathBuf::from(dir).join("bulut"),
        );
        base.join(format!("{tag:08x}"))
    }

    /// How long a guest may take to shut down.
    pub fn stop_limit(&self) -> Duration {
        Duration::from_secs(self.stop_limit_s)
    }

    /// How long a client may take to send the head of a request.
    pub fn request_head_limit(&self) -> Duration {
        Duration::from_secs(self.request_head_limit_s)
    }

    /// How long a guest without an agent may take to confirm a new password.
    pub fn password_limit(&self) -> Duration {
        Duration::from_secs(self.password_limit_s)
    }

    /// How long a link to a console waits to be opened.
    pub fn console_link_life(&self) -> Duration {
        Duration::from_secs(self.console_link_s)
    }

    /// How long a console session lasts without being used.
    pub fn console_idle_limit(&self) -> Duration {
        Duration::from_secs(self.console_idle_s)
    }

    /// How long a console session lasts at most.
    pub fn console_session_limit(&self) -> Duration {
        Duration::from_secs(self.console_session_s)
    }

    /// How long a starting guest's agent is waited for when the server gets another host name.
    pub fn hostname_limit(&self) -> Duration {
        Duration::from_secs(self.hostname_limit_s)
    }

    /// How long an operation is held without renewing.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How long a released address rests.
    pub fn address_quarantine(&self) -> Duration {
        Duration::from_secs(self.address_quarantine_s)
    }
}

/// Networks, separated by commas.
fn networks(text: &str) -> bulut_model::Result<Vec<Network>> {
    let refuse = |why: String| bulut_model::Error::invalid("networks", why);
    text.split(',').map(|one| one.trim().parse().map_err(|why| refuse(format!("{why}")))).collect()
}

/// The URL without a slash at its end.
fn public_url(text: &str) -> anyhow::Result<String> {
    let url =
        text.parse::<reqwest::Url>().with_context(|| format!("the setting public_url '{text}' is no URL"))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
        bail!(
            "the setting public_url '{text}' must be a scheme, a host, and where needed a port and a path: \
             https://cloud.example.com/bulut"
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// FNV-1a over bytes: names a directory, protects nothing.
fn fold(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_lists_every_setting_and_is_valid() {
        let example = Config::example();
        assert!(example.contains("listen") && example.contains("stop_limit_s"));
        toml::from_str::<toml::Table>(&example).unwrap();
    }

    #[test]
    fn guests_packets_are_neither_smaller_than_ipv6_wants_nor_larger_than_jumbo_frames() {
        let mut config = Config::builder().load().unwrap();
        for (mtu, fits) in [(1279, false), (1280, true), (9000, true), (9001, false)] {
            config.guest_mtu = mtu;
            assert_eq!(config.check().is_ok(), fits, "{mtu}");
        }
        assert!(config.check().unwrap_err().to_string().contains("1280 to 9000"));
    }

    #[test]
    fn the_public_url_is_a_place_to_put_paths_behind() {
        assert_eq!(public_url("https://Cloud.example.com/").unwrap(), "https://cloud.example.com");
        assert_eq!(public_url("http://10.0.0.1:8080/bulut/").unwrap(), "http://10.0.0.1:8080/bulut");
        for bad in ["", "cloud.example.com", "ftp://x", "https://x/?a=b", "https://x/#a", "https://me@x/"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }
}
