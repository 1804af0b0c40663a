//! Letters: the words of each template, once, as plain text and as simple HTML.
//!
//! Promises: both say the same; whatever comes from outside is escaped in HTML and stays on its line in the subject.
//! Must not know: the queue, mail servers, or how links are made.

use bulut_model::mail::Letter;
use bulut_model::{Micros, Timestamp};
use std::fmt::Write as _;

/// A letter as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// One line.
    pub subject: String,
    /// As plain text.
    pub plain: String,
    /// The same as HTML.
    pub html: String,
}

/// What a letter needs besides what it says.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What the cloud is called.
    pub cloud: &'a str,
    /// To whom, by name; empty for nobody that we know.
    pub name: &'a str,
    /// The currency of all amounts that do not say their own.
    pub currency: &'a str,
    /// The link of letters that have one, and until when it works. None where a letter is only shown.
    pub link: Option<(&'a str, Timestamp)>,
}

impl Frame<'_> {
    fn amount(self, amount: Micros) -> String {
        format!("{} {}", money(amount), self.currency)
    }
}

/// A piece of a letter.
enum Piece {
    /// A paragraph.
    Says(String),
    /// A link with what it is for.
    Link(&'static str, String),
    /// Names and values below each other.
    Facts(Vec<(&'static str, String)>),
}

use Piece::{Facts, Link, Says};

/// Puts a letter into words.
pub fn compose(letter: &Letter, frame: Frame<'_>) -> Text {
    let (subject, pieces) = words(letter, frame);
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Text { plain: plain(&pieces, frame), html: html(&subject, &pieces, frame), subject }
}

fn words(letter: &Letter, frame: Frame<'_>) -> (String, Vec<Piece>) {
    let cloud = frame.cloud;
    match letter {
        Letter::Verification => (
            format!("Please confirm your e-mail address for {cloud}"),
            vec![
                Says(format!(
                    "This address was given for an account at {cloud}. Please confirm that it is yours."
                )),
                link("Confirm this address", frame),
                works_until(frame),
                Says("If you know nothing of it, you need not do anything.".into()),
            ],
        ),
        Letter::PasswordReset => (
            format!("Choose a new password for {cloud}"),
            vec![
                Says(format!(
                    "Somebody, probably you, asked for a new password for your account at {cloud}."
                )),
                link("Choose a new password", frame),
                works_until(frame),
                Says("If it was not you, you need not do anything: your password stays as it is.".into()),
            ],
        ),
        Letter::PasswordChanged => (
            format!("Your password for {cloud} was changed"),
            vec![
                Says(format!(
                    "The password of your account at {cloud} was changed, and every session has ended."
                )),
                Says("If it was not you, ask for a new password at once and tell us.".into()),
            ],
        ),
        Letter::Test => (
            format!("A letter from {cloud}"),
            vec![Says("It has arrived: the settings for mail are right.".into())],
        ),
        Letter::TopUp { amount, balance, reference } => top_up(*amount, *balance, reference, frame),
        Letter::Invoice { number, total, currency, due_at, link } => {
            invoice(number, *total, currency, *due_at, link.as_deref(), frame)
        }
        Letter::LowBalance { balance, suspended_below, suspended_from } => {
            low_balance(*balance, *suspended_below, *suspended_from, frame)
        }
        Letter::Suspension { balance, suspended_below, deleted_from } => {
            suspension(*balance, *suspended_below, *deleted_from, frame)
        }
        Letter::DeletionNotice { balance, suspended_below, deleted_from } => {
            deletion_notice(*balance, *suspended_below, *deleted_from, frame)
        }
        Letter::Deletion { servers, snapshots } => deletion(*servers, *snapshots, cloud),
        Letter::Resumption { balance, servers } => resumption(*balance, *servers, frame),
    }
}

fn top_up(amount: Micros, balance: Micros, reference: &str, frame: Frame<'_>) -> (String, Vec<Piece>) {
    let mut facts = vec![("Amount", frame.amount(amount)), ("Balance", frame.amount(balance))];
    if !reference.is_empty() {
        facts.push(("Reference", reference.to_owned()));
    }
    let thanks = "Thank you, your payment has arrived.";
    ("Your payment has arrived".into(), vec![Says(thanks.into()), Facts(facts)])
}

fn invoice(
    number: &str,
    total: Micros,
    currency: &str,
    due_at: Option<Timestamp>,
    link: Option<&str>,
    frame: Frame<'_>,
) -> (String, Vec<Piece>) {
    let mut facts = vec![("Invoice", number.to_owned()), ("Total", format!("{} {currency}", money(total)))];
    facts.extend(due_at.map(|at| ("Due", day(at))));
    let mut pieces =
        vec![Says(format!("There is a new invoice for your account at {}.", frame.cloud)), Facts(facts)];
    pieces.extend(link.map(|url| Link("Look at the invoice", url.to_owned())));
    (format!("Invoice {number} from {}", frame.cloud), pieces)
}

fn low_balance(
    balance: Micros,
    suspended_below: Micros,
    suspended_from: Timestamp,
    frame: Frame<'_>,
) -> (String, Vec<Piece>) {
    let cloud = frame.cloud;
    let pieces = vec![
        Says(format!("The balance of your account at {cloud} is low.")),
        Facts(vec![("Balance", frame.amount(balance))]),
        Says(format!(
            "When it falls below {}, the account is suspended and its servers are stopped, but not before {}. Please \
             top it up in time.",
            frame.amount(suspended_below),
            moment(suspended_from)
        )),
    ];
    (format!("Your balance at {cloud} is low"), pieces)
}

fn suspension(
    balance: Micros,
    suspended_below: Micros,
    deleted_from: Option<Timestamp>,
    frame: Frame<'_>,
) -> (String, Vec<Piece>) {
    let cloud = frame.cloud;
    let kept = "Your balance is used up. Your account is suspended and your servers are stopped; their disks and \
                addresses are kept.";
    let then = match deleted_from {
        Some(at) => format!(
            "Without it your servers and snapshots are deleted, but not before {}. You are told again before that.",
            moment(at)
        ),
        None => "Nothing is deleted.".into(),
    };
    let pieces = vec![
        Says(kept.into()),
        Facts(vec![("Balance", frame.amount(balance))]),
        needed(suspended_below, frame),
        Says(then),
    ];
    (format!("Your account at {cloud} is suspended"), pieces)
}

fn deletion_notice(
    balance: Micros,
    suspended_below: Micros,
    deleted_from: Timestamp,
    frame: Frame<'_>,
) -> (String, Vec<Piece>) {
    let cloud = frame.cloud;
    let pieces = vec![
        Says(format!(
            "Your account is suspended because its balance is used up. From {} on your servers and snapshots are \
             deleted, with all that is on them. That cannot be undone.",
            moment(deleted_from)
        )),
        Facts(vec![("Balance", frame.amount(balance))]),
        needed(suspended_below, frame),
    ];
    (format!("Your servers at {cloud} are going to be deleted"), pieces)
}

fn deletion(servers: u64, snapshots: u64, cloud: &str) -> (String, Vec<Piece>) {
    let why = "Your balance was used up for a long time. Your servers and snapshots are deleted.";
    let facts = vec![("Servers", servers.to_string()), ("Snapshots", snapshots.to_string())];
    (format!("Your servers at {cloud} are deleted"), vec![Says(why.into()), Facts(facts)])
}

fn resumption(balance: Micros, servers: u64, frame: Frame<'_>) -> (String, Vec<Piece>) {
    let cloud = frame.cloud;
    let thanks = match servers {
        0 => "Thank you: your account can be used again.".to_owned(),
        1 => "Thank you: your account can be used again, and your server is being started.".to_owned(),
        more => {
            format!(
                "Thank you: your account can be used again, and {more} of your servers are being started."
            )
        }
    };
    let pieces = vec![Says(thanks), Facts(vec![("Balance", frame.amount(balance))])];
    (format!("Your account at {cloud} is active again"), pieces)
}

fn needed(limit: Micros, frame: Frame<'_>) -> Piece {
    Says(format!("A payment that brings your balance to at least {} is enough.", frame.amount(limit)))
}

fn link(label: &'static str, frame: Frame<'_>) -> Piece {
    match frame.link {
        Some((url, _)) => Link(label, url.to_owned()),
        None => Says(format!("[{label}: the link is made when the letter is sent]")),
    }
}

fn works_until(frame: Frame<'_>) -> Piece {
    match frame.link {
        Some((_, until)) => Says(format!("The link works once, until {}.", moment(until))),
        None => Says("The link works once, and not for long.".into()),
    }
}

/// With at least two decimals, as people expect amounts; never fewer than there are.
pub fn money(amount: Micros) -> String {
    let exact = amount.decimal();
    match exact.split_once('.') {
        None => format!("{exact}.00"),
        Some((_, digits)) if digits.len() == 1 => format!("{exact}0"),
        Some(_) => exact,
    }
}

/// `2026-01-31 14:05 UTC`.
fn moment(at: Timestamp) -> String {
    let wire = at.wire();
    match (wire.get(..10), wire.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => wire,
    }
}

fn day(at: Timestamp) -> String {
    at.wire().get(..10).unwrap_or_default().to_owned()
}

fn greeting(frame: Frame<'_>) -> String {
    if frame.name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", frame.name) }
}

fn plain(pieces: &[Piece], frame: Frame<'_>) -> String {
    let mut text = format!("{}\n\n", greeting(frame));
    for piece in pieces {
        match piece {
            Says(words) => text.push_str(&wrapped(words)),
            Link(label, url) => {
                let _ = writeln!(text, "{label}:\n{url}");
            }
            Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
                for (name, value) in facts {
                    let _ = writeln!(text, "{:width$}{value}", format!("{name}:"));
                }
            }
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}", frame.cloud);
    text
}

/// Lines of at most 72 characters.
fn wrapped(words: &str) -> String {
    let (mut text, mut length) = (String::new(), 0);
    for word in words.split_whitespace() {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > 72 {
            text.push('\n');
            length = 0;
        } else if length > 0 {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += more;
    }
    text.push('\n');
    text
}

fn html(subject: &str, pieces: &[Piece], frame: Frame<'_>) -> String {
    let mut body = format!("<p>{}</p>\n", escaped(&greeting(frame)));
    for piece in pieces {
        let _ = match piece {
            Says(words) => writeln!(body, "<p>{}</p>", escaped(words)),
            Link(label, url) => writeln!(
                body,
                "<p><a href=\"{0}\" style=\"display:inline-block;padding:10px 18px;border-radius:8px;\
                 background:#0e7490;color:#ffffff;text-decoration:none\">{label}</a></p>\n\
                 <p style=\"color:#5a6672;font-size:13px;word-break:break-all\">{0}</p>",
                escaped(url)
            ),
            Facts(facts) => {
                let rows: String = facts
                    .iter()
                    .map(|(name, value)| {
                        format!(
                            "<tr><td style=\"padding:2px 16px 2px 0;color:#5a6672\">{name}</td><td>{}</td></tr>",
                            escaped(value)
                        )
                    })
                    .collect();
                writeln!(body, "<table>{rows}</table>")
            }
        };
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body style=\"margin:0;padding:24px;background:#eef1f4;color:#18212b;\
         font:15px/1.5 system-ui,sans-serif\">\n\
         <div style=\"max-width:34em;margin:0 auto;padding:24px 28px;background:#ffffff;border-radius:12px\">\n\
         {body}<p style=\"color:#5a6672\">{}</p>\n</div></body></html>\n",
        escaped(subject),
        escaped(frame.cloud)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> = Frame { cloud: "Sky & Co", name: "Ada <script>", currency: "EUR", link: None };
    const DAY: Timestamp = Timestamp::from_unix_seconds(1_769_868_300);

    fn all() -> Vec<Letter> {
        let (balance, suspended_below) = (Micros(-1_500_000), Micros::ZERO);
        vec![
            Letter::Verification,
            Letter::PasswordReset,
            Letter::PasswordChanged,
            Letter::LowBalance { balance, suspended_below, suspended_from: DAY },
            Letter::Suspension { balance, suspended_below, deleted_from: Some(DAY) },
            Letter::Suspension { balance, suspended_below, deleted_from: None },
            Letter::DeletionNotice { balance, suspended_below, deleted_from: DAY },
            Letter::Deletion { servers: 2, snapshots: 1 },
            Letter::Resumption { balance, servers: 3 },
            Letter::TopUp { amount: balance, balance, reference: "a\r\nb <b>".into() },
            Letter::Invoice {
                number: "7\r\nBcc: x@example.com".into(),
                total: Micros(12_340_000),
                currency: "EUR".into(),
                due_at: Some(DAY),
                link: Some("https://cloud.example.com/invoice/7?a=1&b=2".into()),
            },
            Letter::Test,
        ]
    }

    #[test]
    fn no_letter_lets_anything_out_of_its_place() {
        for letter in all() {
            let text = compose(&letter, FRAME);
            assert!(!text.subject.is_empty() && !text.subject.contains(['\r', '\n']), "{letter:?}");
            assert!(text.plain.starts_with("Hello Ada <script>,"), "{}", text.plain);
            assert!(text.html.contains("Hello Ada &lt;script&gt;,"), "{}", text.html);
            assert!(!text.html.contains("<script>") && !text.html.contains("<b>"), "{}", text.html);
            assert!(text.html.contains("Sky &amp; Co") && text.plain.ends_with("\nSky & Co\n"));
            assert!(text.plain.lines().all(|line| line.len() <= 80), "{}", text.plain);
            assert_eq!(text.plain.contains("-1.5"), text.plain.contains("-1.50 EUR"), "{}", text.plain);
        }
    }

    #[test]
    fn a_link_stands_in_both_forms_with_its_end() {
        let link = Some(("https://cloud.example.com/account/verify/abc?x=1&y=2", DAY));
        let text = compose(&Letter::Verification, Frame { link, ..FRAME });
        assert!(text.plain.contains("\nhttps://cloud.example.com/account/verify/abc?x=1&y=2\n"));
        assert!(text.html.contains("href=\"https://cloud.example.com/account/verify/abc?x=1&amp;y=2\""));
        assert!(text.plain.contains("until 2026-01-31 14:05 UTC"), "{}", text.plain);
    }

    #[test]
    fn amounts_have_two_decimals_or_as_many_as_there_are() {
        let of = |micros| money(Micros(micros));
        assert_eq!([of(5_000_000), of(6_200_000), of(-1_500_000)], ["5.00", "6.20", "-1.50"]);
        assert_eq!([of(6_250_000), of(7_400), of(0)], ["6.25", "0.0074", "0.00"]);
    }
}
