//! Imports, changes tags or deletes: one chunk, in a few transactions.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::batches::{self, Ran, SetChunk};
use domain::db::{self, Trouble};
use domain::jobs::{self, Claimed, Ending, Finished};
use domain::kinds::Kinds;
use faults::Commit;
use sea_orm::DbErr;
use std::time::Instant;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let malformed = || JobError::Permanent(format!("a {} job that is about no chunk", job.kind));
    let raw = SetChunk::read(shared.db.read(), job).await?.ok_or_else(malformed)?;
    // Checking the numbers of an import takes longer than writing them, and holds nothing.
    let parsed = tokio::task::spawn_blocking(move || raw.parse()).await;
    // A thread that has begun is not cancelled: it ends with a result or a panic.
    let mut set = parsed.map_err(|_| JobError::Panicked)??;
    set.resize(shared.step_rows.now());
    loop {
        if shared.stopping.is_cancelled() && !set.is_half_done() {
            return give_back(shared, job).await;
        }
        match step(shared, job, &mut set).await {
            Ok(Ran::More) => {}
            Ok(Ran::Done | Ran::Paused | Ran::Ended) => return Ok(JobEnd::Settled),
            Ok(Ran::Stale) => return Ok(JobEnd::Stale),
            // For what it does, or for somebody whom it waits for: with less it is done, or that is told.
            Err(error) if Trouble::of(&error) == Trouble::TooLong && set.halve() => {
                metrics::counter!("paceline_steps_halved_total", "kind" => job.kind.as_str()).increment(1);
                tracing::warn!(%error, "a step took too long; the next one does half of it");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn step(shared: &Shared, job: &Claimed, set: &mut SetChunk) -> Result<Ran, DbErr> {
    let tx = shared.db.begin().await?;
    let since = Instant::now();
    let step = batches::run_set(&tx, shared.clock.now(), job, set, &mut shared.rng()).await?;
    db::commit(tx, Commit::Set).await?;
    if let Some(rows) = shared.step_rows.after(since.elapsed()) {
        set.resize(rows);
    }
    Ok(shared.after.commit(step))
}

/// The process stops: the steps that are left are another's.
async fn give_back(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let tx = shared.db.begin().await?;
    let step = jobs::fail(&tx, shared.clock.now(), job, &Ending::GivenBack, &Kinds, &mut shared.rng()).await?;
    db::commit(tx, Commit::Rest).await?;
    Ok(match shared.after.commit(step) {
        Finished::Stale => JobEnd::Stale,
        Finished::Done | Finished::ReadyAt(_) | Finished::Paused | Finished::Dead => JobEnd::Settled,
    })
}
