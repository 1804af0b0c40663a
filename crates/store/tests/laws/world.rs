//! What most laws need before they can begin: an account, a region with a node, something to order.

use crate::databases::START;
use bulut_model::account::Account;
use bulut_model::catalog::{Image, ImageFiles, ImageKind, Package};
use bulut_model::operation::OperationKind;
use bulut_model::run_mode::RunMode;
use bulut_model::{
    AccountId, ImageId, Micros, NodeId, OperationId, PackageId, RegionId, ServerId, Timestamp,
};
use bulut_store::nodes::Size;
use bulut_store::operations::{self, Fence};
use bulut_store::{Session, Store, accounts, addresses, images, nodes, packages, regions, servers};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

/// The room that one server of the world takes.
pub const ROOM: Size = Size { cpu: 1, memory_mib: 1024, disk_gib: 25 };

/// One of each.
#[derive(Debug, Clone, Copy)]
pub struct World {
    pub account: AccountId,
    pub region: RegionId,
    pub node: NodeId,
    pub package: PackageId,
    pub image: ImageId,
}

impl World {
    /// Makes it, with a node that has room for `servers` servers.
    pub async fn with_room(s: &impl Session, servers: i64) -> Self {
        let account = account(s, "alice").await.id;
        let region = regions::ensure(s, "ist1", "Ist-01", "TR", true, 1).await.unwrap();
        let capacity = Size {
            cpu: ROOM.cpu * servers,
            memory_mib: ROOM.memory_mib * servers,
            disk_gib: ROOM.disk_gib * servers,
        };
        let node = nodes::ensure(s, region, "node1", "simulated", capacity, START).await.unwrap().id;
        packages::ensure(s, &package("eos1"), &[region], 1).await.unwrap();
        images::ensure(s, &image("debian-12-x64"), &[region], Some(27), 1).await.unwrap();
        let package = packages::find(s, "eos1").await.unwrap().unwrap().id;
        let image = images::find(s, "debian-12-x64").await.unwrap().unwrap().id;
        Self { account, region, node, package, image }
    }

    /// Makes it, with a node that nothing fills.
    pub async fn new(s: &impl Session) -> Self {
        Self::with_room(s, 1_000_000).await
    }

    /// An order of this account.
    pub fn order(&self, name: &str) -> servers::New {
        servers::New {
            account: self.account,
            region: self.region,
            node: self.node,
            package: self.package,
            image: self.image,
            name: name.to_owned(),
            hostname: format!("{name}.example.com"),
            cpu: 1,
            memory_mib: 1024,
            disk_gib: 25,
            traffic_tb: 2,
            instance_id: format!("i-{name}"),
            image_files: files(),
            ssh_keys: vec!["ssh-ed25519 AAAA alice".into(), "ssh-rsa AAAB \"quoted\" ü".into()],
            sealed_password: Some("sealed".into()),
            user_data: Some("I2Nsb3VkLWNvbmZpZwo=".into()),
            recipe: None,
            fresh_identity: false,
            in_pool: false,
            is_named: true,
            run_mode: RunMode::Normal,
        }
    }

    /// A server for which room is reserved.
    pub async fn server(&self, s: &impl Session, name: &str) -> ServerId {
        assert_eq!(nodes::reserve(s, self.region, ROOM).await.unwrap(), Some(self.node));
        servers::insert(s, &self.order(name), START).await.unwrap()
    }

    /// So many servers, in one transaction.
    pub async fn servers(&self, store: &Store, count: usize) -> Vec<ServerId> {
        let tx = store.begin().await.unwrap();
        let mut made = Vec::new();
        for i in 0..count {
            made.push(self.server(&tx, &format!("web{i}")).await);
        }
        tx.commit().await.unwrap();
        made
    }

    /// What an operation on a server of this account is about.
    pub fn subject(&self, server: ServerId) -> operations::Subject {
        operations::Subject { account: self.account, server, snapshot: None, node: self.node }
    }

    /// An operation on a server of this account, due at `now`.
    pub async fn operation(&self, s: &impl Session, server: ServerId, now: Timestamp) -> OperationId {
        operations::insert(s, OperationKind::ServerStart, self.subject(server), "{}", now).await.unwrap()
    }

    /// A server with an operation, due at `now`.
    pub async fn work(&self, s: &impl Session, name: &str, now: Timestamp) -> OperationId {
        let server = self.server(s, name).await;
        self.operation(s, server, now).await
    }

    /// A pool `10.0.<net>.0/24` whose addresses are the first `count` hosts after the gateway.
    pub async fn pool(&self, s: &impl Session, net: u8, count: u8) {
        let addresses: Vec<_> = (2..count + 2).map(|host| (Ipv4Addr::new(10, 0, net, host), false)).collect();
        ensure_pool(s, self.region, net, &addresses).await.unwrap();
    }
}

/// A pool `10.0.<net>.0/24` with these addresses (`true`: reserved).
pub async fn ensure_pool(
    s: &impl Session,
    region: RegionId,
    net: u8,
    addresses: &[(Ipv4Addr, bool)],
) -> bulut_model::Result<()> {
    let network = IpAddr::from([10, 0, net, 0]);
    let resolvers = [IpAddr::from([9, 9, 9, 9]), "2620:fe::fe".parse().unwrap()];
    let gateway = IpAddr::from([10, 0, net, 1]);
    let noted = |(address, reserved): &(Ipv4Addr, bool)| (*address, reserved.then_some("a test's"));
    let addresses: Vec<_> = addresses.iter().map(noted).collect();
    addresses::ensure_pool(s, region, network, 24, gateway, &resolvers, &addresses, START).await
}

/// What a new account is made from.
pub fn person(name: &str) -> accounts::New {
    accounts::New {
        email: format!("{name}@example.com"),
        user_name: Some(name.to_owned()),
        first_name: "Ayşe".into(),
        last_name: "Kaya".into(),
        password_hash: "$argon2id$first".into(),
        is_operator: false,
    }
}

/// An account `<name>@example.com`, also known as `<name>`.
pub async fn account(s: &impl Session, name: &str) -> Account {
    accounts::insert(s, &person(name), START).await.unwrap()
}

/// A package as the catalogue has it.
pub fn package(slug: &str) -> Package {
    Package {
        id: PackageId(0),
        slug: slug.to_owned(),
        cpu: 1,
        memory_mib: 1024,
        disk_gib: 25,
        traffic_tb: 2,
        hourly: Micros(7_400),
        monthly: Micros(5_000_000),
        active: true,
        regions: Vec::new(),
    }
}

/// An image as the catalogue has it.
pub fn image(slug: &str) -> Image {
    Image {
        id: ImageId(0),
        slug: slug.to_owned(),
        name: "Debian 12".into(),
        distribution: "Debian".into(),
        kind: ImageKind::Template,
        min_cpu: Some(1),
        min_memory_mib: None,
        min_disk_gib: Some(10),
        default_user: "debian".into(),
        active: true,
        base_slug: None,
        recipe: None,
        files: None,
        regions: Vec::new(),
    }
}

/// Files of an image that are there.
pub fn files() -> ImageFiles {
    ImageFiles {
        digest: format!("sha256:{}", "5e".repeat(32)),
        directory: "debian-12-x64/5e5e".into(),
        virtual_bytes: 2 << 30,
        file_bytes: 300 << 20,
        direct: None,
    }
}

/// The fence of a claim.
pub fn fence(owner: &str, claimed: &operations::Claimed) -> Fence {
    Fence { id: claimed.operation.id, owner: owner.to_owned(), attempt: claimed.attempt }
}

/// Runs `count` tasks that begin at the same moment, and answers what each of them answers.
pub async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(count));
    let running: Vec<JoinHandle<T>> = (0..count)
        .map(|i| {
            let (start, task) = (start.clone(), task(i));
            tokio::spawn(async move {
                start.wait().await;
                task.await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in running {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Chance that a seed repeats: xorshift, good enough to choose what happens next.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one task of a seed.
    pub fn new(seed: u64, task: usize) -> Self {
        Self(
            (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ (task as u64 + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9),
        )
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}
