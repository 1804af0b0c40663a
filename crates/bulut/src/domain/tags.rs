//! Tags of the account's servers. They say nothing to a machine, so that no operation stands in their way.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use bulut_model::name::excerpt;
use bulut_model::server::Server;
use bulut_model::tag::{PER_SERVER_MAX, Tag, check};
use bulut_model::{Error, Result, ServerId};
use bulut_store::{servers, tags};
use std::collections::{HashMap, HashSet};

/// Puts each of the tags on each of the servers; where one is already, it stays.
///
/// Errors: `Invalid` for what is no tag, or more than a server can have; `NotFound` naming the server that is not the
/// caller's. Then nothing has changed.
pub async fn create(app: &App, caller: &Caller, wanted: &[ServerId], words: &[String]) -> Result<()> {
    caller.may_change()?;
    check(words)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let owned = servers::list(&change.tx, account).await?;
    let owned: HashMap<ServerId, &Server> = owned.iter().map(|server| (server.id, server)).collect();
    for id in wanted {
        let server = owned.get(id).ok_or_else(|| not_found("sub_ids", *id))?;
        check_room(server, words)?;
    }
    for word in words {
        tags::ensure_on(&change.tx, account, wanted, word, change.now).await?;
    }
    change.commit(()).await
}

fn check_room(server: &Server, words: &[String]) -> Result<()> {
    let all: HashSet<&String> = server.tags.iter().chain(words).collect();
    if all.len() <= PER_SERVER_MAX {
        return Ok(());
    }
    Err(Error::invalid(
        "tags",
        format!(
            "The tags would make {} on server {}, which has {} already; at most {PER_SERVER_MAX} fit.",
            all.len(),
            server.id,
            server.tags.len()
        ),
    ))
}

fn not_found(field: &str, id: ServerId) -> Error {
    Error::not_found(format!("There is no server with the {field} {id}."))
}

/// The tags of the account's servers, oldest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Tag>> {
    tags::list(app.store(), caller.account.id).await
}

/// Makes the tags of a server exactly these.
///
/// Errors: `Invalid` for what is no tag; `NotFound` for a server that is not the caller's.
pub async fn update(app: &App, caller: &Caller, id: ServerId, words: &[String]) -> Result<()> {
    caller.may_change()?;
    check(words)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let server = servers::find_owned(&change.tx, change.account.id, id).await?;
    let server = server.ok_or_else(|| not_found("sub_id", id))?;
    for old in server.tags.iter().filter(|old| !words.contains(old)) {
        tags::remove(&change.tx, id, old).await?;
    }
    for new in words.iter().filter(|new| !server.tags.contains(new)) {
        tags::ensure(&change.tx, id, new, change.now).await?;
    }
    change.commit(()).await
}

/// Takes a tag off all servers of the account.
///
/// Errors: `NotFound` when none carries it.
pub async fn destroy(app: &App, caller: &Caller, word: &str) -> Result<()> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    if tags::remove_all(&change.tx, change.account.id, word).await? == 0 {
        return Err(Error::not_found(format!(
            "There is no tag '{}' on any of the servers; tags/list shows those that are.",
            excerpt(word)
        )));
    }
    change.commit(()).await
}
