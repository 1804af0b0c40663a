//! Cloud at Cost v1: the dialect of the document `cloudatcost-api-v1`, for clients that were written for it.
//!
//! Promises: all calls at all paths that clients know them by, by any verb, with parameters wherever they put them; what
//! changes something can be repeated under an Idempotency-Key. Must not know: rules, which are the domain's.

pub mod answer;
mod cloudpro;
pub mod error;
mod extract;
mod parameters;
mod servers;
mod tasks;
pub mod wire;

use crate::app::App;
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

/// A call: the documented path, others that clients know it by, and whether it changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// All its paths, the documented one first.
    pub paths: &'static [&'static str],
    /// Whether it changes something.
    pub changes: bool,
}

const fn reads(paths: &'static [&'static str]) -> Call {
    Call { paths, changes: false }
}

const fn changes(paths: &'static [&'static str]) -> Call {
    Call { paths, changes: true }
}

const LIST_SERVERS: Call = reads(&["/api/v1/listservers.php"]);
const LIST_TEMPLATES: Call = reads(&["/api/v1/listtemplates.php"]);
const LIST_TASKS: Call = reads(&["/api/v1/listtasks.php"]);
const POWER: Call = changes(&["/api/v1/powerop.php", "/api/v1/poweropp.php"]);
const RENAME: Call = changes(&["/api/v1/renameserver.php"]);
const REVERSE: Call = changes(&["/api/v1/rdns.php"]);
const CONSOLE: Call = changes(&["/api/v1/console.php"]);
const RUN_MODE: Call = changes(&["/api/v1/runmode.php"]);
const BUILD: Call = changes(&["/api/v1/cloudpro/build.php", "/api/v1/cloudpro/buildserver.php"]);
const DELETE: Call = changes(&["/api/v1/cloudpro/delete.php", "/api/v1/delete.php"]);
const RESOURCES: Call = reads(&["/api/v1/cloudpro/resources.php"]);

/// Every call, in the order of the document.
pub const CALLS: [Call; 11] = [
    LIST_SERVERS,
    LIST_TEMPLATES,
    LIST_TASKS,
    POWER,
    RUN_MODE,
    RENAME,
    REVERSE,
    CONSOLE,
    BUILD,
    DELETE,
    RESOURCES,
];

/// Whether what is called at this path changes nothing, whatever the method.
pub fn only_reads(path: &str) -> bool {
    CALLS.iter().all(|call| !call.changes || !call.paths.contains(&path))
}

/// The routes of this dialect.
pub fn router(app: App) -> Router {
    let routes = Router::new();
    let routes = add(routes, LIST_SERVERS, servers::list);
    let routes = add(routes, LIST_TEMPLATES, cloudpro::templates);
    let routes = add(routes, LIST_TASKS, tasks::list);
    let routes = add(routes, POWER, servers::power);
    let routes = add(routes, RUN_MODE, servers::run_mode);
    let routes = add(routes, RENAME, servers::rename);
    let routes = add(routes, REVERSE, servers::reverse);
    let routes = add(routes, CONSOLE, servers::console);
    let routes = add(routes, BUILD, cloudpro::build);
    let routes = add(routes, DELETE, cloudpro::delete);
    let routes = add(routes, RESOURCES, cloudpro::resources);
    routes.with_state(app)
}

fn add<H, T>(routes: Router<App>, call: Call, handler: H) -> Router<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    call.paths.iter().fold(routes, |routes, path| routes.route(path, verbs(call, handler.clone())))
}

/// Any verb does, since clients disagree about them. HEAD asks what a GET would answer, and must change nothing.
fn verbs<H, T>(call: Call, handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    let all = MethodFilter::GET
        .or(MethodFilter::POST)
        .or(MethodFilter::PUT)
        .or(MethodFilter::PATCH)
        .or(MethodFilter::DELETE);
    let routed = on(all, handler);
    if call.changes { routed.on(MethodFilter::HEAD, async || error::head_refused()) } else { routed }
}
