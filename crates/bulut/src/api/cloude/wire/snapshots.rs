//! Snapshots, and what calls that use them answer (cloude-api-v1, "List snapshots for a server"; the contract settles
//! the fields).

use super::{AddressOrEmpty, Gigabytes, Networks, kinds};
use crate::domain::servers::PasswordOrdered;
use crate::domain::snapshots::Ordered;
use bulut_model::snapshot::Snapshot;
use serde::Serialize;
use utoipa::ToSchema;

/// A snapshot: the server as it was when it was taken, and what became of its disk.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Snapshot, examples(json!({
    "id": 7,
    "name": "before the upgrade",
    "subscription_id": 1515,
    "cpu": 1,
    "memory": 1,
    "disk": 40,
    "state": "Running",
    "region": "ist2",
    "image": "ubuntu-16-04-x64",
    "package": "eos2",
    "networks": {
        "v4": {"ip": "172.17.32.68", "netmask": "255.255.255.192", "gateway": "172.17.32.65"},
        "v6": "",
    },
    "created_at": "2018-01-04T11:14:34Z",
    "active_events": [],
    "size_mb": 1322,
    "consistency": "filesystem",
    "progress": 100,
})))]
pub struct SnapshotView {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The server that it was taken of, which may be gone.
    pub subscription_id: i64,
    /// Number of CPUs of that server.
    pub cpu: u32,
    /// Memory of that server, GB.
    #[schema(value_type = f64)]
    pub memory: Gigabytes,
    /// Size of the disk, GB: what a package needs at least to carry it.
    pub disk: u64,
    /// State of that server: `Running`, `Stopped` or `Stopping`.
    #[schema(value_type = kinds::ServerState)]
    pub state: &'static str,
    /// Slug of its region.
    pub region: String,
    /// Slug of that server's image.
    pub image: String,
    /// Slug of that server's package.
    pub package: String,
    /// Addresses of that server.
    pub networks: Networks,
    /// When it was asked for, UTC.
    #[schema(value_type = kinds::Time)]
    pub created_at: String,
    /// Ids of the events that make, use or remove it.
    pub active_events: Vec<i64>,
    /// What it takes, MB (of 1,000,000 bytes, rounded up); 0 until it is whole.
    pub size_mb: u64,
    /// `stopped`: the server did not run. `filesystem`: the guest held its file systems still. `crash`: the guest ran
    /// and could not be asked, so its journals have to be replayed. Empty until it is whole.
    #[schema(value_type = kinds::SnapshotConsistency)]
    pub consistency: &'static str,
    /// How much of it is copied, percent; 100 once it is whole.
    #[schema(maximum = 100)]
    pub progress: u8,
}

impl From<Snapshot> for SnapshotView {
    fn from(snapshot: Snapshot) -> Self {
        let facts = snapshot.facts;
        Self {
            id: snapshot.id.0,
            name: snapshot.name,
            subscription_id: snapshot.server.0,
            cpu: facts.cpu,
            memory: Gigabytes { mib: facts.memory_mib },
            disk: snapshot.disk_gib,
            state: facts.power.wire(),
            region: facts.region_slug,
            image: facts.image_slug,
            package: facts.package_slug,
            networks: Networks {
                v4: AddressOrEmpty::v4(facts.ipv4.as_ref()),
                v6: AddressOrEmpty::v6(facts.ipv6.as_ref()),
            },
            created_at: snapshot.created_at.wire(),
            active_events: snapshot.active_operations,
            size_mb: snapshot.size_bytes.div_ceil(1_000_000),
            consistency: snapshot.consistency.map_or("", bulut_model::snapshot::Consistency::as_str),
            progress: snapshot.progress,
        }
    }
}

/// The operation that takes a snapshot, and the snapshot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"event_id": 1587, "id": 7})))]
pub struct SnapshotOrdered {
    /// The operation's id.
    pub event_id: i64,
    /// The snapshot's id.
    pub id: i64,
}

impl From<Ordered> for SnapshotOrdered {
    fn from(ordered: Ordered) -> Self {
        Self { event_id: ordered.operation.0, id: ordered.snapshot.0 }
    }
}

/// The operation that sets a password, and the password.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"event_id": 1587, "password": "correct horse battery"})))]
pub struct PasswordChanged {
    /// The operation's id: the password holds when it has succeeded.
    pub event_id: i64,
    /// Root's new password.
    pub password: String,
}

impl From<PasswordOrdered> for PasswordChanged {
    fn from(ordered: PasswordOrdered) -> Self {
        Self { event_id: ordered.operation.0, password: ordered.password }
    }
}
