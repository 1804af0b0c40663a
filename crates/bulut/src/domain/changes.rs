//! Changes: each is one transaction under the account's lock, and remembers its answer when the client named the
//! request by an idempotency key.
//!
//! Promises: a request that is repeated with its key within a day gets the first answer again, and nothing happens a
//! second time, also when both came at once or the process died right after the first; the answer is kept by the
//! change's own transaction. A refusal changes nothing and is not kept. Must not know: what is changed.

use crate::app::App;
use crate::domain::access::{Caller, IdempotencyKey};
use bulut_model::account::Account;
use bulut_model::{Error, Result, Timestamp};
use bulut_store::idempotency::{self, Kept};
use bulut_store::{Session, Tx, accounts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A change under way.
pub struct Change {
    /// Its transaction.
    pub tx: Tx,
    /// The account, held by it.
    pub account: Account,
    /// When it happens.
    pub now: Timestamp,
    key: Option<IdempotencyKey>,
    app: App,
}

/// What a change's beginning finds.
pub enum Begun<T> {
    /// This is the first time: carry it out, then [`Change::commit`].
    First(Box<Change>),
    /// It was carried out before; this was the answer.
    Again(T),
}

impl Change {
    /// Begins a change of the caller's things.
    ///
    /// Errors: `Forbidden` for a suspended account; `Conflict` when the key was used for another request.
    pub async fn begin<T: DeserializeOwned>(app: &App, caller: &Caller) -> Result<Begun<T>> {
        caller.may_change()?;
        let tx = app.store().begin().await?;
        let account = accounts::hold(&tx, caller.account.id).await?;
        if let Some(answer) = answered(app, &tx, caller).await? {
            tx.rollback().await?;
            return Ok(Begun::Again(answer));
        }
        let now = app.clock().now();
        Ok(Begun::First(Box::new(Self { tx, account, now, key: caller.key.clone(), app: app.clone() })))
    }

    /// Ends it: from now on it holds, and so does its answer. Wakes the engine, in case an operation was queued.
    pub async fn commit<T: Serialize>(self, answer: T) -> Result<T> {
        if let Some(key) = &self.key {
            let text = Zeroizing::new(serde_json::to_vec(&answer).map_err(Error::internal)?);
            let sealed_answer = self.app.vault().seal(&place(&self.account, key), &text)?;
            let kept = Kept { fingerprint: key.fingerprint.clone(), sealed_answer };
            idempotency::keep(&self.tx, self.account.id, &key.key, &kept, self.now).await?;
        }
        self.tx.commit().await?;
        self.app.work().notify_one();
        Ok(answer)
    }
}

/// The answer to an earlier request with the caller's key, for verbs that check much before they begin.
///
/// Errors: as [`Change::begin`].
pub async fn again<T: DeserializeOwned>(app: &App, caller: &Caller) -> Result<Option<T>> {
    caller.may_change()?;
    answered(app, app.store(), caller).await
}

async fn answered<T: DeserializeOwned>(app: &App, s: &impl Session, caller: &Caller) -> Result<Option<T>> {
    let Some(key) = &caller.key else { return Ok(None) };
    let since = app.clock().now().minus(KEPT_FOR);
    let Some(kept) = idempotency::find(s, caller.account.id, &key.key, since).await? else {
        return Ok(None);
    };
    if kept.fingerprint != key.fingerprint {
        return Err(Error::conflict(
            "The Idempotency-Key was used for another request within the last day; send a new key with this one.",
        ));
    }
    let text = app.vault().open_sealed(&place(&caller.account, key), &kept.sealed_answer)?;
    serde_json::from_slice(&text).map(Some).map_err(Error::internal)
}

fn place(account: &Account, key: &IdempotencyKey) -> String {
    format!("idempotency/{}/{}", account.id, key.key)
}
