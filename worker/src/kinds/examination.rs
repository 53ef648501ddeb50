//! Examines the installation, and keeps what is found as it is found.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::db;
use domain::jobs::{self, Claimed, Ending, Finished};
use domain::queue::examinations::{self, Progress};
use faults::Commit;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often is written how far it has come.
const KEPT_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let Some(examine) = &shared.settings.examine else {
        return Err(JobError::Permanent("this worker cannot examine the installation".into()));
    };
    let tx = shared.db.begin().await?;
    let begun = examinations::begin(&tx, shared.clock.now(), job).await?;
    db::commit(tx, Commit::Steer).await?;
    let Some(id) = begun else {
        // Over already, or somebody else's by now.
        return end(shared, job, &Ending::Done).await;
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell = Arc::new(move |said| {
        // Nobody listens any more once the worker stops.
        tell.send(said).ok();
    });
    let mut examining = (examine.0)(tell);
    let (mut progress, mut changed) = (Progress::default(), false);
    let mut tick = tokio::time::interval(KEPT_EVERY);
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return end(shared, job, &Ending::GivenBack).await,
            () = &mut examining => break,
            Some(said) = told.recv() => {
                progress.take(said);
                changed = true;
            }
            _ = tick.tick(), if changed => {
                changed = false;
                let tx = shared.db.begin().await?;
                let stands = examinations::keep(&tx, shared.clock.now(), job, id, &progress).await?;
                db::commit(tx, Commit::Steer).await?;
                if !stands {
                    return Ok(JobEnd::Stale);
                }
            }
        }
    }
    while let Ok(said) = told.try_recv() {
        progress.take(said);
    }
    let tx = shared.db.begin().await?;
    let finished = examinations::end(&tx, shared.clock.now(), job, id, &progress, &mut shared.rng()).await?;
    db::commit(tx, Commit::Steer).await?;
    Ok(if finished == Finished::Stale { JobEnd::Stale } else { JobEnd::Settled })
}

async fn end(shared: &Shared, job: &Claimed, ending: &Ending) -> Result<JobEnd, JobError> {
    let (db, now) = (shared.db.write(), shared.clock.now());
    let ended = jobs::finish(db, now, job.id, job.fence, ending, &mut shared.rng()).await?;
    Ok(if ended == Finished::Stale { JobEnd::Stale } else { JobEnd::Settled })
}
