//! Tags on servers. A tag is as old as its first use on one of the account's servers that exist: whoever gets it
//! later gets that instant with it.

use crate::session::{Failure, Row, Session};
use bulut_model::tag::Tag;
use bulut_model::{AccountId, Result, ServerId, Timestamp};
use sea_orm::Value;

fn tag(row: &Row) -> Result<Tag, Failure> {
    Ok(Tag {
        word: row.text("tag")?,
        servers: row.int("servers")?,
        created_at: Timestamp(row.int("created_at")?),
    })
}

/// Servers named in one statement; SQLite takes 32766 values, PostgreSQL 65535.
const BATCH: usize = 1000;

/// Puts a tag on a server; one that is there stays.
pub async fn ensure(s: &impl Session, server: ServerId, tag: &str, now: Timestamp) -> Result<()> {
    s.execute(
        "INSERT INTO tag (server_id, tag, created_at) SELECT $1, $2, COALESCE((SELECT MIN(tag.created_at) \
         FROM tag JOIN server ON server.id = tag.server_id WHERE tag.tag = $2 AND server.phase <> 'destroyed' \
         AND server.account_id = (SELECT account_id FROM server WHERE id = $1)), $3) \
         WHERE TRUE ON CONFLICT DO NOTHING",
        vec![server.0.into(), tag.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// Puts a tag on those of the account's servers that are named; where it is, it stays.
pub async fn ensure_on(
    s: &impl Session,
    account: AccountId,
    servers: &[ServerId],
    tag: &str,
    now: Timestamp,
) -> Result<()> {
    for batch in servers.chunks(BATCH) {
        let mut values: Vec<Value> = vec![account.0.into(), tag.into(), now.0.into()];
        let places: Vec<String> = (0..batch.len()).map(|place| format!("${}", place + 4)).collect();
        values.extend(batch.iter().map(|id| Value::from(id.0)));
        let sql = format!(
            "INSERT INTO tag (server_id, tag, created_at) SELECT server.id, $2, COALESCE((SELECT \
             MIN(tag.created_at) FROM tag JOIN server AS other ON other.id = tag.server_id WHERE tag.tag = $2 \
             AND other.phase <> 'destroyed' AND other.account_id = $1), $3) FROM server \
             WHERE server.account_id = $1 AND server.phase <> 'destroyed' AND server.id IN ({}) \
             ON CONFLICT DO NOTHING",
            places.join(", ")
        );
        s.execute(&sql, values).await?;
    }
    Ok(())
}

/// Takes one tag off one server.
pub async fn remove(s: &impl Session, server: ServerId, tag: &str) -> Result<()> {
    s.execute("DELETE FROM tag WHERE server_id = $1 AND tag = $2", vec![server.0.into(), tag.into()]).await?;
    Ok(())
}

/// Takes a tag off all servers of the account; answers how many carried it.
pub async fn remove_all(s: &impl Session, account: AccountId, tag: &str) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM tag WHERE tag = $2 AND server_id IN \
         (SELECT id FROM server WHERE account_id = $1 AND phase <> 'destroyed')",
        vec![account.0.into(), tag.into()],
    )
    .await?)
}

/// The tags of the account's servers, oldest first.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<Tag>> {
    let rows = s
        .all(
            "SELECT tag.tag AS tag, COUNT(*) AS servers, MIN(tag.created_at) AS created_at FROM tag \
             JOIN server ON server.id = tag.server_id \
             WHERE server.account_id = $1 AND server.phase <> 'destroyed' \
             GROUP BY tag.tag ORDER BY MIN(tag.created_at), tag.tag",
            vec![account.0.into()],
        )
        .await?;
    Ok(rows.iter().map(tag).collect::<Result<_, _>>()?)
}
