//! Who uses a sender's limit, and who waits for it.

use super::samples;
use crate::batches::{self, Batch, EffectivePace};
use crate::db::{self, Dialect};
use crate::ring::JobKind;
use crate::senders::{self, Sender};
use crate::time::Timestamp;
use entities::{BatchId, ContactId, JobId, SenderId};
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::HashMap;
use std::time::Duration;

/// How many batches of a sender are read.
const MAX_USERS: u64 = 100;

/// A batch that uses a sender.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The batch.
    pub batch: Batch,
    /// How fast it goes, and what holds it.
    pub pace: EffectivePace,
    /// Recipients that nothing is decided about yet.
    pub left: i64,
    /// Since when it uses the sender, or waits for it.
    pub since: Timestamp,
    /// Its jobs that wait.
    pub waiting: Waiting,
}

/// The jobs of a batch that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub jobs: i64,
    /// When the first of them looks again.
    pub next_at: Option<Timestamp>,
}

/// A single message that waits: a reply, for the most part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// Its job.
    pub job: JobId,
    /// To whom.
    pub contact: ContactId,
    /// Since when it waits.
    pub since: Timestamp,
    /// When it is looked at again.
    pub next_at: Timestamp,
    /// What it waits for, as its job says it.
    pub why: Option<String>,
}

/// The single messages of a sender that wait, the next to be looked at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Singles {
    /// How many.
    pub waiting: i64,
    /// Whether there may be more: as many jobs as are looked at were looked at.
    pub at_least: bool,
    /// Since when the one that waits the longest does.
    pub since: Option<Timestamp>,
    /// The first of them, [`SHOWN`] at most.
    pub first: Vec<Single>,
}

/// How many single messages are shown one by one.
pub const SHOWN: usize = 50;

/// Among how many jobs single messages are looked for, and how many of them are counted.
const LOOKED_AT: usize = 5_000;
const COUNTED: usize = 1_000;

/// A sender with those who use it.
#[derive(Clone, Debug, PartialEq)]
pub struct SenderUse {
    /// The sender.
    pub sender: Sender,
    /// Its limit a minute; `None`: none.
    pub rate_per_minute: Option<i64>,
    /// How many messages of batches were decided in the last whole minute.
    pub in_use: i64,
    /// For how long its slots are handed out already: above zero, its limit is in full use.
    pub booked: Duration,
    /// The batches under way that leave from it, the oldest first.
    pub users: Vec<User>,
    /// Its single messages that wait.
    pub singles: Singles,
}

/// Reads a sender with those who use it; `None`: there is none of this name. `configured` is the limit of one whose row has
/// none.
///
/// # Errors
/// The database's.
pub async fn sender_use(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    name: &str,
    configured: Option<i64>,
) -> Result<Option<SenderUse>, DbErr> {
    let Some(sender) = senders::by_name(conn, name).await? else { return Ok(None) };
    let pace = batches::sender_paces(conn, configured).await?;
    let batches = batches::of_sender(conn, sender.id, MAX_USERS).await?;
    let waiting = waiting(conn, batches.iter().map(|batch| batch.summary.id)).await?;
    let users = batches.into_iter().map(|batch| {
        let summary = &batch.summary;
        User {
            pace: batch.effective_pace(now, &pace.of(&batch)),
            left: (summary.total - summary.processed()).max(0),
            since: summary.started_at.unwrap_or(summary.created_at),
            waiting: waiting.get(&summary.id).copied().unwrap_or_default(),
            batch,
        }
    });
    let in_use = samples::pace_in_use(conn, now).await?.get(&sender.id).copied().unwrap_or_default();
    Ok(Some(SenderUse {
        in_use,
        rate_per_minute: sender.rate_per_minute.or(configured),
        booked: sender.booked_until.since(now),
        users: users.collect(),
        singles: singles(conn, sender.id).await?,
        sender,
    }))
}

/// The jobs of these batches that wait.
async fn waiting(
    conn: &impl ConnectionTrait,
    batches: impl Iterator<Item = BatchId>,
) -> Result<HashMap<BatchId, Waiting>, DbErr> {
    let ids: Vec<i64> = batches.map(|id| id.0).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let (among, ids) = Dialect::of(conn).one_of_numbers(1, &ids);
    let sql = format!(
        "SELECT batch_id, count(*) AS jobs, min(run_at) AS next_at FROM jobs
         WHERE batch_id {among} AND state = 'ready' GROUP BY batch_id"
    );
    let found = db::values(conn, sql, [ids]).await?.into_iter();
    Ok(found.map(|(batch, jobs, next_at)| (batch, Waiting { jobs, next_at })).collect())
}

/// The single messages of a sender that wait.
async fn singles(conn: &impl ConnectionTrait, sender: SenderId) -> Result<Singles, DbErr> {
    let kind = JobKind::Deliver.as_str();
    let sql = format!(
        "SELECT id, payload, run_at, created_at, error FROM (
            SELECT id, kind, payload, run_at, created_at, error FROM jobs WHERE state = 'ready' ORDER BY run_at LIMIT {LOOKED_AT}
         ) AS looked_at WHERE kind = '{kind}' ORDER BY run_at, id LIMIT {COUNTED}"
    );
    let mut waiting = Vec::new();
    for row in db::all(conn, sql, []).await? {
        // One that cannot be read is dead at its next attempt, and says so there.
        let payload: serde_json::Value =
            serde_json::from_str(&row.try_get::<String>("", "payload")?).unwrap_or_default();
        if let Some(message) = payload["message"].as_i64() {
            waiting.push((message, row));
        }
    }
    let ids: Vec<i64> = waiting.iter().map(|(message, _)| *message).collect();
    let (among, ids) = Dialect::of(conn).one_of_numbers(2, &ids);
    let sql = format!(
        "SELECT id, contact_id FROM messages WHERE id {among} AND contact_id IS NOT NULL
            AND coalesce(sender_id, (SELECT d.id FROM senders d WHERE d.name = '{}')) = $1",
        senders::DEFAULT
    );
    let mut contacts = HashMap::new();
    for row in db::all(conn, sql, [sender.into(), ids]).await? {
        contacts.insert(row.try_get::<i64>("", "id")?, ContactId(row.try_get("", "contact_id")?));
    }
    let mut found = Singles { at_least: waiting.len() >= COUNTED, ..Singles::default() };
    for (message, row) in waiting {
        let Some(contact) = contacts.get(&message) else { continue };
        let since = Timestamp(row.try_get("", "created_at")?);
        found.waiting += 1;
        found.since = Some(found.since.map_or(since, |before| before.min(since)));
        if found.first.len() < SHOWN {
            found.first.push(Single {
                job: JobId(row.try_get("", "id")?),
                contact: *contact,
                since,
                next_at: Timestamp(row.try_get("", "run_at")?),
                why: row.try_get("", "error")?,
            });
        }
    }
    Ok(found)
}
