//! One closed error for the whole product, told apart by what the caller can do about it.
//!
//! The public sentence is written for a person and may be shown to any client; the internal context never
//! leaves the process except into the log. No HTTP here: each dialect maps the kinds to its own codes.

use std::fmt;

/// What the caller can do about a refusal or fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The thing does not exist, or belongs to somebody else: the two are never told apart.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A parameter is missing or wrong; the sentence says what would be accepted.
    Invalid {
        /// The parameter's name on the wire.
        field: String,
    },
    /// Another operation holds this server, or its state does not allow the call.
    Conflict,
    /// The caller is known but may not do this (suspended account, operator's call).
    Forbidden,
    /// No, invalid or expired credentials.
    Unauthenticated,
    /// The account's quota is used up.
    Quota,
    /// The balance does not cover it.
    Funds,
    /// No node has room for it.
    Capacity,
    /// Too many requests; try again after this many seconds.
    RateLimited {
        /// Seconds until a request is accepted again.
        retry_after_s: u64,
    },
    /// Something outside this process is away for the moment (database, node).
    Unavailable,
    /// A fault of ours. The sentence carries an id that the log explains.
    Internal,
}

/// A refusal or fault: a kind, a public sentence, and what only the log may say.
#[derive(Debug, Clone)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: Kind,
    /// One sentence for a person; safe to show to any client.
    pub public: String,
    /// For the log only; empty where the public sentence says it all.
    pub internal: String,
}

/// The product's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with the sentence that a client may see.
    pub fn new(kind: Kind, public: impl Into<String>) -> Self {
        Self { kind, public: public.into(), internal: String::new() }
    }

    /// `what` does not exist for this caller, for example `no server with id 7`.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, what)
    }

    /// The parameter `field` is wrong; `why` names it and says what would be accepted.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Kind::Invalid { field: field.into() }, why)
    }

    /// The state of things does not allow this now.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, why)
    }

    /// A name that has to be unique is taken.
    pub fn exists(why: impl Into<String>) -> Self {
        Self::new(Kind::AlreadyExists, why)
    }

    /// No valid credentials.
    pub fn unauthenticated(why: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, why)
    }

    /// Known caller, not allowed.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, why)
    }

    /// A fault of ours; `context` is for the log.
    pub fn internal(context: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Internal,
            public: "Something went wrong on our side.".into(),
            internal: context.to_string(),
        }
    }

    /// The database or a node is away for the moment; `context` is for the log.
    pub fn unavailable(public: impl Into<String>, context: impl fmt::Display) -> Self {
        Self { kind: Kind::Unavailable, public: public.into(), internal: context.to_string() }
    }

    /// Adds what only the log may say.
    #[must_use]
    pub fn with_internal(mut self, context: impl fmt::Display) -> Self {
        self.internal = context.to_string();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.internal.is_empty() {
            f.write_str(&self.public)
        } else {
            write!(f, "{} ({})", self.public, self.internal)
        }
    }
}

impl std::error::Error for Error {}
