//! Secrets at rest: sealed with XChaCha20-Poly1305 under the master key, bound to the place they are stored in.
//!
//! Secrets that are only compared, and that nobody could guess, are kept as keyed digests.
//!
//! A sealed text is `v1:` and Base64 of nonce and ciphertext. Its associated data names table, id and column,
//! so that a value copied to another row does not open.

use crate::clock::random_bytes;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_model::{Error, Result};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Seals and opens secrets.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    /// Keyed by the master key, as the cipher is; its first message says what for.
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// A vault under this key.
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC pads a short key with zeros to its block.
        let mut block = Zeroizing::new([0; 64]);
        block[..key.len()].copy_from_slice(key);
        Self { cipher: XChaCha20Poly1305::new(key.into()), mac: Hmac::<Sha256>::new((&*block).into()) }
    }

    /// The master key from `BULUT_MASTER_KEY` (Base64 of 32 bytes), else from `master.key` in the state
    /// directory, which is made (0600) where there is none.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        if let Ok(encoded) = std::env::var("BULUT_MASTER_KEY") {
            let encoded = Zeroizing::new(encoded);
            return Self::decode(&encoded).context("BULUT_MASTER_KEY must be Base64 of 32 bytes");
        }
        let path = state.join("master.key");
        let fresh = Zeroizing::new(STANDARD.encode(random_bytes::<32>()));
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(mut file) => {
                file.write_all(fresh.as_bytes())
                    .and_then(|()| file.sync_all())
                    .with_context(|| format!("the master key {} cannot be written", path.display()))?;
                Self::decode(&fresh)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("the master key {} cannot be read", path.display()))?;
                Self::decode(&Zeroizing::new(text))
                    .with_context(|| format!("{} must hold Base64 of 32 bytes", path.display()))
            }
            Err(error) => {
                Err(error).with_context(|| format!("the master key {} cannot be made", path.display()))
            }
        }
    }

    fn decode(encoded: &str) -> anyhow::Result<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(encoded.trim())?);
        let Ok(key) = <&[u8; 32]>::try_from(bytes.as_slice()) else {
            bail!("it has {} bytes", bytes.len());
        };
        Ok(Self::new(key))
    }

    /// Seals `secret` for the place `place`, such as `server/7/password`.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<String> {
        let nonce = random_bytes::<24>();
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::internal(format!("{place} cannot be sealed")))?;
        Ok(format!("v1:{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens what was sealed for the same place.
    ///
    /// Errors: `Internal` when it was sealed for another place or under another master key.
    pub fn open_sealed(&self, place: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>> {
        let refuse =
            || Error::internal(format!("{place} does not open: another master key, or a moved value"));
        let bytes =
            sealed.strip_prefix("v1:").and_then(|text| STANDARD.decode(text).ok()).ok_or_else(refuse)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<24>().ok_or_else(refuse)?;
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| refuse())
    }
}

impl Vault {
    fn digesting(&self, place: &str, secret: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for text in ["bulut digest", place, secret] {
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        }
        mac
    }

    /// A digest of a random secret for the place `place`, hexadecimal. Fast, so never for a secret that a person chose.
    pub fn digest(&self, place: &str, secret: &str) -> String {
        let digest = self.digesting(place, secret).finalize().into_bytes();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether the secret has this digest, in a time that tells nothing of how much of it is right.
    pub fn has_digest(&self, place: &str, secret: &str, digest: &str) -> bool {
        let bytes: Option<Vec<u8>> = (0..digest.len())
            .step_by(2)
            .map(|at| digest.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        bytes.is_some_and(|bytes| self.digesting(place, secret).verify_slice(&bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_one_secret_in_one_place_under_one_key() {
        let vault = Vault::new(&[7; 32]);
        let digest = vault.digest("api_key", "tomato");
        assert!(vault.has_digest("api_key", "tomato", &digest));
        assert_eq!(digest, vault.digest("api_key", "tomato"));
        for (place, secret) in [("api_key", "tomate"), ("api_ke", "ytomato"), ("other", "tomato")] {
            assert!(!vault.has_digest(place, secret, &digest), "{place} {secret}");
        }
        assert!(!Vault::new(&[8; 32]).has_digest("api_key", "tomato", &digest));
        for broken in ["", "zz", &digest[1..], &digest[2..], "é"] {
            assert!(!vault.has_digest("api_key", "tomato", broken), "{broken}");
        }
    }

    #[test]
    fn a_secret_opens_only_in_its_own_place_and_under_its_own_key() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal("server/1/password", b"tomato").unwrap();
        assert_eq!(vault.open_sealed("server/1/password", &sealed).unwrap().as_slice(), b"tomato");
        assert!(vault.open_sealed("server/2/password", &sealed).is_err());
        assert!(Vault::new(&[8; 32]).open_sealed("server/1/password", &sealed).is_err());
        assert!(!sealed.contains("tomato"));
    }

    #[test]
    fn the_master_key_is_made_once_and_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::open(dir.path()).unwrap().seal("a", b"x").unwrap();
        assert_eq!(Vault::open(dir.path()).unwrap().open_sealed("a", &sealed).unwrap().as_slice(), b"x");
        let mode = std::fs::metadata(dir.path().join("master.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
