//! The set-based kinds: what import, tag and delete chunks have in common.
//!
//! A chunk is done in steps, each a transaction of its own with the items that it finished, the batch's counts and, in the
//! last one, the job's end. A step is bounded by the rows that it writes, not by the contacts that it names: whose
//! messages are many takes several steps alone. So no row stays locked for long, and on SQLite the writer is free between
//! two steps. Where a chunk stands is in its row (`next_seq`) and its items: a crash loses the step that was under way.
//!
//! What the chunk holds is read and checked before the first step, outside of any transaction ([`SetChunk::read`],
//! [`RawSet::parse`]).

use super::change;
use super::chunks;
use super::control;
use super::import::{self, Rows};
use super::recipients::ContactRef;
use super::row::{self, Counts, RunState};
use super::traces;
use crate::contacts::erase;
use crate::db::{self, Dialect};
use crate::jobs::{self, Claimed, Ending};
use crate::model::ItemStatus;
use crate::ring::JobKind;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::BatchId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;

/// A kind of job that is done set by set.
#[derive(Clone, Copy, Debug)]
enum SetKind {
    /// Contacts come in from rows.
    Import,
    /// Contacts get or lose tags.
    Tag,
    /// Contacts are deleted.
    Delete,
}

impl SetKind {
    const fn of(kind: JobKind) -> Option<Self> {
        match kind {
            JobKind::ImportChunk => Some(Self::Import),
            JobKind::TagChunk => Some(Self::Tag),
            JobKind::DeleteChunk => Some(Self::Delete),
            JobKind::Expand
            | JobKind::Start
            | JobKind::Cancel
            | JobKind::SendChunk
            | JobKind::Deliver
            | JobKind::Operation
            | JobKind::Examination
            | JobKind::Probe => None,
        }
    }
}

/// What became of a step of a set-based chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// There is more to do: take the next step with the same claim.
    More,
    /// The chunk is done.
    Done,
    /// Its batch is paused.
    Paused,
    /// Its batch has ended; nothing more is done.
    Ended,
    /// The claim no longer stood.
    Stale,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) seq: i64,
    pub(super) contact: Option<i64>,
    pub(super) input: Option<String>,
    pub(super) status: ItemStatus,
    pub(super) error: Option<(&'static str, String)>,
    /// A stable word for what is odd about an item that was done all the same.
    pub(super) warning: Option<&'static str>,
    /// The cells of a row that failed, as a JSON list: what is given back to be mended.
    pub(super) row: Option<String>,
}

/// A set-based chunk as it was read, before anybody looked into it.
#[derive(Debug)]
pub struct RawSet {
    kind: SetKind,
    batch: BatchId,
    no: i64,
    first_seq: i64,
    rows: usize,
    /// How many items it has.
    count: i64,
    /// The batch's request and the chunk's data; `None`: one of them is gone.
    found: Option<(serde_json::Value, String)>,
}

/// A set-based chunk in the hands of one worker, between its transactions.
#[derive(Debug)]
pub struct SetChunk {
    pub(super) batch: BatchId,
    pub(super) no: i64,
    pub(super) first_seq: i64,
    pub(super) config: serde_json::Value,
    pub(super) content: ChunkContent,
    /// How many rows a step writes; halved when the database finds that too much.
    pub(super) rows: usize,
    /// Something is half done that one step could not do: it is ended even if the batch is paused or cancelled meanwhile.
    pub(super) half_done: bool,
    /// How many items the next step has at most: fewer where these turned out to be too much, more again when they did not.
    pub(super) most: usize,
    /// Where the erasure of one contact stands.
    pub(super) place: erase::ErasurePosition,
    /// Items that are tried again may wait in the chunk.
    may_wait: bool,
}

/// What a chunk holds.
#[derive(Debug)]
pub(super) enum ChunkContent {
    /// Rows of an import, checked.
    Rows(Rows),
    /// Contacts whose tags change.
    Tagged(Vec<ContactRef>),
    /// Contacts to be deleted.
    Deleted(Vec<ContactRef>),
    /// Nothing: the batch or the chunk is gone.
    Nothing,
}

impl SetChunk {
    /// Reads the chunk of a job. It writes nothing and needs no transaction. `None`: the job's kind is no set-based one, or
    /// it is about no chunk, as no job is that we wrote.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(conn: &impl ConnectionTrait, job: &Claimed) -> Result<Option<RawSet>, DbErr> {
        let (Some(kind), Some(batch), Some(no)) = (SetKind::of(job.kind), job.batch, job.chunk) else {
            return Ok(None);
        };
        let found = match (row::read(conn, batch).await?, chunks::load(conn, batch, no).await?) {
            (Some(batch), Some(chunk)) => Some((batch.config, chunk)),
            _ => None,
        };
        let (first_seq, count) = found.as_ref().map_or((0, 0), |(_, chunk)| (chunk.first_seq, chunk.item_count));
        let found = found.map(|(config, chunk)| (config, chunk.data));
        Ok(Some(RawSet { kind, batch, no, first_seq, rows: Dialect::of(conn).step_rows(), count, found }))
    }

    /// Lets a step write so many rows, at least one: for tests, which want many steps of few contacts.
    #[must_use]
    pub fn with_step_rows(mut self, rows: usize) -> Self {
        self.resize(rows);
        self
    }

    /// Lets the next steps write so many rows, at least one.
    pub fn resize(&mut self, rows: usize) {
        self.rows = rows.max(1);
    }

    /// Halves what a step does. `false`: it cannot do less.
    pub fn halve(&mut self) -> bool {
        let less = self.rows > 1;
        self.rows = (self.rows / 2).max(1);
        // Of the step that failed nothing is written.
        self.place = erase::ErasurePosition::default();
        less
    }

    /// Whether the last step left something half done, so that the next one must follow.
    #[must_use]
    pub const fn is_half_done(&self) -> bool {
        self.half_done
    }

    /// What a chunk's item holds.
    fn place_of(&self, seq: i64) -> usize {
        usize::try_from(seq - self.first_seq).unwrap_or(usize::MAX)
    }

    /// How many rows an item is going to write, as far as one can tell before.
    fn weight(&self, seq: i64) -> usize {
        match &self.content {
            ChunkContent::Rows(rows) => rows.weight(self.place_of(seq)),
            // The item, and what becomes of each tag.
            ChunkContent::Tagged(_) => 1 + self.config["tags"].as_array().map_or(0, Vec::len),
            // The item, the contact and its activity; its messages are counted when they are found.
            ChunkContent::Deleted(_) => 3,
            ChunkContent::Nothing => 1,
        }
    }

    /// As many of these items as a step does.
    fn fill(&self, seqs: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut left = self.rows;
        let fits = |seq: &i64| {
            let weight = self.weight(*seq);
            let fits = left >= weight || left == self.rows;
            left = left.saturating_sub(weight.max(1));
            fits
        };
        seqs.take(self.most).take_while(fits).collect()
    }
}

impl RawSet {
    /// Reads what the chunk holds. Long work without the database: not for a thread that others wait for.
    ///
    /// # Errors
    /// When the data are none that were written.
    pub fn parse(self) -> Result<SetChunk, DbErr> {
        let Self { kind, batch, no, first_seq, rows, count, found } = self;
        let unread = |e: serde_json::Error| DbErr::Json(format!("chunk {no}: {e}"));
        let (config, content) = match found {
            None => (serde_json::Value::Null, ChunkContent::Nothing),
            Some((config, data)) => {
                let content = match kind {
                    SetKind::Import => ChunkContent::Rows(import::check(traces::lines(&data, count)?, &config)),
                    SetKind::Tag => ChunkContent::Tagged(serde_json::from_str(&data).map_err(unread)?),
                    SetKind::Delete => ChunkContent::Deleted(serde_json::from_str(&data).map_err(unread)?),
                };
                (config, content)
            }
        };
        Ok(SetChunk {
            batch,
            no,
            first_seq,
            config,
            content,
            rows,
            half_done: false,
            most: usize::MAX,
            place: erase::ErasurePosition::default(),
            may_wait: true,
        })
    }
}

/// Takes the next step of a chunk. After an error nothing of it is written, and the same `set` may be used again.
///
/// # Errors
/// The database's.
pub async fn run_set(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    set: &mut SetChunk,
    rng: &mut impl Rng,
) -> Result<Step<Ran>, DbErr> {
    if !jobs::renew(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(Ran::Stale));
    }
    let end = async |ending, rng: &mut _| jobs::finish(conn, now, job.id, job.fence, &ending, rng).await;
    let mut batch = row::read(conn, set.batch).await?;
    if batch.as_ref().is_some_and(|batch| batch.paused) {
        // A job that is put aside must be seen by whoever resumes the batch, so that one waits for the other.
        batch = row::lock(conn, set.batch).await?;
    }
    let chunk = chunks::standing(conn, set.batch, set.no).await?;
    let (Some(mut batch), Some(chunk)) = (batch, chunk) else {
        end(Ending::Done, rng).await?;
        return Ok(Step::quiet(Ran::Ended));
    };
    match RunState::of(&batch) {
        RunState::Paused if !set.half_done => {
            end(Ending::Paused, rng).await?;
            return Ok(Step::quiet(Ran::Paused));
        }
        RunState::Ended if !set.half_done => {
            end(Ending::Done, rng).await?;
            return Ok(Step::quiet(Ran::Ended));
        }
        RunState::Running | RunState::Paused | RunState::Ended => {}
    }
    let mut events: Vec<Event> =
        control::start(conn, now, &mut batch, None).await?.map(Event::BatchChanged).into_iter().collect();
    if chunk.retry {
        set.may_wait = true;
        events.extend(reopen(conn, set, &chunk).await?);
        return Ok(Step { value: Ran::More, rings: Vec::new(), events });
    }
    let seqs = wanted(conn, set, &chunk).await?;
    let Some(decided) = work(conn, now, set, &seqs, chunk.next_seq, rng).await? else {
        return Ok(Step { value: Ran::More, rings: Vec::new(), events });
    };
    // Only items that are finished are progress: whatever is tried again from its beginning must not forget its failures.
    jobs::renew_with_progress(conn, now, job.id, job.fence).await?;
    set.half_done = false;
    set.most = set.most.saturating_mul(2);
    let next_seq = seqs.last().map_or(chunk.next_seq, |last| chunk.next_seq.max(last + 1));
    events.extend(write(conn, now, job, set, &decided, next_seq).await?);
    if next_seq < chunk.end_seq() || set.may_wait {
        return Ok(Step { value: Ran::More, rings: Vec::new(), events });
    }
    jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    let mut step = chunks::close(conn, now, set.batch, set.no).await?.map(|()| Ran::Done);
    step.events.splice(0..0, events);
    Ok(step)
}

async fn work(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    set: &mut SetChunk,
    seqs: &[i64],
    next_seq: i64,
    rng: &mut impl Rng,
) -> Result<Option<Vec<Decided>>, DbErr> {
    match &set.content {
        ChunkContent::Rows(_) => import::run(conn, now, set, seqs, rng).await.map(Some),
        ChunkContent::Tagged(_) => change::tag(conn, now, set, seqs, next_seq).await,
        ChunkContent::Deleted(_) => change::delete(conn, now, set, seqs, next_seq).await,
        ChunkContent::Nothing => Ok(Some(Vec::new())),
    }
}

/// The items of the next step: those that are tried again, then those that nobody has tried.
async fn wanted(conn: &impl ConnectionTrait, set: &mut SetChunk, chunk: &chunks::Chunk) -> Result<Vec<i64>, DbErr> {
    if set.may_wait {
        let sql = format!(
            "SELECT seq FROM batch_items WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status = 'pending'
             ORDER BY seq LIMIT {}",
            set.rows
        );
        let values = [set.batch.into(), chunk.first_seq.into(), chunk.next_seq.into()];
        let waiting: Vec<i64> = db::values(conn, sql, values).await?;
        if !waiting.is_empty() {
            return Ok(set.fill(waiting.into_iter()));
        }
        set.may_wait = false;
    }
    Ok(set.fill(chunk.next_seq..chunk.end_seq()))
}

/// Makes failed items wait again that a user wants tried again.
async fn reopen(conn: &impl ConnectionTrait, set: &SetChunk, chunk: &chunks::Chunk) -> Result<Option<Event>, DbErr> {
    let failed = "batch_id = $1 AND seq >= $2 AND seq < $3 AND error_code IS NOT NULL AND item_status = 'failed'
                  AND (CAST($4 AS TEXT) IS NULL OR error_code = $4)";
    let sql = format!(
        "UPDATE batch_items SET item_status = 'pending', finished_at = NULL, error_code = NULL, error_message = NULL WHERE {}",
        Dialect::of(conn).some_of("batch_items", "batch_id, seq", failed, set.rows as u64)
    );
    let code = chunk.retry_code.clone();
    let values = [set.batch.into(), chunk.first_seq.into(), chunk.end_seq().into(), code.into()];
    let reopened = db::execute(conn, sql, values).await?;
    if reopened < set.rows as u64 {
        let sql = "UPDATE batch_chunks SET retry = FALSE WHERE batch_id = $1 AND no = $2";
        db::execute(conn, sql, [set.batch.into(), set.no.into()]).await?;
    }
    let failed = -i64::try_from(reopened).unwrap_or(i64::MAX);
    let changed = row::count(conn, set.batch, Counts { failed, ..Counts::default() }).await?;
    Ok(changed.map(Event::BatchChanged))
}

/// How an item is written.
#[derive(Serialize)]
struct DecidedRow<'a> {
    seq: i64,
    contact_id: Option<i64>,
    input: Option<&'a str>,
    item_status: ItemStatus,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
    warning: Option<&'a str>,
    source_row: Option<&'a str>,
}

/// Writes the items, where the chunk stands, and the counts.
async fn write(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    set: &SetChunk,
    decided: &[Decided],
    next_seq: i64,
) -> Result<Option<Event>, DbErr> {
    let mut counts = Counts::default();
    let rows: Vec<_> = decided
        .iter()
        .map(|item| {
            match item.status {
                ItemStatus::Succeeded => counts.succeeded += 1,
                ItemStatus::Failed | ItemStatus::Unknown => counts.failed += 1,
                ItemStatus::Skipped => counts.skipped += 1,
                ItemStatus::Pending | ItemStatus::Sending | ItemStatus::Cancelled => {}
            }
            let (code, message) = item.error.as_ref().map(|(code, message)| (code, message)).unzip();
            DecidedRow {
                seq: item.seq,
                contact_id: item.contact,
                input: item.input.as_deref(),
                item_status: item.status,
                error_code: code.copied(),
                error_message: message.map(String::as_str),
                warning: item.warning,
                source_row: item.row.as_deref(),
            }
        })
        .collect();
    let source = Dialect::of(conn).rows(
        3,
        &[
            ("seq", "bigint"),
            ("contact_id", "bigint"),
            ("input", "text"),
            ("item_status", "text"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("warning", "text"),
            ("source_row", "text"),
        ],
    );
    let columns = "seq, contact_id, input, item_status, error_code, error_message, warning, source_row";
    // An item that is there is one that is tried again.
    db::execute(
        conn,
        format!(
            "INSERT INTO batch_items (batch_id, fence, attempts, started_at, finished_at, {columns})
             SELECT $1, $2, 1, $4, $4, {columns} FROM {source} WHERE TRUE
             ON CONFLICT (batch_id, seq) DO UPDATE SET contact_id = excluded.contact_id, item_status = excluded.item_status,
                error_code = excluded.error_code, error_message = excluded.error_message, fence = excluded.fence,
                warning = excluded.warning, source_row = excluded.source_row,
                attempts = batch_items.attempts + 1, started_at = excluded.started_at, finished_at = excluded.finished_at"
        ),
        [set.batch.into(), job.fence.into(), db::rows_json(&rows)?, now.0.into()],
    )
    .await?;
    db::execute(
        conn,
        "UPDATE batch_chunks SET next_seq = $3 WHERE batch_id = $1 AND no = $2",
        [set.batch.into(), set.no.into(), next_seq.into()],
    )
    .await?;
    Ok(row::count(conn, set.batch, counts).await?.map(Event::BatchChanged))
}
