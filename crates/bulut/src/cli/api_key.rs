//! Room: the command line. `bulut api-key …`: keys for Cloud at Cost clients, of your own account through the API, or of
//! any account on the box with `--account`.
//!
//! Promises: a key is printed once, when it is made. Must not know: how keys are proved.

use super::cloud::parse;
use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use super::wire::ApiKey;
use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::accounts;
use crate::domain::api_keys::{self, NewKey};
use bulut_model::{ApiKeyId, Timestamp, api_key};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Keys for Cloud at Cost clients
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key and print it once
    Create(Create),
    /// List the keys, ended ones too
    #[command(visible_alias = "ls")]
    List(Whose),
    /// Say from where a key may be used; without addresses, from nowhere
    Addresses(Addresses),
    /// End a key
    Revoke(One),
}

/// Whose keys.
#[derive(Debug, Args)]
pub struct Whose {
    /// On the box: the account's e-mail address or user name; your own account, through the API, if absent
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// A key to be made.
#[derive(Debug, Args)]
pub struct Create {
    /// What to call it
    #[arg(long)]
    name: String,
    /// Addresses and networks that it may be used from, with commas, or any; what the cloud's operator has set if absent
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    allow: Vec<String>,
    /// When it ends: 30d, 12h, or a time such as 2030-01-31T00:00:00Z; never if absent
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

/// From where a key may be used.
#[derive(Debug, Args)]
pub struct Addresses {
    /// The key's id
    id: i64,
    /// Addresses and networks, with commas or blanks between them, or any
    #[arg(value_name = "NETWORK", value_delimiter = ',')]
    allow: Vec<String>,
    #[command(flatten)]
    whose: Whose,
}

/// One key.
#[derive(Debug, Args)]
pub struct One {
    /// The key's id
    id: i64,
    #[command(flatten)]
    whose: Whose,
}

/// Where the command works.
enum Place {
    /// On the box, as this account.
    Box(App, Caller),
    /// Through the API.
    Cloud(super::cloud::Cloud),
}

async fn place(context: &Context, whose: &Whose) -> Result<Place> {
    let Some(name) = &whose.account else { return Ok(Place::Cloud(context.cloud().await?)) };
    let app = whose.settings.open().await?;
    let account = accounts::named(&app, name).await?;
    Ok(Place::Box(app, Caller::new(account)))
}

/// Runs the command.
pub async fn run(context: &Context, command: ApiKeyCommand) -> Result<()> {
    match command {
        ApiKeyCommand::Create(new) => create(context, new).await,
        ApiKeyCommand::List(whose) => list(context, &whose).await,
        ApiKeyCommand::Addresses(change) => addresses(context, change).await,
        ApiKeyCommand::Revoke(one) => revoke(context, one).await,
    }
}

async fn create(context: &Context, new: Create) -> Result<()> {
    let place = place(context, &new.whose).await?;
    let expires_at = new.expires.as_deref().map(|text| end(text, now(&place))).transpose()?;
    let value = match place {
        Place::Box(app, caller) => {
            let addresses = (!new.allow.is_empty()).then_some(new.allow);
            let made =
                api_keys::create(&app, &caller, NewKey { name: new.name, addresses, expires_at }).await?;
            let mut value = describe(&made.key);
            value["key"] = json!(made.secret);
            value
        }
        Place::Cloud(cloud) => {
            let mut body = json!({"name": new.name, "addresses": new.allow});
            if let Some(end) = expires_at {
                body["expires_at"] = json!(end.wire());
            }
            cloud.change_json(Method::POST, "/v2/api-keys", &body).await?
        }
    };
    if context.output.json {
        context.output.json(&value);
        return Ok(());
    }
    let key: ApiKey = parse(value)?;
    let secret = key.key.clone().unwrap_or_default();
    if context.output.quiet {
        context.output.line(&secret);
        return Ok(());
    }
    context.output.note("The key is shown this once.");
    if key.addresses.is_empty() {
        context.output.note(&format!(
            "It may not be used from anywhere yet: bulut api-key addresses {} NETWORK",
            key.id
        ));
    }
    let mut facts = vec![("key", secret)];
    facts.extend(facts_of(&key));
    context.output.facts(&facts);
    Ok(())
}

async fn list(context: &Context, whose: &Whose) -> Result<()> {
    let value = match place(context, whose).await? {
        Place::Box(app, caller) => {
            Value::Array(api_keys::list(&app, &caller).await?.iter().map(describe).collect())
        }
        Place::Cloud(cloud) => cloud.get("/v2/api-keys", &[]).await?,
    };
    if context.output.json {
        context.output.json(&value);
        return Ok(());
    }
    let rows = parse::<Vec<ApiKey>>(value)?
        .into_iter()
        .map(|key| {
            let ends = match (&key.revoked_at, &key.expires_at) {
                (Some(at), _) => format!("revoked {at}"),
                (None, Some(at)) => at.clone(),
                (None, None) => "never".to_owned(),
            };
            let used = key.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
            vec![key.id.to_string(), key.name.clone(), format!("{}…", key.prefix), allowed(&key), used, ends]
        })
        .collect();
    context.output.table(&["id", "name", "key", "from", "last used", "ends"], rows);
    Ok(())
}

async fn addresses(context: &Context, change: Addresses) -> Result<()> {
    let value = match place(context, &change.whose).await? {
        Place::Box(app, caller) => {
            let key = api_keys::set_addresses(&app, &caller, ApiKeyId(change.id), &change.allow).await?;
            describe(&key)
        }
        Place::Cloud(cloud) => {
            let body = json!({"addresses": change.allow});
            cloud.change_json(Method::PUT, &format!("/v2/api-keys/{}", change.id), &body).await?
        }
    };
    print(context, value)
}

async fn revoke(context: &Context, one: One) -> Result<()> {
    let value = match place(context, &one.whose).await? {
        Place::Box(app, caller) => describe(&api_keys::revoke(&app, &caller, ApiKeyId(one.id)).await?),
        Place::Cloud(cloud) => cloud.change(Method::DELETE, &format!("/v2/api-keys/{}", one.id), &[]).await?,
    };
    print(context, value)
}

fn print(context: &Context, value: Value) -> Result<()> {
    if context.output.json {
        context.output.json(&value);
    } else {
        context.output.facts(&facts_of(&parse(value)?));
    }
    Ok(())
}

fn facts_of(key: &ApiKey) -> Vec<(&'static str, String)> {
    let mut facts = vec![("id", key.id.to_string()), ("name", key.name.clone()), ("from", allowed(key))];
    facts.extend(key.expires_at.clone().map(|at| ("ends", at)));
    facts.extend(key.revoked_at.clone().map(|at| ("revoked", at)));
    facts
}

fn allowed(key: &ApiKey) -> String {
    if key.addresses.is_empty() { "nowhere".to_owned() } else { key.addresses.join(",") }
}

/// As the native API shows it.
fn describe(key: &api_key::ApiKey) -> Value {
    json!({
        "id": key.id.0,
        "name": key.name,
        "prefix": key.prefix,
        "addresses": key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": key.created_at.wire(),
        "expires_at": key.expires_at.map(Timestamp::wire),
        "last_used_at": key.last_used_at.map(Timestamp::wire),
        "revoked_at": key.revoked_at.map(Timestamp::wire),
    })
}

fn now(place: &Place) -> Timestamp {
    match place {
        Place::Box(app, _) => app.clock().now(),
        Place::Cloud(_) => Timestamp::from_unix_seconds(super::session::now()),
    }
}

/// A span from now, or a time.
fn end(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Some(time) = Timestamp::from_wire(text) {
        return Ok(time);
    }
    let span = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, unit)| {
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "d" => 24 * 60 * 60,
            "h" => 60 * 60,
            "m" => 60,
            _ => return None,
        };
        number.checked_mul(seconds).filter(|span| *span > 0)
    });
    span.map(|seconds| now.plus(Duration::from_secs(seconds))).ok_or_else(|| {
        Failure::refused(format!("--expires: '{text}' is no span and no time"))
            .hint("for example 30d, 12h or 2030-01-31T00:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_span_or_a_time() {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!(end("30d", now).unwrap(), now.plus(Duration::from_secs(30 * 86_400)));
        assert_eq!(end("12h", now).unwrap(), now.plus(Duration::from_secs(43_200)));
        assert_eq!(end("2030-01-31T00:00:00Z", now).unwrap().wire(), "2030-01-31T00:00:00Z");
        for bad in ["", "d", "0d", "-1d", "1y", "é", "30", "99999999999999999999d", "tomorrow"] {
            assert!(end(bad, now).is_err(), "{bad}");
        }
    }
}
