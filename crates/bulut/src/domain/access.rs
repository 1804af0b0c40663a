//! Who may: asked once, by the verb.

use bulut_model::account::{Account, Standing};
use bulut_model::{Error, Result};

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account that acts.
    pub account: Account,
}

impl Caller {
    /// May the caller change things of its own?
    ///
    /// Errors: `Forbidden` for a suspended account.
    pub fn may_change(&self) -> Result<()> {
        match self.account.standing {
            Standing::Active => Ok(()),
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
