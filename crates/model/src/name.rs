//! Rules for what people may call things: servers, hosts, slugs, e-mail addresses, user names.
//!
//! Each check names the parameter and says what would be accepted.

use crate::{Error, Result};

/// Longest name of a server, a key or a snapshot, characters.
pub const NAME_MAX: usize = 64;

/// Checks the free-text name of a server, key or snapshot: 1 to 64 characters, no control characters.
///
/// Errors: `Invalid` for `field`.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(Error::invalid(
            field,
            format!("The {field} must have 1 to {NAME_MAX} characters; this one has {length}."),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("The {field} must not contain control characters.")));
    }
    if name.trim().is_empty() {
        return Err(Error::invalid(field, format!("The {field} must not be blank.")));
    }
    Ok(())
}

/// Checks an RFC 1123 host name: labels of letters, digits and inner hyphens, joined by dots.
/// At most 64 characters in all, which is what Linux can hold; each label at most 63.
///
/// Errors: `Invalid` for `field`.
pub fn check_hostname(field: &str, hostname: &str) -> Result<()> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let numeric_last = hostname.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()))
        && hostname.contains('.');
    if hostname.len() <= NAME_MAX && hostname.split('.').all(label_ok) && !numeric_last {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "The {field} must be a host name as in RFC 1123: letters, digits and hyphens in parts joined by \
             dots, at most {NAME_MAX} characters, for example web1.example.com."
        ),
    ))
}

/// Checks a fully qualified host name: as [`check_hostname`], with at least two labels.
///
/// Errors: `Invalid` for `field`.
pub fn check_fully_qualified(field: &str, hostname: &str) -> Result<()> {
    check_hostname(field, hostname)?;
    if hostname.contains('.') {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "The {field} must be fully qualified, with at least one dot in it, for example web1.example.com."
        ),
    ))
}

/// A host name made from a server's free-text name, for servers whose order names none.
/// `fallback` is used when nothing of the name can stand in a host name.
pub fn hostname_from(name: &str, fallback: &str) -> String {
    let mut host = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            host.push(c.to_ascii_lowercase());
        } else if matches!(c, '.') && !host.is_empty() && !host.ends_with(['.', '-']) {
            host.push('.');
        } else if !host.is_empty() && !host.ends_with(['.', '-']) {
            host.push('-');
        }
    }
    host.truncate(63);
    let host = host.trim_end_matches(['.', '-']).replace("-.", ".");
    if check_hostname("hostname", &host).is_ok() { host } else { fallback.to_owned() }
}

/// The beginning of what somebody sent, to be shown back in a sentence: at most as many characters as a name
/// may have, none of them a control character.
pub fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    if text.chars().count() > NAME_MAX {
        excerpt.push('…');
    }
    excerpt
}

/// Checks an e-mail address: one `@`, something on both sides, a dot-separated domain, no blanks; at most 254 characters.
///
/// Errors: `Invalid` for `email`.
pub fn check_email(email: &str) -> Result<()> {
    let good = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && local.len() <= 64 && check_hostname("email", domain).is_ok()
        });
    if good {
        Ok(())
    } else {
        Err(Error::invalid("email", "The email must be an address such as alice@example.com."))
    }
}

/// Checks a user name for signing in: 3 to 32 letters, digits, dots, hyphens or underscores.
///
/// Errors: `Invalid` for `username`.
pub fn check_user_name(user_name: &str) -> Result<()> {
    let good = (3..=32).contains(&user_name.len())
        && user_name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "username",
            "The username must have 3 to 32 letters, digits, dots, hyphens or underscores.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names_are_rfc_1123() {
        for good in ["a", "web1", "web1.example.com", "1web", "a-b.c"] {
            assert!(check_hostname("hostname", good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "é", "1.2.3.4", long.as_str()] {
            assert!(check_hostname("hostname", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fully_qualified_name_has_a_dot_in_it() {
        for good in ["a.b", "localhost.domain.com", "Web1.Example.COM", "xn--ay-yia.example"] {
            assert!(check_fully_qualified("hostname", good).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "a.", ".a", "a..b", "a_b.c", "1.2.3.4", "a.b.", "çay.example"] {
            assert!(check_fully_qualified("hostname", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt("web1"), "web1");
        assert_eq!(excerpt("a\0\u{1b}[31mb"), "a[31mb");
        assert_eq!(excerpt(&"é".repeat(10_000)), format!("{}…", "é".repeat(NAME_MAX)));
    }

    #[test]
    fn a_refusal_names_the_parameter() {
        let error = check_name("name", "").unwrap_err();
        assert!(error.public.contains("name"), "{}", error.public);
        assert!(check_name("name", " \u{a0} ").is_err());
    }

    proptest! {
        #[test]
        fn a_host_name_can_be_made_from_any_name(name in ".{0,80}") {
            prop_assert!(check_hostname("hostname", &hostname_from(&name, "server-1")).is_ok());
        }
    }
}
