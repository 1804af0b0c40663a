//! What the verbs on machines share: the specification that a driver gets, and looking at the machine afterwards.

use super::step::{BoxFuture, Context, StepError};
use crate::app::App;
use crate::domain::servers::password_place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_compute::{Boot, Image, Ipv4, Ipv6, MachineSpec, Nic, Observed, Power as Seen, Secret, Seed};
use bulut_model::address::mac_for;
use bulut_model::catalog::ImageFiles;
use bulut_model::server::{Power, Server};
use bulut_model::{Error, Result};
use bulut_store::{Session, addresses, servers, settings};
use std::net::IpAddr;

/// The largest packet that guests send, bytes.
const MTU: u16 = 1500;

/// The row of an operation's server, whatever its phase.
pub async fn server(ctx: &Context) -> Result<Server> {
    let id = ctx.operation.server;
    servers::find(ctx.app.store(), id)
        .await?
        .ok_or_else(|| Error::internal(format!("server {id} of operation {} has no row", ctx.operation.id)))
}

/// Everything that a driver needs to make this server's machine.
///
/// Errors: `Internal` when something that was reserved for it is not there.
pub async fn spec(app: &App, server: &Server) -> Result<MachineSpec> {
    let id = server.id;
    let details = servers::details(app.store(), id).await?;
    let root_password = match &details.sealed_password {
        Some(sealed) if details.seed_secret => {
            let secret = app.vault().open_sealed(&password_place(id), sealed)?;
            Some(Secret(String::from_utf8_lossy(&secret).into_owned()))
        }
        _ => None,
    };
    let user_data = match &details.user_data {
        Some(encoded) => Some(STANDARD.decode(encoded).map_err(Error::internal)?),
        None => None,
    };
    Ok(MachineSpec {
        id,
        cpu: server.cpu,
        memory_mib: server.memory_mib,
        disk_gib: server.disk_gib,
        image: image(app, details.image_files),
        snapshot: None,
        nic: nic(app, server).await?,
        seed: Seed {
            instance_id: details.instance_id,
            hostname: server.hostname.clone(),
            ssh_keys: details.ssh_keys,
            root_password,
            user_data,
            recipe: None,
            fresh_identity: false,
            password_change: None,
        },
    })
}

/// The files on the node, as they were when the disk was made.
fn image(app: &App, files: ImageFiles) -> Image {
    let dir = app.config().images_dir().join(&files.directory);
    let boot = match files.direct {
        None => Boot::Disk,
        Some(direct) => Boot::Direct {
            kernel: dir.join(direct.kernel),
            initrd: dir.join(direct.initrd),
            cmdline: direct.cmdline,
        },
    };
    Image { digest: files.digest, disk: dir.join("disk.qcow2"), boot }
}

async fn nic(app: &App, server: &Server) -> Result<Nic> {
    let taken = addresses::find_ipv4(app.store(), server.id).await?;
    let mut resolvers = taken.as_ref().map(|taken| taken.pool.resolvers.clone()).unwrap_or_default();
    let ipv4 = match taken {
        None => None,
        Some(taken) => match taken.pool.gateway {
            IpAddr::V4(gateway) => Some(Ipv4 { address: taken.address, prefix: taken.pool.prefix, gateway }),
            IpAddr::V6(gateway) => {
                return Err(Error::internal(format!("an IPv4 pool has the gateway {gateway}")));
            }
        },
    };
    let ipv6 =
        server.ipv6.as_ref().map(|v6| Ipv6 { address: v6.address, prefix: v6.prefix, gateway: v6.gateway });
    if ipv6.is_some() {
        for pool in addresses::pools(app.store(), server.region, 6).await? {
            resolvers.extend(pool.resolvers);
        }
    }
    Ok(Nic { mac: mac_for(installation(app).await?, server.id), ipv4, ipv6, resolvers, mtu: MTU })
}

/// A byte that tells installations on one wire apart; chosen once.
async fn installation(app: &App) -> Result<u8> {
    let [fresh] = crate::clock::random_bytes::<1>();
    let stored = match settings::find(app.store(), "installation").await? {
        Some(stored) => stored,
        None => settings::ensure(app.store(), "installation", &fresh.to_string()).await?,
    };
    stored.parse().map_err(|_| Error::internal("the setting installation is not a byte"))
}

/// A step: makes all that the machine needs to start, and remembers where its ssh is reached.
pub fn ensure(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let spec = spec(&ctx.app, &server(ctx).await?).await?;
        let applied = ctx.driver()?.ensure_machine(&spec).await?;
        let endpoint = applied.ssh.to_string();
        Ok(servers::set_ssh_endpoint(ctx.app.store(), ctx.operation.server, &endpoint).await?)
    })
}

/// A step: starts the machine and looks that it runs.
pub fn start(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        ctx.driver()?.start(ctx.operation.server).await?;
        match seen(ctx).await? {
            Power::Running => Ok(()),
            Power::Stopped | Power::Stopping => {
                Err(StepError::Retry("the machine was started, but does not run".into()))
            }
        }
    })
}

/// Looks whether the machine runs.
pub async fn seen(ctx: &Context) -> Result<Power, StepError> {
    match ctx.driver()?.observe(ctx.operation.server).await? {
        Observed::Present(present) if present.power == Seen::Running => Ok(Power::Running),
        Observed::Present(_) | Observed::Absent => Ok(Power::Stopped),
    }
}

/// Sets what was seen, in the transaction that ends a failed operation. When the node could not be asked, the
/// reconciler sets it later; only `Stopping` must not stay.
pub async fn settle_as_seen(ctx: &Context, s: &impl Session, seen: Option<Power>) -> Result<()> {
    let id = ctx.operation.server;
    let stopping = || async {
        Ok::<_, Error>(servers::find(s, id).await?.is_some_and(|server| server.power == Power::Stopping))
    };
    match seen {
        Some(power) => drop(servers::set_power(s, id, power).await?),
        None if stopping().await? => drop(servers::set_power(s, id, Power::Running).await?),
        None => {}
    }
    Ok(())
}
