//! Names: what servers' addresses lead back to, the serials of zones, and what an external server of names was told.

use crate::session::{Failure, Row, Session};
use crate::{addresses, settings};
use bulut_model::{Result, ServerId, Timestamp};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A server as far as names go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id, from which its default name derives.
    pub server: ServerId,
    /// What its owner had its addresses lead back to; none: the default.
    pub reverse_name: Option<String>,
    /// That name is one of the provider's own zone, and this server's.
    pub claimed: bool,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv4 addresses that it has besides.
    pub further: Vec<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// A number for the state of all names: it differs when a server came, went or changed its name.
///
/// It is a few sums, so that it costs no more than one look at the servers that exist. Ids are never given again, so
/// that one which comes in the place of another changes a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    servers: i64,
    ids: i64,
    changes: i64,
    pools: i64,
}

/// The present revision of all names.
pub async fn revision(s: &impl Session) -> Result<Revision> {
    let row = s
        .one(
            "SELECT COUNT(*) AS servers, CAST(COALESCE(SUM(id), 0) AS BIGINT) AS ids, \
             CAST(COALESCE(SUM(name_revision), 0) AS BIGINT) AS changes, \
             (SELECT CAST(COALESCE(SUM(id), 0) AS BIGINT) FROM address_pool) AS pools \
             FROM server WHERE phase <> 'destroyed'",
            vec![],
        )
        .await?;
    let row = row.ok_or_else(|| Failure::Fault("a count came back without a row".into()))?;
    Ok(Revision {
        servers: row.int("servers")?,
        ids: row.int("ids")?,
        changes: row.int("changes")?,
        pools: row.int("pools")?,
    })
}

/// The names of a server are not what they were: what serves them has to look.
pub async fn revise(s: &impl Session, server: ServerId) -> Result<()> {
    let sql = "UPDATE server SET name_revision = name_revision + 1 WHERE id = $1";
    s.execute(sql, vec![server.0.into()]).await?;
    Ok(())
}

/// Sets what a server is called, in the guest and by its addresses.
pub async fn set_reverse(s: &impl Session, server: ServerId, hostname: &str) -> Result<()> {
    s.execute(
        "UPDATE server SET hostname = $2, reverse_name = $2, name_revision = name_revision + 1 WHERE id = $1",
        vec![server.0.into(), hostname.into()],
    )
    .await?;
    Ok(())
}

/// Takes a name of the provider's own zone for a server, in small letters. `false`: another server has it.
pub async fn claim(s: &impl Session, name: &str, server: ServerId) -> Result<bool> {
    let sql = "INSERT INTO dns_claim (name, server_id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    if s.execute(sql, vec![name.into(), server.0.into()]).await? > 0 {
        return Ok(true);
    }
    is_claimed(s, name, server).await
}

/// Whether the server has, or is about to have, this name of the provider's own zone, in small letters.
pub async fn is_claimed(s: &impl Session, name: &str, server: ServerId) -> Result<bool> {
    let sql = "SELECT name FROM dns_claim WHERE name = $1 AND server_id = $2";
    Ok(s.one(sql, vec![name.into(), server.0.into()]).await?.is_some())
}

/// Gives back the names that a server took and is not called by: all but the one that it has.
pub async fn settle_claims(s: &impl Session, server: ServerId) -> Result<()> {
    s.execute(
        "DELETE FROM dns_claim WHERE server_id = $1 AND name <> COALESCE((SELECT LOWER(reverse_name) FROM server \
         WHERE id = $1 AND phase <> 'destroyed'), '')",
        vec![server.0.into()],
    )
    .await?;
    Ok(())
}

fn named(row: &Row) -> Result<Named, Failure> {
    let ipv4 = row
        .opt_text("ipv4")?
        .map(|text| text.parse().map_err(|_| Failure::Fault(format!("{text} is no IPv4 address"))));
    Ok(Named {
        server: ServerId(row.int("id")?),
        reverse_name: row.opt_text("reverse_name")?,
        claimed: row.opt_text("claim")?.is_some(),
        ipv4: ipv4.transpose()?,
        further: Vec::new(),
        ipv6: row.opt_text("ipv6")?.as_deref().map(addresses::ipv6).transpose()?,
    })
}

/// All servers that exist, with their names and addresses, oldest first.
pub async fn all(s: &impl Session) -> Result<Vec<Named>> {
    let rows = s
        .all(
            "SELECT server.id AS id, server.reverse_name AS reverse_name, server.ipv6 AS ipv6, \
             address.address AS ipv4, dns_claim.name AS claim FROM server \
             LEFT JOIN address ON address.server_id = server.id \
             LEFT JOIN dns_claim ON dns_claim.server_id = server.id AND dns_claim.name = LOWER(reverse_name) \
             WHERE server.phase <> 'destroyed' ORDER BY server.id",
            vec![],
        )
        .await?;
    let mut servers: Vec<Named> = rows.iter().map(named).collect::<Result<_, _>>()?;
    let mut further: HashMap<ServerId, Vec<Ipv4Addr>> = HashMap::new();
    let sql =
        "SELECT further_server_id, address FROM address WHERE further_server_id IS NOT NULL ORDER BY id";
    for row in s.all(sql, vec![]).await? {
        let server = ServerId(row.int("further_server_id")?);
        further.entry(server).or_default().push(addresses::parsed(&row, "address")?);
    }
    for server in &mut servers {
        server.further = further.remove(&server.server).unwrap_or_default();
    }
    Ok(servers)
}

/// A zone as it was last served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneState {
    /// Its name.
    pub name: String,
    /// A digest of its content.
    pub digest: String,
    /// Its serial.
    pub serial: u32,
    /// When its content changed last.
    pub changed_at: Timestamp,
}

/// The zones as they were last served. In a transaction nobody else sets them until it ends, and what is read after
/// this is as new as what anybody has set.
pub async fn lock_zones(s: &impl Session) -> Result<Vec<ZoneState>> {
    // A row that is always there to be locked, also before there are zones.
    settings::ensure(s, "dns_zones", "locked by whoever sets serials").await?;
    s.one("SELECT value FROM setting WHERE name = 'dns_zones' {lock}", vec![]).await?;
    zones(s).await
}

/// The zones as they were last served.
pub async fn zones(s: &impl Session) -> Result<Vec<ZoneState>> {
    let rows = s.all("SELECT name, digest, serial, changed_at FROM dns_zone ORDER BY name", vec![]).await?;
    let state = |row: &Row| -> Result<ZoneState, Failure> {
        Ok(ZoneState {
            name: row.text("name")?,
            digest: row.text("digest")?,
            serial: row.small("serial")?,
            changed_at: Timestamp(row.int("changed_at")?),
        })
    };
    Ok(rows.iter().map(state).collect::<Result<_, _>>()?)
}

/// Remembers a zone's content and serial.
pub async fn set_zone(s: &impl Session, zone: &ZoneState) -> Result<()> {
    s.execute(
        "INSERT INTO dns_zone (name, digest, serial, changed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) \
         DO UPDATE SET digest = excluded.digest, serial = excluded.serial, changed_at = excluded.changed_at",
        vec![
            zone.name.clone().into(),
            zone.digest.clone().into(),
            i64::from(zone.serial).into(),
            zone.changed_at.0.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A record that an external server of names was told, or is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name that has the record.
    pub owner: String,
    /// `PTR`, `A` or `AAAA`.
    pub kind: String,
    /// What it says; none: it is to go.
    pub value: Option<String>,
    /// Whether the server has confirmed it.
    pub agreed: bool,
    /// Tries that failed since it was last agreed.
    pub failures: i64,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

fn published_row(row: &Row) -> Result<Published, Failure> {
    Ok(Published {
        owner: row.text("owner")?,
        kind: row.text("kind")?,
        value: row.opt_text("value")?,
        agreed: row.flag("agreed")?,
        failures: row.int("failures")?,
        last_error: row.opt_text("last_error")?,
    })
}

const PUBLISHED: &str = "SELECT owner, kind, value, agreed, failures, last_error FROM dns_published";

/// All that the external server was told, or is to be told.
pub async fn published(s: &impl Session) -> Result<Vec<Published>> {
    let sql = format!("{PUBLISHED} ORDER BY owner, kind");
    Ok(s.all(&sql, vec![]).await?.iter().map(published_row).collect::<Result<_, _>>()?)
}

/// What the external server has not agreed to and is to be told now, the longest waiting first; at most `limit`.
pub async fn due(s: &impl Session, now: Timestamp, limit: i64) -> Result<Vec<Published>> {
    let sql =
        format!("{PUBLISHED} WHERE agreed = 0 AND retry_at <= $1 ORDER BY retry_at, owner, kind LIMIT $2");
    let rows = s.all(&sql, vec![now.0.into(), limit.into()]).await?;
    Ok(rows.iter().map(published_row).collect::<Result<_, _>>()?)
}

/// Remembers what the external server is about to be told; from now on it is told until it agrees.
pub async fn intend(
    s: &impl Session,
    owner: &str,
    kind: &str,
    value: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    s.execute(
        "INSERT INTO dns_published (owner, kind, value, agreed, failures, retry_at, changed_at) \
         VALUES ($1, $2, $3, 0, 0, $4, $4) ON CONFLICT (owner, kind) DO UPDATE SET value = excluded.value, \
         agreed = 0, failures = 0, retry_at = excluded.retry_at, changed_at = excluded.changed_at",
        vec![owner.into(), kind.into(), value.into(), now.0.into()],
    )
    .await?;
    Ok(())
}

/// The external server is another one, or may have forgotten: it is told everything again.
pub async fn intend_all(s: &impl Session, now: Timestamp) -> Result<u64> {
    let sql = "UPDATE dns_published SET agreed = 0, failures = 0, retry_at = $1";
    Ok(s.execute(sql, vec![now.0.into()]).await?)
}

/// The external server has confirmed `told`. Nothing happens if something else is intended by now. What is gone is
/// forgotten.
pub async fn agree(s: &impl Session, told: &Published) -> Result<()> {
    let mut values = vec![told.owner.clone().into(), told.kind.clone().into()];
    let sql = match &told.value {
        Some(value) => {
            values.push(value.clone().into());
            "UPDATE dns_published SET agreed = 1, failures = 0, last_error = NULL \
             WHERE owner = $1 AND kind = $2 AND value = $3"
        }
        None => "DELETE FROM dns_published WHERE owner = $1 AND kind = $2 AND value IS NULL",
    };
    s.execute(sql, values).await?;
    Ok(())
}

/// The external server refuses `told`; it is told again at `retry_at`.
pub async fn disagree(s: &impl Session, told: &Published, why: &str, retry_at: Timestamp) -> Result<()> {
    s.execute(
        "UPDATE dns_published SET failures = failures + 1, last_error = $3, retry_at = $4 \
         WHERE owner = $1 AND kind = $2 AND agreed = 0",
        vec![told.owner.clone().into(), told.kind.clone().into(), why.into(), retry_at.0.into()],
    )
    .await?;
    Ok(())
}

/// The external server could be told nothing at all.
pub async fn note_failure(s: &impl Session, why: &str) -> Result<()> {
    s.execute("UPDATE dns_published SET last_error = $1 WHERE agreed = 0", vec![why.into()]).await?;
    Ok(())
}
