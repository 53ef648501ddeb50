//! From a ring to a job at rest.

use crate::Shared;
use crate::kinds::{self, FirstStep};
use crate::places::LanePlace;
use domain::db::Trouble;
use domain::jobs::{self, Claim, Claimed, Ending, Finished};
use domain::kinds::Kinds;
use domain::retry::Backoff;
use domain::{JobId, JobRef, Lane, Timestamp, db};
use faults::{Commit, Point, Side};
use futures::FutureExt;
use sea_orm::DbErr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How a kind's code ends a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// Its last step wrote the job's end itself.
    Settled,
    /// The claim no longer stood: what was not written is another worker's now.
    Stale,
}

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The database's: may pass.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// Will not pass.
    #[error("{0}")]
    Permanent(String),
    /// A bug; perhaps one that passes.
    #[error("the job panicked; the log has its place")]
    Panicked,
}

/// Claims a job. The first step of a kind that has one for it goes into the same transaction.
async fn claim(shared: &Shared, now: Timestamp, rung: JobRef) -> Result<(Claim, Option<FirstStep>), DbErr> {
    db::hit(Point::Claim(Side::Before))?;
    let claimed = match AssertUnwindSafe(kinds::claim(shared, now, rung)).catch_unwind().await {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(claimed))) => Some(claimed),
        Ok(Err(error)) => {
            tracing::warn!(job = %rung, %error, "the first step failed; the job is claimed without it");
            None
        }
        // The step will panic again under the claim, where that is the job's failure.
        Err(_) => None,
    };
    let claimed = match claimed {
        Some((claim, first)) => (claim, first),
        None => (jobs::claim(shared.db.write(), now, rung.id, &shared.owner).await?, None),
    };
    db::hit(Point::Claim(Side::After))?;
    Ok(claimed)
}

async fn reject(shared: &Shared, id: JobId, error: &DbErr) -> Result<(), DbErr> {
    let tx = shared.db.begin().await?;
    let reason = format!("its row cannot be read: {error}");
    let step = jobs::reject(&tx, shared.clock.now(), id, &shared.owner, &reason, &Kinds).await?;
    db::commit(tx, Commit::Failure).await?;
    shared.after.commit(step);
    Ok(())
}

/// Claims the job that a ring names, does it, and writes down how it ended.
pub(crate) async fn execute(shared: &Arc<Shared>, lane: Lane, rung: JobRef, place: &mut LanePlace) {
    let now = shared.clock.now();
    let (claimed, first) = match claim(shared, now, rung).await {
        Ok((Claim::Taken(job), first)) => (*job, first),
        Ok((Claim::NotReady, _)) => {
            metrics::counter!("paceline_rings_idle_total", "kind" => rung.kind.as_str()).increment(1);
            return;
        }
        Ok((Claim::Early { run_at }, _)) => {
            metrics::counter!("paceline_rings_early_total", "kind" => rung.kind.as_str()).increment(1);
            shared.after.ring_at(lane, rung, run_at);
            return;
        }
        Ok((Claim::Unknown { kind, version }, _)) => {
            tracing::warn!(job = %rung.id, kind, version, "a job that only another release knows waits for it");
            return;
        }
        Err(error) if Trouble::of(&error).passes() => {
            tracing::warn!(job = %rung, %error, "job not claimed; the sweep will ring again");
            return;
        }
        Err(error) => {
            tracing::error!(job = %rung, %error, "the job's row cannot be read; it is given up");
            metrics::counter!("paceline_jobs_total", "lane" => lane.as_str(), "kind" => rung.kind.as_str(), "outcome" => "dead")
                .increment(1);
            if let Err(error) = reject(shared, rung.id, &error).await {
                tracing::warn!(job = %rung, %error, "that was not written; its lease will end");
            }
            return;
        }
    };
    let (lane, kind) = (claimed.lane.as_str(), claimed.kind.as_str());
    metrics::histogram!("paceline_job_pickup_seconds", "lane" => lane, "kind" => kind)
        .record(now.since(claimed.run_at).as_secs_f64());
    metrics::gauge!("paceline_jobs_running", "lane" => lane, "kind" => kind).increment(1.0);
    let began = Instant::now();
    let lease = shared.leases.hold(&claimed);
    let span = tracing::info_span!(
        "job",
        id = claimed.id.0,
        kind,
        lane,
        fence = claimed.fence,
        batch = claimed.batch.map(|b| b.0),
        chunk = claimed.chunk
    );
    let done =
        AssertUnwindSafe(kinds::run(shared, &claimed, first, place)).catch_unwind().instrument(span.clone()).await;
    let result = match done {
        Ok(result) => result,
        Err(_) => {
            metrics::counter!("paceline_panics_total", "in" => "job").increment(1);
            Err(JobError::Panicked)
        }
    };
    let outcome = match result {
        Ok(JobEnd::Settled) => "done",
        Ok(JobEnd::Stale) => {
            metrics::counter!("paceline_stale_fences_total", "kind" => kind).increment(1);
            span.in_scope(|| tracing::warn!("the claim no longer stood; nothing was written"));
            "stale"
        }
        Err(error) => fail(shared, &claimed, error).instrument(span).await,
    };
    // Not before: a lease that nobody here holds is given back.
    drop(lease);
    metrics::counter!("paceline_jobs_total", "lane" => lane, "kind" => kind, "outcome" => outcome).increment(1);
    metrics::gauge!("paceline_jobs_running", "lane" => lane, "kind" => kind).decrement(1.0);
    metrics::histogram!("paceline_job_run_seconds", "lane" => lane, "kind" => kind)
        .record(began.elapsed().as_secs_f64());
}

/// How long the writing of a failure is tried: the database that made the job fail may be away for a while, and who gives
/// the job back as soon as it is there again spares everybody the wait for the lease's end.
const FAIL_FOR: Duration = jobs::LEASE;

/// Between two tries; doubled each time, up to the greater.
const FAIL_PAUSE: Duration = Duration::from_millis(200);
const FAIL_PAUSE_MAX: Duration = Duration::from_secs(1);

async fn fail(shared: &Arc<Shared>, job: &Claimed, error: JobError) -> &'static str {
    let ending = match &error {
        JobError::Database(trouble) if Trouble::of(trouble) == Trouble::TooLong => {
            Ending::TimedOut { error: error.to_string() }
        }
        JobError::Database(trouble) if Trouble::of(trouble).passes() => {
            let wait = Backoff::POSTPONED.delay(0, &mut shared.rng());
            Ending::Postponed { until: shared.clock.now().plus(wait), error: error.to_string() }
        }
        JobError::Database(_) | JobError::Panicked => Ending::Failed { error: error.to_string() },
        JobError::Permanent(_) => Ending::Dead { error: error.to_string() },
    };
    let began = Instant::now();
    let mut pause = FAIL_PAUSE;
    while began.elapsed() < FAIL_FOR {
        match write_failure(shared, job, &ending).await {
            Ok(Finished::ReadyAt(at)) => {
                tracing::warn!(%error, retry_at = %at.to_rfc3339(), "job failed; it will be tried again");
                shared.after.ring_at(job.lane, JobRef { kind: job.kind, id: job.id }, at);
                return "failed";
            }
            Ok(Finished::Dead) => {
                tracing::error!(%error, "job is dead");
                return "dead";
            }
            Ok(Finished::Stale | Finished::Done | Finished::Paused) => {
                metrics::counter!("paceline_stale_fences_total", "kind" => job.kind.as_str()).increment(1);
                tracing::warn!(%error, "job failed, and the claim no longer stood; nothing was written");
                return "stale";
            }
            Err(write_error) => {
                tracing::warn!(%error, %write_error, "the failure could not be written yet");
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(FAIL_PAUSE_MAX),
                    // Whose lease it was is known; nothing is lost that the rescue would not find.
                    () = shared.stopping.cancelled() => break,
                }
            }
        }
    }
    // The lease ends by itself and the rescue takes over.
    "abandoned"
}

async fn write_failure(shared: &Shared, job: &Claimed, ending: &Ending) -> Result<Finished, DbErr> {
    let now = shared.clock.now();
    let tx = shared.db.begin().await?;
    let step = jobs::fail(&tx, now, job, ending, &Kinds, &mut shared.rng()).await?;
    db::commit(tx, Commit::Failure).await?;
    Ok(shared.after.commit(step))
}
