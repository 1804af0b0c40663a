//! Dunning: accounts whose balance runs out are warned, suspended and, only where the settings say so, emptied; each step
//! is announced by an event and a letter in the transaction that takes it.
//!
//! Promises: whoever looks, and however often, each step is taken once; a payment that suffices ends it at once. Nobody
//! asked for it, so that an operation which holds a server decides, and the next look comes. Servers of the resource
//! pool, which cost nothing by the hour, are left alone. Must not know: mail servers.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::letters::money;
use crate::domain::plans::Plan;
use crate::domain::{charging, mails, metering, traffic};
use bulut_model::account::Account;
use bulut_model::dunning::{Dunning, Facts, Stage, Step, next};
use bulut_model::error::Kind;
use bulut_model::mail::Letter;
use bulut_model::operation::OperationKind;
use bulut_model::server::{Phase, Power, Server};
use bulut_model::snapshot::{Phase as SnapshotPhase, Snapshot};
use bulut_model::{AccountId, Error, Micros, OperationId, Result, ServerId, Timestamp};
use bulut_store::dunning::{self as rows, AccountEvent};
use bulut_store::operations::{self, Subject};
use bulut_store::{Session, Tx, accounts, consoles, servers, snapshots};

/// Most events in one answer.
const EVENTS_MAX: i64 = 100;

/// What the caller was told, newest first.
pub async fn events(app: &App, caller: &Caller) -> Result<Vec<AccountEvent>> {
    rows::events(app.store(), caller.account.id, EVENTS_MAX).await
}

/// What an account was told, newest first: the operator's verb.
///
/// Errors: `NotFound`.
pub async fn events_of(app: &App, name: &str) -> Result<Vec<AccountEvent>> {
    let account = crate::domain::accounts::named(app, name).await?;
    rows::events(app.store(), account.id, EVENTS_MAX).await
}

/// What an account has that costs something.
struct Things {
    servers: Vec<Server>,
    snapshots: Vec<Snapshot>,
}

async fn things(s: &impl Session, account: AccountId) -> Result<Things> {
    let mut servers = servers::list(s, account).await?;
    servers.retain(|server| !server.in_pool && server.phase != Phase::Destroying);
    let mut snapshots = snapshots::list(s, account, None).await?;
    snapshots.retain(|snapshot| snapshot.phase != SnapshotPhase::Destroying);
    Ok(Things { servers, snapshots })
}

async fn facts(app: &App, s: &impl Session, account: &Account) -> Result<(Facts, Things)> {
    let things = things(s, account.id).await?;
    let facts = Facts {
        balance: charging::available(s, account.id, app.clock().now()).await?,
        is_exempt: !is_on(app) || account.is_postpaid,
        has_things: !things.servers.is_empty() || !things.snapshots.is_empty(),
    };
    Ok((facts, things))
}

/// Whether accounts are dunned at all.
pub fn is_on(app: &App) -> bool {
    app.config().billing.enabled && app.config().dunning.enabled
}

/// Takes the account's next step, if there is one, and goes on with what the last ones left.
pub async fn look_at(app: &App, id: AccountId) -> Result<()> {
    let Some(account) = accounts::find(app.store(), id).await? else { return Ok(()) };
    if !has_work(app, &account).await? {
        return Ok(());
    }
    let tx = app.store().begin().await?;
    let account = accounts::hold(&tx, id).await?;
    let now = app.clock().now();
    let dunning = rows::find(&tx, id).await?;
    let (facts, things) = facts(app, &tx, &account).await?;
    let mut look = Look { app, tx: &tx, account: &account, now, dunning, balance: facts.balance, things };
    if let Some(step) = next(&dunning, facts, &app.config().dunning.rules(), now) {
        look.take(step).await?;
    }
    look.go_on().await?;
    tx.commit().await?;
    app.work().notify_one();
    Ok(())
}

/// Whether there is anything to do, found out without holding the account.
async fn has_work(app: &App, account: &Account) -> Result<bool> {
    let s = app.store();
    let dunning = rows::find(s, account.id).await?;
    let (facts, things) = facts(app, s, account).await?;
    let runs = |server: &Server| server.phase == Phase::Ready && server.power == Power::Running;
    Ok(next(&dunning, facts, &app.config().dunning.rules(), app.clock().now()).is_some()
        || (dunning.stage.is_suspended() && things.servers.iter().any(runs))
        || (dunning.stage == Stage::Deleted && facts.has_things)
        || (!dunning.stage.is_suspended() && !rows::remembered(s, account.id).await?.is_empty()))
}

/// Lets an account act again whose money has arrived in this transaction, which holds it.
pub async fn settle_paid(app: &App, tx: &Tx, account: &Account) -> Result<()> {
    let now = app.clock().now();
    let dunning = rows::find(tx, account.id).await?;
    if dunning.stage == Stage::Fine {
        return Ok(());
    }
    let (facts, things) = facts(app, tx, account).await?;
    let step = next(&dunning, facts, &app.config().dunning.rules(), now);
    let Some(step @ (Step::Clear | Step::Resume)) = step else { return Ok(()) };
    let mut look = Look { app, tx, account, now, dunning, balance: facts.balance, things };
    look.take(step).await?;
    look.go_on().await
}

/// Lets a suspended account act again although it has not paid: the operator's word. If it does not pay, it begins with
/// a warning anew. The transaction holds the account.
pub async fn pardon(app: &App, tx: &Tx, account: &Account) -> Result<()> {
    let now = app.clock().now();
    let dunning = rows::find(tx, account.id).await?;
    if !dunning.stage.is_suspended() {
        return Ok(());
    }
    let (facts, things) = facts(app, tx, account).await?;
    let mut look = Look { app, tx, account, now, dunning, balance: facts.balance, things };
    look.take(Step::Resume).await?;
    look.go_on().await
}

/// One look at one account, in one transaction.
struct Look<'a> {
    app: &'a App,
    tx: &'a Tx,
    account: &'a Account,
    now: Timestamp,
    dunning: Dunning,
    balance: Micros,
    things: Things,
}

impl Look<'_> {
    /// Takes a step and announces it.
    async fn take(&mut self, step: Step) -> Result<()> {
        let suspended_below = self.app.config().dunning.rules().suspend_below;
        let balance = self.balance;
        match step {
            Step::Clear => self.enter(Stage::Fine, None).await,
            Step::Warn { suspended_from } => {
                self.dunning.round += 1;
                self.enter(Stage::Warned, Some(suspended_from)).await?;
                let letter = Letter::LowBalance { balance, suspended_below, suspended_from };
                self.announce("balance_low", &format!("The balance is low: {}.", money(balance)), letter)
                    .await
            }
            Step::Suspend { deleted_from } => {
                self.enter(Stage::Suspended, None).await?;
                // For good: who acts again soon after must ask for new links.
                consoles::revoke_all(self.tx, self.account.id, self.now).await?;
                let letter = Letter::Suspension { balance, suspended_below, deleted_from };
                let message = "The balance is used up: the account is suspended and its servers are stopped.";
                self.announce("suspended", message, letter).await
            }
            Step::Notice { deleted_from } => {
                self.enter(Stage::Noticed, Some(deleted_from)).await?;
                let letter = Letter::DeletionNotice { balance, suspended_below, deleted_from };
                let message = format!("Servers and snapshots are deleted from {} on.", deleted_from.wire());
                self.announce("deletion_announced", &message, letter).await
            }
            Step::TakeBack => {
                self.enter(Stage::Suspended, None).await?;
                self.tell("deletion_taken_back", "Servers and snapshots are not deleted.").await
            }
            Step::Delete => {
                self.enter(Stage::Deleted, None).await?;
                let (servers, snapshots) = (self.things.servers.len(), self.things.snapshots.len());
                let letter = Letter::Deletion { servers: servers as u64, snapshots: snapshots as u64 };
                let message = format!("{servers} servers and {snapshots} snapshots are deleted.");
                self.announce("deleted", &message, letter).await
            }
            Step::Resume => {
                self.enter(Stage::Fine, None).await?;
                let starts = self.app.config().dunning.restart;
                let remembered = rows::remembered(self.tx, self.account.id).await?;
                if !starts {
                    for server in &remembered {
                        rows::forget(self.tx, *server).await?;
                    }
                }
                let servers = if starts { remembered.len() as u64 } else { 0 };
                let letter = Letter::Resumption { balance, servers };
                self.announce("resumed", "The account can be used again.", letter).await
            }
        }
    }

    async fn enter(&mut self, stage: Stage, due_at: Option<Timestamp>) -> Result<()> {
        self.dunning = Dunning { stage, entered_at: self.now, due_at, ..self.dunning };
        rows::set(self.tx, self.account.id, &self.dunning).await?;
        tracing::info!(account.id = self.account.id.0, stage = stage.as_str(), "dunning");
        Ok(())
    }

    async fn tell(&self, kind: &str, message: &str) -> Result<()> {
        rows::tell(self.tx, self.account.id, kind, message, self.now).await
    }

    async fn announce(&self, kind: &str, message: &str, letter: Letter) -> Result<()> {
        self.tell(kind, message).await?;
        let once = format!("dunning/{}/{}/{kind}/{}", self.account.id, self.dunning.round, self.now.0);
        mails::enqueue(self.tx, self.account, letter, Some(&once), self.now).await.map(drop)
    }

    /// Goes on with what a stage asks for: all that runs is stopped, all that there is deleted, what was running is
    /// started again.
    async fn go_on(&self) -> Result<()> {
        match self.dunning.stage {
            Stage::Fine | Stage::Warned => self.start_again().await,
            Stage::Suspended | Stage::Noticed => self.stop_all().await,
            Stage::Deleted => self.delete_all().await,
        }
    }

    async fn stop_all(&self) -> Result<()> {
        for server in &self.things.servers {
            let runs = server.phase == Phase::Ready && server.power == Power::Running;
            if runs && self.order(OperationKind::ServerStop, server).await?.is_some() {
                servers::set_power(self.tx, server.id, Power::Stopping).await?;
                rows::remember(self.tx, self.account.id, server.id).await?;
            }
        }
        Ok(())
    }

    async fn start_again(&self) -> Result<()> {
        for id in rows::remembered(self.tx, self.account.id).await? {
            let server = self.things.servers.iter().find(|server| server.id == id);
            let Some(server) = server.filter(|server| server.power != Power::Running) else {
                // It is gone, or its owner was faster.
                rows::forget(self.tx, id).await?;
                continue;
            };
            if self.may_start(id).await? {
                let Some(operation) = self.order(OperationKind::ServerStart, server).await? else { continue };
                let more = metering::more_hourly(self.tx, server, server.package).await?;
                charging::hold(self.app, self.tx, operation, self.account.id, more).await?;
            }
            rows::forget(self.tx, id).await?;
        }
        Ok(())
    }

    /// Whether it has traffic left; one that has not stays off, as it would for its owner.
    async fn may_start(&self, id: ServerId) -> Result<bool> {
        match traffic::check_may_run(self.tx, id, self.now).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == Kind::Quota => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete_all(&self) -> Result<()> {
        for server in &self.things.servers {
            if self.order(OperationKind::ServerDestroy, server).await?.is_some() {
                servers::set_phase(self.tx, server.id, Phase::Destroying).await?;
                metering::server(self.app, self.tx, server.id, self.now).await?;
                rows::forget(self.tx, server.id).await?;
            }
        }
        for snapshot in &self.things.snapshots {
            let is_free = snapshot.phase == SnapshotPhase::Ready
                && !operations::uses_snapshot(self.tx, snapshot.id).await?;
            if is_free {
                snapshots::set_phase(self.tx, snapshot.id, SnapshotPhase::Destroying).await?;
                metering::snapshot(self.app, self.tx, snapshot.id, self.now).await?;
                let subject = Subject {
                    account: self.account.id,
                    server: snapshot.server,
                    snapshot: Some(snapshot.id),
                    node: snapshot.node,
                };
                operations::insert(self.tx, OperationKind::SnapshotDestroy, subject, "{}", self.now).await?;
            }
        }
        Ok(())
    }

    /// Queues an operation on a server that no other one holds; none if one does, which decides.
    async fn order(&self, kind: OperationKind, server: &Server) -> Result<Option<OperationId>> {
        // Asked before, since a refused statement would spoil the transaction.
        if server.phase != Phase::Ready || !server.active_operations.is_empty() {
            return Ok(None);
        }
        let subject =
            Subject { account: self.account.id, server: server.id, snapshot: None, node: server.node };
        let params = Plan::default().to_json()?;
        let operation = operations::insert(self.tx, kind, subject, &params, self.now).await?;
        tracing::info!(
            server.id = server.id.0,
            operation.id = operation.0,
            kind = kind.as_str(),
            "ordered by dunning"
        );
        Ok(Some(operation))
    }
}

/// What a suspended account is told that wants to change something.
pub fn refusal() -> Error {
    Error::forbidden(
        "This account is suspended because its balance is used up: it can look at its things, but not change them. \
         Top it up.",
    )
}
