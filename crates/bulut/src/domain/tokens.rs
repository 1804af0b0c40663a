//! JSON Web Tokens: signed with HS256, a key id in the header, so that keys rotate without logging anyone out.
//!
//! Access and refresh tokens carry their use and are never taken for each other.

use crate::app::App;
use crate::clock::random_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulut_model::account::Account;
use bulut_model::{AccountId, Error, Result, Timestamp};
use bulut_store::signing_keys;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an access token lives (the Cloude document: 45 minutes).
pub const ACCESS_LIFE: Duration = Duration::from_secs(45 * 60);
/// How long a refresh token lives (the Cloude document: 1 day).
pub const REFRESH_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the keys are believed before the database is asked whether there are newer ones.
const KEYS_FRESH: Duration = Duration::from_secs(60);

/// Most tokens that are remembered as signed by one of our keys; half a KiB each.
const SIGNED_MAX: usize = 1024;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Calls.
    Access,
    /// A new pair of tokens.
    Refresh,
}

/// What a token says. The first five are the document's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The account.
    pub id: AccountId,
    /// Its e-mail address.
    pub email: String,
    /// Given name.
    pub firstname: String,
    /// Family name.
    pub lastname: String,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Expires at, Unix seconds.
    pub exp: i64,
    /// What it is for.
    pub typ: Use,
    /// The account's token epoch.
    pub epoch: i64,
    /// The session of a refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// This very token.
    pub jti: String,
}

impl Claims {
    /// What a token of this account says that is issued now.
    pub fn new(account: &Account, typ: Use, sid: Option<&str>, now: Timestamp) -> Self {
        let life = match typ {
            Use::Access => ACCESS_LIFE,
            Use::Refresh => REFRESH_LIFE,
        };
        Self {
            id: account.id,
            email: account.email.clone(),
            firstname: account.first_name.clone(),
            lastname: account.last_name.clone(),
            iat: now.unix_seconds(),
            exp: now.plus(life).unix_seconds(),
            typ,
            epoch: account.token_epoch,
            sid: sid.map(str::to_owned),
            jti: URL_SAFE_NO_PAD.encode(random_bytes::<16>()),
        }
    }
}

struct Key {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

#[derive(Clone)]
struct Ring {
    keys: Arc<Vec<Key>>,
    read_at: Timestamp,
}

/// A token whose signature was found good: what it says, and the key that signed it.
struct Signed {
    kid: String,
    claims: Claims,
}

/// Tokens are remembered by their digests, so that none lies in memory that a dump could give away.
type TokenDigest = [u8; 32];

/// The keys that this process has read, newest first, and the tokens that it has found signed by them.
#[derive(Default)]
pub struct Keys {
    ring: RwLock<Option<Ring>>,
    signed: Mutex<HashMap<TokenDigest, Arc<Signed>>>,
}

impl Keys {
    fn get(&self) -> Option<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring);
    }

    fn find(&self, token: &TokenDigest) -> Option<Arc<Signed>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn remember(&self, token: TokenDigest, signed: Arc<Signed>) {
        let mut all = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are in use come back with their next request.
        if all.len() >= SIGNED_MAX {
            all.clear();
        }
        all.insert(token, signed);
    }
}

fn place(kid: &str) -> String {
    format!("signing_key/{kid}/sealed")
}

/// Adds a key, which signs from now on; older ones go on verifying until they are retired.
pub async fn rotate(app: &App) -> Result<String> {
    let kid = URL_SAFE_NO_PAD.encode(random_bytes::<9>());
    let secret = Zeroizing::new(random_bytes::<32>());
    let sealed = app.vault().seal(&place(&kid), secret.as_slice())?;
    let now = app.clock().now();
    signing_keys::insert(app.store(), &kid, &sealed, now).await?;
    // A key that nobody signs with any more is good until its last refresh token has expired.
    signing_keys::retire(app.store(), now.minus(REFRESH_LIFE), now).await?;
    Ok(kid)
}

async fn read(app: &App) -> Result<Ring> {
    let read_at = app.clock().now();
    let mut stored = signing_keys::list(app.store()).await?;
    if stored.is_empty() {
        rotate(app).await?;
        stored = signing_keys::list(app.store()).await?;
    }
    let mut keys = Vec::with_capacity(stored.len());
    for key in stored {
        let secret = app.vault().open_sealed(&place(&key.kid), &key.sealed)?;
        keys.push(Key {
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
            kid: key.kid,
        });
    }
    let ring = Ring { keys: Arc::new(keys), read_at };
    app.keys().set(ring.clone());
    Ok(ring)
}

async fn fresh(app: &App) -> Result<Ring> {
    match app.keys().get() {
        Some(ring) if app.clock().now().since(ring.read_at) < KEYS_FRESH => Ok(ring),
        _ => read(app).await,
    }
}

/// Signs with the newest key.
pub async fn sign(app: &App, claims: &Claims) -> Result<String> {
    let ring = fresh(app).await?;
    let key = ring.keys.first().ok_or_else(|| Error::internal("there is no signing key"))?;
    let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &key.encoding).map_err(Error::internal)
}

/// What a token says, if one of our keys signed it, it has not expired, and it is for this use.
///
/// Errors: `Unauthenticated`, always with the same sentence for the same use.
pub async fn verify(app: &App, token: &str, typ: Use) -> Result<Claims> {
    let refuse = || {
        Error::unauthenticated(match typ {
            Use::Access => "The token is invalid or has expired; sign in again or refresh it.",
            Use::Refresh => "The refresh token is invalid or has expired; sign in again.",
        })
    };
    let signed = signed(app, token).await?.ok_or_else(refuse)?;
    let claims = &signed.claims;
    if claims.typ != typ || app.clock().now().unix_seconds() >= claims.exp {
        return Err(refuse());
    }
    Ok(claims.clone())
}

/// The token if one of our keys signed it. A signature does not change, so it is computed once for each token and
/// process; whether its key is still ours is asked each time.
async fn signed(app: &App, token: &str) -> Result<Option<Arc<Signed>>> {
    let mut ring = fresh(app).await?;
    let knows = |ring: &Ring, kid: &str| ring.keys.iter().any(|key| key.kid == kid);
    let digest: TokenDigest = Sha256::digest(token).into();
    if let Some(signed) = app.keys().find(&digest).filter(|signed| knows(&ring, &signed.kid)) {
        return Ok(Some(signed));
    }
    let Some(kid) = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid) else {
        return Ok(None);
    };
    if !knows(&ring, &kid) && app.clock().now().since(ring.read_at) > Duration::from_secs(1) {
        // Another process may have rotated a moment ago; not more than once a second, whatever is sent.
        ring = read(app).await?;
    }
    let Some(key) = ring.keys.iter().find(|key| key.kid == kid) else { return Ok(None) };
    let mut validation = Validation::new(Algorithm::HS256);
    // Expiry is checked against the app's clock, not the library's.
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    let Ok(decoded) = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) else {
        return Ok(None);
    };
    let signed = Arc::new(Signed { kid, claims: decoded.claims });
    app.keys().remember(digest, Arc::clone(&signed));
    Ok(Some(signed))
}
