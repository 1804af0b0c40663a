//! Cloude v1: the dialect of the document `cloude-api-v1`, for clients that were written for it.
//!
//! Promises: every answer is in the envelope; calls that change something can be repeated under an Idempotency-Key.
//! Must not know: rules, which are the domain's.

mod accounts;
mod cache;
mod catalog;
mod description;
pub mod envelope;
pub mod error;
mod extract;
mod invoices;
mod ledger;
mod operations;
mod parameters;
mod servers;
mod snapshots;
mod ssh_keys;
mod tags;
mod traffic;
pub mod wire;

use crate::api::openapi::{Call, Routes};
use crate::app::App;
use axum::Router;
use axum::extract::FromRef;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use cache::ListCache;
use parameters as p;
use serde_json::Value;
use std::sync::Arc;

pub use servers::render_server_list;

/// What the handlers of this dialect share.
#[derive(Clone)]
struct Shared {
    app: App,
    lists: Arc<ListCache>,
}

impl FromRef<Shared> for App {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.clone()
    }
}

impl FromRef<Shared> for Arc<ListCache> {
    fn from_ref(shared: &Shared) -> Self {
        Arc::clone(&shared.lists)
    }
}

/// The routes of this dialect, its own description among them.
pub fn router(app: App) -> Router {
    let (routes, mut document) = described();
    if let Some(url) = &app.config().public_url {
        document["servers"][0]["url"] = url.as_str().into();
    }
    let document = Bytes::from(document.to_string());
    let describe = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    routes
        .route("/v1/openapi.json", get(describe))
        .with_state(Shared { app, lists: Arc::new(ListCache::default()) })
}

/// The OpenAPI document of this dialect.
pub fn openapi() -> Value {
    described().1
}

fn described() -> (Router<Shared>, Value) {
    let routes = change_routes(server_routes(account_routes(Routes::new())));
    let routes = billing_routes(tag_routes(key_routes(snapshot_routes(routes))));
    let routes = routes
        .add(
            Call::get("/v1/image/list", "List all images")
                .public()
                .takes(&[p::IMAGE_TYPE])
                .answers_array::<wire::ImageView>(),
            catalog::images,
        )
        .add(
            Call::get("/v1/package/list", "List all packages").public().answers_array::<wire::PackageView>(),
            catalog::packages,
        )
        .add(
            Call::get("/v1/region/list", "List all regions").public().answers_array::<wire::RegionView>(),
            catalog::regions,
        )
        .add(
            Call::get("/v1/event/list", "List the last day's events, newest last")
                .answers_array::<wire::EventView>(),
            operations::list,
        )
        .add(
            Call::get("/v1/event/{id}", "Show an event").needs(&[p::EVENT]).answers::<wire::EventView>(),
            operations::get,
        );
    routes.finish::<envelope::Failed>(&description::about())
}

fn account_routes(routes: Routes<Shared>) -> Routes<Shared> {
    routes
        .add(
            Call::post("/v1/user/login", "Get a token")
                .signs_in()
                .needs(&[p::USERNAME, p::PASSWORD])
                .answers::<wire::TokensAnswer>(),
            accounts::login,
        )
        .add(
            // The token may come as Bearer instead, so the description does not call the parameter required.
            Call::post("/v1/user/refreshtoken", "Trade a refresh token for new tokens")
                .refreshes()
                .takes(&[p::REFRESH])
                .answers::<wire::TokensAnswer>(),
            accounts::refresh,
        )
        .add(
            Call::get("/v1/account/detail", "Show the account").answers::<wire::UserInfo>(),
            accounts::detail,
        )
        .add(Call::get("/v1/user/info", "Show the account").answers::<wire::UserInfo>(), accounts::detail)
        .add(
            Call::get("/v1/account/user_balance", "Show the balance").answers::<wire::UserBalance>(),
            accounts::balance,
        )
}

fn server_routes(routes: Routes<Shared>) -> Routes<Shared> {
    let id = &[p::SERVER];
    let event = |path, summary| {
        Call::post(path, summary).needs(id).answers::<wire::EventStarted>().gives("event_id", p::EVENT)
    };
    let done = |path, summary| Call::post(path, summary).needs(id);
    routes
        .add(
            Call::post("/v1/server/create", "Create a server")
                .needs(&[p::SERVER_NAME, p::REGION, p::PACKAGE, p::IMAGE])
                .takes(&[p::HOSTNAME, p::SSH_KEYS, p::USER_DATA, p::TAGS])
                .answers::<wire::ServerOrdered>()
                .gives("event_id", p::EVENT)
                .gives("id", p::SERVER)
                .costs(),
            servers::create,
        )
        .add(
            Call::get("/v1/server/list", "List all servers").answers_array::<wire::ServerView<'_>>(),
            servers::list,
        )
        .add(
            Call::get("/v1/server/{id}", "Show a server").needs(id).answers_only::<wire::ServerView<'_>>(),
            servers::get,
        )
        .add(Call::delete("/v1/server/{id}/destroy", "Destroy a server").needs(id), servers::destroy)
        .add(Call::delete("/v1/server/destroy", "Destroy a server").needs(id), servers::destroy)
        .add(event("/v1/server/{id}/start", "Start a server").costs(), servers::start)
        .add(event("/v1/server/{id}/stop", "Stop a server"), servers::stop)
        .add(event("/v1/server/{id}/reboot", "Reboot a server").costs(), servers::reboot)
        .add(done("/v1/server/start", "Start a server").costs(), servers::start_by_body)
        .add(done("/v1/server/stop", "Stop a server"), servers::stop_by_body)
        .add(done("/v1/server/reboot", "Reboot a server").costs(), servers::reboot_by_body)
}

/// Changes of servers, each with the id in the path and with the id in the body; unlike the power actions both forms
/// answer the event, which the caller needs to wait for.
fn change_routes(routes: Routes<Shared>) -> Routes<Shared> {
    let server = [p::SERVER];
    let mut routes = routes.add(
        Call::get("/v1/server/{id}/snapshots", "List the snapshots of a server")
            .needs(&server)
            .answers_array::<wire::SnapshotView>(),
        servers::snapshots,
    );
    for path in ["/v1/server/{id}/change_password", "/v1/server/change_password"] {
        let call = Call::post(path, "Give root another password").needs(&server).takes(&[p::NEW_PASSWORD]);
        routes = routes.add(
            call.answers::<wire::PasswordChanged>().gives("event_id", p::EVENT),
            servers::change_password,
        );
    }
    for path in ["/v1/server/{id}/restore_from_snapshot", "/v1/server/restore_from_snapshot"] {
        let call = Call::post(path, "Restore a server from a snapshot").needs(&server).needs(&[p::SNAPSHOT]);
        routes = routes.add(
            call.answers::<wire::EventStarted>().gives("event_id", p::EVENT),
            servers::restore_from_snapshot,
        );
    }
    for path in ["/v1/server/{id}/refresh_install", "/v1/server/refresh_install"] {
        let call = Call::post(path, "Install a server anew").needs(&server).needs(&[p::IMAGE]).costs();
        routes = routes
            .add(call.answers::<wire::EventStarted>().gives("event_id", p::EVENT), servers::refresh_install);
    }
    for path in ["/v1/server/{id}/upgrade_package", "/v1/server/upgrade_package"] {
        let call = Call::post(path, "Give a server another package").needs(&server).needs(&[p::PACKAGE]);
        let call =
            call.takes(&[p::SIZE_CHANGE]).costs().answers::<wire::EventStarted>().gives("event_id", p::EVENT);
        routes = routes.add(call, servers::upgrade_package);
    }
    let order = |path| {
        Call::post(path, "Create a server from a snapshot")
            .needs(&[p::SERVER_NAME, p::PACKAGE, p::SNAPSHOT])
            .takes(&[p::HOSTNAME, p::SSH_KEYS, p::USER_DATA, p::TAGS])
            .answers::<wire::ServerOrdered>()
            .gives("event_id", p::EVENT)
            .gives("id", p::SERVER)
            .costs()
    };
    routes
        .add(order("/v1/server/{id}/create_from_snapshot").needs(&server), servers::create_from_snapshot)
        .add(order("/v1/server/create_from_snapshot").takes(&server), servers::create_from_snapshot)
}

fn snapshot_routes(routes: Routes<Shared>) -> Routes<Shared> {
    routes
        .add(
            Call::get("/v1/snapshot/list", "List all snapshots").answers_array::<wire::SnapshotView>(),
            snapshots::list,
        )
        .add(
            Call::post("/v1/snapshot/create", "Create a snapshot")
                .needs(&[p::SERVER, p::SNAPSHOT_NAME])
                .answers::<wire::SnapshotOrdered>()
                .gives("event_id", p::EVENT)
                .gives("id", p::SNAPSHOT)
                .gives("id", p::SNAPSHOT_ID),
            snapshots::create,
        )
        .add(
            Call::delete("/v1/snapshot/destroy", "Destroy a snapshot")
                .needs(&[p::SNAPSHOT_ID])
                .answers::<wire::EventStarted>()
                .gives("event_id", p::EVENT),
            snapshots::destroy,
        )
}

fn key_routes(routes: Routes<Shared>) -> Routes<Shared> {
    routes
        .add(
            Call::post("/v1/sshkey/create", "Add an SSH key").needs(&[p::KEY_NAME, p::PUBLIC_KEY]),
            ssh_keys::create,
        )
        .add(
            Call::get("/v1/sshkey/list", "List all SSH keys by their names")
                .answers_map::<wire::SshKeyView>(),
            ssh_keys::list,
        )
        .add(
            Call::put("/v1/sshkey/update", "Rename an SSH key").needs(&[p::FINGERPRINT, p::KEY_NAME]),
            ssh_keys::update,
        )
        .add(
            Call::delete("/v1/sshkey/destroy", "Remove an SSH key").needs(&[p::FINGERPRINT]),
            ssh_keys::destroy,
        )
}

fn tag_routes(routes: Routes<Shared>) -> Routes<Shared> {
    routes
        .add(Call::post("/v1/tags/create", "Put tags on servers").needs(&[p::TAGGED, p::TAGS]), tags::create)
        .add(Call::get("/v1/tags/list", "List all tags").answers_array::<wire::TagView>(), tags::list)
        .add(
            Call::put("/v1/tags/update", "Set the tags of a server").needs(&[p::RETAGGED, p::ALL_TAGS]),
            tags::update,
        )
        .add(Call::delete("/v1/tags/destroy", "Take a tag off all servers").needs(&[p::TAG]), tags::destroy)
}

/// What was used, and what it cost.
fn billing_routes(routes: Routes<Shared>) -> Routes<Shared> {
    routes
        .add(
            Call::get("/v1/invoice/list", "List all invoices, newest first")
                .answers_array::<wire::InvoiceView>(),
            invoices::list,
        )
        .add(
            Call::get("/v1/transaction/list", "List all transactions, newest first")
                .takes(&[p::BEFORE, p::LIMIT])
                .answers_array::<wire::TransactionView>(),
            ledger::list,
        )
        .add(
            Call::get("/v1/usage/list", "Show the traffic of a server")
                .needs(&[p::SERVER])
                .takes(&[p::FROM, p::TO, p::STEP])
                .answers::<wire::UsageView>(),
            traffic::list,
        )
}

#[cfg(test)]
mod tests;
