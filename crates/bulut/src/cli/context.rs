//! Room: the command line. What every command gets: how to print, and which cloud to talk to as whom.
//!
//! Promises: a password comes from a prompt, a pipe or the environment, never from an argument, where every user of
//! the machine could read it. Must not know: any command.

use super::cloud::{Cloud, normal_url};
use super::failure::{Failure, Result};
use super::output::Output;
use super::session::Home;
use std::io::{IsTerminal, Read};

/// The environment of a command.
#[derive(Debug, Clone)]
pub struct Context {
    /// How to print.
    pub output: Output,
    /// `--url` or `BULUT_URL`.
    pub url: Option<String>,
    /// `BULUT_USER`.
    pub user: Option<String>,
    /// Where the session is kept.
    pub home: Home,
}

impl Context {
    /// The cloud as somebody who is signed in.
    ///
    /// `BULUT_USER` and `BULUT_PASSWORD` sign in for this one command where the kept session is not theirs, so that
    /// scripts need no session and disturb none.
    pub async fn cloud(&self) -> Result<Cloud> {
        let url = self.url.as_deref().map(normal_url).transpose()?;
        let session = self.home.load()?;
        if let Some(session) = session {
            let same_url = url.as_ref().is_none_or(|url| *url == session.url);
            if same_url && self.user.as_ref().is_none_or(|user| *user == session.user) {
                return Cloud::signed_in(session, Some(self.home.clone()));
            }
            if url.is_none() && self.user.is_some() {
                return self.sign_in_for_once(&session.url).await;
            }
        }
        match url {
            Some(url) => self.sign_in_for_once(&url).await,
            None => Err(Failure::refused("you are not signed in to a cloud").hint("bulut login URL")),
        }
    }

    /// The cloud as anybody: for what needs no token.
    pub fn public_cloud(&self) -> Result<Cloud> {
        match (&self.url, self.home.load()?) {
            (Some(url), _) => Cloud::anonymous(url),
            (None, Some(session)) => Cloud::anonymous(&session.url),
            (None, None) => Err(Failure::refused("which cloud?").hint("bulut login URL, or --url URL")),
        }
    }

    /// Whether a cloud is known at all.
    pub fn knows_a_cloud(&self) -> bool {
        self.url.is_some() || matches!(self.home.load(), Ok(Some(_)))
    }

    async fn sign_in_for_once(&self, url: &str) -> Result<Cloud> {
        let (Some(user), Some(password)) = (&self.user, password_from_environment()) else {
            return Err(Failure::refused(format!("you are not signed in to {url}"))
                .hint(format!("bulut login {url}, or set BULUT_USER and BULUT_PASSWORD")));
        };
        Cloud::signed_in(Cloud::anonymous(url)?.login(user, &password).await?, None)
    }
}

/// `BULUT_PASSWORD`, if it is set to something.
pub fn password_from_environment() -> Option<String> {
    std::env::var("BULUT_PASSWORD").ok().filter(|password| !password.is_empty())
}

/// A password from stdin (`--password-stdin`), from the environment, or from a prompt.
///
/// `confirm` asks twice, for a password that is being chosen.
pub fn password(from_stdin: bool, prompt: &str, confirm: bool) -> Result<String> {
    if from_stdin {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(4096)
            .read_to_string(&mut text)
            .map_err(|why| Failure::refused(format!("cannot read the password from stdin: {why}")))?;
        return non_empty(text.lines().next().unwrap_or_default());
    }
    if let Some(password) = password_from_environment() {
        return Ok(password);
    }
    if !is_interactive() {
        return Err(Failure::refused("a password is needed, and there is no terminal to ask at")
            .hint("--password-stdin, or set BULUT_PASSWORD"));
    }
    let mut ask = dialoguer::Password::new().with_prompt(prompt);
    if confirm {
        ask = ask.with_confirmation("Once more", "The two differ");
    }
    non_empty(&ask.interact().map_err(|why| asked_in_vain(&why))?)
}

/// Asks for a line of text; `preset` is taken by pressing Enter.
pub fn ask(prompt: &str, preset: Option<&str>) -> Result<String> {
    let mut input = dialoguer::Input::<String>::new().with_prompt(prompt);
    if let Some(preset) = preset {
        input = input.default(preset.to_owned());
    }
    input.interact_text().map_err(|why| asked_in_vain(&why))
}

/// Asks for a yes; anything else is a no.
pub fn confirm(prompt: &str) -> Result<bool> {
    dialoguer::Confirm::new().with_prompt(prompt).default(false).interact().map_err(|why| asked_in_vain(&why))
}

/// Whether there is a person at a terminal: prompts are written to stderr and read from stdin.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn non_empty(password: &str) -> Result<String> {
    if password.is_empty() { Err(Failure::refused("the password is empty")) } else { Ok(password.to_owned()) }
}

fn asked_in_vain(why: &dialoguer::Error) -> Failure {
    Failure::refused(format!("no answer: {why}"))
}
