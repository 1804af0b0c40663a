//! Plans: what an operation is to make of its server, stored with it as JSON before the first effect.
//!
//! While its steps run the plan is laid over the server's row; when it ends well, the plan becomes the row. Must not
//! know: drivers, or how steps are carried out.

use bulut_model::catalog::{ImageFiles, Package};
use bulut_model::firewall::FirewallRule;
use bulut_model::rate::Rates;
use bulut_model::server::{Power, Server};
use bulut_model::{Error, ImageId, PackageId, Result};
use bulut_store::nodes::Size;
use bulut_store::servers::NewDisk;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What is to change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Whether the server ran when the operation was ordered, so that it does so again afterwards.
    pub was_running: bool,
    /// Its new size.
    pub size: Option<NewSize>,
    /// Its new disk.
    pub disk: Option<DiskPlan>,
    /// Its new root password.
    pub password: Option<NewPassword>,
    /// Its new host name.
    pub hostname: Option<String>,
    /// Its guest is not asked: the reset button is pressed.
    pub is_forced: bool,
    /// What its network will be.
    pub network: NetworkPlan,
}

/// What is to change of a server's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPlan {
    /// Its rules, all of them.
    pub firewall: Option<Vec<FirewallRule>>,
    /// A further address, which the server has taken already and gives back if it comes to nothing.
    pub takes: Option<Ipv4Addr>,
    /// A further address that it gives back once nothing leads to the machine by it any more.
    pub gives_back: Option<Ipv4Addr>,
    /// How fast it is to be.
    pub rates: Option<Rates>,
}

impl NetworkPlan {
    /// What undoes it, laid over the row that has not changed but for the address that was taken.
    #[must_use]
    pub fn undoing(&self) -> Self {
        Self { gives_back: self.takes, ..Self::default() }
    }
}

/// A new size, whose room is reserved as far as it is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSize {
    /// The package.
    pub package: PackageId,
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB: never less than before.
    pub disk_gib: u64,
    /// Traffic in a month, TB.
    pub traffic_tb: u64,
    /// How fast its network is; as before if absent.
    #[serde(default)]
    pub rates: Option<Rates>,
}

/// A new disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskPlan {
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
    /// Whether the guest has to be told the password.
    pub tells_password: bool,
}

/// A new root password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewPassword {
    /// The password, sealed for the server.
    pub sealed: String,
    /// Letters and digits that no earlier change had; the hash's salt and the guest's confirmation come from it.
    pub nonce: String,
}

impl Plan {
    /// A plan that only remembers whether the server ran.
    pub fn of(server: &Server) -> Self {
        Self { was_running: server.power != Power::Stopped, ..Self::default() }
    }

    /// As it is stored.
    ///
    /// Errors: `Internal`, never for a plan made here.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(Error::internal)
    }

    /// As it was stored.
    ///
    /// Errors: `Internal` for what is no plan.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(Error::internal)
    }
}

impl NewSize {
    /// What is reserved for it on the node.
    pub fn size(&self) -> Size {
        size(self.cpu, self.memory_mib, self.disk_gib)
    }
}

impl From<&DiskPlan> for NewDisk {
    fn from(plan: &DiskPlan) -> Self {
        Self {
            image: plan.image,
            image_files: plan.image_files.clone(),
            instance_id: plan.instance_id.clone(),
            recipe: plan.recipe.clone(),
            fresh_identity: plan.fresh_identity,
            sealed_password: plan.sealed_password.clone(),
            seed_secret: plan.tells_password,
        }
    }
}

/// What a server takes on its node.
pub fn size_of(server: &Server) -> Size {
    size(server.cpu, server.memory_mib, server.disk_gib)
}

/// What a package takes on a node.
pub fn size_of_package(package: &Package) -> Size {
    size(package.cpu, package.memory_mib, package.disk_gib)
}

fn size(cpu: u32, memory_mib: u64, disk_gib: u64) -> Size {
    Size { cpu: i64::from(cpu), memory_mib: memory_mib.cast_signed(), disk_gib: disk_gib.cast_signed() }
}
