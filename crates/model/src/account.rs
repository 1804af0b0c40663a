//! Accounts: who is a customer or operator, and what suspension means.

use crate::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether an account may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// May read and change its things.
    Active,
    /// May sign in and read, but change nothing.
    Suspended,
}

impl Standing {
    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    /// The reverse of [`Standing::as_str`]; anything unknown is suspended, the safe side.
    pub fn from_word(word: &str) -> Self {
        if word == "active" { Self::Active } else { Self::Suspended }
    }
}

/// An account as everybody in the house sees it; its password hash stays in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Unique, lower case.
    pub email: String,
    /// Unique sign-in name besides the e-mail address, if it has one.
    pub user_name: Option<String>,
    /// Given name.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// Whether it may act.
    pub standing: Standing,
    /// Whether it may use the operator's calls.
    pub is_operator: bool,
    /// Whether it is suspended because its balance is used up, whatever an operator says.
    pub lacks_funds: bool,
    /// Whether the e-mail address was verified.
    pub is_verified: bool,
    /// Whether lists of its servers leave their passwords out.
    pub hides_secrets: bool,
    /// Whether it pays after the month, so that no order is refused for want of balance.
    pub is_postpaid: bool,
    /// Rises when the password changes; tokens carry it, so older ones end.
    pub token_epoch: i64,
    /// Rises with every change to what the account's lists show.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last signed in, if ever.
    pub last_login_at: Option<Timestamp>,
}

impl Account {
    /// Given and family name, for a person.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }
}

/// What a link in a letter to an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPurpose {
    /// To confirm the address.
    Verification,
    /// To choose a new password.
    PasswordReset,
}

impl LinkPurpose {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
        }
    }

    /// The reverse of [`LinkPurpose::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Verification, Self::PasswordReset].into_iter().find(|purpose| purpose.as_str() == word)
    }
}

/// Shortest password, characters.
pub const PASSWORD_MIN: usize = 8;
/// Longest password, bytes: bounds the work of a hash.
pub const PASSWORD_MAX: usize = 256;

/// Checks a password that somebody chose: 8 characters to 256 bytes.
///
/// Errors: `Invalid` for `password`.
pub fn check_password(password: &str) -> crate::Result<()> {
    if password.chars().count() < PASSWORD_MIN || password.len() > PASSWORD_MAX {
        return Err(crate::Error::invalid(
            "password",
            format!(
                "The password must have at least {PASSWORD_MIN} characters and at most {PASSWORD_MAX} bytes; a letter \
                 with an accent takes two bytes, others up to four."
            ),
        ));
    }
    Ok(())
}
