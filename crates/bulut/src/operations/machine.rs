//! What the verbs on machines share: the specification that a driver gets, and looking at the machine afterwards.

use super::step::{BoxFuture, Context, StepError};
use crate::app::App;
use crate::domain::orders::password_place;
use crate::domain::plans::Plan;
use crate::domain::traffic;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_compute::{
    Boot, DriverError, Image, Ipv4, Ipv6, MachineSpec, Nic, Observed, Power as Seen, Rates, Secret, Seed,
    Stop,
};
use bulut_model::address::mac_for;
use bulut_model::catalog::ImageFiles;
use bulut_model::server::{Power, Server};
use bulut_model::{Error, Result, ServerId};
use bulut_store::{Session, addresses, firewalls, rates as store_rates, servers, settings};
use std::net::{IpAddr, Ipv4Addr};

/// The row of an operation's server, whatever its phase.
pub async fn server(ctx: &Context) -> Result<Server> {
    server_in(ctx, ctx.app.store()).await
}

/// The same, in a transaction: one that asked for a second connection could wait for it in vain, when all of them are
/// held by others that wait for what this one holds.
pub async fn server_in(ctx: &Context, s: &impl Session) -> Result<Server> {
    let id = ctx.operation.server;
    servers::find(s, id)
        .await?
        .ok_or_else(|| Error::internal(format!("server {id} of operation {} has no row", ctx.operation.id)))
}

/// Everything that a driver needs to make this operation's machine as it shall be.
///
/// Errors: `Internal` when something that was reserved for it is not there.
pub async fn spec(ctx: &Context) -> Result<MachineSpec> {
    let spec = spec_of(ctx, &ctx.plan()?).await?;
    Ok(MachineSpec { snapshot: ctx.operation.snapshot, ..spec })
}

/// The same, as the machine is without the operation's plan.
pub async fn spec_before(ctx: &Context) -> Result<MachineSpec> {
    spec_of(ctx, &Plan::default()).await
}

async fn spec_of(ctx: &Context, plan: &Plan) -> Result<MachineSpec> {
    let (app, server) = (&ctx.app, server(ctx).await?);
    let id = server.id;
    let mut details = servers::details(app.store(), id).await?;
    if let Some(disk) = &plan.disk {
        details.instance_id.clone_from(&disk.instance_id);
        details.image_files.clone_from(&disk.image_files);
        details.sealed_password.clone_from(&disk.sealed_password);
        details.recipe.clone_from(&disk.recipe);
        details.fresh_identity = disk.fresh_identity;
        details.seed_secret = disk.tells_password;
    }
    let root_password = match &details.sealed_password {
        Some(sealed) if details.seed_secret => Some(password(app, id, sealed)?),
        _ => None,
    };
    let user_data = match &details.user_data {
        Some(encoded) => Some(STANDARD.decode(encoded).map_err(Error::internal)?),
        None => None,
    };
    let size = plan.size;
    Ok(MachineSpec {
        id,
        cpu: size.map_or(server.cpu, |size| size.cpu),
        memory_mib: size.map_or(server.memory_mib, |size| size.memory_mib),
        disk_gib: size.map_or(server.disk_gib, |size| size.disk_gib),
        image: image(app, details.image_files),
        snapshot: None,
        nic: nic(app, &server, plan).await?,
        seed: Seed {
            instance_id: details.instance_id,
            hostname: plan.hostname.clone().unwrap_or_else(|| server.hostname.clone()),
            renamed: plan.hostname.is_some() || server.reverse_name.is_some(),
            ssh_keys: details.ssh_keys,
            root_password,
            user_data,
            recipe: details.recipe,
            fresh_identity: details.fresh_identity,
            password_change: None,
        },
    })
}

/// Opens a password that is sealed for this server.
pub fn password(app: &App, id: ServerId, sealed: &str) -> Result<Secret> {
    let secret = app.vault().open_sealed(&password_place(id), sealed)?;
    Ok(Secret(String::from_utf8_lossy(&secret).into_owned()))
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

/// The machine's interface as the plan wants it.
pub async fn nic(app: &App, server: &Server, plan: &Plan) -> Result<Nic> {
    let planned = &plan.network;
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
    if let Some(pool) = addresses::find_ipv6_pool(app.store(), server.id).await? {
        resolvers.extend(pool.resolvers);
    }
    Ok(Nic {
        mac: mac_for(installation(app).await?, server.id),
        ipv4,
        ipv6,
        resolvers,
        mtu: app.config().guest_mtu,
        more_ipv4: further(app, server.id, planned.gives_back).await?,
        firewall: match &planned.firewall {
            Some(rules) => rules.clone(),
            None => firewalls::list(app.store(), server.id).await?,
        },
        rates: rates(app, server.id, plan).await?,
    })
}

/// The addresses that a server has besides its own, but for one that it is to give back.
async fn further(app: &App, id: ServerId, gives_back: Option<Ipv4Addr>) -> Result<Vec<Ipv4Addr>> {
    let taken = addresses::further(app.store(), id).await?;
    Ok(taken.into_iter().map(|taken| taken.address).filter(|it| Some(*it) != gives_back).collect())
}

async fn rates(app: &App, id: ServerId, plan: &Plan) -> Result<Rates> {
    let planned = plan.network.rates.or_else(|| plan.size.and_then(|size| size.rates));
    let rates = match planned {
        Some(rates) => rates,
        None => store_rates::of_server(app.store(), id).await?,
    };
    Ok(Rates { up_bps: rates.up_bps, down_bps: rates.down_bps })
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
    Box::pin(async move { apply(ctx, &spec(ctx).await?).await })
}

/// Undoes [`ensure`]: the machine is set up as it was before the operation.
pub fn ensure_before(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { apply(ctx, &spec_before(ctx).await?).await })
}

/// Sets the machine up, and remembers where its ssh is reached.
pub async fn apply(ctx: &Context, spec: &MachineSpec) -> Result<(), StepError> {
    let applied = ctx.driver()?.ensure_machine(spec).await?;
    let endpoint = applied.ssh.to_string();
    Ok(servers::set_ssh_endpoint(ctx.app.store(), ctx.operation.server, &endpoint).await?)
}

/// A step: stops the machine, gracefully first.
pub fn stop(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        let how = Stop::Graceful { limit: ctx.app.config().stop_limit() };
        match ctx.driver()?.stop(ctx.operation.server, how).await {
            // What is not there does not run.
            Ok(()) | Err(DriverError::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
        count_traffic(ctx).await;
        Ok(())
    })
}

/// Undoes [`start`]: pulls the plug.
pub fn cut_off(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        match ctx.driver()?.stop(ctx.operation.server, Stop::Force).await {
            Ok(()) | Err(DriverError::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

/// A step, and what undoes [`stop`]: starts the machine if it ran when the operation was ordered.
pub fn start_again(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move { if ctx.plan()?.was_running { start(ctx).await } else { Ok(()) } })
}

/// A step: starts the machine and looks that it runs.
pub fn start(ctx: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    Box::pin(async move {
        // A machine that stopped by itself has told its last counters to nobody yet.
        count_traffic(ctx).await;
        ctx.driver()?.start(ctx.operation.server).await?;
        match seen(ctx).await? {
            Power::Running => Ok(()),
            Power::Stopped | Power::Stopping => {
                Err(StepError::Retry("the machine was started, but does not run".into()))
            }
        }
    })
}

/// Counts the machine's traffic until now, before its counters end.
pub async fn count_traffic(ctx: &Context) {
    traffic::count(&ctx.app, ctx.node, ctx.operation.server).await;
}

/// Looks whether the machine runs.
pub async fn seen(ctx: &Context) -> Result<Power, StepError> {
    match ctx.driver()?.observe(ctx.operation.server).await? {
        Observed::Present(present) if present.power == Seen::Running => Ok(Power::Running),
        Observed::Present(_) | Observed::Absent => Ok(Power::Stopped),
    }
}

/// Sets that the server runs if it did when the operation was ordered, in the transaction that ends it well.
pub async fn settle_running(ctx: &Context, s: &impl Session) -> Result<()> {
    let power = if ctx.plan()?.was_running { Power::Running } else { Power::Stopped };
    servers::set_power(s, ctx.operation.server, power).await.map(drop)
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
