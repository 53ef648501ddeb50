//! Cancels a batch at the time until which that could be taken back.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::jobs::Claimed;
use domain::{batches, db};
use faults::Commit;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let tx = shared.db.begin().await?;
    let step = batches::run_cancel(&tx, shared.clock.now(), job, &mut shared.rng()).await?;
    db::commit(tx, Commit::Steer).await?;
    shared.after.commit(step);
    Ok(JobEnd::Settled)
}
