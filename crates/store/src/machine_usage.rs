//! What servers' machines used when they were last looked at, and how long they have been idle.

use crate::packages::signed;
use crate::session::{Failure, Row, Session};
use bulut_model::run_mode::{IdleRules, Look, MachineUsage};
use bulut_model::{AccountId, NodeId, Result, ServerId, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

const COLUMNS: &str = "machine_usage.server_id AS server_id, machine_usage.epoch AS epoch, \
     machine_usage.cpu_us AS cpu_us, machine_usage.traffic_bytes AS traffic_bytes, \
     machine_usage.memory_bytes AS memory_bytes, machine_usage.disk_bytes AS disk_bytes, \
     machine_usage.cpu_permille AS cpu_permille, machine_usage.idle_us AS idle_us, \
     machine_usage.seen_at AS seen_at";

fn usage(row: &Row) -> Result<MachineUsage, Failure> {
    Ok(MachineUsage {
        epoch: row.text("epoch")?,
        cpu_us: row.unsigned("cpu_us")?,
        traffic_bytes: row.unsigned("traffic_bytes")?,
        memory_bytes: row.unsigned("memory_bytes")?,
        disk_bytes: row.unsigned("disk_bytes")?,
        cpu_permille: row.unsigned("cpu_permille")?,
        idle: Duration::from_micros(row.unsigned("idle_us")?),
        seen_at: Timestamp(row.int("seen_at")?),
    })
}

/// What is known of a server's machine.
pub async fn find(s: &impl Session, server: ServerId) -> Result<Option<MachineUsage>> {
    let sql = format!("SELECT {COLUMNS} FROM machine_usage WHERE server_id = $1");
    let row = s.one(&sql, vec![server.0.into()]).await?;
    Ok(row.as_ref().map(usage).transpose()?)
}

/// What is known of the machines of an account's servers.
pub async fn list(s: &impl Session, account: AccountId) -> Result<HashMap<ServerId, MachineUsage>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM machine_usage JOIN server ON server.id = machine_usage.server_id \
         WHERE server.account_id = $1 AND server.phase <> 'destroyed'"
    );
    let rows = s.all(&sql, vec![account.0.into()]).await?;
    let one = |row: &Row| Ok((ServerId(row.int("server_id")?), usage(row)?));
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// When the machines of a node's servers were last looked at.
pub async fn seen_on(s: &impl Session, node: NodeId) -> Result<HashMap<ServerId, Timestamp>> {
    let rows = s
        .all(
            "SELECT machine_usage.server_id AS server_id, machine_usage.seen_at AS seen_at FROM machine_usage \
             JOIN server ON server.id = machine_usage.server_id WHERE server.node_id = $1",
            vec![node.0.into()],
        )
        .await?;
    let one = |row: &Row| Ok((ServerId(row.int("server_id")?), Timestamp(row.int("seen_at")?)));
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// Takes note of a look at a server's machine and answers what is known after it. Run it in a transaction.
pub async fn record(
    s: &impl Session,
    server: ServerId,
    look: Look,
    rules: IdleRules,
) -> Result<MachineUsage> {
    let sql = format!("SELECT {COLUMNS} FROM machine_usage WHERE server_id = $1 {{lock}}");
    let row = s.one(&sql, vec![server.0.into()]).await?;
    let before = row.as_ref().map(usage).transpose()?;
    let after = MachineUsage::after(before.as_ref(), look, rules);
    s.execute(
        "INSERT INTO machine_usage (server_id, epoch, cpu_us, traffic_bytes, memory_bytes, disk_bytes, \
         cpu_permille, idle_us, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (server_id) DO UPDATE SET epoch = excluded.epoch, cpu_us = excluded.cpu_us, \
         traffic_bytes = excluded.traffic_bytes, memory_bytes = excluded.memory_bytes, \
         disk_bytes = excluded.disk_bytes, cpu_permille = excluded.cpu_permille, idle_us = excluded.idle_us, \
         seen_at = excluded.seen_at",
        vec![
            server.0.into(),
            after.epoch.clone().into(),
            signed(after.cpu_us)?.into(),
            signed(after.traffic_bytes)?.into(),
            signed(after.memory_bytes)?.into(),
            signed(after.disk_bytes)?.into(),
            signed(after.cpu_permille)?.into(),
            i64::try_from(after.idle.as_micros()).unwrap_or(i64::MAX).into(),
            after.seen_at.0.into(),
        ],
    )
    .await?;
    Ok(after)
}

/// Its idling begins anew.
pub async fn forget_idling(s: &impl Session, server: ServerId) -> Result<()> {
    s.execute("UPDATE machine_usage SET idle_us = 0 WHERE server_id = $1", vec![server.0.into()]).await?;
    Ok(())
}
