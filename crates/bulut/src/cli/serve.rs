//! Room: the command line. `bulut serve`: the whole cloud in one process, until it is told to stop.
//!
//! Promises: the port is bound before anything is started; a signal ends requests in order, lets go of leases
//! and touches no guest. Must not know: what requests do.

use super::failure::{Failure, Result};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{catalog, metering, nodes};
use crate::faults::Faults;
use crate::{api, engines, operations, reconcile, vnc};
use bulut_dns::{Bound, Limits};
use bulut_store::migrations;
use std::fs::File;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Begins logging to stderr as the settings say; `filter` takes the place of the settings' own.
pub fn log(config: &Config, filter: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or(&config.log)).map_err(|why| {
        Failure::refused(format!("the log filter: {why}")).hint("for example info,bulut=debug")
    })?;
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match config.log_format.as_str() {
        "json" => logger.json().flatten_event(true).try_init(),
        _ => logger.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    begun.map_err(|why| Failure::broken(format!("cannot log: {why}")))
}

fn broken(error: &anyhow::Error) -> Failure {
    Failure::broken(format!("{error:#}"))
}

/// Opens the application for a command on the box.
pub async fn open(config: Config) -> Result<App> {
    App::open(config, Clock::System, Faults::from_environment()).await.map_err(|error| broken(&error))
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(config: Config) -> Result<()> {
    let app = open(config).await?;
    let _lock = lock(&app)?;
    let listen = app.config().listen;
    let listener = TcpListener::bind(listen).await.map_err(|why| {
        Failure::broken(format!("cannot listen on {listen}: {why}"))
            .hint("choose another address with --listen or BULUT_LISTEN, or stop what listens there")
    })?;
    let names = bind_names(&app).await?;
    start(&app).await.map_err(|error| broken(&error))?;
    let stop = CancellationToken::new();
    let names = tokio::spawn(serve_names(app.clone(), names, stop.clone()));
    tokio::spawn(stop_on_signal(stop.clone()));
    let engine = tokio::spawn(operations::engine::run(app.clone(), stop.clone()));
    let reconcilers = tokio::spawn(reconcile::run(app.clone(), stop.clone()));
    let screens = tokio::spawn(vnc::serve(app.clone(), stop.clone()));
    let at = listener.local_addr().unwrap_or(listen);
    tracing::info!(address = %at, state = %app.config().state.display(), "serving");
    let patience = app.config().request_head_limit();
    let served = api::connections::serve(listener, api::router(app.clone()), patience, stop.clone());
    // Consoles stay open as long as people look at them; a stop does not wait for those.
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    };
    tokio::select! {
        () = served => {}
        () = stopped => {}
    }
    stop.cancel();
    let (engine, reconcilers, names, screens) = tokio::join!(engine, reconcilers, names, screens);
    for ended in [engine, reconcilers, names, screens] {
        if let Err(why) = ended {
            tracing::error!(%why, "a part of the process did not end in order");
        }
    }
    app.store().close().await.map_err(|why| Failure::broken(why.to_string()))?;
    tracing::info!("stopped; guests keep running");
    Ok(())
}

/// Takes the addresses where names are to be served.
async fn bind_names(app: &App) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for address in &app.config().dns.listen {
        bound.push(Bound::new(*address).await.map_err(|why| {
            Failure::broken(format!("cannot serve names on {address}: {why}"))
                .hint("choose another address with BULUT_DNS_LISTEN, or stop what listens there")
        })?);
    }
    Ok(bound)
}

/// Serves names until `stop`, from the first request on what the database says.
async fn serve_names(app: App, bound: Vec<Bound>, stop: CancellationToken) {
    if bound.is_empty() {
        return;
    }
    if let Err(error) = reconcile::names::refresh(&app).await {
        tracing::warn!(%error, "names cannot be read yet; they are refused until they can");
    }
    for bound in &bound {
        tracing::info!(address = bound.address().ok().map(tracing::field::display), "serving names");
    }
    let limits = Limits { transfers: app.config().dns.transfers.clone(), ..Limits::default() };
    bulut_dns::serve(app.names().served(), bound, limits, stop).await;
}

/// Brings the database up to date and this host into the cloud.
async fn start(app: &App) -> anyhow::Result<()> {
    let applied = migrations::migrate(app.store(), app.clock().now()).await?;
    if !applied.is_empty() {
        tracing::info!(applied = applied.join(", "), "database migrated");
    }
    catalog::seed(app).await?;
    metering::adopt(app).await?;
    let driver = engines::open_driver(app).await?;
    nodes::join(app, driver).await?;
    Ok(())
}

/// One process at a time works on a state directory: two would fight for its machines.
fn lock(app: &App) -> Result<nix::fcntl::Flock<File>> {
    let path = app.config().state.join("serve.lock");
    let file = File::create(&path).map_err(|why| Failure::file("write", &path, &why))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(|_| {
        Failure::refused(format!("another bulut serves {} already", app.config().state.display()))
            .hint("stop it first, or choose another directory with --state or BULUT_STATE")
    })
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be caught; a kill will not end requests in order");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}

/// `bulut migrate`: brings the database up to date without serving.
pub async fn migrate(config: Config) -> Result<Vec<&'static str>> {
    let app = open(config).await?;
    let applied = migrations::migrate(app.store(), app.clock().now())
        .await
        .map_err(|why| Failure::broken(why.to_string()))?;
    catalog::seed(&app).await.map_err(|error| broken(&error))?;
    Ok(applied)
}
