//! A database for one test: a SQLite file in a directory of its own, or a database of its own on PostgreSQL.

use bulut_store::{Session as _, Store};
use std::path::Path;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server, named by `BULUT_TEST_POSTGRES`.
    Postgres,
}

impl Database {
    /// A URL of a fresh, empty database; a file lies below `dir`.
    pub async fn fresh(self, dir: &Path) -> String {
        match self {
            Self::Sqlite => format!("sqlite://{}", dir.join("bulut.db").display()),
            Self::Postgres => {
                let server = std::env::var("BULUT_TEST_POSTGRES").expect(
                    "BULUT_TEST_POSTGRES names no PostgreSQL server; `make test` starts one and sets it",
                );
                let name = format!("bulut_{}", uuid::Uuid::new_v4().simple());
                let admin = Store::open(&server, 1).await.expect("the PostgreSQL server answers");
                admin
                    .execute(&format!("CREATE DATABASE {name}"), vec![])
                    .await
                    .expect("a database can be made");
                let (base, _) = server.rsplit_once('/').expect("the URL has a database");
                format!("{base}/{name}")
            }
        }
    }
}
