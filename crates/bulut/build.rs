//! Embeds what the one binary carries with it: the recipes of the guest images (`images/` of the repository), so that it
//! can build them on any machine, and what it shows in a browser (`ui/`) and writes invoices with, which Node.js makes.
//!
//! Writes `recipes.rs`: a list of path, execute bit and contents; and `ui.rs` and `fonts.rs`: the files of the pages and
//! the fonts. Without Node.js both are left out with a warning, unless BULUT_UI=required makes that an error.
//!
//! Must not know: what the files are for.

use std::error::Error;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    recipes(&here.join("../../images").canonicalize()?, &out)?;
    pages(&here.join("ui"), &out)
}

/// Tells cargo something.
fn cargo(line: &str) -> Result {
    Ok(writeln!(std::io::stdout(), "cargo:{line}")?)
}

/// Writes `recipes.rs`.
fn recipes(root: &Path, out: &Path) -> Result {
    cargo(&format!("rerun-if-changed={}", root.display()))?;
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut list = Vec::from(b"&[\n");
    for file in files {
        let executable = fs::metadata(&file)?.permissions().mode() & 0o100 != 0;
        let path = file.strip_prefix(root)?.to_str().ok_or("a recipe's path is not UTF-8")?.to_owned();
        let source = file.to_str().ok_or("the source tree's path is not UTF-8")?;
        writeln!(
            list,
            "    File {{ path: {path:?}, executable: {executable}, bytes: include_bytes!({source:?}) }},"
        )?;
    }
    list.extend_from_slice(b"]\n");
    Ok(fs::write(out.join("recipes.rs"), list)?)
}

/// Everything below a directory but documentation and what editors leave behind.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result {
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

/// Makes the pages and writes `ui.rs`.
fn pages(ui: &Path, out: &Path) -> Result {
    for watched in ["src", "build.mjs", "package-lock.json"] {
        cargo(&format!("rerun-if-changed={}", ui.join(watched).display()))?;
    }
    cargo("rerun-if-env-changed=BULUT_UI")?;
    let made = out.join("ui");
    let (list, fonts) = match make(ui, &made) {
        Ok(()) => (list(&made)?, fonts(&made)?),
        Err(why) if env::var_os("BULUT_UI").is_some_and(|wish| wish == "required") => return Err(why),
        Err(why) => {
            cargo(&format!(
                "warning=built without the pages for browsers (the console) and without PDF: {why}"
            ))?;
            // A file that is not there is always newer: the next build tries again.
            cargo(&format!("rerun-if-changed={}", made.join("missing").display()))?;
            let list = "pub(super) const ASSETS: &[Asset] = &[];\npub(super) const PAGES: &[Page] = &[];\n";
            (String::from(list), String::from("pub(super) const FONTS: &[(&str, &[u8])] = &[];\n"))
        }
    };
    fs::write(out.join("fonts.rs"), fonts)?;
    Ok(fs::write(out.join("ui.rs"), list)?)
}

/// Runs the front end's own build, after installing what it needs where that has changed since the last time.
fn make(ui: &Path, made: &Path) -> Result {
    if Command::new("node").arg("--version").output().is_err() {
        return Err(
            "Node.js was not found; install it with npm (on Debian: apt-get install nodejs npm)".into()
        );
    }
    let locked = fs::read(ui.join("package-lock.json"))?;
    let installed = ui.join("node_modules/.installed-lock.json");
    if fs::read(&installed).ok().as_ref() != Some(&locked) {
        run(ui, Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
            .map_err(|why| format!("the packages of crates/bulut/ui could not be installed: {why}"))?;
        fs::write(&installed, locked)?;
    }
    run(ui, Command::new("node").arg("build.mjs").arg(made))
}

fn run(dir: &Path, command: &mut Command) -> Result {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(dir).output().map_err(|why| format!("{name} cannot be run: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!("{name} ended with {}: {}", output.status, lines.join("; ")).into())
}

/// What the front end's build has left, as a list of files for the program.
fn list(made: &Path) -> Result<String> {
    let mut text = String::from("pub(super) const ASSETS: &[Asset] = &[\n");
    for (name, path) in files(&made.join("assets"))? {
        if name.ends_with(".br") {
            continue;
        }
        let packed = made.join("assets").join(format!("{name}.br"));
        let brotli =
            if packed.exists() { format!("Some(include_bytes!({packed:?}))") } else { "None".into() };
        text +=
            &format!("    Asset {{ name: {name:?}, bytes: include_bytes!({path:?}), brotli: {brotli} }},\n");
    }
    text += "];\npub(super) const PAGES: &[Page] = &[\n";
    for (name, path) in files(&made.join("pages"))? {
        text += &format!("    Page {{ name: {name:?}, text: include_str!({path:?}) }},\n");
    }
    text += "];\n";
    Ok(text)
}

/// The fonts that the front end's build has taken out of their package.
fn fonts(made: &Path) -> Result<String> {
    let mut text = String::from("pub(super) const FONTS: &[(&str, &[u8])] = &[\n");
    for (name, path) in files(&made.join("fonts"))? {
        text += &format!("    ({name:?}, include_bytes!({path:?})),\n");
    }
    text += "];\n";
    Ok(text)
}

/// Names and paths of a directory's files, in order.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a file's name is not UTF-8")?;
        files.push((name, entry.path()));
    }
    files.sort();
    Ok(files)
}
