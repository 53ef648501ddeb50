//! Turning an audience into chunks, and opening a batch at its time: the steps of `expand` and `start` jobs.

use super::chunks::{self, WINDOW, chunk_size};
use super::create::{self, ChunkWriter};
use super::model::BatchType;
use super::recipients::{Audience, ContactRef};
use super::row;
use super::send::Going;
use crate::Step;
use crate::db;
use crate::jobs::{self, Claimed, Ending};
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// How many contacts one step reads: the transaction stays short, and memory small, whatever the audience.
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

/// Writes the chunks of the audience's next page. Where it stands is in the batch's chunks themselves: a crash loses
/// at most the page that was not committed.
///
/// # Errors
/// The database's.
pub async fn run_expand(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<Expanded>, DbErr> {
    if !jobs::renew(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(Expanded::Stale));
    }
    let batch = match job.batch {
        Some(id) => row::lock(conn, id).await?,
        None => None,
    };
    let finish = async |rng: &mut _| jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await;
    let Some(batch) = batch.filter(|batch| !batch.expanded && Going::of(batch) != Going::Ended) else {
        finish(rng).await?;
        return Ok(Step::quiet(Expanded::Done));
    };
    let id = batch.summary.id;
    let audience: Audience =
        serde_json::from_value(job.payload["audience"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
    let last = db::one(
        conn,
        "SELECT data, first_seq + item_count AS seq FROM batch_chunks WHERE batch_id = $1 ORDER BY no DESC LIMIT 1",
        [id.into()],
    )
    .await?;
    let (mut after, mut seq) = (0, 0);
    if let Some(last) = last {
        let refs: Vec<ContactRef> =
            serde_json::from_str(&last.try_get::<String>("", "data")?).map_err(|e| DbErr::Json(e.to_string()))?;
        after = match refs.last() {
            Some(ContactRef::Number(id)) => *id,
            Some(ContactRef::Text(_)) | None => 0,
        };
        seq = last.try_get("", "seq")?;
    }
    let page = audience.page(conn, after, PAGE).await?;
    let mut writer = ChunkWriter::resume(id, batch.chunk_count, seq);
    for part in page.chunks(chunk_size(BatchType::Send)) {
        // In the order of their numbers.
        let between = part.first().copied().zip(part.last().copied());
        writer.push(conn, part.len(), json!(part).to_string(), between).await?;
    }
    writer.finish(conn).await?;
    let expanded = u64::try_from(page.len()).unwrap_or(u64::MAX) < PAGE;
    let total = if expanded { writer.seq } else { batch.summary.total.max(writer.seq) };
    db::execute(
        conn,
        "UPDATE batches SET chunk_count = $2, chunks_left = $2, total = $3, expanded = $4, version = version + 1 WHERE id = $1",
        [id.into(), writer.no.into(), total.into(), expanded.into()],
    )
    .await?;
    if !expanded {
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
    let Some(batch) = batch.filter(|batch| Going::of(batch) != Going::Ended && batch.next_chunk == 0) else {
        return Ok(Step::quiet(()));
    };
    let rings = chunks::open_next(conn, now, batch.summary.id, batch.summary.batch_type, WINDOW).await?;
    Ok(Step { value: (), rings, events: Vec::new() })
}
