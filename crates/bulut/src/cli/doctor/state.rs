//! Room: the command line. The doctor's look at the state: permissions, the database, the images.
//!
//! Promises: makes neither the directory nor the database; a new machine is not ill.

use super::Finding;
use crate::config::Config;
use bulut_model::catalog::Image;
use bulut_store::{Store, images, migrations};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Checks the files.
pub fn files(config: &Config) -> Vec<Finding> {
    let state = &config.state;
    let Ok(found) = std::fs::metadata(state) else {
        return vec![match makeable(state) {
            Ok(()) => Finding::ok("state", format!("{} will be made", state.display())),
            Err(why) => Finding::fail(
                "state",
                format!("{} cannot be made: {why}", state.display()),
                "choose another directory with --state or BULUT_STATE",
            ),
        }];
    };
    let mut findings = vec![judge_directory(state, &found)];
    let key = state.join("master.key");
    if let Ok(found) = std::fs::metadata(&key) {
        findings.push(judge_key(&key, &found));
    }
    findings
}

/// Whether this user may make a directory there.
fn makeable(state: &Path) -> Result<(), String> {
    let above = state.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    nix::unistd::access(above, nix::unistd::AccessFlags::W_OK)
        .map_err(|why| format!("{} is not writable ({why})", above.display()))
}

fn judge_directory(path: &Path, found: &Metadata) -> Finding {
    let mode = found.permissions().mode() & 0o777;
    let (shown, me) = (path.display(), nix::unistd::geteuid());
    if found.uid() != me.as_raw() {
        let mend = format!("run as user {}, or chown the directory", found.uid());
        return Finding::fail("state", format!("{shown} belongs to user {}, not {me}", found.uid()), mend);
    }
    // Machines' users pass through; nobody else reads the names in it, let alone writes.
    if mode & 0o066 != 0 {
        return Finding::fail(
            "state",
            format!("{shown} has mode {mode:04o}: others can look into it"),
            format!("chmod 0711 {shown}"),
        );
    }
    Finding::ok("state", format!("{shown}, mode {mode:04o}"))
}

fn judge_key(path: &Path, found: &Metadata) -> Finding {
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Finding::ok("master key", format!("{}, mode {mode:04o}", path.display()));
    }
    let found = format!("{} has mode {mode:04o}: others can read every secret", path.display());
    Finding::fail("master key", found, format!("chmod 0600 {}", path.display()))
}

/// Checks the database; also gives the images, which other checks need.
pub async fn database(config: &Config) -> (Vec<Finding>, Vec<Image>) {
    let new = || Finding::ok("database", "none yet: `bulut migrate` or `bulut serve` makes it");
    // To open a SQLite file that is not there would make it.
    let url = config.database_url();
    if let Some(file) = url.strip_prefix("sqlite://")
        && !Path::new(file.split('?').next().unwrap_or(file)).exists()
    {
        return (vec![new()], Vec::new());
    }
    let opened = async {
        let store = Store::open(&url, 1).await?;
        Ok::<_, bulut_model::Error>((migrations::current(&store).await?, store))
    };
    let (at, store) = match opened.await {
        Ok(opened) => opened,
        Err(why) => {
            return (
                vec![Finding::fail(
                    "database",
                    why.to_string(),
                    "check the setting database, and whether it runs",
                )],
                Vec::new(),
            );
        }
    };
    let newest = migrations::newest();
    if at != newest {
        let found = if at == 0 { new() } else { judge_schema(at, newest) };
        return (vec![found], Vec::new());
    }
    let found = images::list(&store).await;
    // Closing is a courtesy to the database; the findings stand either way.
    drop(store.close().await);
    match found {
        Ok(images) => (
            vec![
                Finding::ok("database", format!("reachable, at version {at}")),
                judge_images(config, &images),
            ],
            images,
        ),
        Err(why) => {
            (vec![Finding::fail("database", why.to_string(), "is it this cloud's database?")], Vec::new())
        }
    }
}

fn judge_schema(at: i64, newest: i64) -> Finding {
    if at < newest {
        return Finding::warn(
            "database",
            format!("at version {at}; this binary needs {newest}"),
            "bulut migrate",
        );
    }
    let found = format!("at version {at}, but this binary knows only {newest}");
    Finding::fail("database", found, "use the newer binary that migrated it")
}

fn judge_images(config: &Config, images: &[Image]) -> Finding {
    let here: Vec<&Image> = images.iter().filter(|image| image.is_ready()).collect();
    let lost = here.iter().find(|image| {
        let files = image.files.as_ref();
        files.is_some_and(|files| !config.images_dir().join(&files.directory).join("disk.qcow2").exists())
    });
    if let Some(image) = lost {
        let found = format!("the files of {} are gone", image.slug);
        return Finding::fail(
            "images",
            found,
            format!("bulut image build {0}, or bulut image pull {0}", image.slug),
        );
    }
    if here.is_empty() {
        return Finding::warn("images", "none are here", "bulut image list --local, then build or pull one");
    }
    let slugs = here.iter().map(|image| image.slug.as_str()).collect::<Vec<_>>().join(", ");
    Finding::ok("images", slugs)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use std::fs::Permissions;

    fn set(path: &Path, mode: u32) -> Metadata {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        std::fs::metadata(path).unwrap()
    }

    #[test]
    fn a_state_directory_is_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let level = |mode| judge_directory(dir.path(), &set(dir.path(), mode)).level;
        assert_eq!((level(0o700), level(0o711), level(0o755)), (Level::Ok, Level::Ok, Level::Fail));
        let key = dir.path().join("master.key");
        std::fs::write(&key, "k").unwrap();
        let level = |mode| judge_key(&key, &set(&key, mode)).level;
        assert_eq!((level(0o600), level(0o640)), (Level::Ok, Level::Fail));
    }

    #[test]
    fn a_schema_is_older_or_newer() {
        assert_eq!(judge_schema(1, 2).level, Level::Warn);
        assert_eq!(judge_schema(3, 2).level, Level::Fail);
    }
}
