//! What customers choose from: regions, packages, images.

use crate::{ImageId, Micros, PackageId, RegionId};
use serde::{Deserialize, Serialize};

/// Where servers can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its id.
    pub id: RegionId,
    /// What the calls take: `ist2`.
    pub slug: String,
    /// For people: `Ist-02`.
    pub name: String,
    /// ISO 3166 code of the country.
    pub country: String,
    /// Whether servers can be ordered there.
    pub active: bool,
}

/// A size and its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// What the calls take; free text: `eos1`, `1c-1r-25d`.
    pub slug: String,
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
    /// Traffic included in a month, TB.
    pub traffic_tb: u64,
    /// Price of an hour.
    pub hourly: Micros,
    /// Most that a calendar month costs.
    pub monthly: Micros,
    /// Whether it can be ordered.
    pub active: bool,
    /// Slugs of the regions that offer it, in the regions' order.
    pub regions: Vec<String>,
}

/// Whether an image is an operating system or comes with an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// An operating system.
    Template,
    /// A one-click application on top of a template.
    Application,
}

impl ImageKind {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Application => "application",
        }
    }

    /// The reverse of [`ImageKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "template" => Some(Self::Template),
            "application" => Some(Self::Application),
            _ => None,
        }
    }
}

/// What a disk starts from, as the catalogue shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// What the calls take: `debian-12-x64`.
    pub slug: String,
    /// For people: `Debian 12`.
    pub name: String,
    /// `Debian`, `Ubuntu`, …
    pub distribution: String,
    /// Operating system or application.
    pub kind: ImageKind,
    /// Fewest CPUs it runs with.
    pub min_cpu: Option<u32>,
    /// Least memory it runs with, MiB.
    pub min_memory_mib: Option<u64>,
    /// Smallest disk it fits on, GiB.
    pub min_disk_gib: Option<u64>,
    /// The user that the image's own tools expect; keys and passwords are root's in any case.
    pub default_user: String,
    /// Whether it can be ordered.
    pub active: bool,
    /// The image whose disk an application starts from; its own files are that image's.
    pub base_slug: Option<String>,
    /// The cloud-config that makes an application of its base.
    pub recipe: Option<String>,
    /// The files on the node, once they are there: what [`Image::is_ready`] asks for. Those of the base for an
    /// application.
    pub files: Option<ImageFiles>,
    /// Slugs of the regions that offer it, in the regions' order.
    pub regions: Vec<String>,
}

impl Image {
    /// Whether its files are there, so that a server can be made from it.
    pub fn is_ready(&self) -> bool {
        self.files.is_some()
    }
}

/// The files of an image, relative to the image directory of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFiles {
    /// `sha256:` and 64 hexadecimal digits of the disk file.
    pub digest: String,
    /// The directory that holds them, relative to the image directory.
    pub directory: String,
    /// Size of the disk as a guest sees it, bytes.
    pub virtual_bytes: u64,
    /// Size of the disk file, bytes.
    pub file_bytes: u64,
    /// Kernel, initial ram disk and command line for images that the hypervisor boots directly.
    pub direct: Option<DirectBoot>,
}

/// What a direct boot needs beside the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectBoot {
    /// File name of the kernel.
    pub kernel: String,
    /// File name of the initial ram disk.
    pub initrd: String,
    /// The kernel's command line.
    pub cmdline: String,
}
