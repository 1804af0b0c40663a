//! SSH public keys: what is one, and its MD5 fingerprint as the Cloude document shows it.

use crate::{Error, Result, SshKeyId, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest, Md5};
use sha2::Sha256;

/// A public key of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// Its id.
    pub id: SshKeyId,
    /// Unique in its account.
    pub name: String,
    /// One line in OpenSSH's form.
    pub public_key: String,
    /// MD5 with colons: `d3:b7:…`.
    pub fingerprint: String,
    /// When it was added.
    pub created_at: Timestamp,
}

impl SshKey {
    /// Whether this is a fingerprint of the key in one of the forms that OpenSSH shows: MD5 in hexadecimal, in any
    /// case, with or without `MD5:` and colons; or `SHA256:` and Base64.
    pub fn has_fingerprint(&self, text: &str) -> bool {
        let text = text.trim();
        if let Some((kind, digest)) = text.split_once(':')
            && kind.eq_ignore_ascii_case("SHA256")
        {
            return self.sha256().is_some_and(|own| own == digest.trim_end_matches('='));
        }
        let hexadecimal = |text: &str| text.to_ascii_lowercase().replace(':', "");
        let digest = hexadecimal(text);
        digest.strip_prefix("md5").unwrap_or(&digest) == hexadecimal(&self.fingerprint)
    }

    /// SHA-256 over the key's bytes in Base64 without padding.
    fn sha256(&self) -> Option<String> {
        let encoded = self.public_key.split(' ').nth(1)?;
        let blob = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
        Some(STANDARD_NO_PAD.encode(Sha256::digest(&blob)))
    }
}

/// A public key that was parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The line as it is stored: type, Base64, comment, one blank between them.
    pub line: String,
    /// MD5 with colons over the key's bytes.
    pub fingerprint: String,
}

/// Smallest and largest RSA modulus, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=16_384;

/// Parses one line of an `authorized_keys` file without options (OpenSSH's `sshd(8)`; blobs as in RFC 4253
/// section 6.6, RFC 5656 section 3.1, RFC 8709 and OpenSSH's `PROTOCOL.u2f`).
///
/// Errors: `Invalid` for `public_key`, saying what is wrong with it.
pub fn parse(text: &str) -> Result<PublicKey> {
    let text = text.trim();
    let refuse = |why: &str| {
        Error::invalid(
            "public_key",
            format!(
                "The public_key is not an OpenSSH public key: {why}. Send one line such as \
                 'ssh-ed25519 AAAA… name'; RSA, ECDSA, Ed25519 and sk- keys are accepted."
            ),
        )
    };
    if text.contains("PRIVATE KEY") {
        return Err(refuse("this is a private key, which should never leave its machine"));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("it has more than one line"));
    }
    if text.len() > 8 * 1024 {
        return Err(refuse("it is longer than 8192 characters"));
    }
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().ok_or_else(|| refuse("it is empty"))?;
    let encoded = words.next().ok_or_else(|| refuse("there is nothing after its type"))?;
    let comment = words.collect::<Vec<_>>().join(" ");
    let blob = STANDARD
        .decode(encoded)
        .or_else(|_| STANDARD_NO_PAD.decode(encoded))
        .map_err(|_| refuse("its second word is not Base64"))?;
    check_blob(kind, &blob).map_err(refuse)?;
    let mut line = format!("{kind} {encoded}");
    if !comment.is_empty() {
        line.push(' ');
        line.push_str(&comment);
    }
    Ok(PublicKey { line, fingerprint: fingerprint(&blob) })
}

/// MD5 over the key's bytes, two digits each, joined by colons.
fn fingerprint(blob: &[u8]) -> String {
    Md5::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Reads length-prefixed fields as in RFC 4251 section 5.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], &'static str> {
        let cut = "it is cut off or damaged";
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        if rest.len() < length {
            return Err(cut);
        }
        let (field, rest) = rest.split_at(length);
        self.0 = rest;
        Ok(field)
    }
}

fn check_blob(kind: &str, blob: &[u8]) -> Result<(), &'static str> {
    let mut fields = Fields(blob);
    if fields.next()? != kind.as_bytes() {
        return Err("its type and its contents do not agree");
    }
    match kind {
        "ssh-rsa" => {
            let exponent = fields.next()?;
            let modulus = fields.next()?;
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            if exponent.is_empty() || exponent[0] & 0x80 != 0 || exponent.last().is_none_or(|e| e & 1 == 0) {
                return Err("its RSA exponent is not a positive odd number");
            }
            if !RSA_BITS.contains(&(significant * 8)) {
                return Err("its RSA modulus must have 1024 to 16384 bits");
            }
        }
        "ssh-ed25519" => check_ed25519(&mut fields)?,
        "sk-ssh-ed25519@openssh.com" => {
            check_ed25519(&mut fields)?;
            check_application(&mut fields)?;
        }
        "ecdsa-sha2-nistp256" => check_ecdsa(&mut fields, b"nistp256", 65)?,
        "ecdsa-sha2-nistp384" => check_ecdsa(&mut fields, b"nistp384", 97)?,
        "ecdsa-sha2-nistp521" => check_ecdsa(&mut fields, b"nistp521", 133)?,
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            check_ecdsa(&mut fields, b"nistp256", 65)?;
            check_application(&mut fields)?;
        }
        "ssh-dss" => return Err("DSA keys are no longer accepted by ssh servers"),
        _ => return Err("its type is not known"),
    }
    if fields.0.is_empty() { Ok(()) } else { Err("there are bytes behind its end") }
}

fn check_ed25519(fields: &mut Fields<'_>) -> Result<(), &'static str> {
    if fields.next()?.len() == 32 { Ok(()) } else { Err("an Ed25519 key has 32 bytes") }
}

fn check_ecdsa(fields: &mut Fields<'_>, curve: &[u8], point: usize) -> Result<(), &'static str> {
    if fields.next()? != curve {
        return Err("its curve and its type do not agree");
    }
    let q = fields.next()?;
    if q.len() == point && q.first() == Some(&4) { Ok(()) } else { Err("its point is not of its curve") }
}

fn check_application(fields: &mut Fields<'_>) -> Result<(), &'static str> {
    if fields.next()?.is_empty() { Err("its application is empty") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key of the Cloude document's `sshkey/list` example.
    const DOCUMENTED: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAABJQAAAQEAjNDpbHYrC/lmboOnkeOPDzrdoLM0A44M+VpzZuc4I9778zlapZxJ5irdXwwH8E+Bq1VdvWZDTgEKKT5RBgw200zmKlgsrSLQpOb10qWW26EUpQu3gJgt/oJzMADoJuj5+F6b3v4/rwXs8EwRO5O3hT5+XuOWTsvRVQomLcOe7R2t3HT01eggyvswwAR7IEsynazCQr0FVM3UQ5dlk44Z+zjg9BMqPFMxFWHxFskiRMtQLEKEvJDLG8qDLc+mMV7P8kRAGeNnc7U5Zf4hC+o5ZUdCDqJMKQodkWiR57IB0oxu9PJz40zjlkApzABRQyhUVZnCVX78HgV8BKwmDjuFfw== rsa-key-20180621";
    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl someone@somewhere";

    #[test]
    fn the_documents_key_is_a_key() {
        let key = parse(DOCUMENTED).unwrap();
        assert_eq!(key.fingerprint.len(), 47);
        assert_eq!(key.line, DOCUMENTED);
    }

    #[test]
    fn an_ed25519_key_is_a_key_and_its_blanks_are_tidied() {
        let key = parse(&format!("  {}  ", ED25519.replace(' ', "   "))).unwrap();
        assert_eq!(key.line, ED25519);
    }

    #[test]
    fn junk_is_refused_and_the_parameter_named() {
        let cut = &DOCUMENTED[..120];
        for junk in [
            "",
            "ssh-rsa",
            "ssh-rsa AAAA",
            "ssh-ed25519 !!!!",
            "hello world",
            cut,
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &ED25519.replace("ssh-ed25519 ", "ssh-rsa "),
            "ssh-rsa AAAA\nssh-rsa AAAA",
        ] {
            let error = parse(junk).unwrap_err();
            assert!(error.public.contains("public_key"), "{}", error.public);
        }
    }

    #[test]
    fn a_key_is_known_by_every_fingerprint_that_openssh_shows() {
        let parsed = parse(ED25519).unwrap();
        let key = SshKey {
            id: SshKeyId(1),
            name: "laptop".into(),
            public_key: parsed.line,
            fingerprint: parsed.fingerprint.clone(),
            created_at: Timestamp::default(),
        };
        let md5 = parsed.fingerprint;
        let plain = md5.replace(':', "");
        let sha256 = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
        for known in [
            md5.clone(),
            md5.to_uppercase(),
            format!("MD5:{md5}"),
            format!("md5:{md5}"),
            format!(" {md5} "),
            plain,
            sha256.to_owned(),
            format!("{sha256}="),
        ] {
            assert!(key.has_fingerprint(&known), "{known}");
        }
        let upside_down: String = md5.chars().rev().collect();
        for other in ["", "MD5:", "SHA256:", "laptop", &md5[1..], &upside_down, &sha256.to_lowercase()] {
            assert!(!key.has_fingerprint(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_cut_key_is_never_accepted(length in 12usize..70) {
            prop_assert!(parse(&ED25519[..length]).is_err());
        }
    }
}
