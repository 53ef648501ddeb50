//! Beginning with a chunk: what an earlier claim of its job left behind.

use super::claim::{self, ClaimRequest};
use super::{ChunkStart, Held};
use crate::batches::chunks::{self, Chunk};
use crate::batches::in_flight::{self, Disowned};
use crate::batches::recipients::ContactRef;
use crate::batches::row::{self, Batch, Counts, RunState};
use crate::batches::{BatchSummary, control};
use crate::db::{self, Dialect};
use crate::jobs::{self, Claim, Ending};
use crate::model::OnUnknown;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{BatchId, JobId, SenderId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde_json::json;

/// A chunk in the hands of one worker.
#[derive(Debug)]
pub struct Work {
    /// The job's claim.
    pub held: Held,
    /// The message, frozen at acceptance.
    pub content: String,
    /// Who sends it.
    pub sender: Option<SenderId>,
    pub(super) chunk: Chunk,
    pub(super) refs: Vec<ContactRef>,
}

impl Work {
    /// Whether every recipient of the chunk has its row.
    #[must_use]
    pub fn all_written(&self) -> bool {
        self.chunk.next_seq >= self.chunk.end_seq()
    }
}

/// Claims a `send_chunk` job and begins with it, in one transaction: [`jobs::claim`] and [`begin`]. No [`ChunkStart`]: it was not
/// claimed.
///
/// # Errors
/// The database's, or a chunk that cannot be read.
pub async fn claim_and_begin(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    owner: &str,
    asked: ClaimRequest,
    rng: &mut impl Rng,
) -> Result<Step<(Claim, Option<ChunkStart>)>, DbErr> {
    // Before the job's row: who cancels, pauses or resumes the batch locks them in this order too, and the job is ready.
    let batch = row::lock_of(conn, id).await?;
    let claim = jobs::claim(conn, now, id, owner).await?;
    let Claim::Taken(job) = &claim else { return Ok(Step::quiet((claim, None))) };
    // Who works on a job that is about no chunk says so.
    let Some(held) = Held::of(job) else { return Ok(Step::quiet((claim, None))) };
    let begun = begin_with(conn, now, held, batch, asked, rng).await?;
    Ok(begun.map(|begun| (claim, Some(begun))))
}

/// Begins the work on a claimed `send_chunk` job: starts the batch with its first chunk, takes back what an earlier
/// claim left unsettled, undoes failures that a user wants tried again, and claims the first items, as
/// [`claim_items`](super::claim_items) does.
///
/// # Errors
/// The database's, or a chunk that cannot be read.
pub async fn begin(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    asked: ClaimRequest,
    rng: &mut impl Rng,
) -> Result<Step<ChunkStart>, DbErr> {
    if !jobs::renew(conn, now, held.job, held.fence).await? {
        return Ok(Step::quiet(ChunkStart::Stale));
    }
    let batch = row::lock(conn, held.batch).await?;
    begin_with(conn, now, held, batch, asked, rng).await
}

/// The same in a transaction that holds the job's claim and has locked its batch.
async fn begin_with(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    batch: Option<Batch>,
    asked: ClaimRequest,
    rng: &mut impl Rng,
) -> Result<Step<ChunkStart>, DbErr> {
    let no = held.chunk;
    let (Some(mut batch), Some(mut chunk)) = (batch, chunks::load(conn, held.batch, no).await?) else {
        jobs::finish(conn, now, held.job, held.fence, &Ending::Done, rng).await?;
        return Ok(Step::quiet(ChunkStart::Over));
    };
    let mut events = Vec::new();
    match RunState::of(&batch) {
        RunState::Paused => {
            jobs::finish(conn, now, held.job, held.fence, &Ending::Paused, rng).await?;
            return Ok(Step::quiet(ChunkStart::Parked));
        }
        RunState::Running => {
            events.extend(control::start(conn, now, &mut batch, asked.gateway).await?.map(Event::BatchChanged));
            if chunk.retry {
                events.extend(revive(conn, now, &batch, &chunk).await?.map(Event::BatchChanged));
            }
        }
        RunState::Ended => {}
    }
    if let Some(changed) = take_back(conn, now, &batch, &mut chunk, held.fence).await? {
        events.push(Event::BatchChanged(changed));
    }
    let refs = serde_json::from_str(&chunk.data).map_err(|e| DbErr::Json(format!("chunk {no}: {e}")))?;
    let content = batch.content.clone().unwrap_or_default();
    let mut work = Box::new(Work { held, content, sender: batch.sender, chunk, refs });
    let claimed = claim::take(conn, now, &mut work, batch, asked, rng).await?;
    events.extend(claimed.events);
    Ok(Step { value: ChunkStart::Go(work, Box::new(claimed.value)), rings: claimed.rings, events })
}

/// Items of this chunk that were claimed by an earlier claim of the job and never settled: their outcome is unknown.
async fn take_back(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    chunk: &mut Chunk,
    fence: i64,
) -> Result<Option<BatchSummary>, DbErr> {
    let resend = batch.on_unknown == OnUnknown::Resend && RunState::of(batch) != RunState::Ended;
    let (next, finished) = if resend { (Some(now.0), None) } else { (None, Some(now.0)) };
    if chunk.next_seq == chunk.first_seq {
        return Ok(None);
    }
    let (code, message) = chunks::VANISHED;
    let lost = db::execute(
        conn,
        "UPDATE messages SET item_status = 'unknown', next_attempt_at = $4, finished_at = $5, slot_us = NULL,
                error_code = $7, error_message = $8
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status = 'sending' AND fence < $6",
        [
            batch.summary.id.into(),
            chunk.first_seq.into(),
            chunk.end_seq().into(),
            next.into(),
            finished.into(),
            fence.into(),
            code.into(),
            message.into(),
        ],
    )
    .await?;
    let in_doubt =
        Disowned { code, message, next_attempt_at: next.map(Timestamp), finished_at: finished.map(Timestamp) };
    let first = in_flight::disown(conn, batch.summary.id, chunk, in_doubt).await?;
    chunk.claim = None;
    let failed = i64::try_from(lost).unwrap_or(i64::MAX).saturating_add(first);
    if failed == 0 || resend {
        return Ok(None);
    }
    row::count(conn, batch.summary.id, Counts { failed, ..Counts::default() }).await
}

/// Makes the failed items of the chunk wait again, under the same message ids: the gateway never took them, or knows
/// them by their id. One whose outcome is not known stays so until it is. A message that the gateway took and reported as
/// failed is over: its item gets another, or the gateway would answer that it has it.
async fn revive(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    chunk: &Chunk,
) -> Result<Option<BatchSummary>, DbErr> {
    let id = batch.summary.id;
    let which = || [id.into(), chunk.first_seq.into(), chunk.end_seq().into(), chunk.retry_code.clone().into()];
    let parted = part(conn, now, id, which()).await?;
    let revived = db::execute(
        conn,
        "UPDATE messages SET item_status = CASE WHEN item_status = 'unknown' THEN item_status ELSE 'pending' END,
                attempts = 0, finished_at = NULL, next_attempt_at = NULL, slot_us = NULL, error_code = NULL,
                error_message = NULL
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status IN ('failed', 'unknown')
           AND finished_at IS NOT NULL AND (CAST($4 AS TEXT) IS NULL OR error_code = $4)",
        which(),
    )
    .await?;
    db::execute(
        conn,
        "UPDATE batch_chunks SET retry = FALSE WHERE batch_id = $1 AND no = $2",
        [id.into(), chunk.no.into()],
    )
    .await?;
    let revived = parted.saturating_add(i64::try_from(revived).unwrap_or(i64::MAX));
    row::count(conn, id, Counts { failed: -revived, ..Counts::default() }).await
}

/// Parts the failed items in a range from messages that were taken: the messages stay in their contacts' histories, and the
/// items wait in rows of their own. Returns how many they were.
async fn part(conn: &impl ConnectionTrait, now: Timestamp, batch: BatchId, which: [Value; 4]) -> Result<i64, DbErr> {
    let over = db::all(
        conn,
        "SELECT id, seq, contact_id, started_at FROM messages
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status = 'failed' AND finished_at IS NOT NULL
           AND sent_at IS NOT NULL AND (CAST($4 AS TEXT) IS NULL OR error_code = $4)",
        which,
    )
    .await?;
    if over.is_empty() {
        return Ok(0);
    }
    let number = |row: &QueryResult, column: &str| row.try_get::<Option<i64>>("", column);
    let rows = over
        .iter()
        .map(|row| {
            Ok(json!({ "seq": number(row, "seq")?, "contact_id": number(row, "contact_id")?,
                "started_at": number(row, "started_at")?, "id": number(row, "id")? }))
        })
        .collect::<Result<Vec<_>, DbErr>>()?;
    let dialect = Dialect::of(conn);
    let ids: Vec<_> = rows.iter().map(|row| &row["id"]).collect();
    let sql = format!(
        "UPDATE messages SET seq = NULL, item_status = NULL, slot_us = NULL, started_at = NULL, finished_at = NULL
         WHERE id {}",
        dialect.one_of(1, "bigint")
    );
    db::execute(conn, sql, [json!(ids).to_string().into()]).await?;
    let columns = [("seq", "bigint"), ("contact_id", "bigint"), ("started_at", "bigint")];
    let sql = format!(
        "INSERT INTO messages (batch_id, seq, contact_id, item_status, started_at, created_at)
         SELECT $2, seq, contact_id, 'pending', started_at, $3 FROM {} WHERE TRUE",
        dialect.rows(1, &columns)
    );
    db::execute(conn, sql, [db::rows_json(&rows)?, batch.into(), now.0.into()]).await?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}
