//! Letting a job go.

use super::{Claimed, IS_RUNNING, LOCAL_TIMER, MAX_FAILURES};
use crate::Step;
use crate::batches::chunks;
use crate::db;
use crate::messages::deliver;
use crate::retry::Backoff;
use crate::ring::JobKind;
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};

/// How a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The work is over.
    Done,
    /// There is more to do from `until` on: the job gives its place back and sleeps as a row. The worker that puts it to
    /// sleep rings it at that time; the sweep does if that worker is gone.
    Asleep {
        /// From when on it may be claimed again.
        until: Timestamp,
    },
    /// Its batch is paused; the batch's resume makes it ready.
    Paused,
    /// An error that may pass: again after a backoff, dead after [`MAX_FAILURES`] retries.
    Failed {
        /// What went wrong, for people.
        error: String,
    },
    /// Something that the job needs is away, which is no failure of the job's: again at that time, however often.
    Postponed {
        /// From when on it may be claimed again.
        until: Timestamp,
        /// What is away, for people.
        error: String,
    },
    /// An error that will not pass.
    Dead {
        /// What went wrong, for people.
        error: String,
    },
    /// The worker is stopping, or could not begin: ready again at once, and no failure of the job's.
    GivenBack,
}

/// Where the row went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Over.
    Done,
    /// Ready again from this time on.
    ReadyAt(Timestamp),
    /// Waiting for its batch's resume.
    Paused,
    /// In the dead letters.
    Dead,
    /// The claim no longer stood; nothing was written.
    Stale,
}

/// Ends the claim of a job that could not be done. With a job that dies its chunk is closed: what was not finished has
/// failed for the same reason.
///
/// # Errors
/// The database's.
pub async fn fail(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    ending: &Ending,
    rng: &mut impl Rng,
) -> Result<Step<Finished>, DbErr> {
    let finished = finish(conn, now, job.id, job.fence, ending, rng).await?;
    if let (Finished::Dead, JobKind::Deliver, Ending::Dead { error } | Ending::Failed { error }) =
        (finished, job.kind, ending)
    {
        deliver::bury(conn, &job.payload, error).await?;
    }
    match (finished, job.batch, ending) {
        (Finished::Dead, Some(batch), Ending::Dead { error } | Ending::Failed { error }) => {
            Ok(chunks::bury(conn, now, batch, job.chunk, error).await?.map(|()| finished))
        }
        (
            Finished::Dead | Finished::Done | Finished::ReadyAt(_) | Finished::Paused | Finished::Stale,
            _,
            Ending::Done
            | Ending::Asleep { .. }
            | Ending::Paused
            | Ending::Postponed { .. }
            | Ending::Failed { .. }
            | Ending::Dead { .. }
            | Ending::GivenBack,
        ) => Ok(Step::quiet(finished)),
    }
}

/// Gives up a job whose row cannot be read: nobody ever will. Its chunk is closed as that of a job that died.
///
/// # Errors
/// The database's.
pub async fn reject(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    owner: &str,
    reason: &str,
) -> Result<Step<()>, DbErr> {
    let row = db::one(
        conn,
        format!(
            "UPDATE jobs SET state = 'dead', error = $3, finished_at = $4, lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND {IS_RUNNING} AND lease_owner = $2 RETURNING batch_id, chunk_no, kind, payload"
        ),
        [id.into(), owner.into(), reason.into(), now.0.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(Step::quiet(())) };
    deliver::bury_row(conn, &row, reason).await?;
    match row.try_get::<Option<i64>>("", "batch_id")?.map(BatchId) {
        Some(batch) => chunks::bury(conn, now, batch, row.try_get("", "chunk_no")?, reason).await,
        None => Ok(Step::quiet(())),
    }
}

/// Ends a claim. A job that comes to a planned rest has shown that it can be done: its failures and crashes are forgotten.
///
/// # Errors
/// The database's.
pub async fn finish(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    fence: i64,
    ending: &Ending,
    rng: &mut impl Rng,
) -> Result<Finished, DbErr> {
    let (state, run_at, failed, error, after) = match ending {
        Ending::Done => ("done", None, 0, None, Finished::Done),
        Ending::Asleep { until } => ("ready", Some(*until), 0, None, Finished::ReadyAt(*until)),
        Ending::Paused => ("paused", None, 0, None, Finished::Paused),
        Ending::GivenBack => ("ready", Some(now), 0, None, Finished::ReadyAt(now)),
        Ending::Postponed { until, error } => {
            ("ready", Some(*until), 0, Some(error.clone()), Finished::ReadyAt(*until))
        }
        Ending::Failed { error } => {
            let failures = failures(conn, id).await?;
            if failures < MAX_FAILURES {
                let at = now.plus(Backoff::JOBS.delay(u32::try_from(failures).unwrap_or(u32::MAX), rng));
                ("ready", Some(at), 1, Some(error.clone()), Finished::ReadyAt(at))
            } else {
                ("dead", None, 1, Some(error.clone()), Finished::Dead)
            }
        }
        Ending::Dead { error } => ("dead", None, 1, Some(error.clone()), Finished::Dead),
    };
    // A worker rings a job that it put to sleep; one that sleeps for longer than it will wait is the sweep's.
    let promised = run_at.filter(|at| at.since(now) <= LOCAL_TIMER);
    let over = matches!(after, Finished::Done | Finished::Dead);
    let written = db::execute(
        conn,
        format!(
            "UPDATE jobs SET state = $3, run_at = coalesce($4, run_at), rung_at = $8,
                    failures = CASE WHEN $9 THEN 0 ELSE failures + $5 END, crashes = CASE WHEN $9 THEN 0 ELSE crashes END,
                    error = coalesce($6, error), finished_at = $7, lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND fence = $2 AND {IS_RUNNING}"
        ),
        [
            id.into(),
            fence.into(),
            state.into(),
            run_at.map(|t| t.0).into(),
            failed.into(),
            error.into(),
            over.then_some(now.0).into(),
            promised.map(|t| t.0).into(),
            matches!(ending, Ending::Asleep { .. }).into(),
        ],
    )
    .await?;
    Ok(if written == 1 { after } else { Finished::Stale })
}

/// Failures in a row so far: the row's word, since progress forgets them.
async fn failures(conn: &impl ConnectionTrait, id: JobId) -> Result<i64, DbErr> {
    let row = db::one(conn, "SELECT failures FROM jobs WHERE id = $1", [id.into()]).await?;
    row.map_or(Ok(0), |row| row.try_get("", "failures"))
}
