//! Payments: money that arrives, by an operator's word or by the signed request of a payment provider.
//!
//! Promises: what arrives is in the books once, however often it is told; an account that was suspended for want of it
//! acts again by the same transaction. Must not know: HTTP.

use crate::app::App;
use crate::clock::random_bytes;
use crate::domain::{accounts as account_verbs, dunning, mails};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulut_model::account::Account;
use bulut_model::mail::Letter;
use bulut_model::name::check_name;
use bulut_model::payment::{Payment, PaymentKey, check_amount, check_reference, is_in_time};
use bulut_model::{AccountId, Error, Micros, PaymentKeyId, Result};
use bulut_store::ledger::{self, Entry};
use bulut_store::{Session, accounts, payments};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// A request as its sender signed it.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The key that it names.
    pub key: PaymentKeyId,
    /// When it was signed, seconds since 1970, in decimal digits.
    pub timestamp: &'a str,
    /// The sender's own name for the payment.
    pub idempotency_key: &'a str,
    /// Its body, as it came.
    pub body: &'a [u8],
    /// HMAC-SHA-256 over timestamp, line feed, idempotency key, line feed and body; hexadecimal.
    pub signature: &'a str,
}

/// Somebody who proved to have a payment key.
#[derive(Debug, Clone)]
pub struct Payer {
    key: PaymentKeyId,
    idempotency_key: String,
}

/// An account as a payer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// By its id.
    Id(AccountId),
    /// By e-mail address or user name.
    Name(String),
}

/// What is to be credited.
#[derive(Debug, Clone)]
pub struct Credit {
    /// Whose account.
    pub account: Whose,
    /// How much.
    pub amount: Micros,
    /// Of which currency, if its sender says so.
    pub currency: Option<String>,
    /// What the payment is called where it came from; may be empty.
    pub reference: String,
}

/// Makes a key; answers it with its secret, which nobody learns again: the operator's verb.
///
/// Errors: `Invalid` for `name`.
pub async fn add_key(app: &App, name: &str) -> Result<(PaymentKey, String)> {
    check_name("name", name)?;
    let secret = format!("bps_{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
    let tx = app.store().begin().await?;
    let key = payments::insert_key(&tx, name, app.clock().now()).await?;
    payments::set_secret(&tx, key.id, &app.vault().seal(&place(key.id), secret.as_bytes())?).await?;
    tx.commit().await?;
    tracing::info!(payment_key.id = key.id.0, "payment key made");
    Ok((key, secret))
}

fn place(id: PaymentKeyId) -> String {
    format!("payment_key/{id}")
}

/// All keys, removed ones too: the operator's verb.
pub async fn list_keys(app: &App) -> Result<Vec<PaymentKey>> {
    payments::list_keys(app.store()).await
}

/// Removes a key: the operator's verb.
///
/// Errors: `NotFound`.
pub async fn remove_key(app: &App, id: PaymentKeyId) -> Result<()> {
    if !payments::remove_key(app.store(), id, app.clock().now()).await? {
        return Err(Error::not_found(format!("There is no payment key with id {id}.")));
    }
    tracing::info!(payment_key.id = id.0, "payment key removed");
    Ok(())
}

/// Proves a request: that its sender has the key, that nothing was changed on its way, and that it was signed now.
///
/// Errors: `Unauthenticated`; for one out of time it says so, since a clock that is wrong is hard to find.
pub async fn prove(app: &App, signed: Signed<'_>) -> Result<Payer> {
    let wrong = || Error::unauthenticated("The payment key or the signature is wrong.");
    let (key, sealed) = payments::find_key(app.store(), signed.key).await?.ok_or_else(wrong)?;
    let secret = app.vault().open_sealed(&place(key.id), &sealed)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).map_err(Error::internal)?;
    for part in [signed.timestamp.as_bytes(), b"\n", signed.idempotency_key.as_bytes(), b"\n", signed.body] {
        mac.update(part);
    }
    let signature = bytes(signed.signature).ok_or_else(wrong)?;
    mac.verify_slice(&signature).map_err(|_| wrong())?;
    let signed_at = signed.timestamp.parse().map_err(|_| wrong())?;
    if !is_in_time(signed_at, app.clock().now()) {
        return Err(Error::unauthenticated(
            "The request was signed too long ago or in the future; sign it again, and set your clock.",
        ));
    }
    Ok(Payer { key: key.id, idempotency_key: signed.idempotency_key.to_owned() })
}

/// The bytes that 64 hexadecimal digits stand for.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Credits an account, once for each of the payer's own names for a payment: the same again gets the first answer.
///
/// Errors: `Invalid` naming the parameter; `NotFound` for the account; `Conflict` when the name was given to another
/// payment.
pub async fn credit(app: &App, payer: &Payer, credit: Credit) -> Result<Payment> {
    check_amount(credit.amount)?;
    check_reference(&credit.reference)?;
    let own = &app.config().billing.currency;
    if credit.currency.as_ref().is_some_and(|currency| currency != own) {
        return Err(Error::invalid("currency", format!("The currency must be {own}; nothing is converted.")));
    }
    let fingerprint = fingerprint(&credit);
    if let Some(payment) = paid(app.store(), payer, &fingerprint).await? {
        return Ok(payment);
    }
    let id = account_of(app, &credit.account).await?.id;
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, id).await?;
    // Whoever came at the same time with the same has it by now.
    if let Some(payment) = paid(&tx, payer, &fingerprint).await? {
        tx.rollback().await?;
        return Ok(payment);
    }
    let now = app.clock().now();
    let key = format!("topup/{}/{}", payer.key, payer.idempotency_key);
    let entries = entries("payments", account.id, credit.amount);
    ledger::post(&tx, &key, "payment", "Payment", &credit.reference, &entries, now).await?;
    let balance = ledger::balance(&tx, account.id).await?;
    let new = payments::New {
        key: payer.key,
        idempotency_key: payer.idempotency_key.clone(),
        fingerprint,
        account: account.id,
        amount: credit.amount,
        balance,
        reference: credit.reference.clone(),
    };
    let payment = payments::insert(&tx, &new, now).await?;
    let letter = Letter::TopUp { amount: credit.amount, balance, reference: credit.reference };
    mails::enqueue(&tx, &account, letter, None, now).await?;
    dunning::settle_paid(app, &tx, &account).await?;
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(account.id = account.id.0, payment.id = payment.id.0, "payment credited");
    Ok(payment)
}

async fn paid(s: &impl Session, payer: &Payer, fingerprint: &str) -> Result<Option<Payment>> {
    match payments::find(s, payer.key, &payer.idempotency_key).await? {
        Some((payment, known)) if known == fingerprint => Ok(Some(payment)),
        Some(_) => Err(Error::conflict(
            "The Idempotency-Key was used for another payment; send a new key with this one.",
        )),
        None => Ok(None),
    }
}

fn fingerprint(credit: &Credit) -> String {
    let mut digest = Sha256::new();
    let account = match &credit.account {
        Whose::Id(id) => format!("id {id}"),
        Whose::Name(name) => format!("name {name}"),
    };
    for text in [&account, &credit.amount.decimal(), &credit.reference] {
        // Lengths before texts, so that no two payments run together into the same bytes.
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn account_of(app: &App, whose: &Whose) -> Result<Account> {
    match whose {
        Whose::Id(id) => {
            let found = accounts::find(app.store(), *id).await?;
            found.ok_or_else(|| Error::not_found(format!("There is no account with id {id}.")))
        }
        Whose::Name(name) => account_verbs::named(app, name).await,
    }
}

fn entries(from: &'static str, account: AccountId, amount: Micros) -> [Entry; 2] {
    [
        Entry { book: "customer", account: Some(account), amount },
        Entry { book: from, account: None, amount: -amount },
    ]
}

/// Credits an account by the operator's word, or takes from it what was credited by mistake (below zero). With `once`
/// the same again changes nothing. Answers the account and its balance.
///
/// Errors: `Invalid`; `NotFound`.
pub async fn credit_by_hand(
    app: &App,
    name: &str,
    amount: Micros,
    description: &str,
    once: Option<&str>,
) -> Result<(Account, Micros)> {
    check_amount(if amount < Micros::ZERO { -amount } else { amount })?;
    check_reference(description)?;
    let id = account_verbs::named(app, name).await?.id;
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, id).await?;
    let now = app.clock().now();
    let reference = match once {
        Some(once) => format!("credit/{id}/{once}"),
        None => format!("credit/{id}/{}", uuid::Uuid::new_v4()),
    };
    let kind = if amount < Micros::ZERO { "correction" } else { "credit" };
    let entries = entries("credits", id, amount);
    ledger::post(&tx, &reference, kind, description, &reference, &entries, now).await?;
    dunning::settle_paid(app, &tx, &account).await?;
    let balance = ledger::balance(&tx, id).await?;
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(account.id = id.0, kind, "account credited by hand");
    Ok((accounts::find(app.store(), id).await?.unwrap_or(account), balance))
}
