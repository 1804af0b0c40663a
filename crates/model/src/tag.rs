//! Tags: short words that a customer puts on servers.

use crate::{Error, Result, Timestamp};

/// A tag of an account's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The word.
    pub word: String,
    /// How many servers carry it.
    pub servers: i64,
    /// When it was first put on one of the account's servers.
    pub created_at: Timestamp,
}

/// Longest tag, characters.
pub const LENGTH_MAX: usize = 64;
/// Most tags on one server.
pub const PER_SERVER_MAX: usize = 32;

/// Checks tags that are to stand on a server together: each 1 to 64 characters without blanks, commas and control
/// characters, at most 32 of them.
///
/// Errors: `Invalid` for `tags`.
pub fn check(tags: &[String]) -> Result<()> {
    if tags.len() > PER_SERVER_MAX {
        return Err(Error::invalid(
            "tags",
            format!("The tags must be at most {PER_SERVER_MAX}; these are {}.", tags.len()),
        ));
    }
    let separates = |c: char| c.is_control() || c.is_whitespace() || c == ',';
    let good = |tag: &String| (1..=LENGTH_MAX).contains(&tag.chars().count()) && !tag.contains(separates);
    if tags.iter().all(good) {
        return Ok(());
    }
    Err(Error::invalid(
        "tags",
        format!("Each of the tags must have 1 to {LENGTH_MAX} characters, without blanks and commas."),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(tags: &[&str]) -> Result<()> {
        check(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_tag_is_a_short_word() {
        let longest = "é".repeat(LENGTH_MAX);
        checked(&["web1", "asdadad-dasasdsad", "a/b:c=d", "🖥", &longest]).unwrap();
        let too_long = "é".repeat(LENGTH_MAX + 1);
        for bad in ["", "a b", "a,b", "a\nb", "a\u{a0}b", "a\0", &too_long] {
            assert!(checked(&["good", bad]).unwrap_err().public.contains("tags"), "{bad:?}");
        }
    }

    #[test]
    fn a_server_has_so_many_tags_and_no_more() {
        let tags: Vec<String> = (0..=PER_SERVER_MAX).map(|number| format!("t{number}")).collect();
        check(&tags[1..]).unwrap();
        assert!(check(&tags).unwrap_err().public.contains("33"));
    }
}
