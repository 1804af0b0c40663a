//! Room: the command line. `bulut mail …`: the letters that the cloud writes, on the box.

use super::context::Context;
use super::failure::{Failure, Result};
use super::settings::Settings;
use crate::app::App;
use crate::domain::mails;
use bulut_model::MailId;
use bulut_model::mail::{Mail, MailState};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Letters to customers: what waits, what was sent, what was given up
#[derive(Debug, Subcommand)]
pub enum MailCommand {
    /// List letters, newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a letter as it is sent; a link that it has is made only then
    Show(One),
    /// Try letters at once that wait or were given up
    Retry(Retry),
    /// Write a letter that says nothing, to try the settings
    Test(Test),
}

/// Which letters.
#[derive(Debug, Args)]
pub struct List {
    /// Only those that are waiting, sent, given_up or expired
    #[arg(long, value_name = "STATE")]
    only: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: i64,
    #[command(flatten)]
    settings: Settings,
}

/// One letter.
#[derive(Debug, Args)]
pub struct One {
    /// The letter's id
    id: i64,
    #[command(flatten)]
    settings: Settings,
}

/// Which letters are tried.
#[derive(Debug, Args)]
pub struct Retry {
    /// The letter's id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<i64>,
    /// All that wait or were given up
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    settings: Settings,
}

/// To whom.
#[derive(Debug, Args)]
pub struct Test {
    /// E-mail address
    recipient: String,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
pub async fn run(context: &Context, command: MailCommand) -> Result<()> {
    match command {
        MailCommand::List(list) => self::list(context, list).await,
        MailCommand::Show(one) => show(context, one).await,
        MailCommand::Retry(retry) => self::retry(context, retry).await,
        MailCommand::Test(test) => {
            let app = test.settings.open().await?;
            let id = mails::test(&app, &test.recipient).await?;
            tell_where_it_waits(context, &app);
            print(context, &mails::get(&app, id).await?);
            Ok(())
        }
    }
}

fn tell_where_it_waits(context: &Context, app: &App) {
    if app.config().mail.host.is_none() {
        context.output.note("No mail server is set (BULUT_MAIL_HOST): letters wait until there is one.");
    }
}

async fn list(context: &Context, list: List) -> Result<()> {
    let state = list.only.as_deref().map(state).transpose()?;
    let app = list.settings.open().await?;
    let mails = mails::list(&app, state, list.limit).await?;
    if context.output.json {
        context.output.json(&mails.iter().map(describe).collect::<Vec<_>>());
        return Ok(());
    }
    tell_where_it_waits(context, &app);
    let rows = mails
        .into_iter()
        .map(|mail| {
            vec![
                mail.id.to_string(),
                mail.created_at.wire(),
                mail.recipient.clone(),
                mail.letter.template().to_owned(),
                mail.state.as_str().to_owned(),
                mail.failures.to_string(),
                if mail.state == MailState::Waiting { mail.run_at.wire() } else { String::new() },
                mail.last_error.unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["id", "written", "to", "template", "state", "failures", "next try", "last error"];
    context.output.table(&head, rows);
    Ok(())
}

fn state(word: &str) -> Result<MailState> {
    MailState::from_word(word).ok_or_else(|| {
        let all = MailState::ALL.map(MailState::as_str).join(", ");
        Failure::refused(format!("--only: '{word}' is no state")).hint(format!("one of: {all}"))
    })
}

async fn show(context: &Context, one: One) -> Result<()> {
    let app = one.settings.open().await?;
    let mail = mails::get(&app, MailId(one.id)).await?;
    let text = mails::show(&app, &mail).await?;
    if context.output.json {
        let mut value = describe(&mail);
        value["subject"] = json!(text.subject);
        value["text"] = json!(text.plain);
        value["html"] = json!(text.html);
        context.output.json(&value);
        return Ok(());
    }
    let mut facts = facts_of(&mail);
    facts.push(("subject", text.subject));
    context.output.facts(&facts);
    context.output.line(&format!("\n{}", text.plain.trim_end()));
    Ok(())
}

async fn retry(context: &Context, retry: Retry) -> Result<()> {
    let app = retry.settings.open().await?;
    tell_where_it_waits(context, &app);
    if let Some(id) = retry.id {
        print(context, &mails::retry(&app, MailId(id)).await?);
        return Ok(());
    }
    let letters = mails::retry_all(&app).await?;
    if context.output.json {
        context.output.json(&json!({ "retried": letters }));
    } else {
        context.output.note(&format!("{letters} letters are tried at once."));
    }
    Ok(())
}

fn describe(mail: &Mail) -> Value {
    json!({
        "id": mail.id.0,
        "account_id": mail.account.map(|account| account.0),
        "recipient": mail.recipient,
        "template": mail.letter.template(),
        "state": mail.state.as_str(),
        "failures": mail.failures,
        "next_try_at": (mail.state == MailState::Waiting).then(|| mail.run_at.wire()),
        "last_error": mail.last_error,
        "created_at": mail.created_at.wire(),
        "settled_at": mail.settled_at.map(|at| at.wire()),
    })
}

fn facts_of(mail: &Mail) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("id", mail.id.to_string()),
        ("to", mail.recipient.clone()),
        ("template", mail.letter.template().to_owned()),
        ("state", mail.state.as_str().to_owned()),
        ("written", mail.created_at.wire()),
    ];
    if mail.state == MailState::Waiting {
        facts.push(("next try", mail.run_at.wire()));
    }
    if mail.failures > 0 {
        facts.push(("failures", mail.failures.to_string()));
    }
    facts.extend(mail.last_error.clone().map(|error| ("last error", error)));
    facts.extend(mail.settled_at.map(|at| ("ended", at.wire())));
    facts
}

fn print(context: &Context, mail: &Mail) {
    if context.output.json {
        context.output.json(&describe(mail));
    } else if context.output.quiet {
        context.output.line(&mail.id.to_string());
    } else {
        context.output.facts(&facts_of(mail));
    }
}
