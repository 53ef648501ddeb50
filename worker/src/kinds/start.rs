//! Opens a scheduled batch at its time.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::jobs::Claimed;
use domain::{batches, db};
use faults::Commit;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let tx = shared.db.begin().await?;
    let step = batches::run_start(&tx, shared.clock.now(), job, &mut shared.rng()).await?;
    db::commit(tx, Commit::Start).await?;
    shared.after.commit(step);
    Ok(JobEnd::Settled)
}
