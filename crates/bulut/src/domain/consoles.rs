//! Consoles in a browser: a link that opens once becomes a session, which lasts as long as its account, its server and
//! its limits allow.
//!
//! ```text
//! link ── opened in time, by the first who tries ──▶ session ── idle, limit, account or server gone ──▶ over
//!   └──── never opened, account or server gone ────────────────────────────────────────────────────────▶ over
//! ```
//!
//! Promises: whether a console is open is asked of the database each time, so that it holds for all processes; the
//! database has digests of secrets only. Must not know: HTTP, or how a screen is shown.

use crate::app::App;
use crate::clock::random_bytes;
use crate::domain::access::Caller;
use crate::domain::servers;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulut_model::account::{Account, Standing};
use bulut_model::server::{Phase, Server};
use bulut_model::{Error, Result, ServerId, Timestamp};
use bulut_store::consoles::{Console, New};
use bulut_store::{Session as Connection, accounts, consoles, servers as server_rows};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A link to a console.
#[derive(Clone)]
pub struct Ticket {
    /// The path of the page, beginning with a slash, to be put behind the cloud's own URL. It holds the secret.
    pub path: String,
    /// Until when it opens.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Why a console is not open, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// There is no such link or session.
    Unknown,
    /// The link was opened before.
    Used,
    /// Nobody opened the link in time.
    Expired,
    /// The server is gone, or going.
    ServerGone,
    /// The account was suspended or changed its password.
    AccountChanged,
    /// Nobody typed or pointed at anything for too long.
    Idle,
    /// The session lasted as long as a session may.
    TimeUp,
}

impl Over {
    /// What a person is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "There is no such console session.",
            Self::Used => "This link has been used already: it opens a console only once.",
            Self::Expired => "This link was not opened in time and has expired.",
            Self::ServerGone => "The server of this console does not exist any more.",
            Self::AccountChanged => {
                "This console was ended because the account was suspended or its password changed."
            }
            Self::Idle => "This console session has ended, because it was not used for a while.",
            Self::TimeUp => "This console session has ended, because it reached its time limit.",
        }
    }
}

/// A console that is open.
#[derive(Debug, Clone)]
pub struct Session {
    /// Names it in paths.
    pub id: String,
    /// The account as it is now.
    pub account: Account,
    /// The server as it is now.
    pub server: Server,
    /// When somebody last typed or pointed at something.
    pub used_at: Timestamp,
    /// When it ends in any case.
    pub ends_at: Timestamp,
}

impl Session {
    /// Whoever opened it, acting.
    pub fn caller(&self) -> Caller {
        Caller::new(self.account.clone())
    }
}

/// How a console stands.
#[derive(Debug, Clone)]
pub enum State {
    /// It is open.
    Open(Box<Session>),
    /// It is not.
    Over(Over),
}

/// What opening a link gave.
pub enum Redeemed {
    /// A session, and the secret that shows whose it is: to be given to that one browser only.
    Open {
        /// The session.
        session: Box<Session>,
        /// The secret.
        secret: String,
    },
    /// Nothing.
    Over(Over),
}

fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a link to the console of one of the caller's servers.
///
/// Errors: `NotFound`, `Forbidden` for a suspended account, `Conflict` for a server that is being removed.
pub async fn open(app: &App, caller: &Caller, server: ServerId) -> Result<Ticket> {
    caller.may_change()?;
    let server = servers::get(app, caller, server).await?;
    if server.phase == Phase::Destroying {
        return Err(Error::conflict(format!(
            "Server {} is being removed, so that it has no console.",
            server.id
        )));
    }
    let id = URL_SAFE_NO_PAD.encode(random_bytes::<16>());
    let token = URL_SAFE_NO_PAD.encode(random_bytes::<32>());
    let now = app.clock().now();
    let new = New {
        id,
        account: caller.account.id,
        server: server.id,
        token_epoch: caller.account.token_epoch,
        token_hash: digest(&token),
        expires_at: now.plus(app.config().console_link_life()),
    };
    consoles::insert(app.store(), &new, now).await?;
    tracing::info!(
        account.id = new.account.0,
        server.id = new.server.0,
        console.id = new.id,
        "console link made"
    );
    Ok(Ticket { path: format!("/console/{}/{token}", new.id), expires_at: new.expires_at })
}

/// Opens a link. Of those who try at the same time, one gets the session.
pub async fn redeem(app: &App, id: &str, token: &str) -> Result<Redeemed> {
    let token = digest(token);
    let secret = URL_SAFE_NO_PAD.encode(random_bytes::<32>());
    let now = app.clock().now();
    let ends_at = now.plus(app.config().console_session_limit());
    let tx = app.store().begin().await?;
    let state = match consoles::open(&tx, id, &token, &digest(&secret), now, ends_at).await? {
        Some(console) => standing(app, &tx, &console, now).await?,
        None => {
            let console = consoles::find(&tx, id).await?.filter(|console| console.token_hash == token);
            State::Over(console.map_or(Over::Unknown, |console| why_closed(&console)))
        }
    };
    tx.commit().await?;
    Ok(match state {
        State::Open(session) => {
            let (account, server) = (session.account.id.0, session.server.id.0);
            tracing::info!(account.id = account, server.id = server, console.id = id, "console opened");
            Redeemed::Open { session, secret }
        }
        State::Over(over) => Redeemed::Over(over),
    })
}

/// Why a link that is there does not open.
fn why_closed(console: &Console) -> Over {
    if console.opened.is_some() {
        Over::Used
    } else if console.revoked {
        Over::AccountChanged
    } else {
        Over::Expired
    }
}

/// How the session stands that this secret was given for.
pub async fn resume(app: &App, id: &str, secret: &str) -> Result<State> {
    let secret = digest(secret);
    let console = consoles::find(app.store(), id)
        .await?
        .filter(|console| console.opened.as_ref().is_some_and(|opened| opened.session_hash == secret));
    match console {
        Some(console) => standing(app, app.store(), &console, app.clock().now()).await,
        None => Ok(State::Over(Over::Unknown)),
    }
}

async fn standing(app: &App, s: &impl Connection, console: &Console, now: Timestamp) -> Result<State> {
    let Some(opened) = &console.opened else { return Ok(State::Over(Over::Unknown)) };
    let account = accounts::find(s, console.account).await?;
    let account = account.filter(|account| {
        !console.revoked && account.standing == Standing::Active && account.token_epoch == console.token_epoch
    });
    let Some(account) = account else { return Ok(State::Over(Over::AccountChanged)) };
    let server = server_rows::find_owned(s, account.id, console.server).await?;
    let Some(server) = server.filter(|server| server.phase != Phase::Destroying) else {
        return Ok(State::Over(Over::ServerGone));
    };
    if now >= opened.ends_at {
        return Ok(State::Over(Over::TimeUp));
    }
    if now.since(opened.used_at) >= app.config().console_idle_limit() {
        return Ok(State::Over(Over::Idle));
    }
    Ok(State::Open(Box::new(Session {
        id: console.id.clone(),
        account,
        server,
        used_at: opened.used_at,
        ends_at: opened.ends_at,
    })))
}

/// Notes that somebody types or points at something, which is what keeps a session from being idle.
pub async fn touch(app: &App, session: &Session) -> Result<()> {
    consoles::set_used(app.store(), &session.id, app.clock().now()).await
}

/// Forgets consoles a day after the last moment at which they can have been open; until then their links say that they
/// were used. At most `limit` of them; answers how many.
pub async fn forget(app: &App, limit: i64) -> Result<u64> {
    let life = app.config().console_link_life() + app.config().console_session_limit() + DAY;
    consoles::sweep(app.store(), app.clock().now().minus(life), limit).await
}
