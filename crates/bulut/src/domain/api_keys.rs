//! API keys: made by an account, shown once, and proved by whoever calls as a Cloud at Cost client.
//!
//! A key is `bk`, ten letters that find its row, and thirty-six that only its owner knows: some 209 bits, so that a
//! fast keyed digest is enough to keep. Promises: neither the key nor its secret half ever reaches the log; a key that
//! is refused is not told why, but for the address that it may not be used from. Must not know: HTTP.

use crate::app::App;
use crate::clock::random_password;
use crate::domain::access::Caller;
use crate::domain::callers;
use crate::domain::changes::{Begun, Change};
use bulut_model::account::Account;
use bulut_model::api_key::ApiKey;
use bulut_model::error::Kind;
use bulut_model::name::check_name;
use bulut_model::network::{Network, parse_all};
use bulut_model::{ApiKeyId, Error, Result, Timestamp};
use bulut_store::api_keys;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// What every key begins with, so that people and scanners know one when they see it.
const MARK: &str = "bk";
/// Letters behind the mark that find its row.
const PREFIX: usize = 10;
/// Letters that only its owner knows.
const SECRET: usize = 36;
/// Most keys of an account that hold.
const KEYS_MAX: usize = 100;
/// How often the use of a key is written down at most.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// What digests of keys are for.
const PLACE: &str = "api_key";

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: String,
    /// From where it may be used; what the operator's setting says where nothing is said.
    pub addresses: Option<Vec<String>>,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A key that was made, and the key itself, which nobody can look up later.
#[derive(Clone, Serialize, Deserialize)]
pub struct Made {
    /// What the house knows of it.
    pub key: ApiKey,
    /// The whole key.
    pub secret: String,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Makes a key.
///
/// Errors: `Invalid` for a bad name or address, or an end that has passed; `Quota` when the account has too many.
pub async fn create(app: &App, caller: &Caller, new: NewKey) -> Result<Made> {
    check_name("name", &new.name)?;
    let networks = networks(app, new.addresses.as_deref())?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    if new.expires_at.is_some_and(|end| end <= change.now) {
        return Err(Error::invalid("expires_at", "The expires_at must lie in the future."));
    }
    let account = change.account.id;
    let holding = api_keys::list(&change.tx, account).await?;
    if holding.iter().filter(|key| key.holds(change.now)).count() >= KEYS_MAX {
        let why = format!("An account may have {KEYS_MAX} API keys; revoke one that is not needed any more.");
        return Err(Error::new(Kind::Quota, why));
    }
    let prefix = format!("{MARK}{}", random_password(PREFIX));
    let secret = format!("{prefix}{}", random_password(SECRET));
    let digest = app.vault().digest(PLACE, &secret);
    let row = api_keys::New { account, name: new.name, prefix, digest, networks, expires_at: new.expires_at };
    let key = api_keys::insert(&change.tx, &row, change.now).await?;
    tracing::info!(account.id = account.0, api_key.id = key.id.0, "API key made");
    change.commit(Made { key, secret }).await
}

fn networks(app: &App, addresses: Option<&[String]>) -> Result<Vec<Network>> {
    parse_all("addresses", addresses.unwrap_or(&app.config().api_key_default_addresses))
}

/// The account's keys, oldest first, ended ones too.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<ApiKey>> {
    api_keys::list(app.store(), caller.account.id).await
}

/// Says from where a key may be used.
///
/// Errors: `NotFound`, also for one that was revoked; `Invalid` for what is no address or network.
pub async fn set_addresses(app: &App, caller: &Caller, id: ApiKeyId, addresses: &[String]) -> Result<ApiKey> {
    let networks = parse_all("addresses", addresses)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let key = api_keys::set_networks(&change.tx, change.account.id, id, &networks).await?;
    let key = key.ok_or_else(|| not_found(id))?;
    tracing::info!(account.id = change.account.id.0, api_key.id = id.0, "addresses of an API key changed");
    change.commit(key).await
}

/// Ends a key. One that was ended before stays ended.
///
/// Errors: `NotFound`.
pub async fn revoke(app: &App, caller: &Caller, id: ApiKeyId) -> Result<ApiKey> {
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let key = api_keys::revoke(&change.tx, change.account.id, id, change.now).await?;
    let key = key.ok_or_else(|| not_found(id))?;
    tracing::info!(account.id = change.account.id.0, api_key.id = id.0, "API key revoked");
    change.commit(key).await
}

fn not_found(id: ApiKeyId) -> Error {
    Error::not_found(format!("There is no API key with id {id} that holds."))
}

/// Why a key does not let its bearer in.
#[derive(Debug)]
pub enum Denied {
    /// It does not exist, has ended, or is another's than the login says: the three are never told apart.
    Invalid,
    /// It holds, but not for the address that it comes from.
    Address,
    /// It could not be looked at.
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Who bears this key, named by e-mail address or user name as `login`, at this address.
pub async fn authenticate(
    app: &App,
    key: &str,
    login: &str,
    address: Option<IpAddr>,
) -> Result<(Caller, ApiKeyId), Denied> {
    let prefix = key.get(..MARK.len() + PREFIX).ok_or(Denied::Invalid)?;
    let (found, digest) = api_keys::find_by_prefix(app.store(), prefix).await?.ok_or(Denied::Invalid)?;
    let now = app.clock().now();
    if !app.vault().has_digest(PLACE, key, &digest) || !found.holds(now) {
        return Err(Denied::Invalid);
    }
    let account = callers::find(app, found.account).await?.ok_or(Denied::Invalid)?;
    if !is_named(&account, login) {
        return Err(Denied::Invalid);
    }
    if !found.allows(address) {
        tracing::warn!(
            account.id = account.id.0,
            api_key.id = found.id.0,
            "an API key came from an address that it may not come from"
        );
        return Err(Denied::Address);
    }
    let since = now.minus(TOUCH_EVERY);
    if found.last_used_at.is_none_or(|at| at < since) {
        api_keys::touch(app.store(), found.id, since, now).await?;
    }
    Ok((Caller::new(account), found.id))
}

/// Whether the account is called this. Clients that forget to encode a plus sign say a blank, which no name has.
fn is_named(account: &Account, login: &str) -> bool {
    let login = login.trim().replace(' ', "+");
    account.email.eq_ignore_ascii_case(&login) || account.user_name.as_deref() == Some(login.as_str())
}
