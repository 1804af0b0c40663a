//! Room: the domain. Fetches image files from the distributions: with resume, into a cache, checked by digest.
//!
//! Promises: a file leaves here only when its digest is the one that was published; a connection that drops costs
//! only what had not arrived. Must not know: what is done with the file.

use super::image_files::Digest;
use super::images::{Fault, Report};
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// How often a download goes on after a dropped connection that brought nothing new.
const ATTEMPTS: u32 = 5;
/// The most that a list of checksums may have; those of distributions have some ten thousand bytes.
const LIST_LIMIT: usize = 4 * 1024 * 1024;

/// Fetches files.
#[derive(Debug)]
pub struct Downloads {
    http: reqwest::Client,
    cache: PathBuf,
    pause: Duration,
}

impl Downloads {
    /// Downloads into `cache`, which is made where needed.
    pub fn new(cache: &Path) -> Result<Self, Fault> {
        std::fs::create_dir_all(cache).map_err(|why| Fault::file("make", cache, &why))?;
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("bulut/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(20))
                .read_timeout(Duration::from_secs(60))
        };
        // Without root certificates a mirror that speaks plain HTTP still serves: the digest is what is trusted.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        let http = http.map_err(|why| Fault::broken(format!("cannot make an HTTP client: {why}")))?;
        Ok(Self { http, cache: cache.to_owned(), pause: Duration::from_secs(2) })
    }

    /// The digest that `list` (a file such as SHA256SUMS) gives for the file at `url`.
    pub async fn published_digest(&self, list: &str, url: &str) -> Result<Digest, Fault> {
        let response = self.http.get(list).send().await.map_err(|why| unreachable(list, &why))?;
        let response = refuse_status(list, response)?;
        let mut text = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.map_err(|why| unreachable(list, &why))?);
            if text.len() > LIST_LIMIT {
                return Err(Fault::broken(format!("{list} is too long for a list of checksums")));
            }
        }
        let name = file_name(url)?;
        digest_of(&String::from_utf8_lossy(&text), &name).ok_or_else(|| {
            Fault::broken(format!("{list} has no checksum for {name}"))
                .hint("the catalogue may be out of date")
        })
    }

    /// The file at `url`, from the cache where it is there already.
    ///
    /// Errors: broken when it cannot be fetched, or its digest is another one twice.
    pub async fn fetch(&self, url: &str, digest: &Digest, report: &dyn Report) -> Result<PathBuf, Fault> {
        // Named by its digest: a newer file of the same name is another file, and its beginning is not ours.
        let name = format!("{}-{}", &digest.hex()[..16], file_name(url)?);
        let (whole, part) = (self.cache.join(&name), self.cache.join(format!("{name}.part")));
        if whole.exists() && digest.matches(&whole).await? {
            report.stage("it is in the cache already");
            return Ok(whole);
        }
        for _ in 0..2 {
            self.download(url, &part, report).await?;
            report.stage("checking its digest");
            if digest.matches(&part).await? {
                tokio::fs::rename(&part, &whole).await.map_err(|why| Fault::file("name", &whole, &why))?;
                return Ok(whole);
            }
            // What was resumed may have been another file's beginning: the second time it is fetched as a whole.
            tokio::fs::remove_file(&part).await.map_err(|why| Fault::file("remove", &part, &why))?;
        }
        Err(Fault::broken(format!("the digest of {url} is not the published one")).hint(
            "somebody changed the file on its way, or the mirror is not up to date; it was thrown away",
        ))
    }

    async fn download(&self, url: &str, part: &Path, report: &dyn Report) -> Result<(), Fault> {
        let mut failures = 0;
        loop {
            let before = size(part).await;
            let why = match self.attempt(url, part, before, report).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Fatal(fault)) => return Err(fault),
                Err(Attempt::Again(fault)) => fault,
            };
            // Only attempts that bring nothing are counted: a bad line may drop often and still get there.
            failures = if size(part).await > before { 0 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return Err(why);
            }
            report.stage(&format!("{}; going on", why.error.public));
            tokio::time::sleep(self.pause * failures).await;
        }
    }

    async fn attempt(&self, url: &str, part: &Path, have: u64, report: &dyn Report) -> Result<(), Attempt> {
        let mut request = self.http.get(url);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let response = request.send().await.map_err(|why| Attempt::Again(unreachable(url, &why)))?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // Everything is here, or something else is: the digest tells.
            return Ok(());
        }
        let response = refuse_status(url, response)
            .map_err(|fault| if fault.is_broken() { Attempt::Again(fault) } else { Attempt::Fatal(fault) })?;
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT && begins_at(&response) == Some(have);
        let mut done = if resumed { have } else { 0 };
        let total = response.content_length().map(|rest| done + rest);
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .append(resumed)
            .truncate(!resumed)
            .open(part)
            .await
            .map_err(|why| Attempt::Fatal(Fault::file("write", part, &why)))?;
        let mut chunks = response.bytes_stream();
        let ended = loop {
            match chunks.next().await {
                None => break Ok(()),
                Some(Err(why)) => break Err(Attempt::Again(unreachable(url, &why))),
                Some(Ok(chunk)) => {
                    if let Err(why) = file.write_all(&chunk).await {
                        break Err(Attempt::Fatal(Fault::file("write", part, &why)));
                    }
                    done += chunk.len() as u64;
                    report.bytes(done, total);
                }
            }
        };
        file.flush().await.map_err(|why| Attempt::Fatal(Fault::file("write", part, &why)))?;
        file.sync_all().await.map_err(|why| Attempt::Fatal(Fault::file("write", part, &why)))?;
        ended
    }
}

enum Attempt {
    Again(Fault),
    Fatal(Fault),
}

async fn size(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |meta| meta.len())
}

/// Where a partial answer begins (`Content-Range: bytes 100-199/200`).
fn begins_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn refuse_status(url: &str, response: Response) -> Result<Response, Fault> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let message = format!("{url} answers {status}");
    Err(if status.is_server_error() { Fault::broken(message) } else { Fault::refused(message) }
        .hint("the catalogue may be out of date; `bulut image import` takes a file that you have"))
}

fn unreachable(url: &str, why: &reqwest::Error) -> Fault {
    let mut cause: &dyn std::error::Error = why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Fault::broken(format!("cannot fetch {url}: {cause}"))
        .hint("is it reachable from here? `bulut image build` works with a package mirror alone")
}

fn file_name(url: &str) -> Result<String, Fault> {
    let parsed = Url::parse(url).map_err(|why| Fault::refused(format!("{url:?} is not a URL: {why}")))?;
    let name = parsed.path_segments().and_then(|mut segments| segments.next_back().map(str::to_owned));
    name.filter(|name| !name.is_empty() && !name.starts_with('.'))
        .ok_or_else(|| Fault::refused(format!("{url} names no file")))
}

/// The digest of `name` in a list as `sha256sum` writes it (`digits  name`, `digits *name`), in the BSD form
/// (`SHA256 (name) = digits`), or in a file that holds nothing but the digits.
fn digest_of(list: &str, name: &str) -> Option<Digest> {
    let named = list.lines().find_map(|line| {
        if let Some((digits, file)) = line.trim().split_once(char::is_whitespace) {
            let file = file.trim().trim_start_matches('*').trim_start_matches("./");
            if file == name {
                return Digest::parse(digits);
            }
        }
        let (what, digits) = line.split_once(" = ")?;
        let (_, file) = what.split_once(" (")?;
        if file.strip_suffix(')')? == name { Digest::parse(digits) } else { None }
    });
    named.or_else(|| Digest::parse(list))
}

#[cfg(test)]
#[path = "image_downloads_tests.rs"]
mod tests;
