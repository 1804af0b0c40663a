//! The world outside of the host: a network namespace of its own, behind a wire to the test's, with a thread that works
//! there.
//!
//! Promises: what it says came over the network; nothing of it is left when the test's process ends. Must not know: what
//! it is asked for.

use bulut_testkit::namespace;
use nix::sched::{CloneFlags, unshare};
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::mirror;

/// The host's end of the wire, and the world's: addresses that are for documents, so that nobody has them.
const HOST: &str = "192.0.2.1";
const WORLD: &str = "192.0.2.2";

/// What somebody out there fetches: a URL, and where the answer goes.
type Errand = (String, oneshot::Sender<Option<String>>);

/// Somebody out there.
pub struct Outside {
    errands: mpsc::UnboundedSender<Errand>,
    /// Where the packages are.
    pub mirror: String,
}

impl Outside {
    /// Makes the world, with a mirror of the packages in `dir`. To be called in a namespace of the test's own.
    pub async fn open(dir: PathBuf) -> Self {
        let (tell, told) = oneshot::channel();
        let (wired, wire) = oneshot::channel();
        let (errands, mut inbox) = mpsc::unbounded_channel::<Errand>();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tell.send(nix::unistd::gettid()).unwrap();
                wire.await.unwrap();
                for arguments in [
                    &["link", "set", "lo", "up"][..],
                    &["addr", "add", &format!("{WORLD}/24"), "dev", "world"],
                    &["link", "set", "world", "up"],
                    &["route", "add", "default", "via", HOST],
                ] {
                    namespace::prints("ip", arguments);
                }
                let listener = TcpListener::bind((WORLD, 80)).await.unwrap();
                tokio::spawn(mirror::serve(listener, dir));
                while let Some((url, answer)) = inbox.recv().await {
                    // Whoever asked may have given up.
                    drop(answer.send(fetch(&url).await));
                }
            });
        });
        let thread = told.await.unwrap().to_string();
        for arguments in [
            &["link", "add", "wire", "type", "veth", "peer", "name", "world", "netns", &thread][..],
            &["addr", "add", &format!("{HOST}/24"), "dev", "wire"],
            &["link", "set", "wire", "up"],
        ] {
            namespace::prints("ip", arguments);
        }
        wired.send(()).unwrap();
        Self { errands, mirror: format!("http://{WORLD}/") }
    }

    /// What a URL answers, asked from out there; `None` while nothing good comes.
    pub async fn fetches(&self, url: &str) -> Option<String> {
        let (answer, told) = oneshot::channel();
        self.errands.send((url.to_owned(), answer)).unwrap();
        told.await.unwrap()
    }
}

async fn fetch(url: &str) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(5)).build();
    let answer = client.unwrap().get(url).send().await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}
