//! The application: what every request and operation needs, opened once, cheap to clone.
//!
//! Must not know: HTTP, SQL, or what an operation does.

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::callers::Callers;
use crate::domain::forgeries::Told;
use crate::domain::limits::Limits;
use crate::domain::tokens::Keys;
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::reconcile::names::Names;
use crate::vault::Vault;
use bulut_compute::Driver;
use bulut_model::{Error, NodeId, Result};
use bulut_store::{Store, migrations};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use tokio::sync::{Notify, Semaphore};

/// The application.
#[derive(Clone)]
pub struct App(Arc<Inner>);

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App(…)")
    }
}

struct Inner {
    config: Config,
    store: Store,
    clock: Clock,
    vault: Vault,
    keys: Keys,
    callers: Callers,
    limits: Limits,
    forgeries: Told,
    metrics: Metrics,
    names: Names,
    faults: Faults,
    drivers: RwLock<BTreeMap<NodeId, Arc<dyn Driver>>>,
    /// Different at each start of a process: the owner's half of an operation's fence.
    process: String,
    work: Notify,
    hashing: Semaphore,
}

/// Password hashes that run at the same time; each takes 19 MiB and a core for some 25 ms.
const HASHES_AT_ONCE: usize = 2;

impl App {
    /// The application over an open store. It has no nodes yet: see [`App::attach`].
    pub fn new(config: Config, store: Store, clock: Clock, vault: Vault, faults: Faults) -> Self {
        Self(Arc::new(Inner {
            config,
            store,
            clock,
            vault,
            keys: Keys::default(),
            callers: Callers::default(),
            limits: Limits::default(),
            forgeries: Told::default(),
            metrics: Metrics::new(),
            names: Names::default(),
            faults,
            drivers: RwLock::default(),
            process: uuid::Uuid::new_v4().to_string(),
            work: Notify::new(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
        }))
    }

    /// The application for a command on the box: the state directory and the database, which must be migrated.
    ///
    /// Errors: a sentence with what to do about it.
    pub async fn open(config: Config, clock: Clock, faults: Faults) -> anyhow::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        // Machines' own users pass through to their directories, so others may enter but not list it.
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&config.state).map_err(|error| {
            anyhow::anyhow!("the state directory {} cannot be made: {error}", config.state.display())
        })?;
        // A directory with other things in it is somebody's: its permissions are not ours to change.
        let empty = std::fs::read_dir(&config.state)?.next().is_none();
        if empty || config.state.join("master.key").exists() {
            std::fs::set_permissions(&config.state, std::fs::Permissions::from_mode(0o711))?;
        }
        // The database holds hashes and sealed secrets: whatever SQLite makes is the owner's alone.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let store = Store::open(&config.database_url(), config.database_connections).await?;
        let vault = Vault::open(&config.state)?;
        Ok(Self::new(config, store, clock, vault, faults))
    }

    /// Checks that the database is at this binary's schema.
    ///
    /// Errors: `Unavailable`, telling to migrate.
    pub async fn check_schema(&self) -> Result<()> {
        let (at, newest) = (migrations::current(self.store()).await?, migrations::newest());
        if at == newest {
            return Ok(());
        }
        Err(Error::unavailable(
            format!("The database is at version {at}, this binary needs {newest}: run 'bulut migrate'."),
            "",
        ))
    }

    /// Whether requests can be served: the database answers.
    ///
    /// Errors: what is wrong, for an operator.
    pub async fn ready(&self) -> std::result::Result<(), String> {
        self.store().ping().await.map_err(|error| error.public)
    }

    /// Gives this process the driver of a node: from now on it carries out the node's operations.
    pub fn attach(&self, node: NodeId, driver: Arc<dyn Driver>) {
        self.0.drivers.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(node, driver);
        self.0.work.notify_one();
    }

    /// The driver of a node.
    ///
    /// Errors: `Unavailable` when this process has none.
    pub fn driver(&self, node: NodeId) -> Result<Arc<dyn Driver>> {
        let drivers = self.0.drivers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        drivers.get(&node).cloned().ok_or_else(|| {
            Error::unavailable(
                "The host of this server is not reachable at the moment.",
                format!("no driver is attached for node {node}"),
            )
        })
    }

    /// The nodes that this process has drivers of.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.0.drivers.read().unwrap_or_else(std::sync::PoisonError::into_inner).keys().copied().collect()
    }

    /// Settings.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Secrets at rest.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// Keys that sign tokens.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Accounts of requests under way.
    pub fn callers(&self) -> &Callers {
        &self.0.callers
    }

    /// How often who may ask.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Whose forgeries were told lately.
    pub fn forgeries(&self) -> &Told {
        &self.0.forgeries
    }

    /// Names that are served.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Faults that a test has asked for.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// This process, unlike any other start of it.
    pub fn process(&self) -> &str {
        &self.0.process
    }

    /// Wakes the engine when an operation was queued.
    pub fn work(&self) -> &Notify {
        &self.0.work
    }

    /// Lets a bounded number of password hashes run at once.
    pub fn hashing(&self) -> &Semaphore {
        &self.0.hashing
    }
}
