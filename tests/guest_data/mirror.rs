//! A package source of the test's own: what apt on this host can fetch, laid out as a flat repository, served over HTTP.
//!
//! Promises: holds a package and all that it depends on, so that nothing has to come from elsewhere. Must not know: who
//! installs from it.

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio::net::TcpListener;

/// Fetches these packages and what they depend on; answers the directory, which is a repository.
pub fn fetch(names: &[&str]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("packages-{}", names.join("-")));
    // Packages of an earlier run may be out of date by now.
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    if !download(&dir, names).is_ok_and(|output| output.status.success()) {
        // The lists may be missing, or so old that the mirror has no such files any more.
        apt("apt-get", &["update", "-q"], &dir);
        let output = download(&dir, names).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut index = String::new();
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        index.push_str(&described(&entry.path()));
    }
    fs::write(dir.join("Packages"), index).unwrap();
    dir
}

fn apt(program: &str, arguments: &[&str], dir: &Path) -> Output {
    let output = Command::new(program).args(arguments).current_dir(dir).env("LC_ALL", "C").output();
    output.unwrap_or_else(|why| panic!("{program}: {why}; this test takes packages from a Debian mirror"))
}

fn download(dir: &Path, names: &[&str]) -> Result<Output, String> {
    let mut arguments = vec!["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"];
    arguments.extend(["--no-breaks", "--no-replaces", "--no-enhances"]);
    arguments.extend(names);
    let output = apt("apt-cache", &arguments, dir);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Each package begins a line; the indented lines say what it wants, the bracketed names are provided by others.
    let mut wanted: Vec<&str> =
        text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric())).collect();
    wanted.retain(|name| !name.contains(':'));
    wanted.sort_unstable();
    wanted.dedup();
    if !names.iter().all(|name| wanted.contains(name)) {
        return Err(format!("apt knows no {names:?}"));
    }
    let mut arguments = vec!["download", "-q"];
    arguments.extend(&wanted);
    Ok(apt("apt-get", &arguments, dir))
}

/// A package's paragraph in the index.
fn described(deb: &Path) -> String {
    let output = Command::new("dpkg-deb").arg("--field").arg(deb).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", deb.display());
    let bytes = fs::read(deb).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = deb.file_name().unwrap().to_str().unwrap();
    let control = String::from_utf8(output.stdout).unwrap();
    format!("{}\nFilename: ./{name}\nSize: {}\nSHA256: {digest}\n\n", control.trim_end(), bytes.len())
}

/// Serves the files of a directory.
pub async fn serve(listener: TcpListener, dir: PathBuf) {
    let file = async |State(dir): State<PathBuf>, UrlPath(name): UrlPath<String>| {
        let name = name.trim_start_matches("./");
        if name.contains('/') {
            return Err(StatusCode::NOT_FOUND);
        }
        tokio::fs::read(dir.join(name)).await.map_err(|_| StatusCode::NOT_FOUND)
    };
    let router = Router::new().route("/{*name}", axum::routing::get(file)).with_state(dir);
    axum::serve(listener, router).await.unwrap();
}
