//! The peer of the lists: a bare axum handler in a process of its own, which sends the same bytes from memory.
//!
//! Promises: no authentication, no database, no log: the least that an HTTP answer of these bytes can cost with
//! the same library. Must not know: what the bytes mean.

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Between the headers and the body in the file that hands an answer to the peer.
const END_OF_HEADERS: &[u8] = b"\n\n";

/// What both sides answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The headers, without those that the HTTP library writes by itself.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// What a request with this token gets.
    ///
    /// Errors: when the answer is no success.
    pub async fn fetch(url: &str, token: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(url).bearer_auth(token).send().await?.error_for_status()?;
        let mut headers = answer.headers().clone();
        for own in ["date", "content-length", "connection", "transfer-encoding"] {
            headers.remove(own);
        }
        Ok(Self { headers, body: answer.bytes().await? })
    }

    fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for (name, value) in &self.headers {
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        text.push(b'\n');
        text.extend_from_slice(&self.body);
        std::fs::write(file, text).context("the answer cannot be written for the peer")
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = Bytes::from(std::fs::read(file)?);
        let end = text.windows(2).position(|two| two == END_OF_HEADERS).context("no end of the headers")?;
        let mut headers = HeaderMap::new();
        for line in std::str::from_utf8(&text[..end])?.lines() {
            let (name, value) = line.split_once(": ").context("a header has a name and a value")?;
            headers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
        }
        Ok(Self { headers, body: text.slice(end + END_OF_HEADERS.len()..) })
    }
}

/// The peer as a child process; it ends with this value.
#[derive(Debug)]
pub struct Peer {
    _child: Child,
    _dir: tempfile::TempDir,
    address: SocketAddr,
}

impl Peer {
    /// Starts it, and checks that it sends the very answer.
    pub async fn start(answer: &Answer, path: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("answer");
        answer.write(&file)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(std::env::current_exe()?)
            .arg("peer")
            .args(["--listen", &address.to_string(), "--path", path, "--answer"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the peer does not start")?;
        let peer = Self { _child: child, _dir: dir, address };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "the peer does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sent = Answer::fetch(&peer.url(path), "any").await?;
        ensure!(sent == *answer, "the peer's answer differs: {:?}", sent.headers);
        Ok(peer)
    }

    /// Where it answers.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// The peer's own process: serves the answer in `file` until it is killed.
pub async fn serve(listen: SocketAddr, path: &str, file: PathBuf) -> anyhow::Result<()> {
    let Answer { headers, body } = Answer::read(&file)?;
    let handler = move || async move { (headers, body) };
    let listener = TcpListener::bind(listen).await?;
    axum::serve(listener, Router::new().route(path, get(handler))).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_its_file() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-request-id", HeaderValue::from_static("a-b"));
        let answer = Answer { headers, body: Bytes::from_static(b"{\"a\":\n\n1}") };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("answer");
        answer.write(&file).unwrap();
        assert_eq!(Answer::read(&file).unwrap(), answer);
    }
}
