//! Room: the command line. `bulut key list|add|rename|remove`: the account's ssh keys.
//!
//! Promises: a private key never leaves the machine, even when somebody names it.

use super::cloud::{Cloud, parse};
use super::context::Context;
use super::failure::{Failure, Result};
use super::wire::{SshKey, SshKeys};
use bulut_model::ssh_key::{self, PublicKey};
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;
use std::path::{Path, PathBuf};

/// SSH keys of your account
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    #[command(visible_alias = "ls")]
    List,
    /// Add a public key
    Add {
        /// The file, for example ~/.ssh/id_ed25519.pub
        path: PathBuf,
        /// A name for it; the key's comment or the file's name if absent
        #[arg(long)]
        name: Option<String>,
    },
    /// Give a key another name
    Rename {
        /// The key's name, or its fingerprint
        key: String,
        /// The new name
        name: String,
    },
    /// Remove a key from the account; servers that have it keep it
    #[command(visible_alias = "rm")]
    Remove {
        /// The key's name, or its fingerprint
        key: String,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: KeyCommand) -> Result<()> {
    let cloud = context.cloud().await?;
    match command {
        KeyCommand::List => list(context, &cloud).await,
        KeyCommand::Add { path, name } => add(context, &cloud, &path, name).await,
        KeyCommand::Rename { key, name } => rename(context, &cloud, key, name).await,
        KeyCommand::Remove { key } => remove(context, &cloud, key).await,
    }
}

async fn list(context: &Context, cloud: &Cloud) -> Result<()> {
    let answer = cloud.get("/v1/sshkey/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let rows = parse::<SshKeys>(answer)?
        .0
        .into_iter()
        .map(|key| {
            let kind = key.public_key.split_ascii_whitespace().next().unwrap_or_default().to_owned();
            vec![key.name, key.fingerprint, kind]
        })
        .collect();
    context.output.table(&["name", "fingerprint", "type"], rows);
    Ok(())
}

async fn add(context: &Context, cloud: &Cloud, path: &Path, name: Option<String>) -> Result<()> {
    let key = read(path)?;
    let known = known(cloud).await?;
    if let Some(there) = known.iter().find(|there| there.fingerprint == key.fingerprint) {
        return Err(Failure::refused(format!("this key is there already, named {:?}", there.name)));
    }
    let name = name.unwrap_or_else(|| free_name(&key, path, &known));
    upload(cloud, &name, &key).await?;
    if context.output.json {
        context.output.json(&json!({"name": name, "fingerprint": key.fingerprint}));
    } else {
        context.output.facts(&[("name", name), ("fingerprint", key.fingerprint)]);
    }
    Ok(())
}

async fn rename(context: &Context, cloud: &Cloud, key: String, name: String) -> Result<()> {
    let form = [("fingerprint", key), ("name", name.clone())];
    cloud.change(Method::PUT, "/v1/sshkey/update", &form).await.map_err(look)?;
    if context.output.json {
        context.output.json(&json!({"name": name}));
    } else {
        context.output.facts(&[("name", name)]);
    }
    Ok(())
}

async fn remove(context: &Context, cloud: &Cloud, key: String) -> Result<()> {
    let form = [("fingerprint", key.clone())];
    cloud.change(Method::DELETE, "/v1/sshkey/destroy", &form).await.map_err(look)?;
    context.output.note(&format!("Removed the ssh key {key:?}; servers that have it keep it."));
    Ok(())
}

fn look(failure: Failure) -> Failure {
    failure.hint("bulut key list")
}

/// The account's keys.
pub async fn known(cloud: &Cloud) -> Result<Vec<SshKey>> {
    Ok(cloud.read::<SshKeys>("/v1/sshkey/list").await?.0)
}

/// The fingerprint of what a person calls a key: its name, its fingerprint, or the path of a public key, which is
/// added to the account if it is not there yet.
pub async fn resolve(
    context: &Context,
    cloud: &Cloud,
    known: &mut Vec<SshKey>,
    given: &str,
) -> Result<String> {
    if let Some(key) = known.iter().find(|key| key.name == given || key.fingerprint == given) {
        return Ok(key.fingerprint.clone());
    }
    let path = Path::new(given);
    let looks_like_a_path = given.contains('/') || path.extension().is_some_and(|end| end == "pub");
    if !looks_like_a_path && !path.is_file() {
        let names = known.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        let known =
            if names.is_empty() { "the account has no keys yet".into() } else { format!("known: {names}") };
        return Err(Failure::refused(format!("there is no ssh key {given:?}"))
            .hint(format!("{known}; a path such as ~/.ssh/id_ed25519.pub adds one")));
    }
    let key = read(path)?;
    if !known.iter().any(|there| there.fingerprint == key.fingerprint) {
        let name = free_name(&key, path, known);
        upload(cloud, &name, &key).await?;
        context.output.note(&format!("Added the ssh key {name:?} to your account."));
        known.push(SshKey { name, public_key: key.line.clone(), fingerprint: key.fingerprint.clone() });
    }
    Ok(key.fingerprint)
}

async fn upload(cloud: &Cloud, name: &str, key: &PublicKey) -> Result<()> {
    let form = [("name", name.to_owned()), ("public_key", key.line.clone())];
    cloud.change(Method::POST, "/v1/sshkey/create", &form).await.map(drop)
}

/// Reads a public key. Of a private key's path the public half beside it is meant.
fn read(path: &Path) -> Result<PublicKey> {
    let text = std::fs::read_to_string(path).map_err(|why| Failure::file("read", path, &why))?;
    if text.contains("PRIVATE KEY") {
        let public = PathBuf::from(format!("{}.pub", path.display()));
        let failure = Failure::refused(format!("{} is a private key; it stays here", path.display()));
        return Err(if public.exists() {
            failure.hint(format!("use {}", public.display()))
        } else {
            failure.hint(format!("ssh-keygen -y -f {} prints its public half", path.display()))
        });
    }
    ssh_key::parse(&text).map_err(|error| Failure::refused(format!("{}: {}", path.display(), error.public)))
}

/// The key's comment, or the file's name, with a number when it is taken.
fn free_name(key: &PublicKey, path: &Path, known: &[SshKey]) -> String {
    let comment = key.line.splitn(3, ' ').nth(2).unwrap_or_default();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let base = if comment.is_empty() { stem } else { comment.to_owned() };
    let base = base.chars().take(60).collect::<String>();
    let is_free = |name: &str| !known.iter().any(|key| key.name == name);
    if is_free(&base) {
        return base;
    }
    // Among one more name than there are keys, one is free.
    (2..=known.len() + 2).map(|n| format!("{base}-{n}")).find(|name| is_free(name)).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here";

    fn key(name: &str) -> SshKey {
        SshKey { name: name.into(), public_key: LINE.into(), fingerprint: "aa:bb".into() }
    }

    #[test]
    fn a_key_is_named_by_its_comment_and_numbered_when_that_is_taken() {
        let parsed = ssh_key::parse(LINE).unwrap();
        assert_eq!(free_name(&parsed, Path::new("id.pub"), &[]), "me@here");
        assert_eq!(free_name(&parsed, Path::new("id.pub"), &[key("me@here"), key("me@here-2")]), "me@here-3");
        let bare = ssh_key::parse(LINE.rsplit_once(' ').unwrap().0).unwrap();
        assert_eq!(free_name(&bare, Path::new("/x/id_ed25519.pub"), &[]), "id_ed25519");
    }

    #[test]
    fn a_private_key_is_not_even_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n").unwrap();
        std::fs::write(dir.path().join("id.pub"), LINE).unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.message.contains("stays here"));
        assert!(failure.hint.unwrap().ends_with("id.pub"));
        assert!(read(&dir.path().join("id.pub")).is_ok());
    }
}
