//! Room: the command line. `bulut login`: signs in to a cloud and keeps the session.

use super::cloud::{Cloud, normal_url};
use super::context::{self, Context};
use super::failure::{Failure, Result};
use clap::Args;
use serde_json::json;

/// The cloud of `make run` and of a default installation.
const USUAL_URL: &str = "http://127.0.0.1:8080";

/// Sign in to a cloud.
///
/// The session is kept in ${XDG_CONFIG_HOME:-~/.config}/bulut/session.json and renews itself.
/// Scripts set BULUT_URL, BULUT_USER and BULUT_PASSWORD.
#[derive(Debug, Args)]
pub struct Login {
    /// The cloud, for example http://127.0.0.1:8080
    #[arg(value_name = "URL")]
    cloud: Option<String>,
    /// E-mail address or user name
    #[arg(long)]
    user: Option<String>,
    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,
}

/// Runs the command.
pub async fn run(context: &Context, login: Login) -> Result<()> {
    let kept = context.home.load().ok().flatten();
    let url = login.cloud.or_else(|| context.url.clone());
    let url = match url {
        Some(url) => normal_url(&url)?,
        None => kept.as_ref().map_or_else(|| USUAL_URL.to_owned(), |session| session.url.clone()),
    };
    let cloud = Cloud::anonymous(&url)?;
    let user = match login.user.or_else(|| context.user.clone()) {
        Some(user) => user,
        None if context::is_interactive() => {
            let preset = kept.filter(|session| session.url == url).map(|session| session.user);
            context::ask(&format!("User of {url}"), preset.as_deref())?
        }
        None => return Err(Failure::refused("who signs in?").hint("--user NAME, or set BULUT_USER")),
    };
    let password = context::password(login.password_stdin, "Password", false)?;
    let session = cloud.login(&user, &password).await.map_err(|failure| {
        // The general hint for a 401 is to sign in, which is what failed here.
        if failure.hint.as_deref() == Some("bulut login") {
            Failure { hint: None, ..failure }
        } else {
            failure
        }
    })?;
    let _lock = context.home.lock().await?;
    context.home.save(&session)?;
    if context.output.json {
        context.output.json(&json!({"url": session.url, "user": session.user}));
    } else {
        context.output.note(&format!("Signed in to {} as {}.", session.url, session.user));
    }
    Ok(())
}
