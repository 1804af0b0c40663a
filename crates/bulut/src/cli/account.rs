//! Room: the command line. `bulut account …`: makes and keeps accounts, on the box.
//!
//! Promises: a password is read from stdin, the environment or a prompt; one that is generated is shown once.

use super::billing_details::{self, Billing};
use super::context::{self, Context};
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::app::App;
use crate::clock::random_password;
use crate::domain::accounts::{self, NewAccount};
use crate::domain::{account_links, dunning, payments};
use bulut_model::Micros;
use bulut_model::account::{Account, Standing};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Length of a generated password: some 116 bits.
const GENERATED: usize = 20;

/// Accounts of the cloud on this machine
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account
    Create(Create),
    /// List the accounts with their balances
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Set a new password; every session of the account ends
    SetPassword(SetPassword),
    /// Show or change what an account's invoices say: name, address, VAT id, tax
    Billing(Billing),
    /// Let an account read, but change nothing
    Suspend(One),
    /// Let a suspended account act again
    Resume(One),
    /// Put money on an account's balance
    Credit(Credit),
    /// Take money from an account's balance that was put there by mistake
    Debit(Credit),
    /// List what happened to an account whose balance ran out, newest first
    Events(One),
    /// Say that an account's e-mail address is right
    Verify(One),
    /// Send an account a letter with a link to confirm its address
    SendVerification(One),
    /// Send an account a letter with a link to choose a new password
    SendReset(One),
    /// Let an account pay after the month: no order is refused for want of balance
    Postpaid(One),
    /// Let it pay before: its balance must cover what it orders
    Prepaid(One),
    /// Leave passwords out of the account's lists of servers
    HidePasswords(One),
    /// Show them there, as Cloud at Cost clients expect
    ShowPasswords(One),
}

/// What the account is.
#[derive(Debug, Args)]
pub struct Create {
    /// E-mail address, unique
    #[arg(long)]
    email: String,
    /// A name to sign in with besides the e-mail address
    #[arg(long)]
    user_name: Option<String>,
    /// Given name; the part of the e-mail address before the @ if absent
    #[arg(long)]
    first_name: Option<String>,
    /// Family name
    #[arg(long, default_value = "")]
    last_name: String,
    /// May use the operator's calls
    #[arg(long)]
    operator: bool,
    /// What it starts with on its balance
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    credit: String,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    settings: Settings,
}

/// Which account gets a new password.
#[derive(Debug, Args)]
pub struct SetPassword {
    /// E-mail address or user name
    account: String,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    settings: Settings,
}

/// How much, and for what.
#[derive(Debug, Args)]
pub struct Credit {
    /// E-mail address or user name
    account: String,
    /// For example 25.00
    amount: String,
    /// What its owner reads in the list of transactions
    #[arg(long)]
    description: Option<String>,
    /// A name of yours for this entry: repeated with the same name, nothing changes
    #[arg(long, value_name = "NAME")]
    once: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// One account.
#[derive(Debug, Args)]
pub struct One {
    /// E-mail address or user name
    account: String,
    #[command(flatten)]
    settings: Settings,
}

/// Where a password comes from: never from an argument, which everybody on the machine can read.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// Read the password from the first line of stdin
    #[arg(long, conflicts_with = "generate")]
    password_stdin: bool,
    /// Make a password and print it once
    #[arg(long)]
    generate: bool,
}

impl PasswordSource {
    /// The password, and whether it has to be shown because nobody knows it yet.
    fn get(&self) -> Result<(String, bool)> {
        if self.generate {
            return Ok((random_password(GENERATED), true));
        }
        Ok((context::password(self.password_stdin, "Password for the account", true)?, false))
    }
}

/// Runs the command.
pub async fn run(context: &Context, command: AccountCommand) -> Result<()> {
    match command {
        AccountCommand::Create(new) => create(context, new).await,
        AccountCommand::List { settings } => list(context, &settings.open().await?).await,
        AccountCommand::SetPassword(change) => set_password(context, change).await,
        AccountCommand::Billing(billing) => billing_details::run(context, billing).await,
        AccountCommand::Suspend(one) => set_standing(context, one, Standing::Suspended).await,
        AccountCommand::Resume(one) => set_standing(context, one, Standing::Active).await,
        AccountCommand::Credit(change) => credit(context, change, false).await,
        AccountCommand::Debit(change) => credit(context, change, true).await,
        AccountCommand::Events(one) => events(context, one).await,
        AccountCommand::Verify(one) => {
            let account = account_links::set_verified(&one.settings.open().await?, &one.account).await?;
            print(context, &account, None);
            Ok(())
        }
        AccountCommand::SendVerification(one) => send_verification(context, one).await,
        AccountCommand::SendReset(one) => send_reset(context, one).await,
        AccountCommand::Postpaid(one) => set_postpaid(context, one, true).await,
        AccountCommand::Prepaid(one) => set_postpaid(context, one, false).await,
        AccountCommand::HidePasswords(one) => set_hides_secrets(context, one, true).await,
        AccountCommand::ShowPasswords(one) => set_hides_secrets(context, one, false).await,
    }
}

async fn create(context: &Context, new: Create) -> Result<()> {
    let credit = Micros::parse(&new.credit)
        .map_err(|why| Failure::refused(format!("--credit: {why}")).hint("for example --credit 25.00"))?;
    let app = new.settings.open().await?;
    let (password, shown) = new.password.get()?;
    let first_name = new.first_name.unwrap_or_else(|| {
        let name = new.email.split('@').next().unwrap_or_default();
        name.to_owned()
    });
    let account = NewAccount {
        email: new.email,
        user_name: new.user_name,
        first_name,
        last_name: new.last_name,
        password: password.clone(),
        is_operator: new.operator,
        credit,
    };
    let account = accounts::create(&app, account).await?;
    print(context, &account, shown.then_some(password));
    Ok(())
}

async fn set_password(context: &Context, change: SetPassword) -> Result<()> {
    let app = change.settings.open().await?;
    let (password, shown) = change.password.get()?;
    let account = accounts::set_password(&app, &change.account, &password).await?;
    context.output.note("The password is changed; every session of the account has ended.");
    print(context, &account, shown.then_some(password));
    Ok(())
}

async fn credit(context: &Context, change: Credit, takes: bool) -> Result<()> {
    let amount = Micros::parse(&change.amount)
        .map_err(|why| Failure::refused(format!("the amount {why}")).hint("for example 25.00"))?;
    if amount <= Micros::ZERO {
        return Err(
            Failure::refused("the amount must be above 0").hint("bulut account debit takes money away")
        );
    }
    let app = change.settings.open().await?;
    let (amount, default) = if takes { (-amount, "Correction") } else { (amount, "Credit") };
    let description = change.description.as_deref().unwrap_or(default);
    let (account, balance) =
        payments::credit_by_hand(&app, &change.account, amount, description, change.once.as_deref()).await?;
    if context.output.json {
        let mut line = describe(&account);
        line["balance"] = json!(balance.to_string());
        context.output.json(&line);
    } else {
        context.output.facts(&[
            ("account", account.email),
            ("standing", account.standing.as_str().to_owned()),
            ("balance", balance.to_string()),
        ]);
    }
    Ok(())
}

async fn events(context: &Context, one: One) -> Result<()> {
    let events = dunning::events_of(&one.settings.open().await?, &one.account).await?;
    if context.output.json {
        let list: Vec<Value> = events
            .iter()
            .map(|event| {
                json!({
                    "id": event.id,
                    "kind": event.kind,
                    "message": event.message,
                    "created_at": event.created_at.wire(),
                })
            })
            .collect();
        context.output.json(&list);
        return Ok(());
    }
    let rows =
        events.into_iter().map(|event| vec![event.created_at.wire(), event.kind, event.message]).collect();
    context.output.table(&["when", "what", "message"], rows);
    Ok(())
}

async fn send_verification(context: &Context, one: One) -> Result<()> {
    let app = one.settings.open().await?;
    let account = accounts::named(&app, &one.account).await?;
    match account_links::request_verification(&app, &account).await? {
        Some(id) => context.output.note(&format!("The letter is on its way: bulut mail show {id}")),
        None if account.is_verified => context.output.note("The address is confirmed already."),
        None => return Err(Failure::refused("the account got too many such letters in the last hour")),
    }
    Ok(())
}

async fn send_reset(context: &Context, one: One) -> Result<()> {
    let app = one.settings.open().await?;
    accounts::named(&app, &one.account).await?;
    account_links::request_reset(&app, &one.account).await?;
    context
        .output
        .note("A letter with a link is on its way, unless the account got too many in the last hour.");
    Ok(())
}

async fn set_standing(context: &Context, one: One, standing: Standing) -> Result<()> {
    let app = one.settings.open().await?;
    let account = accounts::set_standing(&app, &one.account, standing).await?;
    print(context, &account, None);
    Ok(())
}

async fn set_postpaid(context: &Context, one: One, is_postpaid: bool) -> Result<()> {
    let app = one.settings.open().await?;
    let account = accounts::set_postpaid(&app, &one.account, is_postpaid).await?;
    print(context, &account, None);
    Ok(())
}

async fn set_hides_secrets(context: &Context, one: One, hides: bool) -> Result<()> {
    let app = one.settings.open().await?;
    let account = accounts::set_hides_secrets(&app, &one.account, hides).await?;
    print(context, &account, None);
    Ok(())
}

async fn list(context: &Context, app: &App) -> Result<()> {
    let accounts = accounts::list(app).await?;
    if context.output.json {
        let list: Vec<Value> = accounts
            .iter()
            .map(|(account, balance)| {
                let mut line = describe(account);
                line["balance"] = json!(balance.to_string());
                line
            })
            .collect();
        context.output.json(&list);
        return Ok(());
    }
    let rows = accounts
        .into_iter()
        .map(|(account, balance)| {
            vec![
                account.id.to_string(),
                account.email,
                account.user_name.unwrap_or_default(),
                format!("{} {}", account.first_name, account.last_name),
                account.standing.as_str().to_owned(),
                if account.is_operator { "operator" } else { "customer" }.to_owned(),
                balance.to_string(),
            ]
        })
        .collect();
    context.output.table(&["id", "e-mail", "user name", "name", "standing", "role", "balance"], rows);
    Ok(())
}

fn describe(account: &Account) -> Value {
    json!({
        "id": account.id.0,
        "email": account.email,
        "user_name": account.user_name,
        "first_name": account.first_name,
        "last_name": account.last_name,
        "standing": account.standing.as_str(),
        "lacks_funds": account.lacks_funds,
        "is_verified": account.is_verified,
        "is_operator": account.is_operator,
        "hides_passwords": account.hides_secrets,
        "is_postpaid": account.is_postpaid,
    })
}

fn print(context: &Context, account: &Account, password: Option<String>) {
    if context.output.json {
        let mut line = describe(account);
        if let Some(password) = password {
            line["password"] = json!(password);
        }
        context.output.json(&line);
        return;
    }
    if context.output.quiet && password.is_none() {
        context.output.line(&account.id.to_string());
        return;
    }
    let mut facts = vec![("id", account.id.to_string()), ("e-mail", account.email.clone())];
    facts.extend(account.user_name.clone().map(|name| ("user name", name)));
    facts.push(("standing", account.standing.as_str().to_owned()));
    if account.is_postpaid {
        facts.push(("pays", "after the month".to_owned()));
    }
    if account.hides_secrets {
        facts.push(("passwords", "left out of lists".to_owned()));
    }
    if let Some(password) = password {
        facts.push(("password", password));
        context.output.note("The password is shown this once.");
    }
    context.output.facts(&facts);
}
