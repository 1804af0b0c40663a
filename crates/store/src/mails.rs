//! Mails: a queue that survives whoever works on it. A letter is claimed under a lease, and settled by its claimer
//! alone.

use crate::session::{Failure, Row, Session, to_json};
use bulut_model::mail::{Letter, Mail, MailState};
use bulut_model::{AccountId, MailId, Result, Timestamp};

/// A letter to be written.
#[derive(Debug, Clone)]
pub struct New {
    /// Unlike any other letter's.
    pub uuid: String,
    /// The account that it is about, if there is one.
    pub account: Option<AccountId>,
    /// To which address it goes.
    pub recipient: String,
    /// What it says.
    pub letter: Letter,
    /// What it is written once for; each one counts where there is none.
    pub once: Option<String>,
    /// From when on it is of no use.
    pub expires_at: Option<Timestamp>,
}

/// Proof of a claim: settling counts only while it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The letter.
    pub id: MailId,
    /// Who claimed it.
    pub owner: String,
    /// The claim's attempt.
    pub attempt: i64,
}

const COLUMNS: &str = "id, uuid, account_id, recipient, details, state, failures, run_at, last_error, created_at, \
                       expires_at, settled_at";

fn mail(row: &Row) -> Result<Mail, Failure> {
    let state = row.text("state")?;
    Ok(Mail {
        id: MailId(row.int("id")?),
        uuid: row.text("uuid")?,
        account: row.opt_int("account_id")?.map(AccountId),
        recipient: row.text("recipient")?,
        letter: row.json("details")?,
        state: MailState::from_word(&state)
            .ok_or_else(|| Failure::Fault(format!("a mail's state {state} is unknown")))?,
        failures: row.small("failures")?,
        run_at: Timestamp(row.int("run_at")?),
        last_error: row.opt_text("last_error")?,
        created_at: Timestamp(row.int("created_at")?),
        expires_at: row.opt_int("expires_at")?.map(Timestamp),
        settled_at: row.opt_int("settled_at")?.map(Timestamp),
    })
}

/// Puts a letter into the queue; none when one is remembered that was written for the same purpose.
pub async fn insert(s: &impl Session, new: &New, now: Timestamp) -> Result<Option<MailId>> {
    let row = s
        .one(
            "INSERT INTO mail (uuid, account_id, recipient, template, details, once_key, state, attempt, failures, \
             run_at, lease_until, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, 0, $7, 0, $7, $8) \
             ON CONFLICT (once_key) DO NOTHING RETURNING id",
            vec![
                new.uuid.clone().into(),
                new.account.map(|account| account.0).into(),
                new.recipient.clone().into(),
                new.letter.template().into(),
                to_json(&new.letter)?.into(),
                new.once.clone().into(),
                now.0.into(),
                new.expires_at.map(|at| at.0).into(),
            ],
        )
        .await?;
    Ok(row.map(|row| row.int("id").map(MailId)).transpose()?)
}

/// Claims the letter that has been due longest, whose lease is free or has run out.
pub async fn claim(
    s: &impl Session,
    owner: &str,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<(Mail, Fence)>> {
    let sql = format!(
        "UPDATE mail SET owner = $1, lease_until = $3, attempt = attempt + 1 WHERE id = \
         (SELECT id FROM mail WHERE state = 'waiting' AND run_at <= $2 AND lease_until <= $2 \
         ORDER BY run_at, id LIMIT 1 {{skip_locked}}) RETURNING {COLUMNS}, attempt"
    );
    let row = s.one(&sql, vec![owner.into(), now.0.into(), lease_until.0.into()]).await?;
    let claimed = |row: &Row| {
        let mail = mail(row)?;
        let fence = Fence { id: mail.id, owner: owner.to_owned(), attempt: row.int("attempt")? };
        Ok::<_, Failure>((mail, fence))
    };
    Ok(row.as_ref().map(claimed).transpose()?)
}

/// Says how a letter ended. `false`: the claim does not hold any more.
pub async fn settle(
    s: &impl Session,
    fence: &Fence,
    state: MailState,
    error: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let failed = i64::from(state == MailState::GivenUp);
    let changed = s
        .execute(
            "UPDATE mail SET state = $4, last_error = COALESCE($5, last_error), settled_at = $6, \
             failures = failures + $7, owner = NULL, lease_until = 0 \
             WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'waiting'",
            vec![
                fence.id.0.into(),
                fence.owner.clone().into(),
                fence.attempt.into(),
                state.as_str().into(),
                error.into(),
                now.0.into(),
                failed.into(),
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Gives a letter back that failed, to be tried again at `run_at`. `false`: the claim does not hold any more.
pub async fn retry_later(s: &impl Session, fence: &Fence, run_at: Timestamp, error: &str) -> Result<bool> {
    let changed = s
        .execute(
            "UPDATE mail SET failures = failures + 1, run_at = $4, last_error = $5, owner = NULL, lease_until = 0 \
             WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'waiting'",
            vec![
                fence.id.0.into(),
                fence.owner.clone().into(),
                fence.attempt.into(),
                run_at.0.into(),
                error.into(),
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Has letters tried at once that wait or were given up: one, or all of them. Answers how many; one that is being sent
/// at this moment is left alone.
pub async fn retry(s: &impl Session, id: Option<MailId>, now: Timestamp) -> Result<u64> {
    let (these, mut values) = match id {
        Some(id) => (" AND id = $2", vec![id.0.into()]),
        None => ("", vec![]),
    };
    values.insert(0, now.0.into());
    let sql = format!(
        "UPDATE mail SET state = 'waiting', failures = 0, run_at = $1, settled_at = NULL \
         WHERE state IN ('waiting', 'given_up') AND lease_until <= $1{these}"
    );
    Ok(s.execute(&sql, values).await?)
}

/// One letter.
pub async fn find(s: &impl Session, id: MailId) -> Result<Option<Mail>> {
    let row = s.one(&format!("SELECT {COLUMNS} FROM mail WHERE id = $1"), vec![id.0.into()]).await?;
    Ok(row.as_ref().map(mail).transpose()?)
}

/// Letters, newest first, at most `limit`: those in a state, or all.
pub async fn list(s: &impl Session, state: Option<MailState>, limit: i64) -> Result<Vec<Mail>> {
    let (these, mut values) = match state {
        Some(state) => ("WHERE state = $2 ", vec![state.as_str().into()]),
        None => ("", vec![]),
    };
    values.insert(0, limit.into());
    let sql = format!("SELECT {COLUMNS} FROM mail {these}ORDER BY id DESC LIMIT $1");
    let rows = s.all(&sql, values).await?;
    Ok(rows.iter().map(mail).collect::<Result<_, _>>()?)
}

/// How many letters with this template were written to the account since `since`.
pub async fn count_since(
    s: &impl Session,
    account: AccountId,
    template: &str,
    since: Timestamp,
) -> Result<u64> {
    let row = s
        .one(
            "SELECT COUNT(*) AS mails FROM mail WHERE account_id = $1 AND template = $2 AND created_at > $3",
            vec![account.0.into(), template.into(), since.0.into()],
        )
        .await?;
    Ok(row.map(|row| row.unsigned("mails")).transpose()?.unwrap_or(0))
}

/// Forgets letters that were settled before `before`, at most `limit` of them; answers how many. What such a letter was
/// written once for is forgotten with it: by then, its writer must not come to it again.
pub async fn sweep(s: &impl Session, before: Timestamp, limit: i64) -> Result<u64> {
    Ok(s.execute(
        "DELETE FROM mail WHERE id IN (SELECT id FROM mail WHERE settled_at < $1 LIMIT $2)",
        vec![before.0.into(), limit.into()],
    )
    .await?)
}
