//! Steering a batch: rows, and a notification. Running chunks obey at their next claim, within a second.

use super::chunks::{self, WINDOW};
use super::refused::Refused;
use super::row::{self, Batch, SUMMARY, summary};
use super::table::Table;
use crate::db;
use crate::jobs;
use crate::model::{BatchStatus, BatchSummary, BatchType};
use crate::pacing::Pace;
use crate::time::Timestamp;
use crate::{Event, Ring, Step};
use entities::{BatchId, GatewayId};
use sea_orm::{ConnectionTrait, DbErr};
use std::time::Duration;

/// Why a batch cannot be steered so.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such batch.
    #[error("no such batch")]
    NotFound,
    /// It makes no sense in the batch's present state.
    #[error(transparent)]
    Conflict(Refused),
    /// It is for a second person, and the batch is the asker's own.
    #[error("the batch is your own: it is for somebody else to approve or refuse")]
    OwnBatch,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// What a user may change of a batch that has not ended. `None` leaves a value as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// A new pace: 1 to 600,000 a minute.
    pub rate_per_minute: Option<u32>,
    /// A new jitter: 0 to 600,000 ms.
    pub jitter_ms: Option<u32>,
    /// Another time to start, for a batch that has not started.
    pub schedule_at: Option<Timestamp>,
}

/// How far in the past a `scheduleAt` may lie and still mean "now".
pub const SCHEDULE_SLACK: Duration = Duration::from_secs(60);

pub(super) async fn locked(conn: &impl ConnectionTrait, id: BatchId) -> Result<Batch, ControlError> {
    row::lock(conn, id).await?.ok_or(ControlError::NotFound)
}

pub(super) async fn changed(
    conn: &impl ConnectionTrait,
    id: BatchId,
    rings: Vec<Ring>,
) -> Result<Step<Batch>, ControlError> {
    db::execute(conn, "UPDATE batches SET version = version + 1 WHERE id = $1", [id.into()]).await?;
    let value = locked(conn, id).await?;
    let events = vec![Event::BatchChanged(value.summary.clone()), Event::BatchControl(id)];
    Ok(Step { value, rings, events })
}

/// Starts a batch that is locked, if this is its first claim, and makes it the gateway's, if that is known and it is nobody's
/// yet. Tells what became of its row.
pub(crate) async fn start(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &mut Batch,
    gateway: Option<GatewayId>,
) -> Result<Option<BatchSummary>, DbErr> {
    if batch.summary.status != BatchStatus::Pending {
        return Ok(None);
    }
    let sql = format!(
        "UPDATE batches SET status = 'PROCESSING', started_at = coalesce(started_at, $2),
                gateway_id = coalesce(gateway_id, $3), version = version + 1
         WHERE id = $1 AND status = 'PENDING' RETURNING {SUMMARY}"
    );
    let row = db::one(conn, sql, [batch.summary.id.into(), now.0.into(), gateway.into()]).await?;
    let Some(started) = row.as_ref().map(summary).transpose()? else { return Ok(None) };
    batch.summary = started.clone();
    batch.gateway = batch.gateway.or(gateway);
    Ok(Some(started))
}

/// Cancels a batch: from here on no further item starts; those in flight end and are counted.
///
/// # Errors
/// [`ControlError::Conflict`] when it has ended.
pub async fn cancel(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, ControlError> {
    let batch = locked(conn, id).await?;
    if batch.summary.status.is_terminal() {
        return Err(ControlError::Conflict(Refused::Ended(batch.summary.status)));
    }
    db::execute(
        conn,
        "UPDATE batches SET status = $2, completed_at = $3, paused = FALSE WHERE id = $1",
        [id.into(), BatchStatus::Cancelled.as_str().into(), now.0.into()],
    )
    .await?;
    let idle = db::all(
        conn,
        "UPDATE jobs SET state = 'cancelled', finished_at = $2 WHERE batch_id = $1 AND state IN ('ready', 'paused', 'parked')
         RETURNING chunk_no",
        [id.into(), now.0.into()],
    )
    .await?;
    let idle = idle.iter().map(|row| row.try_get::<Option<i64>>("", "chunk_no")).collect::<Result<Vec<_>, _>>()?;
    let table = Table::of(batch.summary.batch_type);
    for chunk in chunks::open(conn, id).await? {
        if idle.contains(&Some(chunk.no)) {
            chunks::disown(conn, id, &chunk).await?;
        }
        chunks::abandon(conn, now, id, table, chunk.first_seq, chunk.end_seq()).await?;
    }
    changed(conn, id, Vec::new()).await
}

/// Pauses a batch: like a cancel, but it can go on.
///
/// # Errors
/// [`ControlError::Conflict`] when it has ended or is paused.
pub async fn pause(conn: &impl ConnectionTrait, id: BatchId) -> Result<Step<Batch>, ControlError> {
    let batch = locked(conn, id).await?;
    if batch.summary.status.is_terminal() {
        return Err(ControlError::Conflict(Refused::Ended(batch.summary.status)));
    }
    if batch.awaits_approval() {
        return Err(ControlError::Conflict(Refused::AwaitsApproval(id)));
    }
    if batch.paused {
        return Err(ControlError::Conflict(Refused::Paused));
    }
    db::execute(conn, "UPDATE batches SET paused = TRUE WHERE id = $1", [id.into()]).await?;
    changed(conn, id, Vec::new()).await
}

/// Lets a paused batch go on.
///
/// # Errors
/// [`ControlError::Conflict`] when it is not paused, or waits for an approval.
pub async fn resume(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, ControlError> {
    let batch = locked(conn, id).await?;
    if !batch.paused || batch.summary.status.is_terminal() {
        return Err(ControlError::Conflict(Refused::NotPaused));
    }
    if batch.awaits_approval() {
        return Err(ControlError::Conflict(Refused::AwaitsApproval(id)));
    }
    db::execute(conn, "UPDATE batches SET paused = FALSE WHERE id = $1", [id.into()]).await?;
    let rings = wake(conn, now, id, "state = 'paused'").await?;
    changed(conn, id, rings).await
}

/// Makes jobs of a batch ready now.
async fn wake(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId, condition: &str) -> Result<Vec<Ring>, DbErr> {
    let sql = format!(
        "UPDATE jobs SET state = 'ready', run_at = $2, rung_at = $2 WHERE batch_id = $1 AND {condition}
         RETURNING id, kind, lane"
    );
    // One that only another release knows is ready too, and the sweep parks it.
    let rows = db::all(conn, sql, [id.into(), now.0.into()]).await?;
    Ok(rows.iter().filter_map(|row| jobs::ring_of(row).ok()).collect())
}

/// Tries the failed items of an ended batch again, as the same operation: it goes back to `PROCESSING`. Items whose
/// outcome is unknown are tried too, under their message ids. Its chunks are opened a few at a time, as at first: the batch
/// goes ahead of nobody.
///
/// # Errors
/// [`ControlError::Conflict`] when it has not ended, was cancelled, nothing failed, or nothing of what failed can ever
/// succeed.
pub async fn retry(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, ControlError> {
    try_again(conn, now, id, None).await
}

/// Tries those items of an ended batch again that failed, or are in doubt, with one code: as [`retry`] does with all.
///
/// # Errors
/// Those of [`retry`], and [`ControlError::Conflict`] when no item failed with that code.
pub async fn retry_cause(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    code: &str,
) -> Result<Step<Batch>, ControlError> {
    try_again(conn, now, id, Some(code)).await
}

async fn try_again(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    code: Option<&str>,
) -> Result<Step<Batch>, ControlError> {
    let batch = locked(conn, id).await?;
    match batch.summary.status {
        BatchStatus::Completed | BatchStatus::Failed => {}
        BatchStatus::Pending | BatchStatus::Processing => {
            return Err(ControlError::Conflict(Refused::UnderWay));
        }
        BatchStatus::Cancelled => {
            let how = batch.hint().unwrap_or_else(|| "all of its items were decided before".into());
            return Err(ControlError::Conflict(Refused::Cancelled(how)));
        }
    }
    if batch.summary.failed == 0 {
        return Err(ControlError::Conflict(Refused::NothingFailed));
    }
    if let Some(why) = hopeless(conn, &batch, code).await? {
        return Err(ControlError::Conflict(why));
    }
    let waiting = db::execute(
        conn,
        format!(
            "UPDATE batch_chunks SET retry = TRUE, retry_code = $2, state = 'waiting', passed_on = FALSE
             WHERE batch_id = $1 AND EXISTS (
                SELECT 1 FROM {} i WHERE i.batch_id = $1 AND i.seq >= batch_chunks.first_seq
                   AND i.seq < batch_chunks.first_seq + batch_chunks.item_count AND i.error_code IS NOT NULL
                   AND i.item_status IN ('failed', 'unknown') AND (CAST($2 AS TEXT) IS NULL OR i.error_code = $2))",
            Table::of(batch.summary.batch_type).name()
        ),
        [id.into(), code.into()],
    )
    .await?;
    db::execute(
        conn,
        "UPDATE batches SET status = 'PROCESSING', completed_at = NULL, error_message = NULL, chunks_left = $2, next_chunk = 0
         WHERE id = $1",
        [id.into(), i64::try_from(waiting).unwrap_or(i64::MAX).into()],
    )
    .await?;
    let rings = chunks::open_next(conn, now, id, batch.summary.batch_type, WINDOW).await?;
    changed(conn, id, rings).await
}

/// Why no failed item of a batch can ever succeed, however often it is tried; `None`: some may. A row that cannot be read
/// stays so, and a contact that is not there is not there later: what is new gets an id of its own.
async fn hopeless(conn: &impl ConnectionTrait, batch: &Batch, code: Option<&str>) -> Result<Option<Refused>, DbErr> {
    let id = batch.summary.id;
    let may_pass = match batch.summary.batch_type {
        // What is wrong with a row is in the row; else its job died.
        BatchType::Import => "error_code = 'job_dead'",
        BatchType::Send | BatchType::Tag | BatchType::Delete => "error_code <> 'contact_not_found'",
    };
    let sql = format!(
        "SELECT seq FROM {} WHERE batch_id = $1 AND seq IS NOT NULL AND error_code IS NOT NULL
            AND item_status IN ('failed', 'unknown') AND {may_pass}
            AND (CAST($2 AS TEXT) IS NULL OR error_code = $2) LIMIT 1",
        Table::of(batch.summary.batch_type).name()
    );
    if db::one(conn, sql, [id.into(), code.into()]).await?.is_some() {
        return Ok(None);
    }
    if let Some(code) = code {
        return Ok(Some(Refused::NoSuchCause { code: code.to_owned(), batch: id }));
    }
    let failed = batch.summary.failed;
    Ok(Some(match batch.summary.batch_type {
        BatchType::Import => Refused::AllInvalid { failed, batch: id },
        BatchType::Send | BatchType::Tag | BatchType::Delete => Refused::AllUnknown { failed, batch: id },
    }))
}

/// Changes a batch's pace, jitter or time.
///
/// # Errors
/// [`ControlError::Conflict`] when it has ended, when it does not send, or when a new time comes after its start.
pub async fn patch(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    patch: Patch,
) -> Result<Step<Batch>, ControlError> {
    let batch = locked(conn, id).await?;
    if batch.summary.status.is_terminal() {
        return Err(ControlError::Conflict(Refused::Ended(batch.summary.status)));
    }
    if batch.summary.batch_type != BatchType::Send {
        return Err(ControlError::Conflict(Refused::SendsNothing));
    }
    let mut rings = Vec::new();
    if let Some(at) = patch.schedule_at {
        if batch.summary.status != BatchStatus::Pending || batch.schedule_at.is_none() {
            return Err(ControlError::Conflict(Refused::Started));
        }
        db::execute(conn, "UPDATE batches SET schedule_at = $2 WHERE id = $1", [id.into(), at.0.into()]).await?;
        db::execute(
            conn,
            "UPDATE jobs SET run_at = $2, rung_at = NULL WHERE batch_id = $1 AND kind = 'start' AND state = 'ready'",
            [id.into(), at.0.into()],
        )
        .await?;
    }
    if patch.rate_per_minute.is_some() || patch.jitter_ms.is_some() {
        let rate = patch.rate_per_minute.map(i64::from).or(batch.rate_per_minute);
        let jitter = patch.jitter_ms.map_or(batch.jitter_ms, i64::from);
        // Slots that were handed out at the old pace and not used are void; the next one is at most one new interval away.
        let interval_us = Pace::per_minute(rate, 0).map_or(0, |pace| pace.interval_us);
        let latest = now.0.saturating_mul(1000).saturating_add(interval_us);
        db::execute(
            conn,
            "UPDATE batches SET rate_per_minute = $2, jitter_ms = $3,
                    next_slot_us = CASE WHEN next_slot_us > $4 THEN $4 ELSE next_slot_us END WHERE id = $1",
            [id.into(), rate.into(), jitter.into(), latest.into()],
        )
        .await?;
        // Chunk by chunk: only those that are open have slots, and nobody waits until the whole batch was read.
        let open = "SELECT first_seq, first_seq + item_count AS end_seq FROM batch_chunks
                    WHERE batch_id = $1 AND state = 'open'";
        for chunk in db::all(conn, open, [id.into()]).await? {
            let (first, end): (i64, i64) = (chunk.try_get("", "first_seq")?, chunk.try_get("", "end_seq")?);
            db::execute(
                conn,
                "UPDATE messages SET slot_us = NULL, next_attempt_at = NULL
                 WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status IN ('pending', 'unknown')
                   AND finished_at IS NULL AND slot_us IS NOT NULL",
                [id.into(), first.into(), end.into()],
            )
            .await?;
        }
        rings.extend(wake(conn, now, id, "kind = 'send_chunk' AND state = 'ready' AND run_at > $2").await?);
    }
    changed(conn, id, rings).await
}
