//! The ledger as its owner sees it: one line for each entry in the account's book.

use crate::{Micros, Timestamp, TransactionId};

/// An entry in an account's book. It never changes; a correction is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id, rising in the order of the entries.
    pub id: TransactionId,
    /// What kind of posting it belongs to: `credit`, `payment`, `charge`, …
    pub kind: String,
    /// What it added to the balance.
    pub amount: Micros,
    /// The balance right after it.
    pub balance_after: Micros,
    /// For a person.
    pub description: String,
    /// What it is about, for programs: `account/7/opening`, an invoice's number, …
    pub reference: String,
    /// When it was made.
    pub created_at: Timestamp,
}
