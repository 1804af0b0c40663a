//! Room: the domain. The recipes of guest images and of applications, embedded in the binary: unpacks one of an image
//! and runs it, tells the text of one of an application.
//!
//! Promises: works without the source tree; leaves nothing but the image and the package cache; the guest's files do
//! not depend on this process's umask. Must not know: what a recipe does.

use super::images::{Fault, Report};
use serde::Deserialize;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// A file of the recipes.
struct File {
    path: &'static str,
    executable: bool,
    bytes: &'static [u8],
}

/// All files of the recipes, as build.rs found them.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Where the recipes of applications are among the files.
const APPLICATIONS: &str = "applications/";

/// The cloud-config of the application recipe `name`.
pub fn application(name: &str) -> Option<&'static str> {
    let file = FILES.iter().find(|file| {
        let slug = file.path.strip_prefix(APPLICATIONS).and_then(|path| path.strip_suffix(".yaml"));
        slug == Some(name)
    })?;
    std::str::from_utf8(file.bytes).ok()
}

/// The names of all recipes of images.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(|file| file.path.strip_suffix("/build.sh"))
}

/// What a recipe says about the image that it made (`image.json`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Description {
    /// `disk` or `direct`.
    pub boot: String,
    /// File name of the kernel, for a direct boot.
    pub kernel: Option<String>,
    /// File name of the initial ram disk, for a direct boot.
    pub initrd: Option<String>,
    /// The kernel's command line, for a direct boot.
    pub cmdline: Option<String>,
}

/// Runs the recipe `name`; its files are in `out` afterwards. `scratch` is an empty directory of the caller's.
///
/// Errors: what the recipe itself says is missing.
pub async fn run(
    name: &str,
    out: &Path,
    scratch: &Path,
    cache: &Path,
    report: &dyn Report,
) -> Result<Description, Fault> {
    let recipes = scratch.join("recipes");
    unpack(&recipes)?;
    let mut child = Command::new("bash")
        // The control plane's files are for its owner alone; those of a guest are not.
        .args(["-c", "umask 022; exec \"$@\"", "bash"])
        .arg(recipes.join(name).join("build.sh"))
        .arg(out)
        .env("CACHE_DIR", cache)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| Fault::refused(format!("cannot run bash: {why}")).hint("apt-get install bash"))?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            report.stage(&line);
            said.push(line);
        }
    }
    let status = child.wait().await.map_err(|why| Fault::broken(format!("the recipe was lost: {why}")))?;
    if !status.success() {
        return Err(failed(name, &said));
    }
    let path = out.join("image.json");
    let text = fs::read(&path).map_err(|why| Fault::file("read", &path, &why))?;
    serde_json::from_slice(&text)
        .map_err(|why| Fault::broken(format!("{} is not understood: {why}", path.display())))
}

fn unpack(into: &Path) -> Result<(), Fault> {
    for file in FILES {
        let path = into.join(file.path);
        let dir = path.parent().unwrap_or(into);
        fs::create_dir_all(dir).map_err(|why| Fault::file("make", dir, &why))?;
        fs::write(&path, file.bytes).map_err(|why| Fault::file("write", &path, &why))?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(|why| Fault::file("write", &path, &why))?;
    }
    // A recipe may copy whole directories into the guest: their modes are the guest's.
    open_directories(into).map_err(|why| Fault::file("write", into, &why))
}

fn open_directories(dir: &Path) -> std::io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_directories(&entry.path())?;
        }
    }
    Ok(())
}

/// A recipe ends with `NAME: error: …` and perhaps `NAME: hint: …`.
fn failed(name: &str, said: &[String]) -> Fault {
    let last = |word: &str| {
        let mark = format!(": {word}: ");
        said.iter().rev().find_map(|line| line.split_once(&mark)).map(|(_, text)| text.to_owned())
    };
    let message =
        last("error").or_else(|| said.last().cloned()).unwrap_or_else(|| "it says nothing".to_owned());
    let fault = Fault::refused(format!("the recipe {name} failed: {message}"));
    match last("hint") {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_are_in_the_binary_and_can_be_run() {
        assert!(names().any(|name| name == "tiny") && names().any(|name| name == "debian-12"));
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("tiny/build.sh"), 0o755);
        assert_eq!(mode("lib.sh"), 0o644);
        assert_eq!(mode("tiny/rootfs/etc"), 0o755);
    }

    #[test]
    fn a_failed_recipe_is_told_in_its_own_words() {
        let said = [
            "tiny:   0s  fetching",
            "tiny: error: these packages are missing: cpio",
            "tiny: hint: apt-get install cpio",
        ];
        let fault = failed("tiny", &said.map(str::to_owned));
        assert_eq!(fault.error.public, "the recipe tiny failed: these packages are missing: cpio");
        assert_eq!(fault.hint.as_deref(), Some("apt-get install cpio"));
        assert!(failed("tiny", &[]).error.public.contains("says nothing"));
    }
}
