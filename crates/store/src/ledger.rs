//! The ledger: append-only double entry in micro-units. Balance is the sum of a customer's entries.

use crate::session::{Failure, Row, Session};
use bulut_model::ledger::Transaction;
use bulut_model::{AccountId, Error, Micros, Result, Timestamp, TransactionId};

/// One side of a posting.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `customer`, `revenue`, `tax`, `payments`, `credits`.
    pub book: &'static str,
    /// The customer, in the `customer` book.
    pub account: Option<AccountId>,
    /// What it adds to the book.
    pub amount: Micros,
}

/// Whether a posting was made now or had been before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// Now.
    New,
    /// Before, under the same key: nothing was changed.
    Before,
}

/// Makes a posting, once per idempotency key. Run it in a transaction.
///
/// Errors: `Internal` when the entries do not add up to zero.
pub async fn post(
    s: &impl Session,
    key: &str,
    kind: &str,
    description: &str,
    reference: &str,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Posted> {
    // Wider than an amount, so that no sum wraps around to zero.
    if entries.iter().map(|entry| i128::from(entry.amount.0)).sum::<i128>() != 0 {
        return Err(Error::internal(format!("posting {key} does not add up to zero")));
    }
    let row = s
        .one(
            "INSERT INTO ledger_posting (idempotency_key, kind, description, reference, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (idempotency_key) DO NOTHING RETURNING id",
            vec![key.into(), kind.into(), description.into(), reference.into(), now.0.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(Posted::Before) };
    let posting = row.int("id")?;
    for entry in entries {
        s.execute(
            "INSERT INTO ledger_entry (posting_id, book, account_id, amount_micros) VALUES ($1, $2, $3, $4)",
            vec![
                posting.into(),
                entry.book.into(),
                entry.account.map(|id| id.0).into(),
                entry.amount.0.into(),
            ],
        )
        .await?;
    }
    Ok(Posted::New)
}

/// What a customer has: the sum of its entries.
pub async fn balance(s: &impl Session, account: AccountId) -> Result<Micros> {
    let row = s
        .one(
            "SELECT CAST(COALESCE(SUM(amount_micros), 0) AS BIGINT) AS balance FROM ledger_entry \
             WHERE account_id = $1 AND book = 'customer'",
            vec![account.0.into()],
        )
        .await?;
    Ok(Micros(row.map(|row| row.int("balance")).transpose()?.unwrap_or(0)))
}

fn transaction(row: &Row) -> Result<Transaction, Failure> {
    Ok(Transaction {
        id: TransactionId(row.int("id")?),
        kind: row.text("kind")?,
        amount: Micros(row.int("amount_micros")?),
        balance_after: Micros(row.int("balance_after_micros")?),
        description: row.text("description")?,
        reference: row.text("reference")?,
        created_at: Timestamp(row.int("created_at")?),
    })
}

/// The customer's entries, newest first, each with the balance right after it: those before `before` if it is given,
/// at most `limit`.
pub async fn list(
    s: &impl Session,
    account: AccountId,
    before: Option<TransactionId>,
    limit: i64,
) -> Result<Vec<Transaction>> {
    let rows = s
        .all(
            "SELECT * FROM (SELECT ledger_entry.id AS id, ledger_posting.kind AS kind, \
             ledger_entry.amount_micros AS amount_micros, \
             CAST(SUM(ledger_entry.amount_micros) OVER (ORDER BY ledger_entry.id) AS BIGINT) \
             AS balance_after_micros, ledger_posting.description AS description, \
             ledger_posting.reference AS reference, ledger_posting.created_at AS created_at \
             FROM ledger_entry JOIN ledger_posting ON ledger_posting.id = ledger_entry.posting_id \
             WHERE ledger_entry.account_id = $1 AND ledger_entry.book = 'customer') AS entries \
             WHERE id < $2 ORDER BY id DESC LIMIT $3",
            vec![account.0.into(), before.map_or(i64::MAX, |id| id.0).into(), limit.into()],
        )
        .await?;
    Ok(rows.iter().map(transaction).collect::<Result<_, _>>()?)
}

/// What the hours that ended after `from` and not after `to` were charged to a customer.
pub async fn charged(s: &impl Session, account: AccountId, from: Timestamp, to: Timestamp) -> Result<Micros> {
    let row = s
        .one(
            "SELECT CAST(COALESCE(-SUM(amount_micros), 0) AS BIGINT) AS charged FROM ledger_entry \
             JOIN ledger_posting ON ledger_posting.id = ledger_entry.posting_id \
             WHERE account_id = $1 AND book = 'customer' AND kind = 'charge' AND created_at > $2 AND created_at <= $3",
            vec![account.0.into(), from.0.into(), to.0.into()],
        )
        .await?;
    Ok(Micros(row.map(|row| row.int("charged")).transpose()?.unwrap_or(0)))
}

/// An entry of any book, with the posting that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Its id, rising in the order of the entries.
    pub id: TransactionId,
    /// The posting that it belongs to; its entries add up to zero.
    pub posting: i64,
    /// `customer`, `revenue`, `tax`, `payments`, `credits`.
    pub book: String,
    /// The customer, in the `customer` book.
    pub account: Option<AccountId>,
    /// What it added to the book.
    pub amount: Micros,
    /// What kind of posting it is.
    pub kind: String,
    /// For a person.
    pub description: String,
    /// What it is about, for programs.
    pub reference: String,
    /// The posting's idempotency key.
    pub key: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The entries of all books, oldest first: those behind `after`, at most `limit`.
pub async fn list_all(s: &impl Session, after: TransactionId, limit: i64) -> Result<Vec<Booked>> {
    let rows = s
        .all(
            "SELECT ledger_entry.id AS id, posting_id, book, account_id, amount_micros, kind, description, reference, \
             idempotency_key, created_at FROM ledger_entry JOIN ledger_posting \
             ON ledger_posting.id = ledger_entry.posting_id WHERE ledger_entry.id > $1 ORDER BY ledger_entry.id LIMIT $2",
            vec![after.0.into(), limit.into()],
        )
        .await?;
    let booked = |row: &Row| -> Result<Booked, Failure> {
        Ok(Booked {
            id: TransactionId(row.int("id")?),
            posting: row.int("posting_id")?,
            book: row.text("book")?,
            account: row.opt_int("account_id")?.map(AccountId),
            amount: Micros(row.int("amount_micros")?),
            kind: row.text("kind")?,
            description: row.text("description")?,
            reference: row.text("reference")?,
            key: row.text("idempotency_key")?,
            created_at: Timestamp(row.int("created_at")?),
        })
    };
    Ok(rows.iter().map(booked).collect::<Result<_, _>>()?)
}

/// The hourly charges of an account: the reference of each and what it took, by their references.
pub async fn charges(s: &impl Session, account: AccountId) -> Result<Vec<(String, Micros)>> {
    let sql = "SELECT ledger_posting.reference AS reference, -ledger_entry.amount_micros AS amount \
               FROM ledger_entry JOIN ledger_posting ON ledger_posting.id = ledger_entry.posting_id \
               WHERE ledger_entry.account_id = $1 AND ledger_entry.book = 'customer' \
               AND ledger_posting.kind = 'charge' AND ledger_posting.reference LIKE 'charge/%' ORDER BY reference";
    let rows = s.all(sql, vec![account.0.into()]).await?;
    let one = |row: &Row| Ok((row.text("reference")?, Micros(row.int("amount")?)));
    Ok(rows.iter().map(one).collect::<Result<_, Failure>>()?)
}

/// Postings whose entries do not add up to zero; a sound ledger has none.
pub async fn unbalanced(s: &impl Session) -> Result<Vec<i64>> {
    let rows = s
        .all("SELECT posting_id FROM ledger_entry GROUP BY posting_id HAVING SUM(amount_micros) <> 0", vec![])
        .await?;
    Ok(rows.iter().map(|row| row.int("posting_id")).collect::<Result<_, Failure>>()?)
}
