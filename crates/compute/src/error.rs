//! What a driver says when a verb did not succeed. The engine decides by the kind alone, never by the text.

/// A driver's refusal or fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// It may succeed if tried again: the machine is busy, a time limit passed, something is away.
    #[error("{0}")]
    Retry(String),
    /// It will not succeed however often it is tried: a broken image, a refused command line.
    #[error("{0}")]
    Fatal(String),
    /// The machine (or its disk) is not there.
    #[error("{0}")]
    Gone(String),
    /// The node cannot be reached: nothing is known about the machine, above all not that it is absent.
    #[error("{0}")]
    Unreachable(String),
}

impl DriverError {
    /// A [`DriverError::Retry`] from anything that can be shown.
    pub fn retry(why: impl std::fmt::Display) -> Self {
        Self::Retry(why.to_string())
    }

    /// A [`DriverError::Fatal`] from anything that can be shown.
    pub fn fatal(why: impl std::fmt::Display) -> Self {
        Self::Fatal(why.to_string())
    }
}
