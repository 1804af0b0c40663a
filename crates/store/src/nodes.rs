//! Nodes: hosts that run machines, what they hold and what is reserved on them.

use crate::session::{Failure, Row, Session};
use bulut_model::{NodeId, RegionId, Result, Timestamp};

/// A node as stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its region.
    pub region: RegionId,
    /// Unique.
    pub name: String,
    /// `qemu` or `simulated`.
    pub driver: String,
    /// `ready` takes new servers, `draining` does not.
    pub state: String,
    /// What may be reserved, with overcommit.
    pub capacity: Size,
    /// What is.
    pub reserved: Size,
}

/// CPUs, memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Size {
    /// Virtual CPUs.
    pub cpu: i64,
    /// Memory, MiB.
    pub memory_mib: i64,
    /// Disk, GiB.
    pub disk_gib: i64,
}

impl Size {
    /// The larger of both, each by itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory_mib: self.memory_mib.max(other.memory_mib),
            disk_gib: self.disk_gib.max(other.disk_gib),
        }
    }

    /// What this one has more than the other, each by itself.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            cpu: self.cpu - other.cpu,
            memory_mib: self.memory_mib - other.memory_mib,
            disk_gib: self.disk_gib - other.disk_gib,
        }
    }
}

const COLUMNS: &str = "id, region_id, name, driver, state, cpu_capacity, memory_mib_capacity, \
                       disk_gib_capacity, cpu_reserved, memory_mib_reserved, disk_gib_reserved";

fn node(row: &Row) -> Result<Node, Failure> {
    Ok(Node {
        id: NodeId(row.int("id")?),
        region: RegionId(row.int("region_id")?),
        name: row.text("name")?,
        driver: row.text("driver")?,
        state: row.text("state")?,
        capacity: Size {
            cpu: row.int("cpu_capacity")?,
            memory_mib: row.int("memory_mib_capacity")?,
            disk_gib: row.int("disk_gib_capacity")?,
        },
        reserved: Size {
            cpu: row.int("cpu_reserved")?,
            memory_mib: row.int("memory_mib_reserved")?,
            disk_gib: row.int("disk_gib_reserved")?,
        },
    })
}

/// Adds a node, or sets the capacity of the one of that name. What is reserved stays.
pub async fn ensure(
    s: &impl Session,
    region: RegionId,
    name: &str,
    driver: &str,
    capacity: Size,
    now: Timestamp,
) -> Result<Node> {
    let sql = format!(
        "INSERT INTO node (region_id, name, driver, state, cpu_capacity, memory_mib_capacity, \
         disk_gib_capacity, cpu_reserved, memory_mib_reserved, disk_gib_reserved, created_at) \
         VALUES ($1, $2, $3, 'ready', $4, $5, $6, 0, 0, 0, $7) \
         ON CONFLICT (name) DO UPDATE SET driver = excluded.driver, cpu_capacity = excluded.cpu_capacity, \
         memory_mib_capacity = excluded.memory_mib_capacity, disk_gib_capacity = excluded.disk_gib_capacity \
         RETURNING {COLUMNS}"
    );
    let values = vec![
        region.0.into(),
        name.into(),
        driver.into(),
        capacity.cpu.into(),
        capacity.memory_mib.into(),
        capacity.disk_gib.into(),
        now.0.into(),
    ];
    let row = s.one(&sql, values).await?;
    let row = row.ok_or_else(|| Failure::Fault(format!("node {name} vanished")))?;
    Ok(node(&row)?)
}

/// All nodes.
pub async fn list(s: &impl Session) -> Result<Vec<Node>> {
    let rows = s.all(&format!("SELECT {COLUMNS} FROM node ORDER BY id"), vec![]).await?;
    Ok(rows.iter().map(node).collect::<Result<_, _>>()?)
}

/// Reserves room on the least filled ready node of a region; `None` when none has room. The check and the
/// reservation are one statement, so that parallel orders never overfill a node.
pub async fn reserve(s: &impl Session, region: RegionId, size: Size) -> Result<Option<NodeId>> {
    let row = s
        .one(
            "UPDATE node SET cpu_reserved = cpu_reserved + $2, memory_mib_reserved = memory_mib_reserved + $3, \
             disk_gib_reserved = disk_gib_reserved + $4 \
             WHERE id = (SELECT id FROM node WHERE region_id = $1 AND state = 'ready' \
             AND cpu_reserved + $2 <= cpu_capacity AND memory_mib_reserved + $3 <= memory_mib_capacity \
             AND disk_gib_reserved + $4 <= disk_gib_capacity \
             ORDER BY memory_mib_capacity - memory_mib_reserved DESC, id LIMIT 1 {lock}) RETURNING id",
            vec![region.0.into(), size.cpu.into(), size.memory_mib.into(), size.disk_gib.into()],
        )
        .await?;
    Ok(row.map(|row| row.int("id")).transpose()?.map(NodeId))
}

/// Reserves room on this very node, whatever its state: for what is there already and grows, or has to be where
/// its snapshot is. False when it has not enough.
pub async fn reserve_on(s: &impl Session, id: NodeId, size: Size) -> Result<bool> {
    let reserved = s
        .execute(
            "UPDATE node SET cpu_reserved = cpu_reserved + $2, memory_mib_reserved = memory_mib_reserved + $3, \
             disk_gib_reserved = disk_gib_reserved + $4 WHERE id = $1 \
             AND cpu_reserved + $2 <= cpu_capacity AND memory_mib_reserved + $3 <= memory_mib_capacity \
             AND disk_gib_reserved + $4 <= disk_gib_capacity",
            vec![id.0.into(), size.cpu.into(), size.memory_mib.into(), size.disk_gib.into()],
        )
        .await?;
    Ok(reserved > 0)
}

/// Gives room back. Called once per server, under its `reserved` flag.
pub async fn release(s: &impl Session, id: NodeId, size: Size) -> Result<()> {
    s.execute(
        "UPDATE node SET cpu_reserved = cpu_reserved - $2, memory_mib_reserved = memory_mib_reserved - $3, \
         disk_gib_reserved = disk_gib_reserved - $4 WHERE id = $1",
        vec![id.0.into(), size.cpu.into(), size.memory_mib.into(), size.disk_gib.into()],
    )
    .await?;
    Ok(())
}
