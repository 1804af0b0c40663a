//! Who may: asked once, by the verb.

use crate::domain::dunning;
use bulut_model::account::{Account, Standing};
use bulut_model::{Error, Result};

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account that acts.
    pub account: Account,
    /// The name that the client gave to this request, so that it can repeat it without harm.
    pub key: Option<IdempotencyKey>,
}

/// A client's name for one changing request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client wrote it.
    pub key: String,
    /// What the request is: a digest of the call and its parameters.
    pub fingerprint: String,
}

impl Caller {
    /// The account, acting without a name for its request.
    pub const fn new(account: Account) -> Self {
        Self { account, key: None }
    }

    /// May the caller change things of its own?
    ///
    /// Errors: `Forbidden` for a suspended account.
    pub fn may_change(&self) -> Result<()> {
        match self.account.standing {
            Standing::Active => Ok(()),
            Standing::Suspended if self.account.lacks_funds => Err(dunning::refusal()),
            Standing::Suspended => Err(Error::forbidden(
                "This account is suspended: it can look at its things, but not change them. Ask your provider.",
            )),
        }
    }

    /// May the caller use the operator's calls?
    ///
    /// Errors: `Forbidden` for everybody else.
    pub fn may_operate(&self) -> Result<()> {
        self.may_change()?;
        if self.account.is_operator { Ok(()) } else { Err(Error::forbidden("This call is for operators.")) }
    }
}
