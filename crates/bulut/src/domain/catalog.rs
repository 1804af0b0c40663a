//! The catalogue: regions, packages, images and pools. Seeded from files once, data in the database after that.

use super::image_recipes;
use crate::app::App;
use anyhow::Context as _;
use bulut_model::address::Ipv4Network;
use bulut_model::address_pool::{GATEWAY, IPV6_GATEWAY};
use bulut_model::catalog::{Image, ImageKind, Package, Region};
use bulut_model::{ImageId, Micros, PackageId, RegionId, Result};
use bulut_store::{Session, addresses, images, packages, regions, settings};
use serde::Deserialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a new installation starts with.
const SEEDS: &str = include_str!("../../seeds/catalog.toml");
/// The images that this project has recipes or addresses of.
const IMAGES: &str = include_str!("../../../../images/catalog.toml");

/// The setting that remembers that the first pools were given.
const POOLS_SOWN: &str = "address_pools_sown";

#[derive(Debug, Deserialize)]
struct Seeds {
    region: Vec<RegionSeed>,
    package: Vec<PackageSeed>,
    pool: Vec<PoolSeed>,
}

#[derive(Debug, Deserialize)]
struct RegionSeed {
    slug: String,
    name: String,
    country: String,
    active: bool,
}

#[derive(Debug, Deserialize)]
struct PackageSeed {
    slug: String,
    cpu: u32,
    memory_mib: u64,
    disk_gib: u64,
    traffic_tb: u64,
    hourly: String,
    monthly: String,
}

#[derive(Debug, Deserialize)]
struct PoolSeed {
    region: String,
    network: String,
    resolvers: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
struct ImageSeeds {
    image: Vec<ImageSeed>,
}

#[derive(Debug, Deserialize)]
struct ImageSeed {
    slug: String,
    name: String,
    distribution: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "root")]
    default_user: String,
    min_cpu: Option<u32>,
    min_memory_mib: Option<u64>,
    min_disk_gib: Option<u64>,
    cac_id: Option<i64>,
    /// Slug of the image that an application starts from.
    base: Option<String>,
    /// Name of the recipe that makes an application of it.
    recipe: Option<String>,
    #[serde(default = "yes")]
    active: bool,
}

fn root() -> String {
    "root".into()
}

fn yes() -> bool {
    true
}

/// Adds what the seed files name and the database does not have yet; what is there stays as the operator
/// made it. Safe to run at every start.
pub async fn seed(app: &App) -> anyhow::Result<()> {
    let seeds: Seeds = toml::from_str(SEEDS).context("seeds/catalog.toml")?;
    let image_seeds: ImageSeeds = toml::from_str(IMAGES).context("images/catalog.toml")?;
    let tx = app.store().begin().await?;
    let mut ids: HashMap<String, RegionId> = HashMap::new();
    for (position, seed) in (0..).zip(&seeds.region) {
        let id = regions::ensure(&tx, &seed.slug, &seed.name, &seed.country, seed.active, position).await?;
        ids.insert(seed.slug.clone(), id);
    }
    let everywhere: Vec<RegionId> =
        seeds.region.iter().filter_map(|seed| ids.get(&seed.slug).copied()).collect();
    for (position, seed) in (0..).zip(&seeds.package) {
        let money = |text: &str| Micros::parse(text).map_err(anyhow::Error::msg);
        let package = Package {
            id: PackageId(0),
            slug: seed.slug.clone(),
            cpu: seed.cpu,
            memory_mib: seed.memory_mib,
            disk_gib: seed.disk_gib,
            traffic_tb: seed.traffic_tb,
            hourly: money(&seed.hourly)?,
            monthly: money(&seed.monthly)?,
            active: true,
            regions: Vec::new(),
        };
        packages::ensure(&tx, &package, &everywhere, position).await?;
    }
    // Pools are given once: one that the operator has removed does not come back.
    if settings::find(&tx, POOLS_SOWN).await?.is_none() {
        for seed in &seeds.pool {
            let region = ids.get(&seed.region).with_context(|| format!("no region {}", seed.region))?;
            seed_pool(app, &tx, *region, seed).await?;
        }
        settings::set(&tx, POOLS_SOWN, "1").await?;
    }
    for (position, seed) in (0..).zip(&image_seeds.image) {
        seed_image(&tx, seed, &everywhere, position).await?;
    }
    tx.commit().await?;
    Ok(())
}

impl ImageSeed {
    fn image(&self) -> anyhow::Result<Image> {
        Ok(Image {
            id: ImageId(0),
            slug: self.slug.clone(),
            name: self.name.clone(),
            distribution: self.distribution.clone(),
            kind: ImageKind::from_word(&self.kind).with_context(|| format!("image type {}", self.kind))?,
            min_cpu: self.min_cpu,
            min_memory_mib: self.min_memory_mib,
            min_disk_gib: self.min_disk_gib,
            default_user: self.default_user.clone(),
            active: self.active,
            base_slug: self.base.clone(),
            recipe: None,
            files: None,
            regions: Vec::new(),
        })
    }
}

/// An image is the operator's once it is there. The recipe of an application goes on following the program, as long
/// as the operator has not given it another.
async fn seed_image(
    s: &impl Session,
    seed: &ImageSeed,
    regions: &[RegionId],
    position: i64,
) -> anyhow::Result<()> {
    let made = images::ensure(s, &seed.image()?, regions, seed.cac_id, position).await?;
    let (Some(base_slug), Some(name)) = (&seed.base, &seed.recipe) else { return Ok(()) };
    let text = image_recipes::application(name).with_context(|| format!("no recipe {name}"))?;
    if made {
        images::set_recipe(s, &seed.slug, images::Recipe { name: Some(name), base_slug, text }).await?;
    } else {
        images::refresh_recipe(s, name, base_slug, text).await?;
    }
    Ok(())
}

async fn seed_pool(app: &App, s: &impl Session, region: RegionId, seed: &PoolSeed) -> anyhow::Result<()> {
    let now = app.clock().now();
    if let Ok(network) = Ipv4Network::parse(&seed.network) {
        let gateway = network.first();
        // The gateway is the host's; the two after it are the resolver and spare of QEMU's user network.
        let kept = HashMap::from([
            (gateway, GATEWAY),
            (next(gateway, 1), "user networking has it"),
            (next(gateway, 2), "user networking has it"),
        ]);
        let addresses: Vec<(Ipv4Addr, Option<&str>)> =
            network.hosts().map(|address| (address, kept.get(&address).copied())).collect();
        let (prefix, at) = (network.prefix, IpAddr::V4(network.network));
        addresses::ensure_pool(s, region, at, prefix, gateway.into(), &seed.resolvers, &addresses, now)
            .await?;
        return Ok(());
    }
    let (address, prefix) = seed.network.split_once('/').context("a pool is a network in CIDR form")?;
    let network: Ipv6Addr = address.parse().with_context(|| format!("pool {}", seed.network))?;
    let prefix: u8 = prefix.parse()?;
    addresses::ensure_pool(s, region, network.into(), prefix, IPV6_GATEWAY.into(), &seed.resolvers, &[], now)
        .await?;
    Ok(())
}

fn next(address: Ipv4Addr, by: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).saturating_add(by))
}

/// All regions, in their order, inactive ones too.
pub async fn regions(app: &App) -> Result<Vec<Region>> {
    regions::list(app.store()).await
}

/// The packages that can be ordered.
pub async fn packages(app: &App) -> Result<Vec<Package>> {
    Ok(packages::list(app.store()).await?.into_iter().filter(|package| package.active).collect())
}

/// The images that can be ordered: active, and their files are there.
pub async fn images(app: &App) -> Result<Vec<Image>> {
    Ok(images::list(app.store())
        .await?
        .into_iter()
        .filter(|image| image.active && image.is_ready())
        .collect())
}
