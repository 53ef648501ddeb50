//! What a person does to a job.
//!
//! A chunk's job is not steered by itself: what is left of its recipients, and how many chunks are open at once, is its
//! batch's, so the batch is retried, cancelled or resumed. What is left to do with such a job that died is to say that
//! somebody has seen to it.

use crate::Step;
use crate::db::{self, Dialect};
use crate::delivery::single;
use crate::jobs::list::{self, Job};
use crate::jobs::{self, history};
use crate::kinds::Burial;
use crate::model::{JobEventKind, JobState};
use crate::ring::JobKind;
use crate::time::Timestamp;
use entities::{JobId, UserId};
use sea_orm::{ConnectionTrait, DbErr, TryGetable};

/// What is done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is dead, and is tried again from the start: its failures are forgotten.
    Retry,
    /// It is taken away: a job that waits is never done, a dead one is seen to.
    Cancel,
    /// It waits for a time, and runs at once.
    RunNow,
    /// It is given another time.
    Move(Timestamp),
}

impl Act {
    const fn event(self) -> JobEventKind {
        match self {
            Self::Retry => JobEventKind::Retried,
            Self::Cancel => JobEventKind::Cancelled,
            Self::RunNow => JobEventKind::RunNow,
            Self::Move(_) => JobEventKind::Moved,
        }
    }
}

/// Why an act makes no sense for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// A worker has it.
    Running,
    /// It is over.
    Over,
    /// It is dead.
    Dead,
    /// It is not dead.
    NotDead,
    /// It may run already.
    Due,
    /// Its batch is steered in its place.
    OfBatch,
    /// Its batch is paused.
    Paused,
    /// Only another release knows it.
    Unknown,
}

impl Unfit {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Running, Self::Over, Self::Dead, Self::NotDead, Self::Due, Self::OfBatch, Self::Paused, Self::Unknown];

    /// A stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Over => "over",
            Self::Dead => "dead",
            Self::NotDead => "not_dead",
            Self::Due => "due",
            Self::OfBatch => "of_batch",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }

    /// For people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Running => "a worker has the job: it ends, or its lease does",
            Self::Over => "the job is over",
            Self::Dead => "the job is dead: retry it, or cancel it",
            Self::NotDead => "only a dead job is retried",
            Self::Due => "the job may run already, and waits for a worker",
            Self::OfBatch => "the job is a part of a batch: steer the batch",
            Self::Paused => "the job's batch is paused: resume the batch",
            Self::Unknown => "only another release knows the job: it goes on once that runs again",
        }
    }
}

/// Why an act on a job makes no sense; `None`: it does.
#[must_use]
pub fn unfit(now: Timestamp, job: &Job, act: Act) -> Option<Unfit> {
    unfit_group(&job.kind, job.state, job.run_at <= now, act)
}

/// The same of jobs of one kind in one state; `due`: whether they could run by now.
pub(super) fn unfit_group(kind: &str, state: JobState, due: bool, act: Act) -> Option<Unfit> {
    let Ok(kind) = kind.parse::<JobKind>() else { return Some(Unfit::Unknown) };
    // A cancel that can be taken back is its batch's, too.
    let of_batch = matches!(Burial::of(kind), Burial::Batch) || kind == JobKind::Cancel;
    match (act, state) {
        (_, JobState::Running) => Some(Unfit::Running),
        (_, JobState::Done | JobState::Cancelled) => Some(Unfit::Over),
        (Act::Retry, JobState::Dead) if of_batch => Some(Unfit::OfBatch),
        (Act::Retry | Act::Cancel, JobState::Dead) => None,
        (Act::Retry, JobState::Ready | JobState::Paused | JobState::Parked) => Some(Unfit::NotDead),
        (_, JobState::Parked) => Some(Unfit::Unknown),
        (Act::Cancel, JobState::Ready | JobState::Paused) if of_batch => Some(Unfit::OfBatch),
        (Act::RunNow | Act::Move(_), JobState::Dead) => Some(Unfit::Dead),
        (_, JobState::Paused) => Some(Unfit::Paused),
        (Act::RunNow, JobState::Ready) if due => Some(Unfit::Due),
        // Its time is the batch's, which shows it.
        (Act::RunNow | Act::Move(_), JobState::Ready) if matches!(kind, JobKind::Start | JobKind::Cancel) => {
            Some(Unfit::OfBatch)
        }
        (Act::Cancel | Act::RunNow | Act::Move(_), JobState::Ready) => None,
    }
}

/// Why a job was not steered.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// There is no such job.
    #[error("no such job")]
    NotFound,
    /// It makes no sense.
    #[error("{}", .1.message())]
    Unfit(Box<Job>, Unfit),
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Does something to a job; returns it as it is then.
///
/// # Errors
/// See [`SteerError`].
pub async fn steer(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    act: Act,
    user: Option<UserId>,
) -> Result<Step<Job>, SteerError> {
    let (job, payload) = list::lock(conn, id).await?.ok_or(SteerError::NotFound)?;
    if let Some(unfit) = unfit(now, &job, act) {
        return Err(SteerError::Unfit(Box::new(job), unfit));
    }
    let written = write(conn, now, &[&(job, payload)], act, user).await?;
    let found = list::get(conn, id).await?.filter(|_| !written.value.is_empty());
    let (job, _) = found.ok_or(SteerError::NotFound)?;
    Ok(written.map(|_| job))
}

/// Writes what is done to jobs that are fit for it. One that is in another state by now is left as it is. Returns those
/// that it was done to.
pub(super) async fn write(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    chosen: &[&(Job, serde_json::Value)],
    act: Act,
    user: Option<UserId>,
) -> Result<Step<Vec<JobId>>, DbErr> {
    let Some((first, _)) = chosen.first() else { return Ok(Step::quiet(Vec::new())) };
    let (state, run_at) = match act {
        Act::Retry | Act::RunNow => (JobState::Ready, Some(now)),
        Act::Move(at) => (JobState::Ready, Some(at)),
        Act::Cancel => (JobState::Cancelled, None),
    };
    let rung_at = run_at.filter(|at| *at <= now).map(|_| now.0);
    let ids: Vec<i64> = chosen.iter().map(|(job, _)| job.id.0).collect();
    let (among, ids) = Dialect::of(conn).one_of_numbers(1, &ids);
    let sql = format!(
        "UPDATE jobs SET state = $2, run_at = coalesce(CAST($3 AS BIGINT), run_at), rung_at = CAST($4 AS BIGINT),
                finished_at = CAST($5 AS BIGINT), failures = CASE WHEN $6 THEN 0 ELSE failures END,
                crashes = CASE WHEN $6 THEN 0 ELSE crashes END, timeouts = CASE WHEN $6 THEN 0 ELSE timeouts END,
                error = CASE WHEN $8 THEN NULL ELSE error END
         WHERE id {among} AND state = $7 RETURNING id, kind, lane"
    );
    let values = [
        ids,
        state.as_str().into(),
        run_at.map(|at| at.0).into(),
        rung_at.into(),
        matches!(act, Act::Cancel).then_some(now.0).into(),
        matches!(act, Act::Retry).into(),
        first.state.as_str().into(),
        // What it waited for is no longer what it waits for: that its sender goes on does not wake it.
        matches!(act, Act::Move(_)).into(),
    ];
    let rows = db::all(conn, sql, values).await?;
    let written =
        rows.iter().map(|row| JobId::try_get_by_index(row, 0)).collect::<Result<Vec<_>, _>>().map_err(DbErr::from)?;
    let mut events = Vec::new();
    if matches!(act, Act::Cancel) {
        let delivers = |job: &Job| job.kind == JobKind::Deliver.as_str() && written.contains(&job.id);
        let payloads: Vec<_> = chosen.iter().filter(|(job, _)| delivers(job)).map(|(_, payload)| payload).collect();
        events = single::cancel(conn, now, &payloads).await?.events;
    }
    history::record_acts(conn, now, &written, act.event(), user, run_at).await?;
    let rings = rows.iter().filter(|_| rung_at.is_some()).map(jobs::ring_of).collect::<Result<Vec<_>, _>>()?;
    Ok(Step { value: written, rings, events })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn job(kind: &str, state: JobState, run_at: i64) -> Job {
        Job {
            id: JobId(1),
            kind: kind.into(),
            lane: "critical".into(),
            state,
            batch: None,
            chunk: None,
            run_at: Timestamp(run_at),
            attempts: 1,
            failures: 0,
            crashes: 0,
            timeouts: 0,
            error: None,
            worker: None,
            lease_until: None,
            created_at: NOW,
            started_at: None,
            claimed_at: None,
            finished_at: None,
        }
    }

    #[test]
    fn an_act_fits_a_job_by_its_state_and_what_it_belongs_to() {
        let (later, later_ms) = (Act::Move(Timestamp(2_000_000)), 2_000_000);
        for (kind, state, run_at, act, expected) in [
            ("deliver", JobState::Dead, 0, Act::Retry, None),
            ("send_chunk", JobState::Dead, 0, Act::Retry, Some(Unfit::OfBatch)),
            ("send_chunk", JobState::Dead, 0, Act::Cancel, None),
            ("deliver", JobState::Dead, 0, Act::RunNow, Some(Unfit::Dead)),
            ("deliver", JobState::Ready, 0, Act::Retry, Some(Unfit::NotDead)),
            ("deliver", JobState::Ready, 0, Act::Cancel, None),
            ("send_chunk", JobState::Ready, 0, Act::Cancel, Some(Unfit::OfBatch)),
            ("deliver", JobState::Ready, 0, Act::RunNow, Some(Unfit::Due)),
            ("deliver", JobState::Ready, later_ms, Act::RunNow, None),
            ("send_chunk", JobState::Ready, later_ms, Act::RunNow, None),
            ("start", JobState::Ready, later_ms, Act::RunNow, Some(Unfit::OfBatch)),
            ("start", JobState::Ready, later_ms, later, Some(Unfit::OfBatch)),
            ("deliver", JobState::Ready, 0, later, None),
            ("deliver", JobState::Running, 0, Act::Cancel, Some(Unfit::Running)),
            ("deliver", JobState::Done, 0, Act::Cancel, Some(Unfit::Over)),
            ("deliver", JobState::Cancelled, 0, Act::Retry, Some(Unfit::Over)),
            ("send_chunk", JobState::Paused, 0, Act::RunNow, Some(Unfit::Paused)),
            ("from_tomorrow", JobState::Parked, 0, Act::Cancel, Some(Unfit::Unknown)),
            ("deliver", JobState::Parked, 0, Act::Cancel, Some(Unfit::Unknown)),
        ] {
            assert_eq!(unfit(NOW, &job(kind, state, run_at), act), expected, "{kind} {state} {act:?}");
        }
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Unfit::ALL.into_iter().map(Unfit::code).collect();
        assert_eq!(words.len(), Unfit::ALL.len());
    }
}
