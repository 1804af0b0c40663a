//! Room: the command line. `bulut server create`: orders a server, with the choices made where there is only one.

use super::{show, wait};
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::key;
use crate::cli::wire::{Created, Image, Package, Region};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that the cloud takes, decoded.
const USER_DATA_LIMIT: u64 = 64 * 1024;

/// What to order.
#[derive(Debug, Args)]
pub struct Create {
    /// A name for the server
    #[arg(long)]
    name: String,
    /// Region (bulut region list); may be left out when only one is active
    #[arg(long)]
    region: Option<String>,
    /// Package (bulut package list); may be left out when there is only one
    #[arg(long)]
    package: Option<String>,
    /// Image (bulut image list); may be left out when there is only one
    #[arg(long)]
    image: Option<String>,
    /// Start from this snapshot (bulut snapshot list) instead of an image
    #[arg(long, value_name = "ID", conflicts_with_all = ["image", "region"])]
    snapshot: Option<u64>,
    /// Host name; made from the name if absent
    #[arg(long)]
    hostname: Option<String>,
    /// A key of yours by name or fingerprint, or the path of a public key; may be repeated
    #[arg(long = "ssh-key", value_name = "KEY")]
    ssh_keys: Vec<String>,
    /// A file for cloud-init: a script or a cloud-config; - reads stdin
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Wait until the server runs, its ssh answers, or its cloud-init is done
    #[arg(long, value_enum, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "running")]
    wait: Option<wait::Stage>,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, order: Create) -> Result<()> {
    let limit = wait::Deadline::after(Duration::from_secs(order.timeout));
    let form = form(context, cloud, &order).await?;
    let path = if order.snapshot.is_some() { "/v1/server/create_from_snapshot" } else { "/v1/server/create" };
    let created: Created = parse(cloud.change(Method::POST, path, &form).await?)?;
    context
        .output
        .note(&format!("Server {} ({}) is ordered: event {}.", created.id, order.name, created.event_id));
    if let Some(stage) = order.wait {
        wait_for(context, cloud, &created, stage, limit).await?;
    }
    if context.output.quiet && !context.output.json {
        context.output.line(&created.id.to_string());
    } else if order.wait.is_some() {
        show::print(context, cloud, created.id).await?;
    } else if context.output.json {
        context.output.json(&json!({"id": created.id, "event_id": created.event_id}));
    } else {
        context.output.facts(&[
            ("id", created.id.to_string()),
            ("name", order.name),
            ("event", created.event_id.to_string()),
        ]);
    }
    Ok(())
}

async fn wait_for(
    context: &Context,
    cloud: &Cloud,
    created: &Created,
    stage: wait::Stage,
    limit: wait::Deadline,
) -> Result<()> {
    wait::until_done(context, cloud, created.event_id, &format!("Making server {}", created.id), limit)
        .await?;
    if matches!(stage, wait::Stage::Reachable | wait::Stage::CloudInit) {
        wait::until_reachable(context, cloud, created.id, limit).await?;
    }
    if stage == wait::Stage::CloudInit {
        wait::until_set_up(context, cloud, created.id, limit).await?;
    }
    Ok(())
}

async fn form(context: &Context, cloud: &Cloud, order: &Create) -> Result<Vec<(&'static str, String)>> {
    // What is wrong here on this machine is told before anything is asked or added there.
    let user_data = order.user_data.as_deref().map(user_data).transpose()?;
    let mut form = vec![("name", order.name.clone())];
    form.extend(match order.snapshot {
        Some(snapshot) => of_snapshot(cloud, order, snapshot).await?,
        None => of_image(cloud, order).await?,
    });
    form.extend(order.hostname.clone().map(|hostname| ("hostname", hostname)));
    if !order.ssh_keys.is_empty() {
        let mut known = key::known(cloud).await?;
        for given in &order.ssh_keys {
            form.push(("ssh_keys[]", key::resolve(context, cloud, &mut known, given).await?));
        }
    }
    form.extend(user_data.map(|data| ("user_data", data)));
    form.extend(order.tags.iter().map(|tag| ("tags[]", tag.clone())));
    Ok(form)
}

/// A snapshot stays in its region and brings its image along.
async fn of_snapshot(cloud: &Cloud, order: &Create, snapshot: u64) -> Result<Vec<(&'static str, String)>> {
    let package = match &order.package {
        Some(package) => package.clone(),
        None => {
            let packages: Vec<Package> = cloud.read("/v1/package/list").await?;
            only("package", packages.into_iter().map(|p| (p.slug.clone(), p.slug)).collect())?
        }
    };
    Ok(vec![("package", package), ("snapshot_id", snapshot.to_string())])
}

async fn of_image(cloud: &Cloud, order: &Create) -> Result<Vec<(&'static str, String)>> {
    let region = match &order.region {
        Some(region) => region.clone(),
        None => {
            let regions: Vec<Region> = cloud.read("/v1/region/list").await?;
            only("region", regions.into_iter().filter(|r| r.status).map(|r| (r.slug, r.name)).collect())?
        }
    };
    let package = match &order.package {
        Some(package) => package.clone(),
        None => only_package(cloud.read("/v1/package/list").await?, &region)?,
    };
    let image = match &order.image {
        Some(image) => image.clone(),
        None => only_image(cloud.read("/v1/image/list").await?, &region)?,
    };
    Ok(vec![("region", region), ("package", package), ("image", image)])
}

fn only_package(packages: Vec<Package>, region: &str) -> Result<String> {
    let offered =
        packages.into_iter().filter(|p| p.regions.is_empty() || p.regions.iter().any(|r| r == region));
    only(
        "package",
        offered
            .map(|p| (p.slug, format!("{} CPU, {} GB, {} a month", p.cpu, p.ram, p.monthly_price)))
            .collect(),
    )
}

fn only_image(images: Vec<Image>, region: &str) -> Result<String> {
    let offered =
        images.into_iter().filter(|i| i.regions.is_empty() || i.regions.iter().any(|r| r == region));
    // An application is a choice; an operating system alone is a default.
    only("image", offered.filter(|i| i.kind == "template").map(|i| (i.slug, i.name)).collect())
}

/// The choice, when there is only one; else the choices, as a hint.
fn only(what: &str, mut choices: Vec<(String, String)>) -> Result<String> {
    match choices.len() {
        0 => {
            Err(Failure::refused(format!("the cloud offers no {what} at the moment"))
                .hint("ask its operator"))
        }
        1 => Ok(choices.remove(0).0),
        _ => {
            let list = choices
                .iter()
                .map(|(slug, about)| format!("{slug} ({about})"))
                .collect::<Vec<_>>()
                .join(", ");
            Err(Failure::refused(format!("which {what}?")).hint(format!("--{what} with one of: {list}")))
        }
    }
}

fn user_data(path: &Path) -> Result<String> {
    let mut data = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(USER_DATA_LIMIT + 1).read_to_end(&mut data)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(USER_DATA_LIMIT + 1).read_to_end(&mut data))
    };
    let size = read.map_err(|why| Failure::file("read", path, &why))?;
    if size as u64 > USER_DATA_LIMIT {
        return Err(Failure::refused(format!(
            "{} is larger than {} KiB",
            path.display(),
            USER_DATA_LIMIT / 1024
        ))
        .hint("let it fetch the rest"));
    }
    Ok(STANDARD.encode(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_choice_is_taken_and_several_are_listed() {
        let pair = |slug: &str| (slug.to_owned(), slug.to_uppercase());
        assert_eq!(only("region", vec![pair("ist2")]).unwrap(), "ist2");
        let failure = only("region", vec![pair("ist1"), pair("ist2")]).unwrap_err();
        assert_eq!(failure.hint.unwrap(), "--region with one of: ist1 (IST1), ist2 (IST2)");
        assert_eq!(only("image", vec![]).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn user_data_is_base64_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(user_data(&path).unwrap(), "IyEvYmluL3NoCg==");
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(user_data(&path).unwrap_err().message.contains("larger than 64 KiB"));
        assert_eq!(user_data(&dir.path().join("none")).unwrap_err().exit_code(), 1);
    }
}
