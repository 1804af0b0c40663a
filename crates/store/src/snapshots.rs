//! Snapshots.

use crate::packages::signed;
use crate::session::{Failure, Row, Session, to_json};
use bulut_model::catalog::ImageFiles;
use bulut_model::snapshot::{Consistency, Facts, Phase, Snapshot};
use bulut_model::{AccountId, Error, ImageId, NodeId, RegionId, Result, ServerId, SnapshotId, Timestamp};
use std::collections::HashMap;

/// A snapshot to be taken: what is known before.
#[derive(Debug, Clone)]
pub struct New {
    /// Whose it is.
    pub account: AccountId,
    /// The server that it is taken of.
    pub server: ServerId,
    /// The node that will keep it.
    pub node: NodeId,
    /// The region of that node.
    pub region: RegionId,
    /// What its owner calls it.
    pub name: String,
    /// The disk's size as ordered, GiB, until it is known exactly.
    pub disk_gib: u64,
    /// The server as it is.
    pub facts: Facts,
    /// What a server needs that gets this disk back.
    pub origin: Origin,
}

/// What a server needs to know that gets a snapshot's disk.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The image that the disk began with.
    pub image: ImageId,
    /// That image's files: a disk that boots directly needs its kernel.
    pub image_files: ImageFiles,
    /// cloud-init's instance id on the disk.
    pub instance_id: String,
    /// Root's password on the disk, sealed for the server that it was taken of.
    pub sealed_password: Option<String>,
}

const COLUMNS: &str = "id, account_id, server_id, node_id, region_id, name, phase, progress, consistency, \
                       disk_gib, size_bytes, facts, created_at";

fn snapshot(row: &Row) -> Result<Snapshot, Failure> {
    let phase = row.text("phase")?;
    let consistency = row.opt_text("consistency")?;
    Ok(Snapshot {
        id: SnapshotId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        server: ServerId(row.int("server_id")?),
        node: NodeId(row.int("node_id")?),
        region: RegionId(row.int("region_id")?),
        name: row.text("name")?,
        phase: Phase::from_word(&phase)
            .ok_or_else(|| Failure::Fault(format!("snapshot phase {phase} is unknown")))?,
        progress: u8::try_from(row.int("progress")?)
            .map_err(|_| Failure::Fault("a snapshot's progress is out of range".into()))?,
        consistency: match consistency {
            None => None,
            Some(word) => Some(
                Consistency::from_word(&word)
                    .ok_or_else(|| Failure::Fault(format!("snapshot consistency {word} is unknown")))?,
            ),
        },
        disk_gib: row.unsigned("disk_gib")?,
        size_bytes: row.unsigned("size_bytes")?,
        facts: row.json("facts")?,
        created_at: Timestamp(row.int("created_at")?),
        active_operations: Vec::new(),
    })
}

/// Writes the row of a new snapshot and answers its id.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<SnapshotId> {
    let row = s
        .one(
            "INSERT INTO snapshot (account_id, server_id, node_id, region_id, image_id, name, phase, progress, \
             disk_gib, size_bytes, facts, image_files, instance_id, sealed_password, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 'creating', 0, $7, 0, $8, $9, $10, $11, $12) RETURNING id",
            vec![
                new.account.0.into(),
                new.server.0.into(),
                new.node.0.into(),
                new.region.0.into(),
                new.origin.image.0.into(),
                new.name.clone().into(),
                signed(new.disk_gib)?.into(),
                to_json(&new.facts)?.into(),
                to_json(&new.origin.image_files)?.into(),
                new.origin.instance_id.clone().into(),
                new.origin.sealed_password.clone().into(),
                now.0.into(),
            ],
        )
        .await?;
    let row = row.ok_or_else(|| Error::internal("an inserted snapshot came back without a row"))?;
    Ok(SnapshotId(row.int("id")?))
}

/// The account's snapshots that exist, oldest first, those of one server where one is named.
pub async fn list(s: &impl Session, account: AccountId, server: Option<ServerId>) -> Result<Vec<Snapshot>> {
    let mut sql = format!("SELECT {COLUMNS} FROM snapshot WHERE account_id = $1 AND phase <> 'destroyed'");
    let mut values = vec![account.0.into()];
    if let Some(server) = server {
        sql.push_str(" AND server_id = $2");
        values.push(server.0.into());
    }
    sql.push_str(" ORDER BY id");
    let rows = s.all(&sql, values).await?;
    let mut snapshots: Vec<Snapshot> = rows.iter().map(snapshot).collect::<Result<_, _>>()?;
    if snapshots.is_empty() {
        return Ok(snapshots);
    }
    let mut active: HashMap<i64, Vec<i64>> = HashMap::new();
    let sql = "SELECT snapshot_id, id FROM operation WHERE account_id = $1 AND status = 0 \
               AND snapshot_id IS NOT NULL ORDER BY id";
    for row in s.all(sql, vec![account.0.into()]).await? {
        active.entry(row.int("snapshot_id")?).or_default().push(row.int("id")?);
    }
    for snapshot in &mut snapshots {
        snapshot.active_operations = active.remove(&snapshot.id.0).unwrap_or_default();
    }
    Ok(snapshots)
}

/// A snapshot of this account that exists.
pub async fn find_owned(s: &impl Session, account: AccountId, id: SnapshotId) -> Result<Option<Snapshot>> {
    let sql =
        format!("SELECT {COLUMNS} FROM snapshot WHERE id = $1 AND account_id = $2 AND phase <> 'destroyed'");
    let row = s.one(&sql, vec![id.0.into(), account.0.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut snapshot = snapshot(&row)?;
    let sql = "SELECT id FROM operation WHERE snapshot_id = $1 AND status = 0 ORDER BY id";
    for row in s.all(sql, vec![id.0.into()]).await? {
        snapshot.active_operations.push(row.int("id")?);
    }
    Ok(Some(snapshot))
}

/// A snapshot by id, of whatever account and phase; without operations.
pub async fn find(s: &impl Session, id: SnapshotId) -> Result<Option<Snapshot>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM snapshot WHERE id = $1"), vec![id.0.into()]).await?;
    Ok(row.as_ref().map(snapshot).transpose()?)
}

/// How many snapshots of the account exist.
pub async fn count(s: &impl Session, account: AccountId) -> Result<u64> {
    let sql = "SELECT COUNT(*) AS snapshots FROM snapshot WHERE account_id = $1 AND phase <> 'destroyed'";
    let row = s.one(sql, vec![account.0.into()]).await?;
    Ok(row.map(|row| row.unsigned("snapshots")).transpose()?.unwrap_or(0))
}

/// What a server needs to know that gets this disk.
pub async fn origin(s: &impl Session, id: SnapshotId) -> Result<Origin> {
    let sql = "SELECT image_id, image_files, instance_id, sealed_password FROM snapshot WHERE id = $1";
    let row = s.one(sql, vec![id.0.into()]).await?;
    let row = row.ok_or_else(|| Error::internal(format!("snapshot {id} has no row")))?;
    Ok(Origin {
        image: ImageId(row.int("image_id")?),
        image_files: row.json("image_files")?,
        instance_id: row.text("instance_id")?,
        sealed_password: row.opt_text("sealed_password")?,
    })
}

/// Remembers how much of it is copied, percent.
pub async fn set_progress(s: &impl Session, id: SnapshotId, percent: u8) -> Result<()> {
    s.execute(
        "UPDATE snapshot SET progress = $2 WHERE id = $1 AND phase = 'creating'",
        vec![id.0.into(), i64::from(percent).into()],
    )
    .await?;
    Ok(())
}

/// Its content is whole: what was seen of it.
pub async fn set_taken(
    s: &impl Session,
    id: SnapshotId,
    consistency: Consistency,
    disk_gib: u64,
    size_bytes: u64,
) -> Result<()> {
    s.execute(
        "UPDATE snapshot SET progress = 100, consistency = $2, disk_gib = $3, \
         size_bytes = $4 WHERE id = $1",
        vec![id.0.into(), consistency.as_str().into(), signed(disk_gib)?.into(), signed(size_bytes)?.into()],
    )
    .await?;
    Ok(())
}

/// Sets where it is in its life.
pub async fn set_phase(s: &impl Session, id: SnapshotId, phase: Phase) -> Result<()> {
    s.execute("UPDATE snapshot SET phase = $2 WHERE id = $1", vec![id.0.into(), phase.as_str().into()])
        .await?;
    Ok(())
}

/// The end of a snapshot. The row stays, so that its id is never given again.
pub async fn bury(s: &impl Session, id: SnapshotId, now: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE snapshot SET phase = 'destroyed', sealed_password = NULL, \
         destroyed_at = COALESCE(destroyed_at, $2) WHERE id = $1",
        vec![id.0.into(), now.0.into()],
    )
    .await?;
    Ok(())
}
