//! Mails: letters to people are written in the transaction of what they tell, so that one is sent if and only if it is
//! true; `reconcile/mails.rs` sends them.
//!
//! Must not know: mail servers, or the words of a letter.

use crate::app::App;
use crate::domain::account_links;
use crate::domain::letters::{Frame, Text, compose};
use bulut_model::account::Account;
use bulut_model::account::LinkPurpose;
use bulut_model::mail::{Letter, Mail, MailState};
use bulut_model::name::check_email;
use bulut_model::{Error, MailId, Result, Timestamp};
use bulut_store::{Session, accounts, mails};
use std::time::Duration;

/// Most letters in one list.
pub const LISTED_MAX: i64 = 1000;
/// For how long somebody who asked for a link waits for it.
const LINKS_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes a letter to an account, in the caller's transaction. With `once` such as `invoice/BLT-7`, a second letter
/// for the same is none, as long as the first is remembered: it answers nothing.
pub async fn enqueue(
    s: &impl Session,
    account: &Account,
    letter: Letter,
    once: Option<&str>,
    now: Timestamp,
) -> Result<Option<MailId>> {
    let expires_at = match letter {
        Letter::PasswordReset => Some(now.plus(LINKS_WAIT)),
        _ => None,
    };
    let new = mails::New {
        uuid: uuid::Uuid::new_v4().to_string(),
        account: Some(account.id),
        recipient: account.email.clone(),
        letter,
        once: once.map(str::to_owned),
        expires_at,
    };
    mails::insert(s, &new, now).await
}

/// Writes a letter to any address that says nothing but that it arrived: the operator's verb.
///
/// Errors: `Invalid` for what is no address.
pub async fn test(app: &App, recipient: &str) -> Result<MailId> {
    check_email(recipient)?;
    let new = mails::New {
        uuid: uuid::Uuid::new_v4().to_string(),
        account: None,
        recipient: recipient.to_owned(),
        letter: Letter::Test,
        once: None,
        expires_at: None,
    };
    let written = mails::insert(app.store(), &new, app.clock().now()).await?;
    written.ok_or_else(|| Error::internal("a mail without a purpose was taken for another one"))
}

/// What is to be done with a letter whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It is sent like this.
    Send(Text),
    /// It is of no use any more.
    Expired,
}

/// Puts a letter into words, right before it is sent; a link that it needs is made now.
pub async fn prepare(app: &App, mail: &Mail) -> Result<Ready> {
    let is_late = mail.expires_at.is_some_and(|at| at <= app.clock().now());
    let account = match mail.account {
        Some(id) => accounts::find(app.store(), id).await?,
        None => None,
    };
    let purpose = match mail.letter {
        Letter::Verification => Some(LinkPurpose::Verification),
        Letter::PasswordReset => Some(LinkPurpose::PasswordReset),
        _ => None,
    };
    let is_verified = account.as_ref().is_some_and(|account| account.is_verified);
    if is_late || (mail.letter == Letter::Verification && is_verified) {
        return Ok(Ready::Expired);
    }
    let link = match (purpose, &account) {
        (Some(purpose), Some(account)) => Some(account_links::issue(app, account, purpose).await?),
        _ => None,
    };
    let link = link.as_ref().map(|(url, until)| (url.as_str(), *until));
    Ok(Ready::Send(words(app, mail, account.as_ref(), link)))
}

/// A letter in words, to be looked at: a link that it needs is not made.
pub async fn show(app: &App, mail: &Mail) -> Result<Text> {
    let account = match mail.account {
        Some(id) => accounts::find(app.store(), id).await?,
        None => None,
    };
    Ok(words(app, mail, account.as_ref(), None))
}

fn words(app: &App, mail: &Mail, account: Option<&Account>, link: Option<(&str, Timestamp)>) -> Text {
    let name = account.map(|account| account.first_name.as_str()).unwrap_or_default();
    let (cloud, currency) = (&app.config().mail.name, &app.config().billing.currency);
    compose(&mail.letter, Frame { cloud, name, currency, link })
}

/// Letters, newest first: the operator's verb.
pub async fn list(app: &App, state: Option<MailState>, limit: i64) -> Result<Vec<Mail>> {
    mails::list(app.store(), state, limit.clamp(1, LISTED_MAX)).await
}

/// One letter.
///
/// Errors: `NotFound`.
pub async fn get(app: &App, id: MailId) -> Result<Mail> {
    let found = mails::find(app.store(), id).await?;
    found.ok_or_else(|| Error::not_found(format!("There is no mail with id {id}.")))
}

/// Has a letter tried at once, as if it had never failed.
///
/// Errors: `NotFound`; `Conflict` for one that was sent, has expired or is being sent.
pub async fn retry(app: &App, id: MailId) -> Result<Mail> {
    let mail = get(app, id).await?;
    if mails::retry(app.store(), Some(id), app.clock().now()).await? == 0 {
        let state = match mail.state {
            MailState::Sent => "was sent already",
            MailState::Expired => "has expired",
            MailState::Waiting | MailState::GivenUp => "is being sent at this moment",
        };
        return Err(Error::conflict(format!("Mail {id} {state}.")));
    }
    get(app, id).await
}

/// Has all letters tried at once that wait or were given up; answers how many.
pub async fn retry_all(app: &App) -> Result<u64> {
    mails::retry(app.store(), None, app.clock().now()).await
}
