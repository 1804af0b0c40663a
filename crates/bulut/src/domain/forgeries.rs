//! Forgeries: frames that a guest had no right to send were dropped and counted, and the operator hears of it: by a counter,
//! and by a line in the log for each server and hour at most.
//!
//! Must not know: HTTP, SQL, or how a frame is known to be forged.

use crate::app::App;
use bulut_model::{ServerId, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the log says nothing more of a server that goes on.
const QUIET: Duration = Duration::from_secs(60 * 60);

/// Whose forgeries this process has told lately, and when.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<ServerId, Timestamp>>);

impl Told {
    /// Whether a server was not told of lately. From then on it was.
    fn is_news(&self, server: ServerId, now: Timestamp) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.since(*at) < QUIET);
        let news = !told.contains_key(&server);
        if news {
            told.insert(server, now);
        }
        news
    }
}

/// Tells that so many more frames of a server were dropped as forged, after they were written down.
pub fn tell(app: &App, server: ServerId, frames: u64) {
    if frames == 0 {
        return;
    }
    app.metrics().forged(frames);
    if app.forgeries().is_news(server, app.clock().now()) {
        tracing::warn!(
            server.id = server.0,
            frames,
            "a server sends frames that it has no right to send; they are dropped"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_goes_on_is_news_once_an_hour_and_another_one_at_once() {
        let (told, start) = (Told::default(), Timestamp::from_unix_seconds(1_767_225_600));
        let is_news =
            |server, seconds| told.is_news(ServerId(server), start.plus(Duration::from_secs(seconds)));
        assert!(is_news(1, 0));
        assert!(!is_news(1, 60));
        assert!(is_news(2, 60));
        assert!(!is_news(1, 3599));
        assert!(is_news(1, 3600), "counted from when it was told, not from when it was last seen");
        assert!(!is_news(2, 3600));
        assert!(!is_news(1, 3660));
    }
}
