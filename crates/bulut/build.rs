//! Embeds the recipes of the guest images (`images/` of the repository), so that the one binary can build them on any
//! machine. Writes `recipes.rs`: a list of path, execute bit and contents.
//!
//! Must not know: what the files are for.

use std::error::Error;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../images").canonicalize()?;
    writeln!(std::io::stdout(), "cargo:rerun-if-changed={}", root.display())?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut list = Vec::from(b"&[\n");
    for file in files {
        let executable = fs::metadata(&file)?.permissions().mode() & 0o100 != 0;
        let path = file.strip_prefix(&root)?.to_str().ok_or("a recipe's path is not UTF-8")?.to_owned();
        let source = file.to_str().ok_or("the source tree's path is not UTF-8")?;
        writeln!(
            list,
            "    File {{ path: {path:?}, executable: {executable}, bytes: include_bytes!({source:?}) }},"
        )?;
    }
    list.extend_from_slice(b"]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("recipes.rs"), list)?;
    Ok(())
}

/// Everything below a directory but documentation and what editors leave behind.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') || name.ends_with(".md") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
