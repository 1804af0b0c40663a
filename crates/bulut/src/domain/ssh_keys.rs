//! SSH public keys of an account. Servers keep the keys that they were made with, whatever becomes of them here.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use bulut_model::name::{check_name, excerpt};
use bulut_model::ssh_key::{SshKey, parse};
use bulut_model::{Error, Result};
use bulut_store::ssh_keys;

/// Adds a key.
///
/// Errors: `Invalid` for a bad name or what is no key, `AlreadyExists` for a taken name or a key that is there.
pub async fn create(app: &App, caller: &Caller, name: &str, public_key: &str) -> Result<()> {
    caller.may_change()?;
    check_name("name", name)?;
    let key = parse(public_key)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    ssh_keys::insert(&change.tx, change.account.id, name, &key, change.now).await?;
    change.commit(()).await
}

/// The account's keys, oldest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<SshKey>> {
    ssh_keys::list(app.store(), caller.account.id).await
}

/// Gives the key that is named another name.
///
/// Errors: `Invalid` for a bad name, `NotFound` for a key that the account does not have, `AlreadyExists` for a name
/// that another one has.
pub async fn update(app: &App, caller: &Caller, fingerprint: &str, name: &str) -> Result<()> {
    caller.may_change()?;
    check_name("name", name)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let key = find(&change, fingerprint).await?;
    ssh_keys::rename(&change.tx, change.account.id, key.id, name).await?;
    change.commit(()).await
}

/// Removes the key that is named.
///
/// Errors: `NotFound` for a key that the account does not have.
pub async fn destroy(app: &App, caller: &Caller, fingerprint: &str) -> Result<()> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(()) => return Ok(()),
        Begun::First(change) => change,
    };
    let key = find(&change, fingerprint).await?;
    ssh_keys::remove(&change.tx, change.account.id, key.id).await?;
    change.commit(()).await
}

async fn find(change: &Change, fingerprint: &str) -> Result<SshKey> {
    let keys = ssh_keys::list(&change.tx, change.account.id).await?;
    named(&keys, fingerprint).cloned().ok_or_else(|| {
        Error::not_found(format!(
            "There is no SSH key with the fingerprint '{}'; sshkey/list shows those of the account.",
            excerpt(fingerprint)
        ))
    })
}

/// The key with this fingerprint, in any form that OpenSSH shows, else the one with this name.
fn named<'a>(keys: &'a [SshKey], wanted: &str) -> Option<&'a SshKey> {
    let by_fingerprint = keys.iter().find(|key| key.has_fingerprint(wanted));
    by_fingerprint.or_else(|| keys.iter().find(|key| key.name == wanted))
}

/// The lines of the account's keys that are named by fingerprint or by name.
///
/// Errors: `Invalid` naming the first one that the account does not have.
pub async fn resolve(app: &App, caller: &Caller, wanted: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let keys = list(app, caller).await?;
    let mut lines: Vec<String> = Vec::with_capacity(wanted.len());
    for one in wanted {
        let key = named(&keys, one).ok_or_else(|| {
            Error::invalid(
                "ssh_keys",
                format!(
                    "The ssh_keys name '{}', which is no fingerprint or name in sshkey/list.",
                    excerpt(one)
                ),
            )
        })?;
        if !lines.contains(&key.public_key) {
            lines.push(key.public_key.clone());
        }
    }
    Ok(lines)
}
