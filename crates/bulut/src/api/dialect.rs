//! Which dialect answers at a path, so that a failure before any handler speaks it too.
//!
//! Must not know: the calls of any dialect.

use crate::api::failure::Failure;
use crate::api::{cac, cloude, native};
use crate::domain::limits::Class;
use crate::panel;
use axum::http::Method;
use axum::response::Response;

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Cloude v1; also at paths that belong to none, since its clients look for the reason in its envelope.
    Cloude,
    /// Our own, under `/v2`.
    Native,
    /// Cloud at Cost v1, under `/api`.
    Cac,
    /// The pages of the panel, for people.
    Panel,
}

impl Dialect {
    /// The dialect of a path.
    pub fn of(path: &str) -> Self {
        if path == "/v2" || path.starts_with("/v2/") {
            Self::Native
        } else if path == "/api" || path.starts_with("/api/") {
            Self::Cac
        } else if panel::is_at(path) {
            Self::Panel
        } else {
            Self::Cloude
        }
    }

    /// Whether a GET may say something in its body.
    pub fn reads_bodies_of_gets(self) -> bool {
        self == Self::Cac
    }

    /// What a request does, as far as it counts towards the limits; those for health and for pages do not.
    pub fn class(self, method: &Method, path: &str) -> Option<Class> {
        let reads = match self {
            Self::Cac => cac::only_reads(path),
            Self::Cloude | Self::Native => matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS),
            Self::Panel => return None,
        };
        let is_call = self != Self::Cloude || path == "/v1" || path.starts_with("/v1/");
        is_call.then_some(if reads { Class::Read } else { Class::Change })
    }

    /// The answer to a request that failed.
    pub fn answer(self, failure: &Failure) -> Response {
        match self {
            Self::Cloude => cloude::error::answer(failure),
            Self::Native => native::error::answer(failure),
            Self::Cac => cac::error::answer(failure),
            Self::Panel => panel::answer(failure),
        }
    }
}
