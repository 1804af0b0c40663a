//! SSH public keys of an account.

use crate::app::App;
use crate::domain::access::Caller;
use bulut_model::name::{check_name, excerpt};
use bulut_model::ssh_key::{SshKey, parse};
use bulut_model::{Error, Result};
use bulut_store::ssh_keys;

/// Adds a key.
///
/// Errors: `Invalid` for a bad name or what is no key, `AlreadyExists` for a taken name or a key that is there.
pub async fn create(app: &App, caller: &Caller, name: &str, public_key: &str) -> Result<SshKey> {
    caller.may_change()?;
    check_name("name", name)?;
    let key = parse(public_key)?;
    ssh_keys::insert(app.store(), caller.account.id, name, &key, app.clock().now()).await
}

/// The account's keys, oldest first.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<SshKey>> {
    ssh_keys::list(app.store(), caller.account.id).await
}

/// The lines of the account's keys that are named by fingerprint (MD5 with colons, with or without `MD5:`)
/// or by name.
///
/// Errors: `Invalid` naming the first one that the account does not have.
pub async fn resolve(app: &App, caller: &Caller, wanted: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let keys = list(app, caller).await?;
    let mut lines: Vec<String> = Vec::with_capacity(wanted.len());
    for one in wanted {
        let fingerprint = one.strip_prefix("MD5:").unwrap_or(one).to_lowercase();
        let key = keys.iter().find(|key| key.fingerprint == fingerprint || key.name == *one);
        let key = key.ok_or_else(|| {
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
