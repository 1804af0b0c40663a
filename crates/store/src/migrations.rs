//! Migrations: append-only, for both databases at once, under a lock.

use crate::forks::{Backend, immutable};
use crate::session::{Failure, Session, Store};
use bulut_model::{Error, Result, Timestamp};

/// One step of the schema, in order. What is applied somewhere never changes.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("migrations/0001_base.sql")),
    (2, "snapshots", include_str!("migrations/0002_snapshots.sql")),
    (3, "cloud_at_cost", include_str!("migrations/0003_cloud_at_cost.sql")),
    (4, "consoles", include_str!("migrations/0004_consoles.sql")),
    (5, "names", include_str!("migrations/0005_names.sql")),
    (6, "networks", include_str!("migrations/0006_networks.sql")),
    (7, "metering", include_str!("migrations/0007_metering.sql")),
    (8, "invoices", include_str!("migrations/0008_invoices.sql")),
    (9, "mail", include_str!("migrations/0009_mail.sql")),
    (10, "firewalls", include_str!("migrations/0010_firewalls.sql")),
    (11, "vnc", include_str!("migrations/0011_vnc.sql")),
];

/// Number of PostgreSQL's advisory lock that one migrating process holds.
const LOCK: i64 = 0x6275_6c75;

/// The newest version that this binary knows.
pub fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

/// The version that the database is at; 0 for an empty one.
pub async fn current(s: &impl Session) -> Result<i64> {
    let known = match s.backend() {
        Backend::Sqlite => {
            s.one("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_migration'", vec![])
                .await?
        }
        Backend::Postgres => {
            s.one(
                "SELECT table_name FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_name = 'schema_migration'",
                vec![],
            )
            .await?
        }
    };
    if known.is_none() {
        return Ok(0);
    }
    let row = s.one("SELECT COALESCE(MAX(version), 0) AS version FROM schema_migration", vec![]).await?;
    Ok(row.map(|row| row.int("version")).transpose()?.unwrap_or(0))
}

/// Brings the database up to this binary's schema; several processes may try at once. Answers the names of
/// what was applied.
///
/// Errors: `Conflict` when the database is newer than this binary.
pub async fn migrate(store: &Store, now: Timestamp) -> Result<Vec<&'static str>> {
    let tx = store.begin().await?;
    if tx.backend() == Backend::Postgres {
        tx.one("SELECT pg_advisory_xact_lock($1)", vec![LOCK.into()]).await?;
    }
    let at = current(&tx).await?;
    if at > newest() {
        return Err(Error::conflict(format!(
            "The database is at version {at}, which is newer than this binary knows ({}). \
             Use the newer binary.",
            newest()
        )));
    }
    tx.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration \
         (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)",
        vec![],
    )
    .await?;
    let mut applied = Vec::new();
    for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > at) {
        for statement in statements(tx.backend(), sql) {
            tx.execute(&statement, vec![]).await.map_err(|failure| match failure {
                Failure::Fault(text) => Failure::Fault(format!("migration {version} {name}: {text}")),
                other => other,
            })?;
        }
        tx.execute(
            "INSERT INTO schema_migration (version, name, applied_at) VALUES ($1, $2, $3)",
            vec![(*version).into(), (*name).into(), now.0.into()],
        )
        .await?;
        applied.push(*name);
    }
    tx.commit().await?;
    Ok(applied)
}

/// The statements of a migration for one database, without comments.
fn statements(backend: Backend, sql: &str) -> Vec<String> {
    let code: String = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("{id}", backend.id_column())
        .replace("{blob}", backend.blob_column());
    let parts = code.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| immutable(backend, part).unwrap_or_else(|| vec![part.to_owned()])).collect()
}
