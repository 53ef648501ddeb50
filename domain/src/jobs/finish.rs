//! Letting a job go.

use super::bury::{self, Bury, Dead};
use super::history::{self, Trouble};
use super::{Claimed, IS_RUNNING, LOCAL_TIMER, MAX_FAILURES, MAX_TIMEOUTS};
use crate::Step;
use crate::db;
use crate::retry::Backoff;
use crate::time::Timestamp;
use entities::JobId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use std::time::Duration;

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
    /// A statement was ended for the time it took, with no less to do: again after a moment, dead after
    /// [`MAX_TIMEOUTS`](super::MAX_TIMEOUTS) in a row.
    TimedOut {
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

/// Ends the claim of a job that could not be done. One that dies is buried: what was not finished has failed for the same
/// reason.
///
/// # Errors
/// The database's.
pub async fn fail(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    ending: &Ending,
    kinds: &impl Bury,
    rng: &mut impl Rng,
) -> Result<Step<Finished>, DbErr> {
    let finished = finish(conn, now, job.id, job.fence, ending, rng).await?;
    match (finished, ending) {
        (Finished::Dead, Ending::Dead { error } | Ending::Failed { error } | Ending::TimedOut { error }) => {
            let dead = Dead {
                id: job.id,
                kind: job.kind,
                batch: job.batch,
                chunk: job.chunk,
                payload: job.payload.clone(),
                reason: error,
            };
            Ok(kinds.bury(conn, now, &dead).await?.map(|()| finished))
        }
        (
            Finished::Dead | Finished::Done | Finished::ReadyAt(_) | Finished::Paused | Finished::Stale,
            Ending::Done
            | Ending::Asleep { .. }
            | Ending::Paused
            | Ending::Postponed { .. }
            | Ending::Failed { .. }
            | Ending::TimedOut { .. }
            | Ending::Dead { .. }
            | Ending::GivenBack,
        ) => Ok(Step::quiet(finished)),
    }
}

/// Gives up a job whose row cannot be read: nobody ever will. It is buried as one that died.
///
/// # Errors
/// The database's.
pub async fn reject(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    owner: &str,
    reason: &str,
    kinds: &impl Bury,
) -> Result<Step<()>, DbErr> {
    history::record_trouble(conn, now, id, None, Trouble::Unreadable, reason, None).await?;
    let row = db::one(
        conn,
        format!(
            "UPDATE jobs SET state = 'dead', error = $3, finished_at = $4, lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND {IS_RUNNING} AND lease_owner = $2 RETURNING {}",
            bury::COLUMNS
        ),
        [id.into(), owner.into(), reason.into(), now.0.into()],
    )
    .await?;
    match row {
        Some(row) => kinds.bury(conn, now, &Dead::of(&row, reason)?).await,
        None => Ok(Step::quiet(())),
    }
}

/// Ends a claim. A job that comes to a planned rest has shown that it can be done: its failures, crashes and
/// timeouts are forgotten.
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
    // The count that grows with this ending.
    let (mut failed, mut timed_out) = (0, 0);
    let (state, run_at, error, after) = match ending {
        Ending::Done => ("done", None, None, Finished::Done),
        Ending::Asleep { until } => ("ready", Some(*until), None, Finished::ReadyAt(*until)),
        Ending::Paused => ("paused", None, None, Finished::Paused),
        Ending::GivenBack => ("ready", Some(now), None, Finished::ReadyAt(now)),
        Ending::Postponed { until, error } => ("ready", Some(*until), Some(error.clone()), Finished::ReadyAt(*until)),
        Ending::Failed { error } => {
            failed = 1;
            let failures = so_far(conn, id, "failures").await?;
            match failures < MAX_FAILURES {
                true => again(now, Backoff::JOBS.delay(u32::try_from(failures).unwrap_or(u32::MAX), rng), error),
                false => dead(error),
            }
        }
        Ending::TimedOut { error } => {
            timed_out = 1;
            match so_far(conn, id, "timeouts").await? + 1 < i64::from(MAX_TIMEOUTS) {
                true => again(now, Backoff::POSTPONED.delay(0, rng), error),
                false => dead(&format!("tried {MAX_TIMEOUTS} times: {error}")),
            }
        }
        Ending::Dead { error } => {
            failed = 1;
            dead(error)
        }
    };
    if let (Some(what), Some(error)) = (Trouble::of(ending), &error) {
        let again_at = run_at.filter(|_| matches!(after, Finished::ReadyAt(_)));
        history::record_trouble(conn, now, id, Some(fence), what, error, again_at).await?;
    }
    // A worker rings a job that it put to sleep; one that sleeps for longer than it will wait is the sweep's.
    let promised = run_at.filter(|at| at.since(now) <= LOCAL_TIMER);
    let over = matches!(after, Finished::Done | Finished::Dead);
    let written = db::execute(
        conn,
        format!(
            "UPDATE jobs SET state = $3, run_at = coalesce($4, run_at), rung_at = $8,
                    failures = CASE WHEN $9 THEN 0 ELSE failures + $5 END, crashes = CASE WHEN $9 THEN 0 ELSE crashes END,
                    timeouts = CASE WHEN $9 THEN 0 ELSE timeouts + $10 END,
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
            matches!(ending, Ending::Asleep { .. } | Ending::Paused).into(),
            timed_out.into(),
        ],
    )
    .await?;
    Ok(if written == 1 { after } else { Finished::Stale })
}

/// Where the row goes: its state, from when on it may run, what is told of it, and the same for who asked.
type RunState = (&'static str, Option<Timestamp>, Option<String>, Finished);

fn again(now: Timestamp, wait: Duration, error: &str) -> RunState {
    let at = now.plus(wait);
    ("ready", Some(at), Some(error.to_owned()), Finished::ReadyAt(at))
}

fn dead(error: &str) -> RunState {
    ("dead", None, Some(error.to_owned()), Finished::Dead)
}

/// A count in a row so far: the row's word, since progress forgets it.
async fn so_far(conn: &impl ConnectionTrait, id: JobId, column: &str) -> Result<i64, DbErr> {
    let row = db::one(conn, format!("SELECT {column} AS n FROM jobs WHERE id = $1"), [id.into()]).await?;
    row.map_or(Ok(0), |row| row.try_get("", "n"))
}
