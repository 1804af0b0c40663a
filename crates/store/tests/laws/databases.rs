//! A database for each law: a file of its own on SQLite, a `CREATE DATABASE` of its own on PostgreSQL.

use bulut_model::Timestamp;
use bulut_store::{Session, Store, migrations};
use std::path::Path;

/// Connections in the pool of a law: fewer than the tasks that the parallel laws start.
pub const POOL: u32 = 12;

/// The instant at which every law begins.
pub const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

/// So many seconds after [`START`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1_000_000)
}

/// A database that one law has for itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    /// Where it is, for a law that opens it more than once.
    pub url: String,
    /// It, open.
    pub store: Store,
}

impl Db {
    async fn open(url: String) -> Self {
        let store = Store::open(&url, POOL).await.unwrap();
        Self { url, store }
    }

    /// Another pool on the same database, as another process would have.
    pub async fn open_again(&self) -> Store {
        Self::open(self.url.clone()).await.store
    }
}

async fn run<F: Future<Output = ()>>(url: String, migrated: bool, law: impl FnOnce(Db) -> F) {
    let db = Db::open(url).await;
    if migrated {
        migrations::migrate(&db.store, START).await.unwrap();
    }
    let store = db.store.clone();
    law(db).await;
    store.close().await.unwrap();
}

/// Runs a law on a SQLite file, new and, where asked, migrated.
pub async fn on_sqlite<F: Future<Output = ()>>(migrated: bool, law: impl FnOnce(Db) -> F) {
    // In memory where there is a place for it: a law is about what is true after a commit, not about the disk.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("bulut-law-").tempdir_in(place).unwrap();
    run(format!("sqlite://{}", dir.path().join("store.db").display()), migrated, law).await;
}

/// Runs a law on a PostgreSQL database, new and, where asked, migrated. It is dropped even if the law fails.
pub async fn on_postgres<F>(migrated: bool, law: impl FnOnce(Db) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(server) = std::env::var("BULUT_TEST_POSTGRES") else {
        panic!(
            "the laws of the store need a PostgreSQL: `make test` starts one, or set \
             BULUT_TEST_POSTGRES=postgres://user@127.0.0.1:port/postgres to use yours"
        );
    };
    let admin = Store::open(&server, 1).await.unwrap();
    let name = format!("bulut_law_{}", uuid::Uuid::now_v7().simple());
    // Since 15 the default writes every page to the log first, which takes ten times as long here.
    let copies = "SELECT 1 FROM pg_settings WHERE name = 'server_version_num' AND setting::int >= 150000";
    let strategy = admin.one(copies, vec![]).await.unwrap().map_or("", |_| "STRATEGY file_copy");
    admin.execute(&format!("CREATE DATABASE {name} {strategy}"), vec![]).await.unwrap();
    let outcome = tokio::spawn(run(sibling(&server, &name), migrated, law)).await;
    admin.execute(&format!("DROP DATABASE {name} WITH (FORCE)"), vec![]).await.unwrap();
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// The URL of another database on the same server.
fn sibling(url: &str, database: &str) -> String {
    let (address, settings) =
        url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let (server, _) = address.rsplit_once('/').unwrap();
    match settings {
        None => format!("{server}/{database}"),
        Some(settings) => format!("{server}/{database}?{settings}"),
    }
}

/// Makes each law named a test per database: `sqlite::law` and `postgres::law`. `bare:` ones get a database
/// without tables; `sqlite:` and `postgres:` ones speak of what the other database does not have.
macro_rules! laws {
    (@on $on:ident($migrated:literal) $($law:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            crate::databases::$on($migrated, super::$law).await;
        }
    )+};
    (
        $(bare: $($bare:ident)+;)?
        $(both: $($law:ident)+;)?
        $(sqlite: $($sqlite:ident)+;)?
        $(postgres: $($postgres:ident)+;)?
    ) => {
        mod sqlite {
            $(crate::databases::laws!(@on on_sqlite(false) $($bare)+);)?
            $(crate::databases::laws!(@on on_sqlite(true) $($law)+);)?
            $(crate::databases::laws!(@on on_sqlite(true) $($sqlite)+);)?
        }
        mod postgres {
            $(crate::databases::laws!(@on on_postgres(false) $($bare)+);)?
            $(crate::databases::laws!(@on on_postgres(true) $($law)+);)?
            $(crate::databases::laws!(@on on_postgres(true) $($postgres)+);)?
        }
    };
}
pub(crate) use laws;
