//! Which dialect answers at a path, so that a failure before any handler speaks it too.
//!
//! Must not know: the calls of any dialect.

use crate::api::failure::Failure;
use crate::api::{cloude, native};
use crate::panel;
use axum::response::Response;

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Cloude v1; also at paths that belong to none, since its clients look for the reason in its envelope.
    Cloude,
    /// Our own, under `/v2`.
    Native,
    /// The pages of the panel, for people.
    Panel,
}

impl Dialect {
    /// The dialect of a path.
    pub fn of(path: &str) -> Self {
        if path == "/v2" || path.starts_with("/v2/") {
            Self::Native
        } else if panel::is_at(path) {
            Self::Panel
        } else {
            Self::Cloude
        }
    }

    /// The answer to a request that failed.
    pub fn answer(self, failure: &Failure) -> Response {
        match self {
            Self::Cloude => cloude::error::answer(failure),
            Self::Native => native::error::answer(failure),
            Self::Panel => panel::answer(failure),
        }
    }
}
