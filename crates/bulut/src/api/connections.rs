//! Connections: takes them from a listener and serves what is asked on them, by HTTP/1 and HTTP/2.
//!
//! Promises: who connects has to have asked for something within the patience, from the first byte of a request's head to
//! the last; who has been answered, has to have asked for the next thing. Otherwise the connection ends, so that slow and
//! silent clients cannot hold it. What was asked for takes as long as it takes, with its answer, and so do the websockets
//! that come of it, which begin in HTTP/1 only. A stop ends each connection after the answers that are under way. Must not know: any call.

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{Request, Response, Version};
use axum::serve::Listener;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Serves the routes to whoever connects, until `stop` and the end of the answers that are under way then. Each request
/// carries the address that it came from, as `ConnectInfo<SocketAddr>`.
pub async fn serve(mut listener: TcpListener, routes: Router, patience: Duration, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        // The trait's own: it waits where there are no file descriptors left, instead of failing.
        let accepted = Listener::accept(&mut listener);
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        connections.spawn(serve_one(stream, peer, routes.clone(), patience, stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    patience: Duration,
    stop: CancellationToken,
) {
    let open = Open::default();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    let service = service_fn(|request| answer(routes.clone(), peer, open.begin(&request), request));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut leave = pin!(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = open.idle(patience) => {}
        }
    });
    // Who was told to leave may still take what was sent; who does not leave is left.
    let mut overdue = pin!(open.idle(patience.saturating_mul(2)));
    let mut leaves = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(why) = ended {
                    tracing::trace!(%why, "a connection broke off");
                }
                return;
            }
            () = overdue.as_mut() => return,
            () = leave.as_mut(), if !leaves => {
                leaves = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    routes: Router,
    peer: SocketAddr,
    held: Option<Held>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = routes.oneshot(request.map(Body::new)).await?;
    let Some(held) = held else { return Ok(response) };
    // Mapped for what comes along: the body takes it with it when it ends.
    let holding = move |error| {
        let _ = &held;
        error
    };
    Ok(response.map(|body| Body::new(body.map_err(holding))))
}

/// How many requests are open on a connection.
#[derive(Default)]
struct Open(watch::Sender<u64>);

impl Open {
    /// A request begins; it ends with what this answers. One of HTTP/1 never does: from the first one on, the protocol's
    /// own clock watches over the next head, and knows when an answer has left.
    fn begin<B>(&self, request: &Request<B>) -> Option<Held> {
        self.0.send_modify(|open| *open += 1);
        (request.version() == Version::HTTP_2).then(|| Held(self.0.clone()))
    }

    /// Waits until no request was open for so long.
    async fn idle(&self, patience: Duration) {
        let mut open = self.0.subscribe();
        loop {
            let is_open = *open.borrow_and_update() > 0;
            let changed = open.changed();
            // It cannot fail: we have a sender ourselves.
            if is_open {
                let _ = changed.await;
            } else if timeout(patience, changed).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is open until this is dropped.
struct Held(watch::Sender<u64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
