//! Room: the command line. The session of a person with a cloud: where it is kept, and when its token is stale.
//!
//! Promises: `session.json` is 0600, is replaced as a whole or not at all, and is only changed under a lock, so that
//! two commands at once never use one refresh token twice: the cloud would take that for a theft and end the session.
//! Must not know: HTTP.

use super::failure::{Failure, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A token that ends within this many seconds is not used any more: the request takes time too.
const SPARE_SECONDS: i64 = 30;

/// A pair of tokens. `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The access token.
    pub token: String,
    /// The refresh token; each is good for one use.
    pub refreshtoken: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// Who is signed in where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The cloud: `http://host:port`, without a slash at the end.
    pub url: String,
    /// The name that was signed in with.
    pub user: String,
    /// What proves it.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// The directory in which sessions, locks and known host keys are kept; a user without a home has none.
#[derive(Debug, Clone)]
pub struct Home(Option<PathBuf>);

/// While this lives, no other command of the same person changes the session.
pub struct Lock(#[expect(dead_code, reason = "the lock is let go when the file is closed")] Flock<fs::File>);

impl Home {
    /// `${XDG_CONFIG_HOME:-~/.config}/bulut`.
    pub fn find() -> Self {
        let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        Self(base.map(|base| base.join("bulut")))
    }

    /// A home at a place of the caller's choice.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(Some(directory.into()))
    }

    fn dir(&self) -> Result<&Path> {
        self.0.as_deref().ok_or_else(|| {
            Failure::refused("there is no directory for the session: neither XDG_CONFIG_HOME nor HOME is set")
                .hint("export HOME=…")
        })
    }

    /// Where `ssh` keeps the host keys of servers.
    pub fn known_hosts(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join("known_hosts"))
    }

    fn file(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join("session.json"))
    }

    /// Makes the directory, for its owner only.
    pub fn ensure(&self) -> Result<()> {
        let dir = self.dir()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|why| Failure::file("make the directory", dir, &why))
    }

    /// The session, if there is one.
    pub fn load(&self) -> Result<Option<Session>> {
        let Ok(path) = self.file() else { return Ok(None) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(Failure::file("read", &path, &why)),
        };
        serde_json::from_str(&text).map(Some).map_err(|why| {
            Failure::broken(format!("{} is damaged: {why}", path.display())).hint("bulut login")
        })
    }

    /// Puts a session in place of the one that is there. Call it under [`Home::lock`].
    pub fn save(&self, session: &Session) -> Result<()> {
        self.ensure()?;
        let path = self.file()?;
        let text = serde_json::to_vec_pretty(session).map_err(|why| Failure::broken(why.to_string()))?;
        write_private(&path, &text).map_err(|why| Failure::file("write", &path, &why))
    }

    /// Forgets the session. Says whether there was one.
    pub fn remove(&self) -> Result<bool> {
        let path = self.file()?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(why) => Err(Failure::file("remove", &path, &why)),
        }
    }

    /// Waits until no other command changes the session, without holding up the runtime.
    pub async fn lock(&self) -> Result<Lock> {
        let home = self.clone();
        tokio::task::spawn_blocking(move || home.lock_blocking())
            .await
            .map_err(|why| Failure::broken(format!("waiting for the session's lock was cut short: {why}")))?
    }

    fn lock_blocking(&self) -> Result<Lock> {
        self.ensure()?;
        let path = self.dir()?.join("session.lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|why| Failure::file("open", &path, &why))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(Lock(lock)),
            Err((_, why)) => Err(Failure::broken(format!("cannot lock {}: {why}", path.display()))),
        }
    }
}

/// A variable that holds an absolute path; the XDG specification says to ignore relative ones.
fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Writes beside the file and renames over it: a reader sees the old text or the new one.
fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path)).inspect_err(
        |_| {
            drop(fs::remove_file(&beside));
        },
    )
}

/// When a token ends, seconds since 1970. Only looked at to save a request; the cloud checks it for real.
fn expires_at(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.exp)
}

/// Whether a token can still be used at `now` (seconds since 1970). One that says nothing about its end is tried.
pub fn is_fresh(token: &str, now: i64) -> bool {
    expires_at(token).is_none_or(|end| end > now + SPARE_SECONDS)
}

/// Seconds since 1970, by this machine's clock.
pub fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a client has no app and so no app's clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A token with the shape of a JWT that ends at `exp`; `mark` tells it from others.
    pub fn token(exp: i64, mark: &str) -> String {
        let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp},"jti":"{mark}"}}"#));
        format!("e30.{payload}.c2ln")
    }

    fn session(mark: &str) -> Session {
        Session {
            url: "http://cloud.test".into(),
            user: "alice".into(),
            tokens: Tokens { token: mark.into(), refreshtoken: format!("r-{mark}") },
        }
    }

    #[test]
    fn a_token_is_fresh_until_shortly_before_its_end() {
        assert!(is_fresh(&token(1_000, "a"), 900));
        assert!(!is_fresh(&token(1_000, "a"), 980));
        assert!(!is_fresh(&token(1_000, "a"), 2_000));
        assert!(is_fresh("not a token", 900), "what cannot be read is left to the cloud");
    }

    #[test]
    fn what_was_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("deep/bulut"));
        assert_eq!(home.load().unwrap(), None);
        home.save(&session("a")).unwrap();
        home.save(&session("b")).unwrap();
        assert_eq!(home.load().unwrap(), Some(session("b")));
        assert_eq!(fs::metadata(home.file().unwrap()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path().join("deep/bulut")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert!(home.remove().unwrap());
        assert!(!home.remove().unwrap());
    }

    #[test]
    fn a_damaged_file_is_told_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("session.json"), "{").unwrap();
        let failure = Home::at(dir.path()).load().unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("bulut login"));
    }

    #[tokio::test]
    async fn the_lock_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let lock = home.lock().await.unwrap();
        let other = tokio::spawn({
            let home = home.clone();
            async move { home.lock().await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        drop(lock);
        assert!(other.await.unwrap());
    }

    #[test]
    fn tokens_are_never_shown() {
        assert!(!format!("{:?}", session("secret")).contains("secret"));
    }
}
