//! The mailer: hands letters to the mail server of the settings. The one place that knows SMTP.
//!
//! Promises: a refusal says whether trying again may help; no password stands in an error. Must not know: the queue,
//! or what a letter is about.

use crate::config;
use crate::domain::letters::Text;
use anyhow::Context as _;
use bulut_model::Timestamp;
use lettre::address::AddressError;
use lettre::message::header::{Date, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use std::time::{Duration, SystemTime};

/// Hands letters over.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    timeout: Duration,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailer(…)")
    }
}

/// Why a letter was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The mail server was not reached, or did not speak as it should: other letters would fare the same.
    Away(String),
    /// It may be taken later.
    Later(String),
    /// It will never be taken as it is.
    Never(String),
}

impl Mailer {
    /// The mailer of the settings; none where they name no mail server.
    ///
    /// Errors: a sentence that names the setting.
    pub fn open(settings: &config::Mail) -> anyhow::Result<Option<Self>> {
        let (Some(host), Some(from)) = (&settings.host, &settings.from) else { return Ok(None) };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(settings.port())
            .tls(tls(settings, host)?)
            .timeout(Some(settings.timeout()));
        if let Some(user) = &settings.user {
            transport = transport.credentials(Credentials::new(user.clone(), settings.password()?));
        }
        let address = |setting: &str, text: &String| {
            text.parse::<Address>().with_context(|| format!("{setting} is no e-mail address"))
        };
        let reply_to = settings.reply_to.as_ref().map(|text| address("mail.reply_to", text)).transpose()?;
        Ok(Some(Self {
            transport: transport.build(),
            from: Mailbox::new(Some(settings.name.clone()), address("mail.from", from)?),
            reply_to: reply_to.map(|address| Mailbox::new(None, address)),
            timeout: settings.timeout(),
        }))
    }

    /// Hands a letter over. `uuid` stays the same however often the letter is tried, so that whoever gets it twice can
    /// tell.
    ///
    /// Errors: why the mail server did not take it.
    pub async fn send(
        &self,
        recipient: &str,
        uuid: &str,
        text: &Text,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let message =
            self.message(recipient, uuid, text, now).map_err(|error| Refused::Never(format!("{error:#}")))?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Refused::Away(format!(
                "the mail server did not take it within {} s",
                self.timeout.as_secs()
            ))),
        }
    }

    fn message(&self, recipient: &str, uuid: &str, text: &Text, now: Timestamp) -> anyhow::Result<Message> {
        let to = recipient.parse::<Address>().map_err(|why: AddressError| anyhow::anyhow!("{why}"))?;
        let at = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(now.unix_seconds()).unwrap_or_default());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(text.subject.clone())
            .message_id(Some(format!("<{uuid}@{}>", self.from.email.domain())))
            .header(Date::from(at))
            // Who is away must not answer a machine.
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        let parts = MultiPart::alternative_plain_html(text.plain.clone(), text.html.clone());
        message.multipart(parts).context("the letter cannot be put together")
    }
}

fn tls(settings: &config::Mail, host: &str) -> anyhow::Result<Tls> {
    let parameters = || {
        let mut builder = TlsParameters::builder(host.to_owned());
        if let Some(file) = &settings.ca_file {
            let shown = file.display();
            let pem = std::fs::read(file).with_context(|| format!("mail.ca_file {shown} cannot be read"))?;
            let certificate = Certificate::from_pem(&pem)
                .with_context(|| format!("mail.ca_file {shown} holds no certificate"))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build().context("TLS cannot be set up")
    };
    Ok(match settings.tls.as_str() {
        "tls" => Tls::Wrapper(parameters()?),
        "opportunistic" => Tls::Opportunistic(parameters()?),
        "none" => Tls::None,
        _ => Tls::Required(parameters()?),
    })
}

/// Replies that are about us rather than about the letter: to sign in or to use TLS first, a password that is not taken
/// (RFC 4954), or no service at all (RFC 5321). Setting that right helps.
const ABOUT_US: [u16; 5] = [530, 534, 535, 538, 554];

fn refused(error: &SmtpError) -> Refused {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(why) = cause {
        let why_text = why.to_string();
        if !text.contains(&why_text) {
            text = format!("{text}: {why_text}");
        }
        cause = why.source();
    }
    match error.status().map(u16::from) {
        None => Refused::Away(text),
        Some(code) if error.is_permanent() && !ABOUT_US.contains(&code) => Refused::Never(text),
        Some(_) => Refused::Later(text),
    }
}
