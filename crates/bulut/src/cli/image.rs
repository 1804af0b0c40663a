//! Room: the command line. `bulut image …`: what customers can choose, and on the box, the files behind it.
//!
//! Promises: work that takes long shows how far it is. Must not know: how an image gets here; that is the domain's.

use super::cloud::parse;
use super::context::Context;
use super::failure::{Failure, Result};
use super::output::{Output, Progress};
use super::settings::Settings;
use super::wire;
use crate::domain::image_applications::{self, Application};
use crate::domain::image_files::Digest;
use crate::domain::images::{self, Fault, Import, Listed, Report};
use bulut_model::catalog::ImageFiles;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Images: what a server's disk starts from
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images: of the cloud that you use, or with --local those of this machine
    #[command(visible_alias = "ls")]
    List(List),
    /// Make an image from Debian packages, by its recipe
    Build(Named),
    /// Fetch an image from its distribution
    Pull(Named),
    /// Take in a disk from a file
    Import(ImportFile),
    /// Offer an application: an image, and a cloud-config that installs something on it
    Application(AddApplication),
    /// Offer an image to customers again
    Offer(Named),
    /// Offer an image no more; its servers and files stay
    Withdraw(Named),
    /// Remove an image's files
    #[command(visible_alias = "rm")]
    Remove(Named),
}

/// Which images.
#[derive(Debug, Args)]
pub struct List {
    /// The images of this machine's cloud and their files; the default when no cloud is known
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    settings: Settings,
}

/// One image.
#[derive(Debug, Args)]
pub struct Named {
    /// The image's slug
    image: String,
    #[command(flatten)]
    settings: Settings,
}

/// A disk in a file.
#[derive(Debug, Args)]
pub struct ImportFile {
    /// A disk in any format that qemu-img reads: qcow2, raw, vmdk, vdi, vhdx
    path: PathBuf,
    /// What orders will call it
    #[arg(long)]
    slug: String,
    /// For people
    #[arg(long)]
    name: String,
    /// The distribution, for example Debian
    #[arg(long, default_value = "Other")]
    distribution: String,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// A recipe in a file.
#[derive(Debug, Args)]
pub struct AddApplication {
    /// The recipe: a file that begins with #cloud-config
    recipe: PathBuf,
    /// What orders will call it
    #[arg(long)]
    slug: String,
    /// For people
    #[arg(long)]
    name: String,
    /// The slug of the image that it starts from
    #[arg(long, value_name = "IMAGE")]
    base: String,
    /// Fewest CPUs; those of the base where none are given
    #[arg(long, value_name = "COUNT")]
    min_cpu: Option<u32>,
    /// Least memory, MiB
    #[arg(long, value_name = "MIB")]
    min_memory: Option<u64>,
    /// Smallest disk, GiB
    #[arg(long, value_name = "GIB")]
    min_disk: Option<u64>,
    #[command(flatten)]
    settings: Settings,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let failure = Self::from(fault.error);
        match fault.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Runs the command.
pub async fn run(context: &Context, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::List(list) if list.local || !context.knows_a_cloud() => {
            local(context, &list.settings).await
        }
        ImageCommand::List(_) => offered(context).await,
        ImageCommand::Build(one) => {
            let app = one.settings.open().await?;
            let shown = Shown::new(context.output, &format!("Building {} …", one.image));
            let (slug, files) = images::build(&app, &one.image, &shown).await?;
            drop(shown);
            registered(context, &slug, &files);
            Ok(())
        }
        ImageCommand::Pull(one) => {
            let app = one.settings.open().await?;
            let shown = Shown::new(context.output, &format!("Pulling {} …", one.image));
            let files = images::pull(&app, &one.image, &shown).await?;
            drop(shown);
            registered(context, &one.image, &files);
            Ok(())
        }
        ImageCommand::Import(file) => import(context, file).await,
        ImageCommand::Application(new) => application(context, new).await,
        ImageCommand::Offer(one) => {
            images::offer(&one.settings.open().await?, &one.image, true).await?;
            context.output.note(&format!("{} is offered.", one.image));
            Ok(())
        }
        ImageCommand::Withdraw(one) => {
            images::offer(&one.settings.open().await?, &one.image, false).await?;
            context.output.note(&format!("{} is offered no more.", one.image));
            Ok(())
        }
        ImageCommand::Remove(one) => {
            images::remove(&one.settings.open().await?, &one.image).await?;
            context.output.note(&format!("Removed the files of {}.", one.image));
            Ok(())
        }
    }
}

async fn import(context: &Context, file: ImportFile) -> Result<()> {
    let digest = file.sha256.as_deref().map(|text| {
        Digest::parse(text).filter(|digest| digest.hex().len() == 64).ok_or_else(|| {
            Failure::refused("--sha256 must be 64 hexadecimal digits").hint("sha256sum FILE prints them")
        })
    });
    let import = Import {
        digest: digest.transpose()?,
        path: file.path,
        slug: file.slug,
        name: file.name,
        distribution: file.distribution,
    };
    if let Err(why) = std::fs::File::open(&import.path) {
        return Err(Failure::file("read", &import.path, &why));
    }
    let app = file.settings.open().await?;
    let shown = Shown::new(context.output, &format!("Importing {} …", import.slug));
    let files = images::import(&app, &import, &shown).await?;
    drop(shown);
    registered(context, &import.slug, &files);
    Ok(())
}

async fn application(context: &Context, new: AddApplication) -> Result<()> {
    let recipe =
        std::fs::read_to_string(&new.recipe).map_err(|why| Failure::file("read", &new.recipe, &why))?;
    let application = Application {
        slug: new.slug,
        name: new.name,
        base: new.base,
        recipe,
        min_cpu: new.min_cpu,
        min_memory_mib: new.min_memory,
        min_disk_gib: new.min_disk,
    };
    image_applications::add(&new.settings.open().await?, &application).await?;
    context.output.note(&format!("{} is offered, on {}.", application.slug, application.base));
    Ok(())
}

/// The images of a running cloud, as any customer sees them.
async fn offered(context: &Context) -> Result<()> {
    let answer = context.public_cloud()?.get("/v1/image/list", &[]).await?;
    if context.output.json {
        context.output.json(&answer);
        return Ok(());
    }
    let rows = parse::<Vec<wire::Image>>(answer)?
        .into_iter()
        .map(|image| vec![image.slug, image.name, image.kind, image.distribution, image.regions.join(",")])
        .collect();
    context.output.table(&["slug", "name", "type", "distribution", "regions"], rows);
    Ok(())
}

/// The images of this machine's cloud, with their files.
async fn local(context: &Context, settings: &Settings) -> Result<()> {
    let listed = images::list(&settings.open().await?).await?;
    if context.output.json {
        context.output.json(&listed.iter().map(describe).collect::<Vec<_>>());
        return Ok(());
    }
    let rows = listed
        .iter()
        .map(|listed| {
            let files = listed.image.files.as_ref();
            vec![
                listed.image.slug.clone(),
                listed.image.name.clone(),
                status(listed),
                files.map(|files| HumanBytes(files.file_bytes).to_string()).unwrap_or_default(),
                files.map(|files| short(&files.digest)).unwrap_or_default(),
                listed.servers.to_string(),
            ]
        })
        .collect();
    context.output.table(&["slug", "name", "status", "size", "digest", "servers"], rows);
    Ok(())
}

/// Whether it is here, and if not, how to get it.
fn status(listed: &Listed) -> String {
    let ready = match (listed.image.is_ready(), &listed.image.base_slug) {
        (true, _) => "ready".to_owned(),
        (false, Some(base)) => format!("needs {base}"),
        (false, None) => match (listed.can_build, listed.can_pull) {
            (true, true) => "build or pull",
            (true, false) => "build",
            (false, true) => "pull",
            (false, false) => "import",
        }
        .to_owned(),
    };
    if listed.image.active { ready } else { format!("{ready}, withdrawn") }
}

fn describe(listed: &Listed) -> Value {
    let image = &listed.image;
    let files = image.files.as_ref();
    json!({
        "slug": image.slug,
        "name": image.name,
        "type": image.kind.as_str(),
        "distribution": image.distribution,
        "active": image.active,
        "base": image.base_slug,
        "ready": image.is_ready(),
        "can_build": listed.can_build,
        "can_pull": listed.can_pull,
        "servers": listed.servers,
        "digest": files.map(|files| &files.digest),
        "file_bytes": files.map(|files| files.file_bytes),
        "virtual_bytes": files.map(|files| files.virtual_bytes),
        "boot": files.map(|files| if files.direct.is_some() { "direct" } else { "disk" }),
    })
}

fn registered(context: &Context, slug: &str, files: &ImageFiles) {
    if context.output.json {
        let (digest, size) = (&files.digest, files.file_bytes);
        context.output.json(&json!({"slug": slug, "digest": digest, "file_bytes": size, "virtual_bytes": files.virtual_bytes}));
    } else {
        context.output.facts(&[
            ("image", slug.to_owned()),
            ("digest", files.digest.clone()),
            (
                "size",
                format!(
                    "{} in the file, {} for a guest",
                    HumanBytes(files.file_bytes),
                    HumanBytes(files.virtual_bytes)
                ),
            ),
        ]);
    }
}

/// The first digits of a digest: enough for people to tell images apart.
fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

/// Shows the domain's reports: stages as lines, bytes as a bar.
struct Shown {
    output: Output,
    /// One thing moves at a time: a spinner until bytes come, then their bar.
    moving: Mutex<Moving>,
}

struct Moving {
    progress: Option<Progress>,
    counts: bool,
}

impl Shown {
    fn new(output: Output, text: &str) -> Self {
        Self { output, moving: Mutex::new(Moving { progress: Some(output.spinner(text)), counts: false }) }
    }

    fn moving(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Shown {
    fn stage(&self, text: &str) {
        let mut moving = self.moving();
        if moving.counts {
            *moving = Moving { progress: None, counts: false };
        }
        match &moving.progress {
            Some(progress) => progress.note(text),
            None => self.output.note(text),
        }
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let mut moving = self.moving();
        if !moving.counts {
            // The spinner's line goes before the bar's comes.
            moving.progress = None;
            *moving = Moving { progress: Some(self.output.bytes("Fetching", total)), counts: true };
        }
        if let Some(bar) = &moving.progress {
            if let Some(total) = total {
                bar.set_total(total);
            }
            bar.set(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulut_model::ImageId;
    use bulut_model::catalog::{Image, ImageKind};

    fn listed(files: Option<ImageFiles>) -> Listed {
        let image = Image {
            id: ImageId(1),
            slug: "tiny".into(),
            name: "Tiny Linux 1".into(),
            distribution: "Tiny".into(),
            kind: ImageKind::Template,
            min_cpu: None,
            min_memory_mib: None,
            min_disk_gib: None,
            default_user: "root".into(),
            active: true,
            base_slug: None,
            recipe: None,
            files,
            regions: vec![],
        };
        Listed { image, servers: 2, can_build: true, can_pull: false }
    }

    #[test]
    fn an_image_that_is_not_here_says_how_to_get_it() {
        assert_eq!(status(&listed(None)), "build");
        let files = ImageFiles {
            digest: format!("sha256:{}", "ab".repeat(32)),
            directory: "ab".repeat(32),
            virtual_bytes: 64 << 20,
            file_bytes: 20 << 20,
            direct: None,
        };
        assert_eq!(short(&files.digest), "abababababab");
        let here = listed(Some(files));
        assert_eq!(status(&here), "ready");
        let application = |files| {
            let mut listed = listed(files);
            listed.image.kind = ImageKind::Application;
            listed.image.base_slug = Some("debian-12-x64".into());
            (listed.can_build, listed.image.active) = (false, false);
            status(&listed)
        };
        assert_eq!(application(None), "needs debian-12-x64, withdrawn");
        assert_eq!(application(here.image.files.clone()), "ready, withdrawn");
        let json = describe(&here);
        assert_eq!(
            (&json["ready"], &json["boot"], &json["servers"]),
            (&json!(true), &json!("disk"), &json!(2))
        );
    }

    #[test]
    fn a_fault_keeps_its_hint_and_its_blame() {
        let failure = Failure::from(Fault::refused("no").hint("do"));
        assert_eq!((failure.exit_code(), failure.hint.as_deref()), (1, Some("do")));
        assert_eq!(Failure::from(Fault::broken("no")).exit_code(), 2);
    }
}
