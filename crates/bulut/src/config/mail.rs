//! Settings of mail: through which server it is sent, and as whom.

use anyhow::{Context as _, bail};
use bulut_model::name::check_email;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of mail.
#[derive(Debug, Clone, confique::Config)]
pub struct Mail {
    /// Name of the mail server (SMTP) that takes letters to customers. None: letters wait until there is one, which
    /// `bulut mail list` shows.
    #[config(env = "BULUT_MAIL_HOST")]
    pub host: Option<String>,

    /// Its port; by default 587 with starttls and opportunistic, 465 with tls, 25 with none.
    #[config(env = "BULUT_MAIL_PORT")]
    pub port: Option<u16>,

    /// How the connection is secured: starttls (begins plain, refused if it stays so), tls (from the first byte),
    /// opportunistic (starttls where the server offers it) or none, for a server on this host or a private network.
    #[config(env = "BULUT_MAIL_TLS", default = "starttls")]
    pub tls: String,

    /// A file with certificates (PEM) that are trusted besides those of this host.
    #[config(env = "BULUT_MAIL_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// User name at the mail server. None: no sign-in.
    #[config(env = "BULUT_MAIL_USER")]
    pub user: Option<String>,

    /// The password in clear; mail.password_file is the better place.
    #[config(env = "BULUT_MAIL_PASSWORD")]
    pub password: Option<Secret>,

    /// File that holds the password on its first line. It should be readable by this program alone.
    #[config(env = "BULUT_MAIL_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// The sender's address. Needed with mail.host.
    #[config(env = "BULUT_MAIL_FROM")]
    pub from: Option<String>,

    /// Where answers go; by default to the sender.
    #[config(env = "BULUT_MAIL_REPLY_TO")]
    pub reply_to: Option<String>,

    /// What the cloud is called in letters: the sender's name, and who signs.
    #[config(env = "BULUT_MAIL_NAME", default = "bulut")]
    pub name: String,

    /// How long a letter may take until the server has it, seconds.
    #[config(env = "BULUT_MAIL_TIMEOUT_S", default = 60)]
    pub timeout_s: u64,

    /// How long a link to confirm an address works, hours.
    #[config(env = "BULUT_MAIL_VERIFICATION_HOURS", default = 72)]
    pub verification_hours: u64,

    /// How long a link to choose a new password works, minutes.
    #[config(env = "BULUT_MAIL_RESET_MINUTES", default = 60)]
    pub reset_minutes: u64,

    /// How long letters that were sent, given up or expired are remembered, days.
    #[config(env = "BULUT_MAIL_KEPT_DAYS", default = 30)]
    pub kept_days: u64,
}

/// A text that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Mail {
    /// Checks what can be checked without looking anywhere.
    ///
    /// Errors: a sentence that names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        if !["starttls", "tls", "opportunistic", "none"].contains(&self.tls.as_str()) {
            bail!(
                "the setting mail.tls is '{}', but must be one of: starttls, tls, opportunistic, none",
                self.tls
            );
        }
        for (setting, address) in [("mail.from", &self.from), ("mail.reply_to", &self.reply_to)] {
            if address.as_ref().is_some_and(|address| check_email(address).is_err()) {
                bail!("the setting {setting} must be an e-mail address such as cloud@example.com");
            }
        }
        if self.host.is_some() && self.from.is_none() {
            bail!("the setting mail.host needs mail.from, the address that letters come from");
        }
        if self.user.is_some() && self.password.is_none() && self.password_file.is_none() {
            bail!("the setting mail.user needs mail.password_file");
        }
        if self.timeout_s == 0 || self.verification_hours == 0 || self.reset_minutes == 0 {
            bail!("mail.timeout_s, mail.verification_hours and mail.reset_minutes must be at least 1");
        }
        Ok(())
    }

    /// The port of the mail server.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls.as_str() {
            "tls" => 465,
            "none" => 25,
            _ => 587,
        })
    }

    /// The password at the mail server; empty without one.
    ///
    /// Errors: a sentence that names the file.
    pub fn password(&self) -> anyhow::Result<String> {
        match (&self.password_file, &self.password) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("mail.password_file {} cannot be read", file.display()))?;
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
            (None, Some(Secret(password))) => Ok(password.clone()),
            (None, None) => Ok(String::new()),
        }
    }

    /// How long a letter may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// How long a link to confirm an address works.
    pub fn verification_life(&self) -> Duration {
        Duration::from_secs(self.verification_hours.saturating_mul(3600))
    }

    /// How long a link to choose a new password works.
    pub fn reset_life(&self) -> Duration {
        Duration::from_secs(self.reset_minutes.saturating_mul(60))
    }

    /// How long letters are remembered that need nothing any more.
    pub fn kept_for(&self) -> Duration {
        Duration::from_secs(self.kept_days.saturating_mul(24 * 60 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", Secret("tomato".into())), "Secret(…)");
    }
}
