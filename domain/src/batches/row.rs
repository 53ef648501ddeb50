//! A batch's row.

use crate::contacts::merge;
use crate::db::{self, Dialect};
use crate::model::{Approval, BatchStatus, BatchSummary, BatchType, ItemStatus, OnUnknown, named};
use crate::ring::UnknownName;
use crate::time::Timestamp;
use entities::{BatchId, GatewayId, JobId, SenderId, UserId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

/// A batch with everything a surface shows and the rules need.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Status and counts.
    pub summary: BatchSummary,
    /// Which sender its messages leave from; `None` for a batch that sends nothing.
    pub sender: Option<SenderId>,
    /// Its own pace; `None`: the sender's.
    pub rate_per_minute: Option<i64>,
    /// The random extra delay of each message is uniform in `[0, jitter_ms]`.
    pub jitter_ms: i64,
    /// What becomes of a send whose outcome is not known.
    pub on_unknown: OnUnknown,
    /// When it is to start, if it was scheduled.
    pub schedule_at: Option<Timestamp>,
    /// Whether a user paused it, or it waits for an approval.
    pub paused: bool,
    /// Where its approval stands; `None`: nobody was asked.
    pub approval: Option<Approval>,
    /// Whether all its chunks are written.
    pub expanded: bool,
    /// The message, frozen at acceptance: a template that is changed later does not change it.
    pub content: Option<String>,
    /// Why the operation could not go on, or that every item failed.
    pub error_message: Option<String>,
    /// Who asked for it.
    pub created_by: UserId,
    /// The request without its lists, as users have changed it since.
    pub config: serde_json::Value,
    /// How many chunks it has.
    pub chunk_count: i64,
    /// The first chunk that was not opened yet.
    pub next_chunk: i64,
    /// How many chunks are not closed.
    pub chunks_left: i64,
    /// The next free slot of its own pace, in microseconds since the epoch.
    pub next_slot_us: i64,
    /// The gateway that its messages leave through; `None`: none was asked yet.
    pub gateway: Option<GatewayId>,
}

impl Batch {
    /// Whether it ends with the chunk that is closed next.
    pub(crate) const fn has_one_chunk_left(&self) -> bool {
        self.expanded && self.chunks_left == 1
    }

    /// What it is called in lists: how the text of a send begins, in at most so many characters; empty for what sends nothing.
    #[must_use]
    pub fn name(&self, characters: usize) -> String {
        let text = self.content.as_deref().unwrap_or_default();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() <= characters {
            return words;
        }
        let mut cut: String = words.chars().take(characters.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }

    /// When it will probably end: by its rate and what is left, or, without a rate, by how fast it went so far. `None`
    /// when it has ended, is paused, or nothing can be said yet. `sender_rate` is the sender's limit a minute.
    #[must_use]
    pub fn estimated_completion_at(&self, now: Timestamp, sender_rate: Option<i64>) -> Option<Timestamp> {
        let s = &self.summary;
        if s.status.is_terminal() || self.paused {
            return None;
        }
        let left = (s.total - s.processed()).max(0);
        let rate = match (self.rate_per_minute, sender_rate.filter(|_| self.sender.is_some())) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let left_ms = match rate {
            Some(rate) => left.saturating_mul(60_000) / rate.max(1) + self.jitter_ms / 2,
            None => {
                let elapsed = now.0 - s.started_at?.0;
                if s.processed() == 0 || elapsed <= 0 {
                    return None;
                }
                left.saturating_mul(elapsed) / s.processed()
            }
        };
        let from = self.schedule_at.filter(|_| s.started_at.is_none()).map_or(now, |at| at.max(now));
        Some(Timestamp(from.0.saturating_add(left_ms)))
    }
}

pub(super) const SUMMARY: &str =
    "id, type, status, total, succeeded, failed, skipped, paused, version, created_at, started_at, completed_at";

pub(super) const COLUMNS: &str = "id, type, status, total, succeeded, failed, skipped, version, created_at, started_at,
    completed_at, sender_id, rate_per_minute, jitter_ms, on_unknown, schedule_at, paused, approval, expanded, content, error_message,
    created_by, config, chunk_count, next_chunk, chunks_left, next_slot_us, gateway_id";

pub(super) fn time(row: &QueryResult, column: &str) -> Result<Option<Timestamp>, DbErr> {
    Ok(row.try_get::<Option<i64>>("", column)?.map(Timestamp))
}

pub(super) fn summary(row: &QueryResult) -> Result<BatchSummary, DbErr> {
    Ok(BatchSummary {
        id: BatchId(row.try_get("", "id")?),
        batch_type: named::<BatchType>(row, "type")?,
        status: named::<BatchStatus>(row, "status")?,
        total: row.try_get("", "total")?,
        succeeded: row.try_get("", "succeeded")?,
        failed: row.try_get("", "failed")?,
        skipped: row.try_get("", "skipped")?,
        paused: row.try_get("", "paused")?,
        version: row.try_get("", "version")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        started_at: time(row, "started_at")?,
        completed_at: time(row, "completed_at")?,
    })
}

fn approval(row: &QueryResult) -> Result<Option<Approval>, DbErr> {
    let name = row.try_get::<Option<String>>("", "approval")?;
    name.map(|name| name.parse().map_err(|error: UnknownName| DbErr::Type(error.to_string()))).transpose()
}

pub(super) fn batch(row: &QueryResult) -> Result<Batch, DbErr> {
    let config: String = row.try_get("", "config")?;
    let mut batch = Batch {
        summary: summary(row)?,
        sender: row.try_get::<Option<i64>>("", "sender_id")?.map(SenderId),
        rate_per_minute: row.try_get("", "rate_per_minute")?,
        jitter_ms: row.try_get("", "jitter_ms")?,
        on_unknown: named::<OnUnknown>(row, "on_unknown")?,
        schedule_at: time(row, "schedule_at")?,
        paused: row.try_get("", "paused")?,
        approval: approval(row)?,
        expanded: row.try_get("", "expanded")?,
        content: row.try_get("", "content")?,
        error_message: row.try_get("", "error_message")?,
        created_by: UserId(row.try_get("", "created_by")?),
        config: serde_json::from_str(&config).map_err(|e| DbErr::Json(e.to_string()))?,
        chunk_count: row.try_get("", "chunk_count")?,
        next_chunk: row.try_get("", "next_chunk")?,
        chunks_left: row.try_get("", "chunks_left")?,
        next_slot_us: row.try_get("", "next_slot_us")?,
        gateway: row.try_get::<Option<i64>>("", "gateway_id")?.map(GatewayId),
    };
    if batch.summary.batch_type == BatchType::Send {
        // What a user may change stands in columns, and the request says the same.
        batch.config["ratePerMinute"] = batch.rate_per_minute.into();
        batch.config["jitterMs"] = batch.jitter_ms.into();
        batch.config["scheduleAt"] = batch.schedule_at.map(Timestamp::to_rfc3339).into();
    }
    Ok(batch)
}

/// Reads a batch as it was last committed, and waits for nobody: for steps that only have to know whether it goes on.
/// One that is cancelled or paused meanwhile was so after them.
pub(crate) async fn read(conn: &impl ConnectionTrait, id: BatchId) -> Result<Option<Batch>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = $1");
    db::one(conn, sql, [id.into()]).await?.as_ref().map(batch).transpose()
}

/// Whether claims of this batch should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// They should.
    Running,
    /// A user paused it, or it waits for an approval.
    Paused,
    /// It has ended: cancelled, or failed as a whole.
    Ended,
}

impl RunState {
    /// What a batch's row says.
    #[must_use]
    pub fn of(batch: &Batch) -> Self {
        if batch.summary.status.is_terminal() {
            Self::Ended
        } else if batch.paused || batch.awaits_approval() {
            Self::Paused
        } else {
            Self::Running
        }
    }
}

/// Reads a batch and, on PostgreSQL, locks its row until the transaction ends: control and counts change one at a time.
pub(crate) async fn lock(conn: &impl ConnectionTrait, id: BatchId) -> Result<Option<Batch>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = $1{}", Dialect::of(conn).for_update());
    db::one(conn, sql, [id.into()]).await?.as_ref().map(batch).transpose()
}

/// The same of the batch that a job belongs to; `None`: it belongs to none, or there is no such job.
pub(crate) async fn lock_of(conn: &impl ConnectionTrait, job: JobId) -> Result<Option<Batch>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE id = (SELECT batch_id FROM jobs WHERE id = $1){}",
        Dialect::of(conn).for_update()
    );
    db::one(conn, sql, [job.into()]).await?.as_ref().map(batch).transpose()
}

/// How a commit changes a batch's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: i64,
    pub(crate) failed: i64,
    pub(crate) skipped: i64,
}

impl Counts {
    pub(crate) const fn is_zero(self) -> bool {
        self.succeeded == 0 && self.failed == 0 && self.skipped == 0
    }
}

/// Adds to the counts; returns the summary that the commit will leave.
pub(crate) async fn count(conn: &impl ConnectionTrait, id: BatchId, by: Counts) -> Result<Option<BatchSummary>, DbErr> {
    let sql = format!(
        "UPDATE batches SET succeeded = succeeded + $2, failed = failed + $3, skipped = skipped + $4, version = version + 1
         WHERE id = $1 RETURNING {SUMMARY}"
    );
    let row = db::one(conn, sql, [id.into(), by.succeeded.into(), by.failed.into(), by.skipped.into()]).await?;
    row.as_ref().map(summary).transpose()
}

/// What the gateway reported of an item's message after it had taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemFate {
    /// It went out: no doubt and no failure stands.
    Sent,
    /// It could not be delivered.
    Failed {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Nobody knows whether it went out.
    Unknown {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
}

/// Writes what was reported of an item's message to the item, if it is finished and the message is still its own. Returns
/// the summary if the counts changed.
pub(crate) async fn settle_item(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    seq: i64,
    message: Uuid,
    fate: &ItemFate,
) -> Result<Option<BatchSummary>, DbErr> {
    let (status, error) = match fate {
        ItemFate::Sent => (ItemStatus::Succeeded, None),
        ItemFate::Failed { code, detail } => (ItemStatus::Failed, Some((code, detail))),
        ItemFate::Unknown { code, detail } => (ItemStatus::Unknown, Some((code, detail))),
    };
    let (code, detail) = error.map(|(code, detail)| (code.clone(), detail.clone())).unzip();
    let write = async |from: &str| {
        let sql = format!(
            "UPDATE messages SET item_status = $4, error_code = $5, finished_at = $7,
                    error_message = CASE WHEN {} THEN CAST($6 AS TEXT) END
             WHERE batch_id = $1 AND seq = $2 AND uuid = {} AND finished_at IS NOT NULL AND item_status {from}",
            merge::is_there("messages.contact_id"),
            Dialect::of(conn).uuid(3)
        );
        let values = [
            batch.into(),
            seq.into(),
            message.to_string().into(),
            status.as_str().into(),
            code.clone().into(),
            detail.clone().into(),
            now.0.into(),
        ];
        db::execute(conn, sql, values).await
    };
    let by = match fate {
        ItemFate::Sent if write("IN ('failed', 'unknown')").await? > 0 => {
            Counts { succeeded: 1, failed: -1, skipped: 0 }
        }
        ItemFate::Failed { .. } | ItemFate::Unknown { .. } if write("= 'succeeded'").await? > 0 => {
            Counts { succeeded: -1, failed: 1, skipped: 0 }
        }
        ItemFate::Failed { .. } => {
            // It counts as failed already, and is no longer in doubt.
            write("= 'unknown'").await?;
            return Ok(None);
        }
        ItemFate::Sent | ItemFate::Unknown { .. } => return Ok(None),
    };
    count(conn, batch, by).await
}
