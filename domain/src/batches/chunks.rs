//! Chunks: the parts in which a batch's work is claimed.
//!
//! A batch's recipients are written once, as they came, into chunks. An item's own row is written when something is
//! decided about it: claimed, failed, done. Until then it is its chunk's: this halves what a batch writes, makes a
//! million recipients acceptable in one short transaction, and lets a cancel leave the unstarted alone.
//!
//! Only [`WINDOW`] chunks of a batch are open at a time; each that closes (or has nothing left but retries that wait)
//! opens the next. So the queue holds a few rings of each batch whatever its size, and batches take turns.

use super::in_flight::{self, ClaimId, Disowned};
use super::recipients::{self, ContactRef};
use super::row::{self, Counts, SUMMARY, summary};
use super::table::Table;
use super::traces;
use crate::db::{self, Dialect};
use crate::jobs::{self, NewJob};
use crate::model::{BatchStatus, BatchSummary, BatchType};
use crate::ring::{JobKind, Ring};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

/// How many chunks of one batch may be open at once: enough to keep several workers busy, few enough to be fair.
pub const WINDOW: i64 = 4;

/// How many items a chunk has. A chunk is what a worker holds on to and what a crash makes uncertain; the set-based
/// kinds do one in a few transactions.
#[must_use]
pub const fn chunk_size(batch_type: BatchType) -> usize {
    match batch_type {
        BatchType::Send => 500,
        BatchType::Import => 2_000,
        BatchType::Tag | BatchType::Delete => 5_000,
    }
}

const fn kind(batch_type: BatchType) -> JobKind {
    match batch_type {
        BatchType::Send => JobKind::SendChunk,
        BatchType::Import => JobKind::ImportChunk,
        BatchType::Tag => JobKind::TagChunk,
        BatchType::Delete => JobKind::DeleteChunk,
    }
}

/// A chunk's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) no: i64,
    pub(crate) first_seq: i64,
    pub(crate) item_count: i64,
    pub(crate) next_seq: i64,
    pub(crate) passed_on: bool,
    pub(crate) retry: bool,
    /// Of what failed, only what failed with this code is tried again; `None`: all.
    pub(crate) retry_code: Option<String>,
    /// Who has items of it in flight that have no row; `None`: there are none.
    pub(crate) claim: Option<ClaimId>,
    pub(crate) data: String,
}

impl Chunk {
    /// The first number after the chunk's last item.
    pub(crate) const fn end_seq(&self) -> i64 {
        self.first_seq + self.item_count
    }
}

/// A chunk to be written.
#[derive(Debug)]
pub(super) struct NewChunk {
    pub(super) first_seq: i64,
    pub(super) item_count: i64,
    pub(super) data: String,
    /// The lowest and the highest number of its contacts; `None`: not all of them are named by number.
    pub(super) between: Option<(i64, i64)>,
}

impl NewChunk {
    /// A chunk of these contacts, the first of which is the batch's item number `first_seq`.
    pub(super) fn of(first_seq: i64, refs: &[ContactRef]) -> Result<Self, DbErr> {
        Ok(Self {
            first_seq,
            item_count: i64::try_from(refs.len()).unwrap_or(i64::MAX),
            data: serde_json::to_string(refs).map_err(|e| DbErr::Json(e.to_string()))?,
            between: recipients::between(refs),
        })
    }
}

/// Between which numbers a chunk's contacts are, as its row says it: without a word of it they may be anybody.
pub(super) fn bounds(between: Option<(i64, i64)>) -> (i64, i64) {
    between.unwrap_or((0, i64::MAX))
}

/// Writes chunks, numbered from `first_no`. Those with a number below `opened` are open; the others wait, and [`open_next`]
/// opens them.
pub(super) async fn insert(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    first_no: i64,
    opened: i64,
    chunks: &[NewChunk],
) -> Result<(), DbErr> {
    for (i, chunk) in chunks.iter().enumerate() {
        let no = first_no + i64::try_from(i).unwrap_or(i64::MAX);
        let (lowest, highest) = bounds(chunk.between);
        let state = if no < opened { "open" } else { "waiting" };
        db::execute(
            conn,
            "INSERT INTO batch_chunks (batch_id, no, first_seq, item_count, next_seq, state, data, lowest_contact,
                                       highest_contact)
             VALUES ($1, $2, $3, $4, $3, $8, $5, $6, $7)",
            [
                batch.into(),
                no.into(),
                chunk.first_seq.into(),
                chunk.item_count.into(),
                chunk.data.clone().into(),
                lowest.into(),
                highest.into(),
                state.into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Reads a chunk.
pub(crate) async fn load(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<Option<Chunk>, DbErr> {
    select(conn, batch, no, "data").await
}

/// Reads where a chunk stands, without its data: those of a large one need not come again with each of its steps.
pub(super) async fn standing(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<Option<Chunk>, DbErr> {
    select(conn, batch, no, "'' AS data").await
}

/// The columns of a chunk's row but for its data.
const COLUMNS: &str =
    "no, first_seq, item_count, next_seq, passed_on, retry, retry_code, CAST(claim_id AS TEXT) AS claim_id";

async fn select(conn: &impl ConnectionTrait, batch: BatchId, no: i64, data: &str) -> Result<Option<Chunk>, DbErr> {
    let sql = format!("SELECT {COLUMNS}, {data} FROM batch_chunks WHERE batch_id = $1 AND no = $2");
    db::one(conn, sql, [batch.into(), no.into()]).await?.as_ref().map(chunk).transpose()
}

fn chunk(row: &QueryResult) -> Result<Chunk, DbErr> {
    Ok(Chunk {
        no: row.try_get("", "no")?,
        first_seq: row.try_get("", "first_seq")?,
        item_count: row.try_get("", "item_count")?,
        next_seq: row.try_get("", "next_seq")?,
        passed_on: row.try_get("", "passed_on")?,
        retry: row.try_get("", "retry")?,
        retry_code: row.try_get("", "retry_code")?,
        claim: ClaimId::read(row)?,
        data: row.try_get("", "data")?,
    })
}

/// The chunks of a batch that are open, each with its data where something may be in flight.
pub(super) async fn open(conn: &impl ConnectionTrait, batch: BatchId) -> Result<Vec<Chunk>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS}, CASE WHEN claim_id IS NULL THEN '' ELSE data END AS data FROM batch_chunks
         WHERE batch_id = $1 AND state = 'open'"
    );
    db::all(conn, sql, [batch.into()]).await?.iter().map(chunk).collect()
}

/// The chunks of a batch that may have items in flight without a row, of those that reach beyond `from`, in their order. There
/// are never more than are open.
pub(super) async fn with_claims(conn: &impl ConnectionTrait, batch: BatchId, from: i64) -> Result<Vec<Chunk>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS}, data FROM batch_chunks
         WHERE batch_id = $1 AND state = 'open' AND claim_id IS NOT NULL AND next_seq > $2 ORDER BY first_seq"
    );
    db::all(conn, sql, [batch.into(), from.into()]).await?.iter().map(chunk).collect()
}

/// Opens up to `how_many` chunks that wait, and makes their jobs. The batch's row must be locked. In a batch that is tried
/// again those between them are closed, and stay so.
pub(super) async fn open_next(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    batch_type: BatchType,
    how_many: i64,
) -> Result<Vec<Ring>, DbErr> {
    let waiting = db::all(
        conn,
        format!(
            "SELECT c.no AS no FROM batch_chunks c JOIN batches b ON b.id = c.batch_id
             WHERE c.batch_id = $1 AND c.no >= b.next_chunk AND c.state = 'waiting' ORDER BY c.no LIMIT {how_many}"
        ),
        [batch.into()],
    )
    .await?;
    let waiting = waiting.iter().map(|row| row.try_get("", "no")).collect::<Result<Vec<i64>, _>>()?;
    let (Some(first), Some(last)) = (waiting.first(), waiting.last()) else { return Ok(Vec::new()) };
    db::execute(conn, "UPDATE batches SET next_chunk = $2 WHERE id = $1", [batch.into(), (last + 1).into()]).await?;
    db::execute(
        conn,
        "UPDATE batch_chunks SET state = 'open' WHERE batch_id = $1 AND no >= $2 AND no <= $3 AND state = 'waiting'",
        [batch.into(), (*first).into(), (*last).into()],
    )
    .await?;
    enqueue(conn, now, batch, batch_type, waiting).await
}

/// Makes the jobs of chunks.
pub(super) async fn enqueue(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    batch_type: BatchType,
    chunks: impl IntoIterator<Item = i64>,
) -> Result<Vec<Ring>, DbErr> {
    let job = |no| NewJob { batch: Some(batch), chunk: Some(no), ..NewJob::of(kind(batch_type), now) };
    jobs::enqueue(conn, now, &chunks.into_iter().map(job).collect::<Vec<_>>()).await
}

/// Opens the next chunk in the place of one that has nothing left but waiting retries. Once for each chunk.
pub(crate) async fn pass_on(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    batch_type: BatchType,
    no: i64,
) -> Result<Vec<Ring>, DbErr> {
    let sql = "UPDATE batch_chunks SET passed_on = TRUE WHERE batch_id = $1 AND no = $2 AND passed_on = FALSE";
    if db::execute(conn, sql, [batch.into(), no.into()]).await? == 0 {
        return Ok(Vec::new());
    }
    open_next(conn, now, batch, batch_type, 1).await
}

/// Writes that a chunk is closed; `false`: it was before.
async fn shut(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<bool, DbErr> {
    let sql = "UPDATE batch_chunks SET state = 'closed', claim_id = NULL
               WHERE batch_id = $1 AND no = $2 AND state <> 'closed'";
    Ok(db::execute(conn, sql, [batch.into(), no.into()]).await? > 0)
}

/// Closes the last chunk of a batch, all of whose items were finished by one group of outcomes, and ends the batch: what
/// [`close`] and [`row::count`] write one after the other, in one write of the batch's row. The caller has ended the job; the
/// batch's row is locked.
pub(crate) async fn close_last(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &BatchSummary,
    no: i64,
    counts: Counts,
) -> Result<Option<BatchSummary>, DbErr> {
    shut(conn, batch.id, no).await?;
    end_with(conn, now, batch, counts, 1).await
}

/// Closes a chunk whose items are all finished, opens the next, and ends the batch with its last chunk. The caller has
/// ended the job. The batch's row must be locked.
pub(crate) async fn close(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    no: i64,
) -> Result<Step<()>, DbErr> {
    let mut step = Step::quiet(());
    if !shut(conn, batch, no).await? {
        return Ok(step);
    }
    let sql = format!(
        "UPDATE batches SET chunks_left = chunks_left - 1, version = version + 1 WHERE id = $1
         RETURNING {SUMMARY}, chunks_left, expanded"
    );
    let Some(row) = db::one(conn, sql, [batch.into()]).await? else { return Ok(step) };
    let after = summary(&row)?;
    if after.batch_type == BatchType::Import {
        traces::let_go(conn, batch, no).await?;
    }
    if after.status.is_terminal() {
        return Ok(step);
    }
    if row.try_get::<i64>("", "chunks_left")? == 0 && row.try_get::<bool>("", "expanded")? {
        step.events.extend(end(conn, now, &after).await?.map(Event::BatchChanged));
        return Ok(step);
    }
    step.rings = pass_on(conn, now, batch, after.batch_type, no).await?;
    step.events.push(Event::BatchChanged(after));
    Ok(step)
}

/// Ends a batch whose chunks are all closed: decided in the transaction that makes it true.
pub(super) async fn end(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &BatchSummary,
) -> Result<Option<BatchSummary>, DbErr> {
    end_with(conn, now, batch, Counts::default(), 0).await
}

/// The same, with the counts and the chunks that are written with it; `batch` is as its row stands before that.
async fn end_with(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &BatchSummary,
    by: Counts,
    closed: i64,
) -> Result<Option<BatchSummary>, DbErr> {
    let all_failed = batch.total > 0 && batch.failed + by.failed == batch.total;
    let (status, error) = match all_failed {
        true => (BatchStatus::Failed, Some("every item failed")),
        false => (BatchStatus::Completed, None),
    };
    let sql = format!(
        "UPDATE batches SET status = $2, error_message = $3, completed_at = $4, succeeded = succeeded + $5,
                failed = failed + $6, skipped = skipped + $7, chunks_left = chunks_left - $8, version = version + 1
         WHERE id = $1 AND status IN ('PENDING', 'PROCESSING') RETURNING {SUMMARY}"
    );
    let values = [
        batch.id.into(),
        status.as_str().into(),
        error.into(),
        now.0.into(),
        by.succeeded.into(),
        by.failed.into(),
        by.skipped.into(),
        closed.into(),
    ];
    db::one(conn, sql, values).await?.as_ref().map(summary).transpose()
}

/// Closes the chunk of a dead job: what was not finished has failed with the job's reason. A dead job without a chunk
/// (an expansion) fails its batch.
pub(crate) async fn bury(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    no: Option<i64>,
    reason: &str,
) -> Result<Step<()>, DbErr> {
    let Some(locked) = row::lock(conn, batch).await? else { return Ok(Step::quiet(())) };
    let Some(no) = no else { return fail(conn, now, batch, reason).await };
    let Some(chunk) = load(conn, batch, no).await? else { return Ok(Step::quiet(())) };
    let (first, end) = (chunk.first_seq, chunk.end_seq());
    // An attempt may have reached the gateway: such an item is unknown, and counts as failed.
    let table = Table::of(locked.summary.batch_type);
    let (name, no_more) = (table.name(), table.no_more_slots());
    let failed = db::execute(
        conn,
        format!(
            "UPDATE {name} SET item_status = CASE WHEN item_status = 'pending' THEN 'failed' ELSE 'unknown' END,
                    error_code = 'job_dead', error_message = $4, finished_at = $5{no_more}
             WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND finished_at IS NULL"
        ),
        [batch.into(), first.into(), end.into(), reason.into(), now.0.into()],
    )
    .await?;
    let given_up = Disowned { code: "job_dead", message: reason, next_attempt_at: None, finished_at: Some(now) };
    let in_flight = in_flight::disown(conn, batch, &chunk, given_up).await?;
    let mut unwritten = 0;
    if !locked.summary.status.is_terminal() {
        let known = db::all(
            conn,
            format!("SELECT seq FROM {name} WHERE batch_id = $1 AND seq >= $2 AND seq < $3"),
            [batch.into(), first.into(), end.into()],
        )
        .await?
        .iter()
        .map(|row| row.try_get::<i64>("", "seq"))
        .collect::<Result<std::collections::HashSet<_>, _>>()?;
        let missing: Vec<i64> = (first..end).filter(|seq| !known.contains(seq)).collect();
        unwritten = i64::try_from(missing.len()).unwrap_or(i64::MAX);
        // A row of a message says when it was written.
        let (written, at) = match table {
            Table::Messages => (", created_at", ", $4"),
            Table::Sets => ("", ""),
        };
        let insert = format!(
            "INSERT INTO {name} (batch_id, seq, item_status, error_code, error_message, finished_at{written})
             SELECT $2, value, 'failed', 'job_dead', $3, $4{at} FROM {} WHERE TRUE",
            Dialect::of(conn).values(1, "bigint")
        );
        let list = serde_json::json!(missing).to_string();
        db::execute(conn, insert, [list.into(), batch.into(), reason.into(), now.0.into()]).await?;
        db::execute(
            conn,
            "UPDATE batch_chunks SET next_seq = $3 WHERE batch_id = $1 AND no = $2",
            [batch.into(), no.into(), end.into()],
        )
        .await?;
    }
    let failed = i64::try_from(failed).unwrap_or(i64::MAX) + in_flight + unwritten;
    row::count(conn, batch, Counts { failed, ..Counts::default() }).await?;
    close(conn, now, batch, no).await
}

/// The code and the reason of an item whose attempt was under way when its worker went.
pub(crate) const VANISHED: (&str, &str) = ("outcome_unknown", "the worker vanished during the attempt");

/// Items in flight of a chunk that no worker has: the one who had it is gone, and nobody will come for what is not known
/// of them.
pub(crate) async fn disown(conn: &impl ConnectionTrait, batch: BatchId, chunk: &Chunk) -> Result<(), DbErr> {
    let (code, message) = VANISHED;
    let sql = "UPDATE messages SET item_status = 'unknown', error_code = $4, error_message = $5
               WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status = 'sending'";
    let values = [batch.into(), chunk.first_seq.into(), chunk.end_seq().into(), code.into(), message.into()];
    db::execute(conn, sql, values).await?;
    let in_doubt = Disowned { code, message, next_attempt_at: None, finished_at: None };
    in_flight::disown(conn, batch, chunk, in_doubt).await.map(|_| ())
}

/// Gives up what waits in a range of items of a batch that has ended: nothing of it will be tried again. An item whose
/// outcome is unknown stays so, and counts as failed; one in flight is left to its outcome.
pub(crate) async fn abandon(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    table: Table,
    first_seq: i64,
    end_seq: i64,
) -> Result<(), DbErr> {
    let (name, no_more) = (table.name(), table.no_more_slots());
    let set = format!(
        "finished_at = $4{no_more}
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND finished_at IS NULL AND item_status ="
    );
    let values = || [batch.into(), first_seq.into(), end_seq.into(), now.0.into()];
    db::execute(conn, format!("UPDATE {name} SET item_status = 'cancelled', {set} 'pending'"), values()).await?;
    let unknown = db::execute(conn, format!("UPDATE {name} SET {set} 'unknown'"), values()).await?;
    if unknown > 0 {
        let failed = i64::try_from(unknown).unwrap_or(i64::MAX);
        row::count(conn, batch, Counts { failed, ..Counts::default() }).await?;
    }
    Ok(())
}

/// Fails a batch that cannot go on.
pub(super) async fn fail(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    reason: &str,
) -> Result<Step<()>, DbErr> {
    let sql = format!(
        "UPDATE batches SET status = 'FAILED', error_message = $2, completed_at = $3, version = version + 1
         WHERE id = $1 AND status IN ('PENDING', 'PROCESSING') RETURNING {SUMMARY}"
    );
    let mut step = Step::quiet(());
    if let Some(row) = db::one(conn, sql, [batch.into(), reason.into(), now.0.into()]).await? {
        step.events.push(Event::BatchChanged(summary(&row)?));
    }
    Ok(step)
}
