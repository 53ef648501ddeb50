//! Cancelling a batch with time to take it back: the cancel is a job of the batch, whose time is [`CANCEL_AFTER`] later.
//!
//! Its row is all there is of it: whoever closes the page changes nothing, and whoever takes it back ends the row.

use super::control::{ControlError, cancel, changed, locked};
use super::refused::Refused;
use super::row::Batch;
use crate::Step;
use crate::audit_log::{self, Action, Actor, Origin};
use crate::db;
use crate::jobs::{self, Claimed, Ending, NewJob};
use crate::ring::{JobKind, JobRef};
use crate::time::Timestamp;
use entities::{BatchId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;
use std::time::Duration;

/// How long a cancel can be taken back.
pub const CANCEL_AFTER: Duration = Duration::from_secs(10);

/// A batch that is to be cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct ToCancel {
    /// The batch.
    pub batch: Batch,
    /// The job that cancels it: to be rung at its time.
    pub job: JobRef,
    /// Its time.
    pub at: Timestamp,
}

/// Cancels a batch [`CANCEL_AFTER`] from now, unless that is taken back ([`keep`]). Until then it goes on. One that is to start
/// sooner is cancelled at once: nothing of it was done.
///
/// # Errors
/// [`ControlError::Conflict`] when it has ended, or is to be cancelled already.
pub async fn cancel_later(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    by: UserId,
) -> Result<Step<ToCancel>, ControlError> {
    let batch = locked(conn, id).await?;
    if batch.summary.status.is_terminal() {
        return Err(ControlError::Conflict(Refused::Ended(batch.summary.status)));
    }
    if let Some(at) = cancel_at(conn, id).await? {
        return Err(ControlError::Conflict(Refused::ToBeCancelled(at)));
    }
    // What is to start before that could not be taken back any more.
    let later = now.plus(CANCEL_AFTER);
    let starts = batch.schedule_at.filter(|_| batch.summary.started_at.is_none());
    let at = if starts.is_some_and(|starts| starts <= later) { now } else { later };
    let new = NewJob { batch: Some(id), payload: json!({ "by": by }), ..NewJob::of(JobKind::Cancel, at) };
    let rings = jobs::enqueue(conn, now, &[new]).await?;
    let cancels = db::value(conn, format!("SELECT id FROM jobs WHERE {PENDING}"), [id.into()]).await?;
    let job = JobRef { kind: JobKind::Cancel, id: cancels.ok_or(DbErr::RecordNotInserted)? };
    let step = changed(conn, id, rings).await?;
    Ok(step.map(|batch| ToCancel { batch, job, at }))
}

/// The job that is to cancel the batch `$1`.
const PENDING: &str = "batch_id = $1 AND kind = 'cancel' AND state = 'ready'";

/// When a batch is to be cancelled; `None`: it is not.
///
/// # Errors
/// The database's.
pub async fn cancel_at(conn: &impl ConnectionTrait, id: BatchId) -> Result<Option<Timestamp>, DbErr> {
    db::value(conn, format!("SELECT run_at FROM jobs WHERE {PENDING}"), [id.into()]).await
}

/// Takes a cancel back: the batch goes on.
///
/// # Errors
/// [`ControlError::Conflict`] when it is not to be cancelled, or was meanwhile.
pub async fn keep(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, ControlError> {
    locked(conn, id).await?;
    let sql = format!("UPDATE jobs SET state = 'cancelled', finished_at = $2 WHERE {PENDING}");
    if db::execute(conn, sql, [id.into(), now.0.into()]).await? == 0 {
        return Err(ControlError::Conflict(Refused::NotToBeCancelled));
    }
    changed(conn, id, Vec::new()).await
}

/// Cancels the batch of a `cancel` job: its time has come. One that has ended meanwhile is left as it is.
///
/// # Errors
/// The database's.
pub async fn run_cancel(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<()>, DbErr> {
    if !jobs::renew(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(()));
    }
    jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    let Some(id) = job.batch else { return Ok(Step::quiet(())) };
    let step = match cancel(conn, now, id).await {
        Ok(step) => step,
        Err(ControlError::NotFound | ControlError::Conflict(_) | ControlError::OwnBatch) => return Ok(Step::quiet(())),
        Err(ControlError::Database(error)) => return Err(error),
    };
    let by = job.payload["by"].as_i64().map_or(Actor::System, |user| Actor::User(UserId(user)));
    // Where it was asked for is in the record of the asking.
    audit_log::record(conn, now, &Origin::new(by, None, Some("cancel job")), Action::BatchCancel, Some(id)).await?;
    Ok(step.map(|_| ()))
}
