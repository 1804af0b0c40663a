//! Servers.

use crate::addresses;
use crate::nodes::{self, Size};
use crate::packages::signed;
use crate::pools;
use crate::rates as store_rates;
use crate::session::{Failure, Row, Session, to_json};
use crate::vnc_doors;
use bulut_model::address::{ServerIpv4, ServerIpv6};
use bulut_model::catalog::ImageFiles;
use bulut_model::rate::Rates;
use bulut_model::run_mode::RunMode;
use bulut_model::server::{Phase, Power, Server};
use bulut_model::{AccountId, Error, ImageId, NodeId, PackageId, RegionId, Result, ServerId, Timestamp};
use std::collections::HashMap;

/// A server to be made: what was chosen for it before the first effect.
#[derive(Debug, Clone)]
pub struct New {
    /// Whose it is.
    pub account: AccountId,
    /// Its region.
    pub region: RegionId,
    /// The node whose room was reserved for it.
    pub node: NodeId,
    /// Its package.
    pub package: PackageId,
    /// Its image.
    pub image: ImageId,
    /// Free text.
    pub name: String,
    /// RFC 1123; empty until [`set_hostname`] where it derives from the id.
    pub hostname: String,
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
    /// Traffic in a month, TB.
    pub traffic_tb: u64,
    /// cloud-init's instance id.
    pub instance_id: String,
    /// The files that its disk starts from.
    pub image_files: ImageFiles,
    /// OpenSSH public key lines.
    pub ssh_keys: Vec<String>,
    /// Root's password, sealed.
    pub sealed_password: Option<String>,
    /// Base64 of the customer's user-data.
    pub user_data: Option<String>,
    /// The cloud-config of the application that the image is.
    pub recipe: Option<String>,
    /// Its disk begins as a copy of another server's.
    pub fresh_identity: bool,
    /// It draws on its account's resource pool, where room was taken for it.
    pub in_pool: bool,
    /// Its owner chose its name.
    pub is_named: bool,
    /// What becomes of it when it idles.
    pub run_mode: RunMode,
}

/// What a server's disk is, when it gets another one.
#[derive(Debug, Clone)]
pub struct NewDisk {
    /// The image that it began with.
    pub image: ImageId,
    /// That image's files.
    pub image_files: ImageFiles,
    /// cloud-init's instance id.
    pub instance_id: String,
    /// The cloud-config of the application that the image is.
    pub recipe: Option<String>,
    /// It is a copy of another server's.
    pub fresh_identity: bool,
    /// Root's password on it, sealed for this server.
    pub sealed_password: Option<String>,
    /// Whether the seed on the node holds the password.
    pub seed_secret: bool,
}

/// What only operations need to know of a server.
#[derive(Debug, Clone)]
pub struct Details {
    /// cloud-init's instance id.
    pub instance_id: String,
    /// The files that its disk started from.
    pub image_files: ImageFiles,
    /// OpenSSH public key lines.
    pub ssh_keys: Vec<String>,
    /// Root's password, sealed.
    pub sealed_password: Option<String>,
    /// Base64 of the customer's user-data.
    pub user_data: Option<String>,
    /// The cloud-config of the application that the image is.
    pub recipe: Option<String>,
    /// Its disk began as a copy of another server's.
    pub fresh_identity: bool,
    /// Whether the seed on the node still holds the password.
    pub seed_secret: bool,
}

const SELECT: &str = "SELECT server.id AS id, server.account_id AS account_id, server.region_id AS region_id, \
     server.node_id AS node_id, server.package_id AS package_id, server.image_id AS image_id, \
     region.slug AS region_slug, package.slug AS package_slug, image.slug AS image_slug, \
     server.name AS name, server.hostname AS hostname, server.reverse_name AS reverse_name, \
     server.cpu AS cpu, server.memory_mib AS memory_mib, \
     server.disk_gib AS disk_gib, server.traffic_tb AS traffic_tb, server.phase AS phase, \
     server.power AS power, server.ipv6 AS ipv6, server.ipv6_prefix AS ipv6_prefix, \
     server.ipv6_gateway AS ipv6_gateway, server.ssh_endpoint AS ssh_endpoint, \
     server.in_pool AS in_pool, server.is_named AS is_named, server.run_mode AS run_mode, \
     server.created_at AS created_at, address.address AS ipv4, address_pool.prefix AS ipv4_prefix, \
     address_pool.gateway AS ipv4_gateway FROM server \
     JOIN region ON region.id = server.region_id JOIN package ON package.id = server.package_id \
     JOIN image ON image.id = server.image_id LEFT JOIN address ON address.server_id = server.id \
     LEFT JOIN address_pool ON address_pool.id = address.pool_id";

fn word<T>(row: &Row, column: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    let text = row.text(column)?;
    read(&text).ok_or_else(|| Failure::Fault(format!("column {column} holds '{text}'")))
}

fn byte(row: &Row, column: &str) -> Result<u8, Failure> {
    u8::try_from(row.int(column)?).map_err(|_| Failure::Fault(format!("column {column} is out of range")))
}

fn ipv4(row: &Row) -> Result<Option<ServerIpv4>, Failure> {
    let Some(address) = row.opt_text("ipv4")? else { return Ok(None) };
    let read = |text: &str| text.parse().map_err(|_| Failure::Fault(format!("{text} is no IPv4 address")));
    Ok(Some(ServerIpv4 {
        address: read(&address)?,
        prefix: byte(row, "ipv4_prefix")?,
        gateway: read(&row.text("ipv4_gateway")?)?,
    }))
}

fn ipv6(row: &Row) -> Result<Option<ServerIpv6>, Failure> {
    let Some(address) = row.opt_text("ipv6")? else { return Ok(None) };
    Ok(Some(ServerIpv6 {
        address: addresses::ipv6(&address)?,
        prefix: byte(row, "ipv6_prefix")?,
        gateway: addresses::ipv6(&row.text("ipv6_gateway")?)?,
    }))
}

fn server(row: &Row) -> Result<Server, Failure> {
    Ok(Server {
        id: ServerId(row.int("id")?),
        account: AccountId(row.int("account_id")?),
        region: RegionId(row.int("region_id")?),
        node: NodeId(row.int("node_id")?),
        package: PackageId(row.int("package_id")?),
        image: ImageId(row.int("image_id")?),
        region_slug: row.text("region_slug")?,
        package_slug: row.text("package_slug")?,
        image_slug: row.text("image_slug")?,
        name: row.text("name")?,
        hostname: row.text("hostname")?,
        reverse_name: row.opt_text("reverse_name")?,
        cpu: row.small("cpu")?,
        memory_mib: row.unsigned("memory_mib")?,
        disk_gib: row.unsigned("disk_gib")?,
        traffic_tb: row.unsigned("traffic_tb")?,
        phase: word(row, "phase", Phase::from_word)?,
        power: word(row, "power", Power::from_word)?,
        ipv4: ipv4(row)?,
        ipv6: ipv6(row)?,
        ssh_endpoint: row.opt_text("ssh_endpoint")?,
        in_pool: row.flag("in_pool")?,
        is_named: row.flag("is_named")?,
        run_mode: word(row, "run_mode", RunMode::from_word)?,
        created_at: Timestamp(row.int("created_at")?),
        active_operations: Vec::new(),
        tags: Vec::new(),
    })
}

/// Writes the row of a new server and answers its id. Its room is reserved already.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<ServerId> {
    let row = s
        .one(
            "INSERT INTO server (account_id, region_id, node_id, package_id, image_id, name, hostname, cpu, \
             memory_mib, disk_gib, traffic_tb, phase, power, instance_id, ssh_keys, sealed_password, \
             user_data, image_files, recipe, fresh_identity, seed_secret, reserved, created_at, in_pool, is_named, \
             run_mode, rate_down_bps, rate_up_bps) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'building', 'stopped', $12, $13, $14, $15, \
             $17, $18, $19, 1, 1, $16, $20, $21, $22, (SELECT rate_down_bps FROM package WHERE id = $4), \
             (SELECT rate_up_bps FROM package WHERE id = $4)) RETURNING id",
            vec![
                new.account.0.into(),
                new.region.0.into(),
                new.node.0.into(),
                new.package.0.into(),
                new.image.0.into(),
                new.name.clone().into(),
                new.hostname.clone().into(),
                i64::from(new.cpu).into(),
                signed(new.memory_mib)?.into(),
                signed(new.disk_gib)?.into(),
                signed(new.traffic_tb)?.into(),
                new.instance_id.clone().into(),
                to_json(&new.ssh_keys)?.into(),
                new.sealed_password.clone().into(),
                new.user_data.clone().into(),
                now.0.into(),
                to_json(&new.image_files)?.into(),
                new.recipe.clone().into(),
                i64::from(new.fresh_identity).into(),
                i64::from(new.in_pool).into(),
                i64::from(new.is_named).into(),
                new.run_mode.as_str().into(),
            ],
        )
        .await?;
    let row = row.ok_or_else(|| Error::internal("an inserted server came back without a row"))?;
    Ok(ServerId(row.int("id")?))
}

/// Sets the host name.
pub async fn set_hostname(s: &impl Session, id: ServerId, hostname: &str) -> Result<()> {
    s.execute("UPDATE server SET hostname = $2 WHERE id = $1", vec![id.0.into(), hostname.into()]).await?;
    Ok(())
}

/// Sets the name, and whether its owner chose it.
pub async fn set_name(s: &impl Session, id: ServerId, name: &str, is_named: bool) -> Result<()> {
    s.execute(
        "UPDATE server SET name = $2, is_named = $3 WHERE id = $1",
        vec![id.0.into(), name.into(), i64::from(is_named).into()],
    )
    .await?;
    Ok(())
}

/// Sets what becomes of it when it idles.
pub async fn set_run_mode(s: &impl Session, id: ServerId, mode: RunMode) -> Result<()> {
    s.execute("UPDATE server SET run_mode = $2 WHERE id = $1", vec![id.0.into(), mode.as_str().into()])
        .await?;
    Ok(())
}

/// Sets the sealed root password (sealed with the id, so that it can only be known after the insert).
pub async fn set_sealed_password(s: &impl Session, id: ServerId, sealed: &str) -> Result<()> {
    s.execute("UPDATE server SET sealed_password = $2 WHERE id = $1", vec![id.0.into(), sealed.into()])
        .await?;
    Ok(())
}

/// Sets the IPv6 address.
pub async fn set_ipv6(s: &impl Session, id: ServerId, ipv6: &ServerIpv6) -> Result<()> {
    s.execute(
        "UPDATE server SET ipv6 = $2, ipv6_prefix = $3, ipv6_gateway = $4 WHERE id = $1",
        vec![
            id.0.into(),
            ipv6.address.to_string().into(),
            i64::from(ipv6.prefix).into(),
            ipv6.gateway.to_string().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The account's servers that exist, oldest first, with their tags and what is under way.
pub async fn list(s: &impl Session, account: AccountId) -> Result<Vec<Server>> {
    let sql =
        format!("{SELECT} WHERE server.account_id = $1 AND server.phase <> 'destroyed' ORDER BY server.id");
    let rows = s.all(&sql, vec![account.0.into()]).await?;
    let mut servers: Vec<Server> = rows.iter().map(server).collect::<Result<_, _>>()?;
    if servers.is_empty() {
        return Ok(servers);
    }
    let mut active: HashMap<i64, Vec<i64>> = HashMap::new();
    let sql = "SELECT server_id, id FROM operation WHERE account_id = $1 AND status = 0 \
               AND holds_server = 1 ORDER BY id";
    for row in s.all(sql, vec![account.0.into()]).await? {
        active.entry(row.int("server_id")?).or_default().push(row.int("id")?);
    }
    let mut tags: HashMap<i64, Vec<String>> = HashMap::new();
    let sql = "SELECT tag.server_id AS server_id, tag.tag AS tag FROM tag \
               JOIN server ON server.id = tag.server_id WHERE server.account_id = $1 ORDER BY tag.tag";
    for row in s.all(sql, vec![account.0.into()]).await? {
        tags.entry(row.int("server_id")?).or_default().push(row.text("tag")?);
    }
    for server in &mut servers {
        server.active_operations = active.remove(&server.id.0).unwrap_or_default();
        server.tags = tags.remove(&server.id.0).unwrap_or_default();
    }
    Ok(servers)
}

/// A server by id, of whatever account and phase; without tags and operations.
pub async fn find(s: &impl Session, id: ServerId) -> Result<Option<Server>> {
    let row = s.one(&format!("{SELECT} WHERE server.id = $1"), vec![id.0.into()]).await?;
    Ok(row.as_ref().map(server).transpose()?)
}

/// A server of this account that exists, with its tags and what is under way.
pub async fn find_owned(s: &impl Session, account: AccountId, id: ServerId) -> Result<Option<Server>> {
    let sql =
        format!("{SELECT} WHERE server.id = $1 AND server.account_id = $2 AND server.phase <> 'destroyed'");
    let row = s.one(&sql, vec![id.0.into(), account.0.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut server = server(&row)?;
    let sql = "SELECT id FROM operation WHERE server_id = $1 AND status = 0 AND holds_server = 1 ORDER BY id";
    for row in s.all(sql, vec![id.0.into()]).await? {
        server.active_operations.push(row.int("id")?);
    }
    for row in s.all("SELECT tag FROM tag WHERE server_id = $1 ORDER BY tag", vec![id.0.into()]).await? {
        server.tags.push(row.text("tag")?);
    }
    Ok(Some(server))
}

/// What only operations need to know.
pub async fn details(s: &impl Session, id: ServerId) -> Result<Details> {
    let row = s
        .one(
            "SELECT instance_id, image_files, ssh_keys, sealed_password, user_data, recipe, fresh_identity, \
             seed_secret FROM server WHERE id = $1",
            vec![id.0.into()],
        )
        .await?;
    let row = row.ok_or_else(|| Error::internal(format!("server {id} has no row")))?;
    Ok(Details {
        instance_id: row.text("instance_id")?,
        image_files: row.json("image_files")?,
        ssh_keys: row.json("ssh_keys")?,
        sealed_password: row.opt_text("sealed_password")?,
        user_data: row.opt_text("user_data")?,
        recipe: row.opt_text("recipe")?,
        fresh_identity: row.flag("fresh_identity")?,
        seed_secret: row.flag("seed_secret")?,
    })
}

/// Root's passwords on the account's servers that exist, sealed.
pub async fn sealed_passwords(s: &impl Session, account: AccountId) -> Result<Vec<(ServerId, String)>> {
    let rows = s
        .all(
            "SELECT id, sealed_password FROM server WHERE account_id = $1 AND phase <> 'destroyed' \
             AND sealed_password IS NOT NULL",
            vec![account.0.into()],
        )
        .await?;
    let one = |row: &Row| Ok((ServerId(row.int("id")?), row.text("sealed_password")?));
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// Whether the account has, or had, this server.
pub async fn was_owned(s: &impl Session, account: AccountId, id: ServerId) -> Result<bool> {
    let sql = "SELECT id FROM server WHERE id = $1 AND account_id = $2";
    Ok(s.one(sql, vec![id.0.into(), account.0.into()]).await?.is_some())
}

/// The account's servers that operations since `since` were about, gone ones too, without tags and operations.
pub async fn list_operated(s: &impl Session, account: AccountId, since: Timestamp) -> Result<Vec<Server>> {
    let sql = format!(
        "{SELECT} WHERE server.account_id = $1 AND server.id IN \
         (SELECT server_id FROM operation WHERE account_id = $1 AND created_at >= $2)"
    );
    let rows = s.all(&sql, vec![account.0.into(), since.0.into()]).await?;
    Ok(rows.iter().map(server).collect::<Result<_, _>>()?)
}

/// The servers of a node that exist, for the reconciler: without tags and operations.
pub async fn list_on_node(s: &impl Session, node: NodeId) -> Result<Vec<Server>> {
    let sql =
        format!("{SELECT} WHERE server.node_id = $1 AND server.phase <> 'destroyed' ORDER BY server.id");
    let rows = s.all(&sql, vec![node.0.into()]).await?;
    Ok(rows.iter().map(server).collect::<Result<_, _>>()?)
}

/// The servers of a node that run and whose seed still holds their password.
pub async fn list_with_seed_secret(s: &impl Session, node: NodeId) -> Result<Vec<ServerId>> {
    let rows = s
        .all(
            "SELECT id FROM server WHERE node_id = $1 AND seed_secret = 1 AND phase = 'ready' \
             AND power = 'running' ORDER BY id",
            vec![node.0.into()],
        )
        .await?;
    Ok(rows.iter().map(|row| row.int("id").map(ServerId)).collect::<Result<_, _>>()?)
}

/// Remembers whether the seed on the node holds the password.
pub async fn set_seed_secret(s: &impl Session, id: ServerId, holds: bool) -> Result<()> {
    s.execute("UPDATE server SET seed_secret = $2 WHERE id = $1", vec![id.0.into(), i64::from(holds).into()])
        .await?;
    Ok(())
}

/// The server has another disk.
pub async fn set_disk(s: &impl Session, id: ServerId, disk: &NewDisk) -> Result<()> {
    s.execute(
        "UPDATE server SET image_id = $2, image_files = $3, instance_id = $4, recipe = $5, fresh_identity = $6, \
         sealed_password = $7, seed_secret = $8 WHERE id = $1",
        vec![
            id.0.into(),
            disk.image.0.into(),
            to_json(&disk.image_files)?.into(),
            disk.instance_id.clone().into(),
            disk.recipe.clone().into(),
            i64::from(disk.fresh_identity).into(),
            disk.sealed_password.clone().into(),
            i64::from(disk.seed_secret).into(),
        ],
    )
    .await?;
    Ok(())
}

/// The server has another size, and other rates where those came with it.
pub async fn set_size(
    s: &impl Session,
    id: ServerId,
    package: PackageId,
    size: Size,
    traffic_tb: u64,
    rates: Option<Rates>,
) -> Result<()> {
    s.execute(
        "UPDATE server SET package_id = $2, cpu = $3, memory_mib = $4, disk_gib = $5, traffic_tb = $6 \
         WHERE id = $1",
        vec![
            id.0.into(),
            package.0.into(),
            size.cpu.into(),
            size.memory_mib.into(),
            size.disk_gib.into(),
            signed(traffic_tb)?.into(),
        ],
    )
    .await?;
    match rates {
        Some(rates) => store_rates::set_of_server(s, id, rates).await,
        None => Ok(()),
    }
}

/// Sets whether the server runs, as seen on the machine. Answers whether that was news.
pub async fn set_power(s: &impl Session, id: ServerId, power: Power) -> Result<bool> {
    let changed = s
        .execute(
            "UPDATE server SET power = $2 WHERE id = $1 AND power <> $2",
            vec![id.0.into(), power.as_str().into()],
        )
        .await?;
    Ok(changed > 0)
}

/// Sets where its ssh port is reached from the node.
pub async fn set_ssh_endpoint(s: &impl Session, id: ServerId, endpoint: &str) -> Result<()> {
    s.execute("UPDATE server SET ssh_endpoint = $2 WHERE id = $1", vec![id.0.into(), endpoint.into()])
        .await?;
    Ok(())
}

/// Sets where it is in its life.
pub async fn set_phase(s: &impl Session, id: ServerId, phase: Phase) -> Result<()> {
    s.execute("UPDATE server SET phase = $2 WHERE id = $1", vec![id.0.into(), phase.as_str().into()]).await?;
    Ok(())
}

/// The end of a server: its addresses rest, its room is given back exactly once, its secrets are gone. The
/// row stays, so that its id is never given again. Run it in a transaction.
pub async fn bury(s: &impl Session, id: ServerId, now: Timestamp) -> Result<()> {
    addresses::release(s, id, now).await?;
    let row = s
        .one(
            "UPDATE server SET reserved = 0 WHERE id = $1 AND reserved = 1 \
             RETURNING node_id, account_id, in_pool, cpu, memory_mib, disk_gib",
            vec![id.0.into()],
        )
        .await?;
    if let Some(row) = row {
        let size =
            Size { cpu: row.int("cpu")?, memory_mib: row.int("memory_mib")?, disk_gib: row.int("disk_gib")? };
        nodes::release(s, NodeId(row.int("node_id")?), size).await?;
        if row.flag("in_pool")? {
            pools::release(s, AccountId(row.int("account_id")?), size).await?;
        }
    }
    for table in ["tag", "machine_usage", "dns_claim", "firewall_rule"] {
        s.execute(&format!("DELETE FROM {table} WHERE server_id = $1"), vec![id.0.into()]).await?;
    }
    vnc_doors::remove(s, id).await?;
    s.execute(
        "UPDATE server SET phase = 'destroyed', power = 'stopped', sealed_password = NULL, user_data = NULL, \
         seed_secret = 0, ssh_endpoint = NULL, destroyed_at = COALESCE(destroyed_at, $2) WHERE id = $1",
        vec![id.0.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// How many servers are in each phase and power, for the metrics.
pub async fn count(s: &impl Session) -> Result<Vec<(String, String, u64)>> {
    let rows = s
        .all(
            "SELECT phase, power, COUNT(*) AS servers FROM server WHERE phase <> 'destroyed' \
             GROUP BY phase, power ORDER BY phase, power",
            vec![],
        )
        .await?;
    let counted = |row: &Row| Ok((row.text("phase")?, row.text("power")?, row.unsigned("servers")?));
    Ok(rows.iter().map(counted).collect::<Result<_, Failure>>()?)
}
