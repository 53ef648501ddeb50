//! The set-based kinds: what import, tag and delete chunks have in common. One chunk is one transaction: its effects, its
//! items, the batch's counts and the job's end are committed together or not at all.

use super::chunks::{self, Chunk};
use super::control;
use super::model::ItemStatus;
use super::row::{self, Batch, Counts};
use super::send::Going;
use crate::db::{self, Dialect};
use crate::jobs::{self, Claimed, Ending};
use crate::time::Timestamp;
use crate::{Event, Step};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use std::collections::HashSet;

/// What became of a set-based chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It is done.
    Done,
    /// Its batch is paused.
    Paused,
    /// Its batch has ended; nothing was done.
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

/// A set-based chunk that is to be worked on.
pub(super) struct Set {
    pub(super) batch: Batch,
    pub(super) chunk: Chunk,
    only: Option<HashSet<i64>>,
    events: Vec<Event>,
}

impl Set {
    /// Whether an item is to be worked on: all of them, or only those whose failure is tried again.
    pub(super) fn wants(&self, seq: i64) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&seq))
    }
}

pub(super) enum Opened {
    Work(Box<Set>),
    Not(Ran),
}

/// Checks the claim and the batch, starts the batch, and finds out which items are wanted.
pub(super) async fn open(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Opened, DbErr> {
    let (Some(batch_id), Some(no)) = (job.batch, job.chunk) else {
        return Err(DbErr::Custom(format!("a {} job without a batch and a chunk", job.kind)));
    };
    if !jobs::renew(conn, now, job.id, job.fence).await? {
        return Ok(Opened::Not(Ran::Stale));
    }
    let end = async |ending, rng: &mut _| jobs::finish(conn, now, job.id, job.fence, &ending, rng).await;
    let mut batch = row::read(conn, batch_id).await?;
    if batch.as_ref().is_some_and(|batch| batch.paused) {
        // A job that is put aside must be seen by whoever resumes the batch, so that one waits for the other.
        batch = row::lock(conn, batch_id).await?;
    }
    let (Some(batch), Some(chunk)) = (batch, chunks::load(conn, batch_id, no).await?) else {
        end(Ending::Done, rng).await?;
        return Ok(Opened::Not(Ran::Ended));
    };
    match Going::of(&batch) {
        Going::Paused => {
            end(Ending::Paused, rng).await?;
            return Ok(Opened::Not(Ran::Paused));
        }
        Going::Ended => {
            end(Ending::Done, rng).await?;
            return Ok(Opened::Not(Ran::Ended));
        }
        Going::On => {}
    }
    let events = control::start(conn, now, batch_id).await?.map(Event::BatchChanged).into_iter().collect();
    let mut only = None;
    if chunk.retry {
        let rows = db::all(
            conn,
            "SELECT seq FROM batch_items WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND status = 'failed'",
            [batch_id.into(), chunk.first_seq.into(), chunk.end_seq().into()],
        )
        .await?;
        only = Some(rows.iter().map(|row| row.try_get("", "seq")).collect::<Result<HashSet<i64>, _>>()?);
    }
    Ok(Opened::Work(Box::new(Set { batch, chunk, only, events })))
}

/// How an item is written.
#[derive(Serialize)]
struct DecidedRow<'a> {
    seq: i64,
    contact_id: Option<i64>,
    input: Option<&'a str>,
    status: ItemStatus,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
    warning: Option<&'a str>,
    source_row: Option<&'a str>,
}

/// Writes the items, the counts and the end of the chunk.
pub(super) async fn close(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    set: Set,
    decided: &[Decided],
    rng: &mut impl Rng,
) -> Result<Step<Ran>, DbErr> {
    let id = set.batch.summary.id;
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
                status: item.status,
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
            ("status", "text"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("warning", "text"),
            ("source_row", "text"),
        ],
    );
    let columns = "seq, contact_id, input, status, error_code, error_message, warning, source_row";
    let on_conflict = match set.only {
        Some(_) => {
            "ON CONFLICT (batch_id, seq) DO UPDATE SET contact_id = excluded.contact_id, status = excluded.status,
             error_code = excluded.error_code, error_message = excluded.error_message, fence = excluded.fence,
             attempts = batch_items.attempts + 1, started_at = excluded.started_at, finished_at = excluded.finished_at"
        }
        None => "",
    };
    db::execute(
        conn,
        format!(
            "INSERT INTO batch_items (batch_id, fence, attempts, started_at, finished_at, {columns})
             SELECT $1, $2, 1, $4, $4, {columns} FROM {source} WHERE TRUE {on_conflict}"
        ),
        [id.into(), job.fence.into(), db::rows_json(&rows)?, now.0.into()],
    )
    .await?;
    if let Some(retried) = &set.only {
        counts.failed -= i64::try_from(retried.len()).unwrap_or(i64::MAX);
    }
    db::execute(
        conn,
        "UPDATE batch_chunks SET next_seq = $3, retry = FALSE WHERE batch_id = $1 AND no = $2",
        [id.into(), set.chunk.no.into(), set.chunk.end_seq().into()],
    )
    .await?;
    row::count(conn, id, counts).await?;
    jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    let mut step = chunks::close(conn, now, id, set.chunk.no).await?.map(|()| Ran::Done);
    step.events.splice(0..0, set.events);
    Ok(step)
}
