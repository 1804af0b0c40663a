//! Connections, transactions, and reading rows: the only file that knows the executor underneath (SeaORM).
//!
//! Statements are written by hand in one portable SQL with `$1`-style places, which both databases take.

use crate::forks::{self, Backend};
use bulut_model::{Error, Result};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    QueryResult, RuntimeErr, SqlErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
    TryGetable, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a writer waits for another one on SQLite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// Most connections to SQLite: one writes, and reads take as many processors as there are connections. Each has
/// a cache of 2 MiB of its own.
const SQLITE_CONNECTIONS: u32 = 4;

/// How long an idle connection to PostgreSQL is believed to be alive without being asked.
const TRUSTED: Duration = Duration::from_secs(1);

/// A database that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: DatabaseConnection,
    backend: Backend,
    turns: Turns,
    breath: Breath,
}

/// On SQLite, whose turn it is to write. Writers of this process queue here in the order in which they came;
/// SQLite itself lets them try again after growing pauses, so that the unlucky wait long while nobody writes.
#[derive(Clone, Debug)]
struct Turns(Option<Arc<Mutex<()>>>);

/// How many more statements reach the database: a test's way to let a process die between any two of them.
#[derive(Clone, Debug)]
struct Breath(Arc<AtomicI64>);

impl Breath {
    const ENDLESS: i64 = i64::MAX;

    fn draw(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) == Self::ENDLESS || self.0.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(Failure::Away("a test has cut this process off from its database".into()))
    }
}

/// A turn to write, over when it is dropped.
type Turn = Option<OwnedMutexGuard<()>>;

/// A write transaction. Dropped without [`Tx::commit`], it leaves no trace. Once a statement of it has failed,
/// it cannot be committed: PostgreSQL would keep nothing of it and SQLite all but that statement.
#[derive(Debug)]
pub struct Tx {
    tx: DatabaseTransaction,
    backend: Backend,
    failed: AtomicBool,
    breath: Breath,
    /// Below the transaction, so that it is dropped after it.
    _turn: Turn,
}

/// What statements run on: the pool (each statement by itself) or a transaction.
pub trait Session: Sync {
    /// Which database this is.
    fn backend(&self) -> Backend;

    /// Runs a statement and answers how many rows it changed.
    fn execute(&self, sql: &str, values: Vec<Value>) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// All rows of a query.
    fn all(&self, sql: &str, values: Vec<Value>) -> impl Future<Output = Result<Vec<Row>, Failure>> + Send;

    /// The first row of a query, if there is one.
    fn one(&self, sql: &str, values: Vec<Value>)
    -> impl Future<Output = Result<Option<Row>, Failure>> + Send;
}

/// Why a statement did not run. Turned into the house's error by `?`, except where a statement names an
/// outcome for a unique violation itself.
#[derive(Debug)]
pub enum Failure {
    /// A unique constraint stood against it.
    Unique,
    /// The database is away, overloaded or chose this transaction as the victim of a deadlock.
    Away(String),
    /// Anything else: a fault of ours.
    Fault(String),
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) {
            return Self::Unique;
        }
        let away = match &error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
                forks::is_away(cause)
            }
            _ => false,
        };
        if away { Self::Away(error.to_string()) } else { Self::Fault(error.to_string()) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unique => Self::internal("a unique constraint was violated where none was expected"),
            Failure::Away(context) => {
                Self::unavailable("The database is busy or away; please try again in a moment.", context)
            }
            Failure::Fault(context) => Self::internal(context),
        }
    }
}

impl Store {
    /// Opens `sqlite:///path/to/file` (made if absent) or `postgres://user@host/database`. Never migrates.
    ///
    /// Errors: `Unavailable` with the database's own words in the internal context.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self> {
        let backend = Backend::of(url).ok_or_else(|| {
            Error::invalid("database", "The database must be a sqlite:// or postgres:// URL.")
        })?;
        let mut options = ConnectOptions::new(url);
        options
            .sqlx_logging(false)
            .acquire_timeout(Duration::from_secs(30))
            .max_connections(match backend {
                Backend::Sqlite => max_connections.min(SQLITE_CONNECTIONS),
                Backend::Postgres => max_connections,
            })
            .test_before_acquire(false);
        if backend == Backend::Postgres {
            // A server or a firewall may have dropped what lay idle; a round trip before every statement is dear.
            options.test_before_acquire_if_idle_for(TRUSTED);
        }
        options.map_sqlx_sqlite_opts(|sqlite| {
            use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
        });
        let db = Database::connect(options)
            .await
            .map_err(|error| Error::unavailable("The database cannot be opened.", error))?;
        let breath = Breath(Arc::new(AtomicI64::new(Breath::ENDLESS)));
        Ok(Self { db, backend, turns: Turns::new(backend), breath })
    }

    /// Begins a write transaction. On SQLite it takes the write lock first, so that a read in it stays true; a
    /// second one that the same task begins inside it would wait for the first in vain.
    pub async fn begin(&self) -> Result<Tx> {
        let options = TransactionOptions {
            isolation_level: None,
            access_mode: match self.backend {
                Backend::Sqlite => None,
                Backend::Postgres => Some(AccessMode::ReadWrite),
            },
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        let turn = self.turns.take().await?;
        self.breath.draw()?;
        let tx = self.db.begin_with_options(options).await.map_err(Failure::from)?;
        let failed = AtomicBool::new(false);
        Ok(Tx { tx, backend: self.backend, failed, breath: self.breath.clone(), _turn: turn })
    }

    async fn turn_for(&self, sql: &str) -> Result<Turn, Failure> {
        self.turns.take_for(sql).await
    }

    /// For tests: so many more statements of this pool (beginnings and commits are some, too) reach the database, and
    /// then no more, as if the process had died there. What is not committed by then never is.
    pub fn die_after(&self, statements: u32) {
        self.breath.0.store(i64::from(statements), Ordering::Relaxed);
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.db.ping().await.map_err(|error| Failure::from(error).into())
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) -> Result<()> {
        self.db.close_by_ref().await.map_err(|error| Failure::from(error).into())
    }

    /// A listener for wake-ups from other processes; `None` where the database has no such thing (SQLite,
    /// which has one process only). It keeps one connection of the pool for itself.
    pub async fn listen(&self) -> Result<Option<forks::Listener>> {
        match self.backend {
            Backend::Sqlite => Ok(None),
            Backend::Postgres => {
                forks::Listener::open(self.db.get_postgres_connection_pool()).await.map(Some)
            }
        }
    }

    fn noted<T>(&self, outcome: Result<T, DbErr>) -> Result<T, Failure> {
        outcome.map_err(Failure::from)
    }
}

impl Turns {
    fn new(backend: Backend) -> Self {
        Self((backend == Backend::Sqlite).then(Arc::default))
    }

    async fn take(&self) -> Result<Turn, Failure> {
        let Some(turns) = &self.0 else { return Ok(None) };
        let turn = tokio::time::timeout(BUSY_TIMEOUT, Arc::clone(turns).lock_owned()).await;
        turn.map(Some).map_err(|_| Failure::Away("the writers before this one take too long".into()))
    }

    /// A turn for a statement by itself, if it writes. What does not plainly read is taken for a write.
    async fn take_for(&self, sql: &str) -> Result<Turn, Failure> {
        if sql.trim_start().starts_with("SELECT") { Ok(None) } else { self.take().await }
    }
}

impl Tx {
    /// A transaction has had its turn since it began.
    #[expect(clippy::unused_async, reason = "a pool waits here, and both are written once below")]
    async fn turn_for(&self, _: &str) -> Result<Turn, Failure> {
        Ok(None)
    }

    /// Makes all of it true at once.
    ///
    /// Errors: `Internal` when a statement of it failed before; then all of it is undone.
    pub async fn commit(self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::internal(
                "a transaction was to be committed after a statement of it had failed",
            ));
        }
        self.breath.draw()?;
        self.tx.commit().await.map_err(|error| Failure::from(error).into())
    }

    /// Undoes all of it.
    pub async fn rollback(self) -> Result<()> {
        self.tx.rollback().await.map_err(|error| Failure::from(error).into())
    }

    fn noted<T>(&self, outcome: Result<T, DbErr>) -> Result<T, Failure> {
        outcome.map_err(|error| {
            self.failed.store(true, Ordering::Relaxed);
            error.into()
        })
    }
}

macro_rules! session {
    ($name:ident, $field:ident) => {
        impl Session for $name {
            fn backend(&self) -> Backend {
                self.backend
            }

            async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, Failure> {
                let _turn = self.turn_for(sql).await?;
                self.breath.draw()?;
                let statement = statement(self.backend, sql, values);
                Ok(self.noted(self.$field.execute_raw(statement).await)?.rows_affected())
            }

            async fn all(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Failure> {
                let _turn = self.turn_for(sql).await?;
                self.breath.draw()?;
                let statement = statement(self.backend, sql, values);
                let rows = self.noted(self.$field.query_all_raw(statement).await)?;
                Ok(rows.into_iter().map(Row).collect())
            }

            async fn one(&self, sql: &str, values: Vec<Value>) -> Result<Option<Row>, Failure> {
                let _turn = self.turn_for(sql).await?;
                self.breath.draw()?;
                let statement = statement(self.backend, sql, values);
                Ok(self.noted(self.$field.query_one_raw(statement).await)?.map(Row))
            }
        }
    };
}

session!(Store, db);
session!(Tx, tx);

fn statement(backend: Backend, sql: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(backend.sea(), forks::portable(backend, sql), values)
}

/// One row of an answer, read by column name.
#[derive(Debug)]
pub struct Row(QueryResult);

impl Row {
    fn get<T: TryGetable>(&self, column: &str) -> Result<T, Failure> {
        self.0.try_get("", column).map_err(|error| Failure::Fault(error.to_string()))
    }

    /// An integer that is there.
    pub fn int(&self, column: &str) -> Result<i64, Failure> {
        self.get(column)
    }

    /// An integer that may be NULL.
    pub fn opt_int(&self, column: &str) -> Result<Option<i64>, Failure> {
        self.get(column)
    }

    /// A text that is there.
    pub fn text(&self, column: &str) -> Result<String, Failure> {
        self.get(column)
    }

    /// A text that may be NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>, Failure> {
        self.get(column)
    }

    /// A flag, stored as 0 or 1.
    pub fn flag(&self, column: &str) -> Result<bool, Failure> {
        Ok(self.int(column)? != 0)
    }

    /// An integer that is never negative.
    pub fn unsigned(&self, column: &str) -> Result<u64, Failure> {
        u64::try_from(self.int(column)?)
            .map_err(|_| Failure::Fault(format!("column {column} holds a negative number")))
    }

    /// An integer that is never negative and fits 32 bits.
    pub fn small(&self, column: &str) -> Result<u32, Failure> {
        u32::try_from(self.int(column)?)
            .map_err(|_| Failure::Fault(format!("column {column} is out of range")))
    }

    /// JSON in a text column.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, Failure> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|error| Failure::Fault(format!("column {column} holds broken JSON: {error}")))
    }
}

/// The text of a value for a JSON column. Our own types always have one.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writers_on_sqlite_write_in_the_order_in_which_they_came() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db").display());
        let store = Store::open(&url, 8).await.unwrap();
        store.execute("CREATE TABLE came (id INTEGER PRIMARY KEY, writer BIGINT)", vec![]).await.unwrap();
        let insert = "INSERT INTO came (writer) VALUES ($1)";
        let first = store.begin().await.unwrap();
        let mut writers = Vec::new();
        for number in 0_i64..20 {
            let store = store.clone();
            writers.push(tokio::spawn(async move {
                // Every other one is a statement by itself.
                if number % 2 == 0 {
                    let tx = store.begin().await.unwrap();
                    tx.execute(insert, vec![number.into()]).await.unwrap();
                    tx.commit().await.unwrap();
                } else {
                    store.execute(insert, vec![number.into()]).await.unwrap();
                }
            }));
            // On this runtime the task runs until it has to wait for its turn.
            tokio::task::yield_now().await;
        }
        assert!(writers.iter().all(|writer| !writer.is_finished()));
        // Given up, a transaction ends the turn of its writer.
        drop(first);
        for writer in writers {
            writer.await.unwrap();
        }
        let rows = store.all("SELECT writer FROM came ORDER BY id", vec![]).await.unwrap();
        let came: Vec<i64> = rows.iter().map(|row| row.int("writer").unwrap()).collect();
        assert_eq!(came, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn readers_on_sqlite_do_not_wait_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db").display());
        let store = Store::open(&url, 8).await.unwrap();
        let writer = store.begin().await.unwrap();
        assert!(store.one("SELECT 1 AS one", vec![]).await.unwrap().is_some());
        writer.rollback().await.unwrap();
    }
}
