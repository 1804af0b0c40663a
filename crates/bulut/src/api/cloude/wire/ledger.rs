//! Transactions: the account's entries of the ledger (the contract settles the fields). Amounts are numbers, as the
//! balance is in the document.

use super::{Amount, kinds};
use bulut_model::ledger::Transaction;
use serde::Serialize;
use utoipa::ToSchema;

/// A change of the balance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transaction, examples(json!({
    "id": 4711,
    "type": "charge",
    "amount": -0.0074,
    "balance_after": 6.25,
    "description": "ubuntu-16-04-x64, one hour",
    "reference": "server/1515",
    "created_at": "2018-01-04T12:00:00Z",
})))]
pub struct TransactionView {
    /// Its id.
    pub id: i64,
    /// What it is: `credit`, `payment`, `charge`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// What it added to the balance; negative for what was spent.
    #[schema(value_type = f64)]
    pub amount: Amount,
    /// The balance right after it.
    #[schema(value_type = f64)]
    pub balance_after: Amount,
    /// For a person.
    pub description: String,
    /// What it is about, for programs.
    pub reference: String,
    /// UTC.
    #[schema(value_type = kinds::Time)]
    pub created_at: String,
}

impl From<Transaction> for TransactionView {
    fn from(transaction: Transaction) -> Self {
        Self {
            id: transaction.id.0,
            kind: transaction.kind,
            amount: Amount(transaction.amount),
            balance_after: Amount(transaction.balance_after),
            description: transaction.description,
            reference: transaction.reference,
            created_at: transaction.created_at.wire(),
        }
    }
}
