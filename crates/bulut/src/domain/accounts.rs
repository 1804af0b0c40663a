//! Accounts: made and kept by operators, looked at by their owners.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::{dunning, mails, passwords};
use bulut_model::account::{Account, Standing, check_password};
use bulut_model::mail::Letter;
use bulut_model::name::{check_email, check_name, check_user_name};
use bulut_model::{Error, Micros, Result};
use bulut_store::ledger::{self, Entry};
use bulut_store::{accounts, consoles, sessions};

/// An account to be made.
#[derive(Clone)]
pub struct NewAccount {
    /// E-mail address, unique.
    pub email: String,
    /// Sign-in name besides it, unique.
    pub user_name: Option<String>,
    /// Given name.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// Password, plain.
    pub password: String,
    /// Whether it may use the operator's calls.
    pub is_operator: bool,
    /// What it starts with on its balance.
    pub credit: Micros,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Makes an account.
///
/// Errors: `Invalid` naming the parameter, `AlreadyExists`.
pub async fn create(app: &App, new: NewAccount) -> Result<Account> {
    let email = new.email.trim().to_lowercase();
    check_email(&email)?;
    if let Some(user_name) = &new.user_name {
        check_user_name(user_name)?;
    }
    check_name("first_name", &new.first_name)?;
    if !new.last_name.is_empty() {
        check_name("last_name", &new.last_name)?;
    }
    check_password(&new.password)?;
    if new.credit < Micros::ZERO {
        return Err(Error::invalid("credit", "The credit must not be negative."));
    }
    let password_hash = passwords::hash(app, &new.password).await?;
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let row = accounts::New {
        email,
        user_name: new.user_name,
        first_name: new.first_name,
        last_name: new.last_name,
        password_hash,
        is_operator: new.is_operator,
    };
    let account = accounts::insert(&tx, &row, now).await?;
    if new.credit > Micros::ZERO {
        let entries = [
            Entry { book: "customer", account: Some(account.id), amount: new.credit },
            Entry { book: "credits", account: None, amount: -new.credit },
        ];
        let key = format!("account/{}/opening", account.id);
        ledger::post(&tx, &key, "credit", "Opening credit", &key, &entries, now).await?;
    }
    mails::enqueue(&tx, &account, Letter::Verification, None, now).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, "account created");
    Ok(account)
}

/// All accounts, oldest first, with their balances.
pub async fn list(app: &App) -> Result<Vec<(Account, Micros)>> {
    let mut listed = Vec::new();
    for account in accounts::list(app.store()).await? {
        let balance = ledger::balance(app.store(), account.id).await?;
        listed.push((account, balance));
    }
    Ok(listed)
}

/// The account with this e-mail address or user name.
///
/// Errors: `NotFound`.
pub async fn named(app: &App, name: &str) -> Result<Account> {
    let found = accounts::find_by_name(app.store(), name.trim()).await?;
    found.map(|(account, _)| account).ok_or_else(|| {
        Error::not_found(format!("There is no account with the e-mail address or user name '{name}'."))
    })
}

/// Sets a new password for the account with this e-mail address or user name. Every token given out before ends.
pub async fn set_password(app: &App, name: &str, password: &str) -> Result<Account> {
    check_password(password)?;
    let account = named(app, name).await?;
    let password_hash = passwords::hash(app, password).await?;
    let tx = app.store().begin().await?;
    accounts::set_password(&tx, account.id, &password_hash).await?;
    sessions::revoke_all(&tx, account.id, app.clock().now()).await?;
    consoles::revoke_all(&tx, account.id, app.clock().now()).await?;
    mails::enqueue(&tx, &account, Letter::PasswordChanged, None, app.clock().now()).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.id.0, "password changed; its tokens have ended");
    Ok(account)
}

/// Suspends the account with this e-mail address or user name, or lets it act again.
pub async fn set_standing(app: &App, name: &str, standing: Standing) -> Result<Account> {
    let account = named(app, name).await?;
    let tx = app.store().begin().await?;
    accounts::hold(&tx, account.id).await?;
    accounts::set_standing(&tx, account.id, standing).await?;
    match standing {
        // For good: who acts again soon after must ask for new links.
        Standing::Suspended => drop(consoles::revoke_all(&tx, account.id, app.clock().now()).await?),
        Standing::Active => dunning::pardon(app, &tx, &account).await?,
    }
    tx.commit().await?;
    app.work().notify_one();
    tracing::info!(account.id = account.id.0, standing = standing.as_str(), "standing changed");
    named(app, name).await
}

/// Says whether the account with this e-mail address or user name pays after the month.
pub async fn set_postpaid(app: &App, name: &str, is_postpaid: bool) -> Result<Account> {
    let account = named(app, name).await?;
    accounts::set_postpaid(app.store(), account.id, is_postpaid).await?;
    tracing::info!(account.id = account.id.0, is_postpaid, "way of paying changed");
    Ok(Account { is_postpaid, ..account })
}

/// Says whether lists of the account's servers leave their passwords out.
pub async fn set_hides_secrets(app: &App, name: &str, hides: bool) -> Result<Account> {
    let account = named(app, name).await?;
    accounts::set_hides_secrets(app.store(), account.id, hides).await?;
    tracing::info!(account.id = account.id.0, hides, "showing of passwords changed");
    Ok(Account { hides_secrets: hides, ..account })
}

/// What the caller has.
pub async fn balance(app: &App, caller: &Caller) -> Result<Micros> {
    ledger::balance(app.store(), caller.account.id).await
}
