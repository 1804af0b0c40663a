//! Room: the domain. Removes the files of images that nothing needs any more: a newer build took their place in the
//! catalogue, and the last server or snapshot that rested on them is gone.
//!
//! Promises: what the catalogue, a server, a directly booting snapshot or an operation under way names stays, and so does
//! what an order may just be about to name. Must not know: how images get here.

use super::image_files::ImageDir;
use super::images::Fault;
use crate::app::App;
use bulut_model::Timestamp;
use bulut_store::images;
use std::fs;
use std::path::{Path, PathBuf};

/// How long nobody must have needed a directory before it goes, microseconds. An order reads the catalogue first and
/// names the files in its server's row a moment later: that moment has to be over.
const GRACE: i64 = 600 * 1_000_000;

/// Notes of directories that nothing needed, with the time since when.
const NOTE: &str = ".unneeded-";

/// Looks which directories nothing needs, and removes those of which that was so for a while. Answers how many went.
/// Does nothing while an image command is at work.
///
/// Errors: `Unavailable` when a directory cannot be read or removed.
pub async fn sweep(app: &App) -> Result<usize, Fault> {
    let path = app.config().images_dir();
    if !path.exists() {
        return Ok(0);
    }
    // Held throughout: an image that is being taken in has its directory before the catalogue names it.
    let Some(dir) = ImageDir::open_unless_busy(&path)? else { return Ok(0) };
    let needed = images::directories(app.store()).await?;
    let now = app.clock().now();
    let mut removed = 0;
    for directory in dir.list()? {
        let note = note_of(&dir, &directory);
        if needed.contains(&directory) || images::is_planned(app.store(), &directory).await? {
            forget(&note)?;
            continue;
        }
        match since(&note) {
            Some(begun) if now.0 - begun.0 >= GRACE => {
                dir.remove(&directory)?;
                forget(&note)?;
                tracing::info!(image.directory = directory, "nothing needs these image files: removed");
                removed += 1;
            }
            Some(_) => {}
            None => {
                fs::write(&note, now.0.to_string()).map_err(|why| Fault::file("write", &note, &why))?;
            }
        }
    }
    Ok(removed)
}

fn note_of(dir: &ImageDir, directory: &str) -> PathBuf {
    dir.path().join(format!("{NOTE}{directory}"))
}

fn since(note: &Path) -> Option<Timestamp> {
    fs::read_to_string(note).ok()?.trim().parse().ok().map(Timestamp)
}

fn forget(note: &Path) -> Result<(), Fault> {
    match fs::remove_file(note) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Fault::file("remove", note, &why)),
        _ => Ok(()),
    }
}
