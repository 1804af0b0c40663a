//! Links of letters: whoever can read an account's mail may confirm its address and choose a new password.
//!
//! Promises: a link opens once, not for long, and not after the address or the password has changed; who asks for one
//! learns nothing about who has an account. Must not know: pages, or how letters are sent.

use crate::app::App;
use crate::clock::random_bytes;
use crate::domain::{mails, passwords};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulut_model::account::{Account, LinkPurpose, check_password};
use bulut_model::mail::Letter;
use bulut_model::{Error, MailId, Result, Timestamp};
use bulut_store::account_links::{self, Link};
use bulut_store::{Session, accounts, consoles, mails as mail_rows, sessions};
use std::time::Duration;

/// Letters with links that an account gets in an hour at most, for each purpose.
const LETTERS_AN_HOUR: u64 = 3;
const HOUR: Duration = Duration::from_secs(3600);
/// Longest token that is looked at.
const TOKEN_MAX: usize = 100;

/// Makes a link for the account and answers its URL and until when it opens.
pub async fn issue(app: &App, account: &Account, purpose: LinkPurpose) -> Result<(String, Timestamp)> {
    let now = app.clock().now();
    let settings = &app.config().mail;
    let life = match purpose {
        LinkPurpose::Verification => settings.verification_life(),
        LinkPurpose::PasswordReset => settings.reset_life(),
    };
    let token = URL_SAFE_NO_PAD.encode(random_bytes::<32>());
    let link = Link {
        token_digest: digest(app, purpose, &token),
        account: account.id,
        purpose,
        email: account.email.clone(),
        token_epoch: account.token_epoch,
        expires_at: now.plus(life),
    };
    account_links::insert(app.store(), &link, now).await?;
    let path = match purpose {
        LinkPurpose::Verification => "verify",
        LinkPurpose::PasswordReset => "password",
    };
    Ok((format!("{}/account/{path}/{token}", app.config().base_url()), link.expires_at))
}

fn digest(app: &App, purpose: LinkPurpose, token: &str) -> String {
    app.vault().digest(&format!("account_link/{}", purpose.as_str()), token)
}

fn over() -> Error {
    Error::not_found(
        "This link does not work any more: it was used, it is too old, or it was not copied whole.",
    )
}

/// The account whose link this is, while it opens.
///
/// Errors: `NotFound`.
pub async fn peek(app: &App, purpose: LinkPurpose, token: &str) -> Result<Account> {
    if token.len() > TOKEN_MAX {
        return Err(over());
    }
    let now = app.clock().now();
    let link = account_links::find(app.store(), &digest(app, purpose, token), purpose, now).await?;
    owner(app.store(), link).await
}

/// Opens the link.
async fn take(app: &App, s: &impl Session, purpose: LinkPurpose, token: &str) -> Result<Account> {
    let link = account_links::take(s, &digest(app, purpose, token), purpose, app.clock().now()).await?;
    owner(s, link).await
}

async fn owner(s: &impl Session, link: Option<Link>) -> Result<Account> {
    let link = link.ok_or_else(over)?;
    let account = accounts::find(s, link.account).await?.ok_or_else(over)?;
    // An address may be confirmed after a new password, but not the other way round.
    let is_same = match link.purpose {
        LinkPurpose::Verification => account.email == link.email,
        LinkPurpose::PasswordReset => account.email == link.email && account.token_epoch == link.token_epoch,
    };
    if is_same { Ok(account) } else { Err(over()) }
}

/// Confirms the account's address with a link's token.
///
/// Errors: `NotFound` for a link that does not open.
pub async fn verify(app: &App, token: &str) -> Result<Account> {
    peek(app, LinkPurpose::Verification, token).await?;
    let tx = app.store().begin().await?;
    let account = take(app, &tx, LinkPurpose::Verification, token).await?;
    accounts::set_verified(&tx, account.id).await?;
    account_links::end_all(&tx, account.id, LinkPurpose::Verification, app.clock().now()).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, "address confirmed");
    Ok(Account { is_verified: true, ..account })
}

/// Gives the account a new password with a link's token, which ends all that was given out under the old one. It also
/// confirms the address, since that is where the link was.
///
/// Errors: `NotFound` for a link that does not open; `Invalid` for `password`.
pub async fn reset(app: &App, token: &str, password: &str) -> Result<Account> {
    peek(app, LinkPurpose::PasswordReset, token).await?;
    check_password(password)?;
    let password_hash = passwords::hash(app, password).await?;
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let account = take(app, &tx, LinkPurpose::PasswordReset, token).await?;
    accounts::set_password(&tx, account.id, &password_hash).await?;
    accounts::set_verified(&tx, account.id).await?;
    account_links::end_all(&tx, account.id, LinkPurpose::PasswordReset, now).await?;
    sessions::revoke_all(&tx, account.id, now).await?;
    consoles::revoke_all(&tx, account.id, now).await?;
    mails::enqueue(&tx, &account, Letter::PasswordChanged, None, now).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, "password changed by a link; its tokens have ended");
    Ok(Account { is_verified: true, ..account })
}

/// Writes a letter with a link to choose a new password, if there is an account with this address or user name; the
/// answer is the same if there is none, and if it got too many of them already.
pub async fn request_reset(app: &App, name: &str) -> Result<()> {
    let Some((account, _)) = accounts::find_by_name(app.store(), name.trim()).await? else { return Ok(()) };
    let written = write(app, &account, Letter::PasswordReset).await?;
    tracing::info!(account.id = account.id.0, written = written.is_some(), "a new password was asked for");
    Ok(())
}

/// Writes a letter with a link to confirm the account's address; none if it is confirmed, or got too many of them.
pub async fn request_verification(app: &App, account: &Account) -> Result<Option<MailId>> {
    if account.is_verified { Ok(None) } else { write(app, account, Letter::Verification).await }
}

async fn write(app: &App, account: &Account, letter: Letter) -> Result<Option<MailId>> {
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    // In the order of their coming, so that they count each other.
    accounts::hold(&tx, account.id).await?;
    let written = mail_rows::count_since(&tx, account.id, letter.template(), now.minus(HOUR)).await?;
    if written >= LETTERS_AN_HOUR {
        tx.rollback().await?;
        return Ok(None);
    }
    let id = mails::enqueue(&tx, account, letter, None, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Says that the account's address is right: the operator's verb.
///
/// Errors: `NotFound`.
pub async fn set_verified(app: &App, name: &str) -> Result<Account> {
    let account = crate::domain::accounts::named(app, name).await?;
    accounts::set_verified(app.store(), account.id).await?;
    tracing::info!(account.id = account.id.0, "address confirmed by an operator");
    Ok(Account { is_verified: true, ..account })
}
