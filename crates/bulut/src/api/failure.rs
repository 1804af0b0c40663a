//! What can keep a request from its answer: the domain's refusals, and those of HTTP itself.
//!
//! Promises: a fault of ours is logged once, here, under an id that the public sentence carries. Must not
//! know: how a dialect words or wraps it.

use bulut_model::Error;
use bulut_model::error::Kind;
use uuid::Uuid;

/// Why a request got no answer.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A verb refused, or broke.
    Domain(Error),
    /// There is no call at this path.
    UnknownPath,
    /// There is a call at this path, but not with this method.
    MethodNotAllowed,
    /// The body is longer than this many bytes.
    TooLarge(usize),
    /// The body did not come to its end in time.
    TooSlow,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

impl Failure {
    /// A fault of ours, for example a panic; `context` is for the log.
    pub fn fault(context: impl std::fmt::Display) -> Self {
        Self::Domain(Error::internal(context))
    }

    /// The sentence for the client.
    pub fn sentence(&self) -> String {
        match self {
            Self::Domain(error) => error.public.clone(),
            Self::UnknownPath => "There is no call at this path.".into(),
            Self::MethodNotAllowed => {
                "This path does not take this method; the Allow header lists those it takes.".into()
            }
            Self::TooLarge(limit) => format!("The body is too large: at most {limit} bytes are accepted."),
            Self::TooSlow => "The body did not arrive in time: send the request again.".into(),
        }
    }

    /// Writes what only we may know into the log, and gives the sentence for the client. To be called once,
    /// where the failure becomes an answer.
    pub fn report(&self) -> String {
        let sentence = self.sentence();
        let Self::Domain(error) = self else { return sentence };
        match error.kind {
            Kind::Internal => {
                let id = Uuid::new_v4();
                tracing::error!(fault.id = %id, cause = %error.internal, "a request met a fault of ours");
                format!("{sentence} Tell your provider this number: {id}.")
            }
            Kind::Unavailable => {
                tracing::warn!(cause = %error.internal, "something that a request needs is away");
                sentence
            }
            Kind::NotFound
            | Kind::AlreadyExists
            | Kind::Invalid { .. }
            | Kind::Conflict
            | Kind::Forbidden
            | Kind::Unauthenticated
            | Kind::Quota
            | Kind::Funds
            | Kind::Capacity
            | Kind::RateLimited { .. } => {
                if !error.internal.is_empty() {
                    tracing::debug!(cause = %error.internal, "a request was refused");
                }
                sentence
            }
        }
    }
}
