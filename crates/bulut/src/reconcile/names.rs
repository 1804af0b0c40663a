//! Names: what is served follows the database, and another server of names is told what it does not know yet.
//!
//! Promises: what is served is one state of the database, whole; a zone's serial rises whenever its content changes, and
//! never falls. The other server's state is remembered before it is told, so that nothing which it was told is ever
//! forgotten: after a crash, or when it was away, it is told again until it agrees, and what is gone is taken back.

use crate::app::App;
use crate::domain::zones;
use crate::reconcile::every_or_woken;
use bulut_dns::update::{Change, Connection, UpdateError};
use bulut_dns::{Data, Served, Snapshot, Zone, serial};
use bulut_model::{Error, Result, Timestamp};
use bulut_store::names::{self, Published, Revision, ZoneState};
use bulut_store::{addresses, settings};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for changes without being woken.
const EVERY: Duration = Duration::from_secs(10);
/// How long what was served is believed to be the database's, when nothing seems to have changed.
const BELIEVED: Duration = Duration::from_secs(600);
/// Records that the other server is told in one go.
const BATCH: i64 = 200;
/// The pause after the other server has refused a record; it doubles with each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Where it is remembered which server was told.
const TOLD: &str = "dns_update_server";

/// What this process serves and has told.
#[derive(Debug, Default)]
pub struct Names {
    served: Arc<Served>,
    /// One for each of the two that follow: the other server may keep its one waiting.
    serve: Notify,
    tell: Notify,
    /// What is served is of this revision, read then.
    serving: tokio::sync::Mutex<Option<(Revision, Instant)>>,
    /// What the other server is to be told was last found out at this revision.
    compared: tokio::sync::Mutex<Option<Revision>>,
    /// What was last complained of, so that it is not repeated every few seconds.
    complaint: Mutex<Option<String>>,
}

impl Names {
    /// What is served.
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Names may have changed: it is looked at once.
    pub fn wake(&self) {
        self.serve.notify_one();
        self.tell.notify_one();
    }

    fn complain(&self, why: Option<&str>) {
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) if last.as_deref() != Some(why) => {
                tracing::warn!(
                    error = why,
                    "the other server of names does not take its names; trying again"
                );
            }
            None if last.is_some() => tracing::info!("the other server of names takes its names again"),
            _ => {}
        }
        *last = why.map(str::to_owned);
    }
}

/// Follows the database until `stop`.
pub async fn follow(app: App, stop: CancellationToken) {
    tokio::join!(
        every_or_woken(EVERY, stop.clone(), &app.names().serve, || refresh(&app)),
        every_or_woken(EVERY, stop.clone(), &app.names().tell, || tell_all(&app)),
    );
}

/// Tells the other server what it does not know, until it knows everything or refuses.
async fn tell_all(app: &App) -> Result<()> {
    while tell(app).await? {}
    Ok(())
}

/// Serves what the database says now, if that has changed.
pub async fn refresh(app: &App) -> Result<()> {
    if app.config().dns.listen.is_empty() {
        return Ok(());
    }
    let mut serving = app.names().serving.lock().await;
    let revision = names::revision(app.store()).await?;
    if serving.is_some_and(|(of, since)| of == revision && since.elapsed() < BELIEVED) {
        return Ok(());
    }
    // Read before what it stands for: what changes in between is found at the next look.
    app.names().served.swap(snapshot(app).await?);
    *serving = Some((revision, Instant::now()));
    Ok(())
}

/// The zones of the database, with serials that say whether they have changed.
async fn snapshot(app: &App) -> Result<Snapshot> {
    let now = app.clock().now();
    let tx = app.store().begin().await?;
    let known = names::lock_zones(&tx).await?;
    let (pools, servers) = (addresses::all_pools(&tx).await?, names::all(&tx).await?);
    let mut served = Vec::new();
    for content in zones::contents(&app.config().dns, &pools, &servers) {
        let digest = zones::digest(&content);
        let before = known.iter().find(|zone| zone.name == content.origin);
        let serial = match before {
            Some(before) if before.digest == digest => before.serial,
            before => {
                let serial = serial::after(before.map_or(0, |zone| zone.serial), seconds(now));
                let zone = ZoneState { name: content.origin.clone(), digest, serial, changed_at: now };
                names::set_zone(&tx, &zone).await?;
                tracing::debug!(zone = zone.name, serial, "a zone has changed");
                serial
            }
        };
        match Zone::new(&content, serial) {
            Ok(zone) => served.push(zone),
            Err(error) => tracing::error!(zone = content.origin, %error, "a zone cannot be served"),
        }
    }
    tx.commit().await?;
    Ok(Snapshot::new(served))
}

/// Tells the other server, if there is one, some of what it does not know. Whether there is more to tell now.
async fn tell(app: &App) -> Result<bool> {
    let Some(server) = app.config().dns.update_server else { return Ok(false) };
    compare(app, &server.to_string()).await?;
    let now = app.clock().now();
    let due = names::due(app.store(), now, BATCH).await?;
    if due.is_empty() {
        return Ok(false);
    }
    let more = i64::try_from(due.len()).is_ok_and(|count| count == BATCH);
    let mut refused = None;
    let told = async {
        let key = app.config().dns.update_key().map_err(|why| UpdateError::Key(format!("{why:#}")))?;
        let mut connection = Connection::open(server, key).await?;
        for record in &due {
            match tell_one(app, &mut connection, record).await? {
                Ok(()) => {}
                Err(why) => refused = Some(why),
            }
        }
        Ok::<_, Halt>(())
    };
    match told.await {
        Ok(()) => {
            app.names().complain(refused.as_deref());
            Ok(more)
        }
        Err(Halt::Store(error)) => Err(error),
        Err(Halt::Server(why)) => {
            app.names().complain(Some(&why));
            names::note_failure(app.store(), &why).await?;
            Ok(false)
        }
    }
}

/// Why telling stopped before its end.
enum Halt {
    Server(String),
    Store(Error),
}

impl From<UpdateError> for Halt {
    fn from(error: UpdateError) -> Self {
        Self::Server(error.to_string())
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Tells one record. A refusal is remembered and stops no other.
async fn tell_one(
    app: &App,
    connection: &mut Connection,
    record: &Published,
) -> std::result::Result<std::result::Result<(), String>, Halt> {
    let now = app.clock().now();
    let outcome = match change(record) {
        Some(change) => connection.change(&record.owner, &change, seconds(now)).await,
        None => Err(UpdateError::Refused(format!("{} {} cannot be told", record.kind, record.owner))),
    };
    match outcome {
        Ok(()) => {
            names::agree(app.store(), record).await?;
            tracing::debug!(
                owner = record.owner,
                kind = record.kind,
                value = record.value,
                "the other server of names knows"
            );
            Ok(Ok(()))
        }
        Err(UpdateError::Refused(why)) => {
            names::disagree(app.store(), record, &why, now.plus(pause_after(record.failures))).await?;
            Ok(Err(why))
        }
        Err(error @ (UpdateError::Unreachable(_) | UpdateError::Key(_))) => Err(error.into()),
    }
}

/// Finds out what the other server should know and was not told, or was told and should not know any more.
async fn compare(app: &App, server: &str) -> Result<()> {
    let mut compared = app.names().compared.lock().await;
    let now = app.clock().now();
    if compared.is_none() && settings::find(app.store(), TOLD).await?.as_deref() != Some(server) {
        let again = names::intend_all(app.store(), now).await?;
        settings::set(app.store(), TOLD, server).await?;
        tracing::info!(server, records = again, "another server of names is told everything");
    }
    let revision = names::revision(app.store()).await?;
    if *compared == Some(revision) {
        return Ok(());
    }
    let wanted = wanted(app, &names::all(app.store()).await?);
    let mut known: BTreeMap<(String, &str), Option<String>> = BTreeMap::new();
    for record in names::published(app.store()).await? {
        if let Some(kind) = ["PTR", "A", "AAAA"].into_iter().find(|kind| *kind == record.kind) {
            known.insert((record.owner, kind), record.value);
        }
    }
    for ((owner, kind), value) in &wanted {
        if known.get(&(owner.clone(), kind)).map(Option::as_ref) != Some(Some(value)) {
            names::intend(app.store(), owner, kind, Some(value), now).await?;
        }
    }
    for ((owner, kind), value) in &known {
        if value.is_some() && !wanted.contains_key(&(owner.clone(), *kind)) {
            names::intend(app.store(), owner, kind, None, now).await?;
        }
    }
    *compared = Some(revision);
    Ok(())
}

/// What the other server should know: for each name and type, what it leads to.
fn wanted(app: &App, servers: &[names::Named]) -> BTreeMap<(String, &'static str), String> {
    let row = |record: bulut_dns::Record| match record.data {
        Data::Ptr(target) => ((record.owner, "PTR"), target),
        Data::A(address) => ((record.owner, "A"), address.to_string()),
        Data::Aaaa(address) => ((record.owner, "AAAA"), address.to_string()),
    };
    zones::records(&app.config().dns, servers).into_iter().map(row).collect()
}

fn change(record: &Published) -> Option<Change> {
    let Some(value) = &record.value else { return Some(Change::Remove(record.kind.clone())) };
    let data = match record.kind.as_str() {
        "PTR" => Data::Ptr(value.clone()),
        "A" => Data::A(value.parse().ok()?),
        "AAAA" => Data::Aaaa(value.parse().ok()?),
        _ => return None,
    };
    Some(Change::Set(data))
}

/// A time as it stands in serials and signatures.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix_seconds()).unwrap_or(0)
}

fn pause_after(failures: i64) -> Duration {
    let doublings = u32::try_from(failures.clamp(0, 10)).unwrap_or(10);
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

/// The other server is told everything again, in case it has forgotten: how many records.
///
/// Errors: `Invalid` without another server.
pub async fn tell_again(app: &App) -> Result<u64> {
    if app.config().dns.update_server.is_none() {
        return Err(Error::invalid("dns.update_server", "The settings name no other server of names."));
    }
    names::intend_all(app.store(), app.clock().now()).await
}

/// A zone as `bulut dns show` shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its content.
    pub content: bulut_dns::Content,
    /// Its serial as it was last served; none before it ever was.
    pub serial: Option<u32>,
    /// When its content changed last.
    pub changed_at: Option<Timestamp>,
}

/// All zones as they should be, with the serials that they were last served with.
pub async fn show(app: &App) -> Result<Vec<Shown>> {
    let (pools, servers) = (addresses::all_pools(app.store()).await?, names::all(app.store()).await?);
    let known = names::zones(app.store()).await?;
    let shown = |content: bulut_dns::Content| {
        let state = known.iter().find(|zone| zone.name == content.origin);
        Shown {
            serial: state.map(|zone| zone.serial),
            changed_at: state.map(|zone| zone.changed_at),
            content,
        }
    };
    Ok(zones::contents(&app.config().dns, &pools, &servers).into_iter().map(shown).collect())
}
