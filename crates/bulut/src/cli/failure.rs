//! Room: the command line. How a command ends when it does not end well: an exit code, one sentence, one hint.
//!
//! Promises: every error that reaches a person has passed through here. Must not know: how it is printed.

use bulut_model::error::Kind;
use std::fmt;
use std::path::Path;

/// Whose fault it is; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller can mend it: bad input, not found, not allowed. Exit code 1.
    Refused,
    /// Something is broken: unreachable, a 5xx, a fault of the machine. Exit code 2.
    Broken,
}

/// Why a command ended without doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub blame: Blame,
    /// One sentence for a person.
    pub message: String,
    /// What the person may do about it.
    pub hint: Option<String>,
}

/// The result of a command or a part of one.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// The caller can mend it.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { blame: Blame::Refused, message: message.into(), hint: None }
    }

    /// Something is broken.
    pub fn broken(message: impl Into<String>) -> Self {
        Self { blame: Blame::Broken, message: message.into(), hint: None }
    }

    /// The file or directory at `path` did not let us do `what` (`read`, `write`…).
    pub fn file(what: &str, path: &Path, why: &std::io::Error) -> Self {
        let message = format!("cannot {what} {}: {why}", path.display());
        match why.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Self::refused(message),
            _ => Self::broken(message),
        }
    }

    /// Adds what the person may do about it; an earlier hint, being nearer to the cause, stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.blame {
            Blame::Refused => 1,
            Blame::Broken => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<bulut_model::Error> for Failure {
    /// The person at the command line of the box is its operator, and so may see the internal context too.
    fn from(error: bulut_model::Error) -> Self {
        let message = error.to_string();
        match error.kind {
            Kind::NotFound
            | Kind::AlreadyExists
            | Kind::Invalid { .. }
            | Kind::Conflict
            | Kind::Forbidden
            | Kind::Unauthenticated
            | Kind::Quota
            | Kind::Funds
            | Kind::Capacity
            | Kind::RateLimited { .. } => Self::refused(message),
            Kind::Unavailable | Kind::Internal => Self::broken(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_exit_with_1_and_faults_with_2() {
        assert_eq!(Failure::from(bulut_model::Error::not_found("no such server")).exit_code(), 1);
        assert_eq!(Failure::from(bulut_model::Error::internal("disk on fire")).exit_code(), 2);
    }

    #[test]
    fn the_hint_nearest_to_the_cause_stays() {
        let failure = Failure::refused("no").hint("near").hint("far");
        assert_eq!(failure.hint.as_deref(), Some("near"));
    }
}
