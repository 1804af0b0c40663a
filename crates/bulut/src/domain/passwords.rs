//! Passwords: argon2id, a bounded number at a time, never on the threads that serve requests.

use crate::app::App;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use bulut_model::{Error, Result};
use sha_crypt::ShaCrypt;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

/// Bytes of a salt in `/etc/shadow`: sixteen letters there.
const SHADOW_SALT: usize = 12;

/// Hashes a password: Argon2id, 19 MiB, two passes, in PHC form.
pub async fn hash(app: &App, password: &str) -> Result<String> {
    let password = Zeroizing::new(password.to_owned());
    on_thread(app, move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| hash.to_string())
            .map_err(Error::internal)
    })
    .await?
}

/// Whether a password has this hash. Without a hash the work is done all the same, so that the time an answer
/// takes does not tell whether an account exists.
pub async fn verify(app: &App, password: &str, hash: Option<&str>) -> Result<bool> {
    let password = Zeroizing::new(password.to_owned());
    let hash = hash.map(str::to_owned);
    on_thread(app, move || match hash {
        Some(hash) => match PasswordHash::new(&hash) {
            Ok(hash) => Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Err(error) => Err(Error::internal(format!("a stored password hash is broken: {error}"))),
        },
        None => Argon2::default().hash_password(password.as_bytes()).map(|_| false).map_err(Error::internal),
    })
    .await?
}

/// A guest's password as `/etc/shadow` holds it: SHA-512-crypt with a salt that derives from `nonce`, so that the same
/// change has the same hash each time it is tried.
pub async fn shadow(app: &App, password: &[u8], nonce: &str) -> Result<String> {
    let password = Zeroizing::new(password.to_owned());
    let salt: Vec<u8> = Sha512::digest(nonce).iter().copied().take(SHADOW_SALT).collect();
    on_thread(app, move || {
        ShaCrypt::SHA512
            .hash_password_with_salt(&password, &salt)
            .map(|hash| hash.as_str().to_owned())
            .map_err(Error::internal)
    })
    .await?
}

/// Whether a line of `/etc/shadow` holds this password, by SHA-512-crypt.
pub fn is_shadow_of(password: &str, hash: &str) -> bool {
    ShaCrypt::SHA512.verify_password(password.as_bytes(), hash).is_ok()
}

async fn on_thread<T: Send + 'static>(app: &App, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _permit = app.hashing().acquire().await.map_err(Error::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}
