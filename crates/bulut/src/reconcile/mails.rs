//! Mails: hands the letters that are due to the mail server, and forgets those that need nothing any more.
//!
//! Promises: each letter is handed over once, or once more where nobody can tell (the process died, or the connection,
//! after the server had taken it and before that was written down). No transaction is held meanwhile. Without a mail
//! server in the settings letters wait, and nothing fails.

use crate::app::App;
use crate::domain::mails::{self, Ready};
use crate::faults::Fault;
use crate::mailer::{Mailer, Refused};
use bulut_model::mail::{Mail, MailState, TRIES, wait_after};
use bulut_model::{Error, Result};
use bulut_store::mails::{self as rows, Fence};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked for letters that are due.
const EVERY: Duration = Duration::from_secs(5);
/// Letters that are on their way at the same time.
const AT_ONCE: usize = 4;
/// Longest remark of a mail server that is kept, characters.
const REMARK_MAX: usize = 500;

/// Sends what is due until `stop`.
pub async fn send(app: App, stop: CancellationToken) {
    let mailer = match Mailer::open(&app.config().mail) {
        Ok(Some(mailer)) => mailer,
        Ok(None) => {
            tracing::info!("no mail server is set: letters wait, see bulut mail list");
            return;
        }
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "letters wait: the settings for mail cannot be used"
            );
            return;
        }
    };
    super::every(EVERY, stop, || look(&app, &mailer)).await;
}

/// Sends what is due now, until nothing is or the mail server is away.
pub async fn look(app: &App, mailer: &Mailer) -> Result<()> {
    let senders = (0..AT_ONCE).map(|_| send_due(app, mailer));
    futures_util::future::try_join_all(senders).await.map(drop)
}

async fn send_due(app: &App, mailer: &Mailer) -> Result<()> {
    // Longer than a letter may take, so that nobody else takes it meanwhile.
    let lease = app.config().mail.timeout() * 2;
    loop {
        let now = app.clock().now();
        let claimed = rows::claim(app.store(), app.process(), now, now.plus(lease)).await?;
        let Some((mail, fence)) = claimed else { return Ok(()) };
        if !send_one(app, mailer, &mail, &fence).await? {
            return Ok(());
        }
    }
}

/// Answers whether others may fare better.
async fn send_one(app: &App, mailer: &Mailer, mail: &Mail, fence: &Fence) -> Result<bool> {
    let Ready::Send(text) = mails::prepare(app, mail).await? else {
        rows::settle(app.store(), fence, MailState::Expired, None, app.clock().now()).await?;
        app.metrics().mail(mail.letter.template(), "expired");
        return Ok(true);
    };
    let sent = mailer.send(&mail.recipient, &mail.uuid, &text, app.clock().now()).await;
    let now = app.clock().now();
    if app.faults().at("mail.sent") == Some(Fault::Die) {
        return Err(Error::internal("dead right after a letter was handed over"));
    }
    let (outcome, goes_on) = match sent {
        Ok(()) => {
            rows::settle(app.store(), fence, MailState::Sent, None, now).await?;
            ("sent", true)
        }
        Err(Refused::Never(why)) => {
            rows::settle(app.store(), fence, MailState::GivenUp, Some(&short(&why)), now).await?;
            ("given_up", true)
        }
        Err(Refused::Away(why) | Refused::Later(why)) if mail.failures + 1 >= TRIES => {
            rows::settle(app.store(), fence, MailState::GivenUp, Some(&short(&why)), now).await?;
            ("given_up", true)
        }
        Err(Refused::Later(why)) => (later(app, mail, fence, &why).await?, true),
        Err(Refused::Away(why)) => (later(app, mail, fence, &why).await?, false),
    };
    app.metrics().mail(mail.letter.template(), outcome);
    tracing::info!(
        mail.id = mail.id.0,
        template = mail.letter.template(),
        outcome,
        "a letter was handed over"
    );
    Ok(goes_on)
}

async fn later(app: &App, mail: &Mail, fence: &Fence, why: &str) -> Result<&'static str> {
    let run_at = app.clock().now().plus(wait_after(mail.failures + 1));
    rows::retry_later(app.store(), fence, run_at, &short(why)).await?;
    tracing::warn!(mail.id = mail.id.0, why, "a letter was not taken; it is tried again later");
    Ok("failed")
}

fn short(remark: &str) -> String {
    remark.chars().take(REMARK_MAX).collect()
}
