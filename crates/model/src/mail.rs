//! Mail: the letters that the cloud writes to people, and how far each one is on its way.
//!
//! ```text
//!  waiting ──accepted by the mail server──▶ sent
//!   ▲  │ └──no use any more──▶ expired
//!   │  ├──refused for good, or too often──▶ given_up
//!   └──┘ try again later                      │
//!   ▲───────────an operator says so───────────┘
//! ```

use crate::{AccountId, MailId, Micros, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a letter says. Its words are made of this when it is sent; it holds no secret, and links that only the
/// recipient may know are made at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "snake_case")]
pub enum Letter {
    /// Please confirm your address: a link that opens once.
    Verification,
    /// Somebody wants to choose a new password: a link that opens once.
    PasswordReset,
    /// The password was changed.
    PasswordChanged,
    /// The balance is low.
    LowBalance {
        /// What is left.
        balance: Micros,
        /// Below which balance the account is suspended.
        suspended_below: Micros,
        /// When that happens at the earliest.
        suspended_from: Timestamp,
    },
    /// The account is suspended, and its servers are stopped.
    Suspension {
        /// What is left; below zero is owed.
        balance: Micros,
        /// Below which balance the account stays suspended.
        suspended_below: Micros,
        /// When servers and snapshots are deleted at the earliest, if ever.
        deleted_from: Option<Timestamp>,
    },
    /// Servers and snapshots are going to be deleted.
    DeletionNotice {
        /// What is left; below zero is owed.
        balance: Micros,
        /// Below which balance it happens.
        suspended_below: Micros,
        /// When at the earliest.
        deleted_from: Timestamp,
    },
    /// Servers and snapshots are deleted.
    Deletion {
        /// How many servers.
        servers: u64,
        /// How many snapshots.
        snapshots: u64,
    },
    /// The account acts again.
    Resumption {
        /// What there is now.
        balance: Micros,
        /// How many servers are started again.
        servers: u64,
    },
    /// Money has arrived.
    TopUp {
        /// How much.
        amount: Micros,
        /// What there is now.
        balance: Micros,
        /// What the payment is called where it came from; may be empty.
        reference: String,
    },
    /// A new invoice.
    Invoice {
        /// Its number.
        number: String,
        /// What it comes to, tax included.
        total: Micros,
        /// Of which currency, for example EUR.
        currency: String,
        /// Until when it is to be paid; none where it is paid already.
        due_at: Option<Timestamp>,
        /// Where it can be read, if anywhere.
        link: Option<String>,
    },
    /// An operator tries the settings.
    Test,
}

impl Letter {
    /// The name of its template, in the database, the log and the metrics.
    pub const fn template(&self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::PasswordChanged => "password_changed",
            Self::LowBalance { .. } => "low_balance",
            Self::Suspension { .. } => "suspension",
            Self::DeletionNotice { .. } => "deletion_notice",
            Self::Deletion { .. } => "deletion",
            Self::Resumption { .. } => "resumption",
            Self::TopUp { .. } => "top_up",
            Self::Invoice { .. } => "invoice",
            Self::Test => "test",
        }
    }
}

/// How far a letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// It is to be sent.
    Waiting,
    /// The mail server has taken it.
    Sent,
    /// It was refused for good, or too often; an operator may have it tried again.
    GivenUp,
    /// It waited until it was of no use any more.
    Expired,
}

impl MailState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::GivenUp, Self::Expired];

    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::GivenUp => "given_up",
            Self::Expired => "expired",
        }
    }

    /// The reverse of [`MailState::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A letter in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its id.
    pub id: MailId,
    /// Unlike any other letter's, also of other clouds.
    pub uuid: String,
    /// The account that it is about, if there is one.
    pub account: Option<AccountId>,
    /// To which address it goes.
    pub recipient: String,
    /// What it says.
    pub letter: Letter,
    /// How far it is.
    pub state: MailState,
    /// How often it failed since it was last told to be tried.
    pub failures: u32,
    /// When it is tried next, while it waits.
    pub run_at: Timestamp,
    /// What the mail server said when it failed last.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// From when on it is of no use.
    pub expires_at: Option<Timestamp>,
    /// When it was sent, given up or expired.
    pub settled_at: Option<Timestamp>,
}

/// How often a letter is tried before it is given up: with [`wait_after`], for about two days.
pub const TRIES: u32 = 20;
/// The first wait, and the longest.
const WAIT_FIRST: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a letter waits after so many failures: a minute, then twice as long each time, at most four hours.
pub fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    WAIT_FIRST.saturating_mul(1 << doublings).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for state in MailState::ALL {
            assert_eq!(MailState::from_word(state.as_str()), Some(state));
        }
        assert_eq!(MailState::from_word("lost"), None);
    }

    #[test]
    fn a_letter_says_its_template_in_the_database_as_everywhere() {
        let letter = Letter::Deletion { servers: 2, snapshots: 1 };
        let text = serde_json::to_value(&letter).unwrap();
        assert_eq!(text["template"], letter.template());
        assert_eq!(serde_json::from_value::<Letter>(text).unwrap(), letter);
    }

    #[test]
    fn waits_grow_and_end_after_about_two_days() {
        let waits: Vec<Duration> = (1..TRIES).map(wait_after).collect();
        assert_eq!(waits[0], Duration::from_secs(60));
        assert_eq!(waits[1], Duration::from_secs(120));
        assert!(waits.is_sorted());
        let all: Duration = waits.iter().sum();
        let hour = Duration::from_secs(3600);
        assert!(all > hour * 40 && all < hour * 56, "{all:?}");
        assert_eq!(wait_after(u32::MAX), WAIT_MAX);
    }
}
