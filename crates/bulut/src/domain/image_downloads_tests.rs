//! Downloads from a small server of our own that drops connections, ignores ranges and lies.

use super::*;
use crate::domain::images::Silent;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex};

/// What the server does, and what it was asked for.
struct Script {
    file: Vec<u8>,
    /// At each request: after how many bytes the connection drops.
    drops: Vec<usize>,
    ranges: bool,
    asked: Vec<Option<String>>,
}

type Shared = Arc<Mutex<Script>>;

async fn serve(file: Vec<u8>, drops: Vec<usize>, ranges: bool) -> (Shared, String) {
    let shared = Arc::new(Mutex::new(Script { file, drops, ranges, asked: Vec::new() }));
    let router = Router::new().route("/disk.img", get(answer)).with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/disk.img", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (shared, url)
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let mut script = shared.lock().unwrap();
    let range = headers.get(RANGE).map(|range| range.to_str().unwrap().to_owned());
    script.asked.push(range.clone());
    let from = range.filter(|_| script.ranges).map_or(0, |range| {
        range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
    });
    if from >= script.file.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let rest = script.file[from..].to_vec();
    let all = script.file.len();
    let drop_after = if script.drops.is_empty() { None } else { Some(script.drops.remove(0)) };
    let length = rest.len();
    let body = match drop_after {
        None => Body::from(rest),
        Some(after) => {
            let (sent, cut) = (Ok(rest[..after].to_vec()), Err(std::io::Error::other("cut")));
            // A pause in between lets the first part leave before the connection goes.
            Body::from_stream(futures_util::stream::iter([sent, cut]).then(|item| async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                item
            }))
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if from > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{all}", all - 1);
        response.headers_mut().insert(CONTENT_RANGE, range.parse().unwrap());
    }
    response
}

fn file() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::parse(&Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .unwrap()
}

fn downloads(dir: &Path) -> Downloads {
    Downloads { pause: Duration::from_millis(1), ..Downloads::new(dir).unwrap() }
}

#[tokio::test]
async fn a_dropped_connection_costs_only_what_had_not_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, url) = serve(file(), vec![200_000, 100_000], true).await;
    let fetched = downloads(dir.path()).fetch(&url, &digest(&file()), &Silent).await.unwrap();
    assert_eq!(std::fs::read(&fetched).unwrap(), file());
    let asked = shared.lock().unwrap().asked.clone();
    assert_eq!(asked, [None, Some("bytes=200000-".to_owned()), Some("bytes=300000-".to_owned())]);
}

#[tokio::test]
async fn another_run_goes_on_where_an_earlier_one_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, url) = serve(file(), vec![], true).await;
    let want = digest(&file());
    let part = dir.path().join(format!("{}-disk.img.part", &want.hex()[..16]));
    std::fs::write(&part, &file()[..1234]).unwrap();
    downloads(dir.path()).fetch(&url, &want, &Silent).await.unwrap();
    assert_eq!(shared.lock().unwrap().asked, [Some("bytes=1234-".to_owned())]);
    downloads(dir.path()).fetch(&url, &want, &Silent).await.unwrap();
    assert_eq!(shared.lock().unwrap().asked.len(), 1, "the second time it is in the cache");
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_beginning_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_, url) = serve(file(), vec![50_000], false).await;
    let fetched = downloads(dir.path()).fetch(&url, &digest(&file()), &Silent).await.unwrap();
    assert_eq!(std::fs::read(fetched).unwrap(), file());
}

#[tokio::test]
async fn the_beginning_of_something_else_is_thrown_away_once() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, url) = serve(file(), vec![], true).await;
    let want = digest(&file());
    std::fs::write(dir.path().join(format!("{}-disk.img.part", &want.hex()[..16])), vec![9; 500_000])
        .unwrap();
    downloads(dir.path()).fetch(&url, &want, &Silent).await.unwrap();
    assert_eq!(shared.lock().unwrap().asked.len(), 2);
}

#[tokio::test]
async fn a_file_with_another_digest_never_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (_, url) = serve(b"something else".to_vec(), vec![], true).await;
    let fault = downloads(dir.path()).fetch(&url, &digest(&file()), &Silent).await.unwrap_err();
    assert!(fault.error.public.contains("is not the published one"), "{fault:?}");
    assert!(fault.is_broken());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_, url) = serve(file(), vec![], true).await;
    let url = url.replace("disk.img", "gone.img");
    let fault = downloads(dir.path()).fetch(&url, &digest(&file()), &Silent).await.unwrap_err();
    assert!(!fault.is_broken() && fault.error.public.contains("404"), "{fault:?}");
}

#[tokio::test]
async fn an_unreachable_mirror_is_given_up_after_some_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/disk.img", listener.local_addr().unwrap());
    drop(listener);
    assert!(downloads(dir.path()).fetch(&url, &digest(&file()), &Silent).await.unwrap_err().is_broken());
}

#[test]
fn every_usual_form_of_a_checksum_list_is_read() {
    let (a, b) = ("a".repeat(64), "b".repeat(128));
    let gnu = format!("{a}  other.img\n{b} *disk.img\n");
    assert_eq!(digest_of(&gnu, "disk.img").unwrap().hex(), b);
    assert_eq!(digest_of(&format!("{a}  ./disk.img\n"), "disk.img").unwrap().hex(), a);
    let bsd = format!("# disk.img: 12 bytes\nSHA256 (disk.img) = {a}\nSHA256 (disk.img.gz) = {b}\n");
    assert_eq!(digest_of(&bsd, "disk.img").unwrap().hex(), a);
    assert_eq!(digest_of(&format!("{a}\n"), "disk.img").unwrap().hex(), a);
    assert_eq!(digest_of(&gnu, "disk"), None);
}
