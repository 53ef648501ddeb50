//! Turning an audience into chunks, and opening a batch at its time: the steps of `expand` and `start` jobs.

use super::chunks::{self, NewChunk, WINDOW, chunk_size};
use super::create::{self, ChunkWriter};
use super::recipients::{Audience, ContactRef};
use super::row::{self, RunState};
use crate::Step;
use crate::db::{self, Json};
use crate::jobs::{self, Claimed, Ending};
use crate::model::BatchType;
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// How many contacts one step takes: the transaction stays short, and memory small, whatever the audience.
const PAGE: u64 = 5_000;

/// What an expansion step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expanded {
    /// A page was written; there may be more: take the next step with the same claim.
    More,
    /// The batch is expanded, or has ended meanwhile.
    Done,
    /// The claim no longer stands.
    Stale,
}

/// The next page of an audience, read before its transaction: to find a few among a million takes long.
#[derive(Debug)]
pub struct NextPage {
    /// The first chunk that it becomes, and its first item.
    no: i64,
    seq: i64,
    contacts: Vec<i64>,
    /// Nothing comes after it.
    last: bool,
}

impl NextPage {
    /// How many contacts a step takes, unless its statements take too long for that.
    pub const CONTACTS: u64 = PAGE;

    /// Reads the page behind the chunks that are written: `limit` contacts at most. `None`: the batch is gone.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(conn: &impl ConnectionTrait, job: &Claimed, limit: u64) -> Result<Option<Self>, DbErr> {
        let Some(id) = job.batch else { return Ok(None) };
        let Some(batch) = row::read(conn, id).await? else { return Ok(None) };
        let audience: Audience =
            serde_json::from_value(job.payload["audience"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
        let last: Option<(Json<Vec<ContactRef>>, i64)> = db::value(
            conn,
            "SELECT data, first_seq + item_count AS seq FROM batch_chunks WHERE batch_id = $1 AND no = $2",
            [id.into(), (batch.chunk_count - 1).into()],
        )
        .await?;
        let (mut after, mut seq) = (0, 0);
        if let Some((Json(refs), end)) = last {
            after = match refs.last() {
                Some(ContactRef::Number(id)) => *id,
                Some(ContactRef::Text(_)) | None => 0,
            };
            seq = end;
        }
        let limit = limit.clamp(1, PAGE);
        let contacts = audience.page(conn, after, limit).await?;
        let last = u64::try_from(contacts.len()).unwrap_or(u64::MAX) < limit;
        Ok(Some(Self { no: batch.chunk_count, seq, contacts, last }))
    }
}

/// Writes the chunks of the audience's next page. Where it stands is in the batch's chunks themselves: a crash loses
/// at most the page that was not committed.
///
/// # Errors
/// The database's.
pub async fn run_expand(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    page: Option<&NextPage>,
    rng: &mut impl Rng,
) -> Result<Step<Expanded>, DbErr> {
    if !jobs::renew_with_progress(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(Expanded::Stale));
    }
    let batch = match job.batch {
        Some(id) => row::lock(conn, id).await?,
        None => None,
    };
    let finish = async |rng: &mut _| jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await;
    let batch = batch.filter(|batch| !batch.expanded && RunState::of(batch) != RunState::Ended);
    let (Some(batch), Some(page)) = (batch, page) else {
        finish(rng).await?;
        return Ok(Step::quiet(Expanded::Done));
    };
    if page.no != batch.chunk_count {
        // Another claim of this job wrote meanwhile what was read here: the page is to be read again.
        return Ok(Step::quiet(Expanded::More));
    }
    let id = batch.summary.id;
    let mut writer = ChunkWriter::resume(id, page.no, page.seq);
    for part in page.contacts.chunks(chunk_size(BatchType::Send)) {
        let chunk = NewChunk {
            first_seq: writer.seq,
            item_count: i64::try_from(part.len()).unwrap_or(i64::MAX),
            data: json!(part).to_string(),
            // In the order of their numbers.
            between: part.first().copied().zip(part.last().copied()),
        };
        writer.push(conn, chunk).await?;
    }
    writer.finish(conn).await?;
    let total = if page.last { writer.seq } else { batch.summary.total.max(writer.seq) };
    db::execute(
        conn,
        "UPDATE batches SET chunk_count = $2, chunks_left = $2, total = $3, expanded = $4, version = version + 1 WHERE id = $1",
        [id.into(), writer.no.into(), total.into(), page.last.into()],
    )
    .await?;
    if !page.last {
        return Ok(Step::quiet(Expanded::More));
    }
    finish(rng).await?;
    Ok(create::open(conn, now, id).await?.map(|_| Expanded::Done))
}

/// Opens a scheduled batch: its time has come.
///
/// # Errors
/// The database's.
pub async fn run_start(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<()>, DbErr> {
    if !jobs::renew(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(()));
    }
    jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    let batch = match job.batch {
        Some(id) => row::lock(conn, id).await?,
        None => None,
    };
    let Some(batch) = batch.filter(|batch| RunState::of(batch) != RunState::Ended && batch.next_chunk == 0) else {
        return Ok(Step::quiet(()));
    };
    let rings = chunks::open_next(conn, now, batch.summary.id, batch.summary.batch_type, WINDOW).await?;
    Ok(Step { value: (), rings, events: Vec::new() })
}
