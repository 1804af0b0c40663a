//! A whole cloud in the test's process.

use crate::database::Database;
use crate::http::{Answer, send};
use bulut::api::connections;
use bulut::app::App;
use bulut::clock::Clock;
use bulut::config::{Config, Overrides};
use bulut::domain::accounts::NewAccount;
use bulut::domain::{accounts, books, catalog, nodes};
use bulut::faults::{Fault, Faults};
use bulut::operations::engine;
use bulut::reconcile;
use bulut::vault::Vault;
use bulut_compute::simulated::{Simulated, SimulatedConfig, World};
use bulut_model::account::Account;
use bulut_model::catalog::ImageFiles;
use bulut_model::{Micros, NodeId, Timestamp};
use bulut_store::{
    Store, accounts as account_rows, addresses, consoles, images, ledger, migrations, nodes as node_rows,
    operations, servers, snapshots, ssh_keys,
};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// When tests begin: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

/// The password of every customer of a test.
pub const PASSWORD: &str = "correct horse battery";

/// How to begin a cloud.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which database.
    pub database: Database,
    /// What the node holds.
    pub node: SimulatedConfig,
    /// Changes to the settings.
    pub configure: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self { database: Database::Sqlite, node: SimulatedConfig::default(), configure: |_| {} }
    }
}

/// A whole cloud: database, simulated node, frozen clock, nothing running by itself.
#[derive(Debug)]
pub struct TestCloud {
    app: App,
    router: axum::Router,
    world: World,
    setup: Setup,
    database: String,
    faults: Faults,
    node: NodeId,
    dir: Arc<TempDir>,
}

impl TestCloud {
    /// On SQLite, with a node of 64 cores and 256 GiB.
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// On this database.
    pub async fn on(database: Database) -> Self {
        Self::with(Setup { database, ..Setup::default() }).await
    }

    /// Begun like this.
    pub async fn with(setup: Setup) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let database = setup.database.fresh(dir.path()).await;
        let faults = Faults::default();
        let world = World::new();
        let clock = Clock::frozen(BEGINNING);
        let (app, node) = Self::open(&setup, &dir, &database, &faults, &world, clock).await;
        for slug in ["tiny", "debian-12-x64"] {
            let files = ImageFiles {
                digest: format!("sha256:{}", "0".repeat(64)),
                directory: slug.into(),
                virtual_bytes: 1 << 30,
                file_bytes: 1 << 20,
                direct: None,
            };
            images::set_files(app.store(), slug, Some(&files)).await.expect("the catalogue has the image");
        }
        let router = bulut::api::router(app.clone());
        Self { app, router, world, setup, database, faults, node, dir }
    }

    async fn open(
        setup: &Setup,
        dir: &TempDir,
        database: &str,
        faults: &Faults,
        world: &World,
        clock: Clock,
    ) -> (App, NodeId) {
        let overrides = Overrides { state: Some(dir.path().into()), listen: None };
        let mut config = Config::load(None, overrides).expect("settings");
        config.driver = "simulated".into();
        config.database = Some(database.into());
        // Tests count addresses; those of the quarantine set it back.
        config.address_quarantine_s = 0;
        // A guest of the simulated node has an agent at once or never.
        config.hostname_limit_s = 0;
        // Tests ask faster than any client may; those of the limits switch them on.
        config.rates.enabled = false;
        (setup.configure)(&mut config);
        let connections = config.database_connections;
        let store = Store::open(database, connections).await.expect("the database opens");
        migrations::migrate(&store, clock.now()).await.expect("the database migrates");
        let app = App::new(config, store, clock, Vault::new(&[7; 32]), faults.clone());
        catalog::seed(&app).await.expect("the catalogue is sown");
        let driver = Simulated::open(setup.node.clone(), world.clone());
        let node = nodes::join(&app, driver).await.expect("the node joins").id;
        (app, node)
    }

    /// Changes the settings of the next process, see [`TestCloud::restart`].
    pub fn configure(&mut self, configure: fn(&mut Config)) {
        self.setup.configure = configure;
    }

    /// The process dies and another one starts on the same database and node. Leases of the dead one have run out.
    pub async fn restart(&mut self) {
        self.restart_at(self.app.clock().now().plus(self.app.config().lease())).await;
    }

    /// The same, at any time: clocks of hosts are set back, too.
    pub async fn restart_at(&mut self, now: Timestamp) {
        let clock = Clock::frozen(now);
        let (app, node) =
            Self::open(&self.setup, &self.dir, &self.database, &self.faults, &self.world, clock).await;
        self.router = bulut::api::router(app.clone());
        self.app = app;
        self.node = node;
    }

    /// The application.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The URL of its database, for commands on the box.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// All dialects over this cloud, as a server would serve them.
    pub fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// Serves all dialects on a socket of this machine, as the program does, until the test ends: where.
    pub async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let patience = self.app.config().request_head_limit();
        tokio::spawn(connections::serve(listener, self.router(), patience, CancellationToken::new()));
        address
    }

    /// The simulated node.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks for a fault at a point such as `server_create.ensure_disk.after`.
    pub fn fault(&self, point: &str, fault: Fault, times: u32) {
        self.faults.add(point, fault, times);
    }

    /// Makes an account with [`PASSWORD`] and signs it in.
    pub async fn customer(&self, name: &str) -> Customer<'_> {
        self.account(name, false).await
    }

    /// Makes an operator's account and signs it in.
    pub async fn operator(&self, name: &str) -> Customer<'_> {
        self.account(name, true).await
    }

    async fn account(&self, name: &str, is_operator: bool) -> Customer<'_> {
        let new = NewAccount {
            email: format!("{name}@example.com"),
            user_name: Some(name.into()),
            first_name: name.into(),
            last_name: "Test".into(),
            password: PASSWORD.into(),
            is_operator,
            credit: Micros(50_000_000),
        };
        let account = accounts::create(&self.app, new).await.expect("an account");
        self.sign_in(&account).await
    }

    /// Signs in with [`PASSWORD`], for example again after the clock has passed the end of a token.
    pub async fn sign_in(&self, account: &Account) -> Customer<'_> {
        let tokens =
            bulut::domain::sessions::login(&self.app, &account.email, PASSWORD).await.expect("a sign-in");
        Customer { cloud: self, account: account.clone(), token: tokens.token }
    }

    /// All that its accounts have, what is reserved and taken, and the machines, as one text. It is equal
    /// before and after whatever changes nothing.
    pub async fn state(&self) -> String {
        let store = self.app.store();
        let mut lines = Vec::new();
        for account in account_rows::list(store).await.expect("accounts") {
            let id = account.id;
            lines.push(format!("{account:?} {:?}", ledger::balance(store, id).await.expect("a balance")));
            let servers = servers::list(store, id).await.expect("servers");
            lines.extend(servers.iter().map(|server| format!("{server:?}")));
            let snapshots = snapshots::list(store, id, None).await.expect("snapshots");
            lines.extend(snapshots.iter().map(|snapshot| format!("{snapshot:?}")));
            let keys = ssh_keys::list(store, id).await.expect("keys");
            lines.extend(keys.iter().map(|key| format!("{key:?}")));
            let operations = operations::list(store, id, Timestamp::default()).await.expect("operations");
            lines.extend(operations.iter().map(|operation| format!("{operation:?}")));
        }
        lines.push(format!("{:?}", node_rows::list(store).await.expect("nodes")));
        lines.push(format!("{} consoles", consoles::count(store).await.expect("consoles")));
        lines.push(format!("{} addresses", addresses::taken(store).await.expect("addresses")));
        lines.extend(self.world.machines().iter().map(|machine| format!("{machine:?}")));
        lines.join("\n")
    }

    /// Sends one request.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        send(self.router(), method, path, headers, body.to_owned()).await
    }

    /// Carries out what is due, moving the clock to later tries, until nothing is left to do.
    pub async fn run_until_idle(&self) {
        for _ in 0..10_000 {
            if engine::run_due(&self.app).await.expect("the engine runs") > 0 {
                continue;
            }
            let Some(due) = engine::next_due(&self.app).await.expect("the database answers") else { return };
            let wait = due.since(self.app.clock().now()).max(Duration::from_millis(1));
            self.app.clock().advance(wait);
        }
        panic!("the operations do not come to an end");
    }

    /// One look of the machines' reconciler.
    pub async fn reconcile(&self) {
        let driver = self.app.driver(self.node).expect("a driver");
        reconcile::machines::look(&self.app, self.node, &driver).await.expect("the node can be looked at");
    }

    /// What is wrong with the books and the queue; empty when all is well.
    async fn complaints(store: &Store, is_metered: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        let unfinished = operations::unfinished(store).await.expect("the database answers");
        if !unfinished.is_empty() {
            complaints.push(format!("operations {unfinished:?} have not ended"));
        }
        complaints.extend(books::check_store(store, is_metered).await.expect("the books can be read"));
        complaints
    }
}

impl Drop for TestCloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (url, is_metered) = (self.database.clone(), self.app.config().billing.enabled);
        // A runtime of its own: the test's may be shutting down.
        let complaints = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let store = Store::open(&url, 1).await.expect("the database opens");
                let complaints = Self::complaints(&store, is_metered).await;
                store.close().await.expect("the database closes");
                complaints
            })
        });
        let complaints = complaints.join().expect("the books can be read");
        assert!(complaints.is_empty(), "the cloud was left in disorder: {complaints:?}");
    }
}

/// Somebody with an account and a token.
#[derive(Debug, Clone)]
pub struct Customer<'a> {
    cloud: &'a TestCloud,
    /// The account.
    pub account: Account,
    /// An access token, good for 45 minutes of the frozen clock.
    pub token: String,
}

impl Customer<'_> {
    /// Sends a form (or nothing) with the token.
    pub async fn send(&self, method: &str, path: &str, form: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        self.cloud.send(method, path, &headers, form).await
    }

    /// Sends a JSON body with the token.
    pub async fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.cloud.send(method, path, &headers, &body.to_string()).await
    }

    /// Orders a small server; answers (server, event).
    pub async fn order_server(&self, name: &str) -> (i64, i64) {
        let form = format!("name={name}&region=ist2&package=eos1&image=tiny");
        let data = self.send("POST", "/v1/server/create", &form).await.data();
        (
            data["id"].as_i64().expect("the id of the server"),
            data["event_id"].as_i64().expect("the id of the event"),
        )
    }

    /// Orders a small server and waits until it runs.
    pub async fn running_server(&self, name: &str) -> i64 {
        let (server, event) = self.order_server(name).await;
        self.cloud.run_until_idle().await;
        assert_eq!(self.event(event).await["status"], 1);
        server
    }

    /// An event as the API shows it.
    pub async fn event(&self, id: i64) -> Value {
        self.send("GET", &format!("/v1/event/{id}"), "").await.data()
    }

    /// The snapshots as the API lists them.
    pub async fn snapshots(&self) -> Vec<Value> {
        match self.send("GET", "/v1/snapshot/list", "").await.data() {
            Value::Array(snapshots) => snapshots,
            other => panic!("not a list: {other}"),
        }
    }

    /// The servers as the API lists them.
    pub async fn servers(&self) -> Vec<Value> {
        match self.send("GET", "/v1/server/list", "").await.data() {
            Value::Array(servers) => servers,
            other => panic!("not a list: {other}"),
        }
    }
}
