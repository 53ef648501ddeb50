//! Opens a scheduled batch at its time.

use crate::Shared;
use crate::execute::{JobError, Outcome};
use domain::batches;
use domain::jobs::Claimed;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<Outcome, JobError> {
    let tx = shared.db.begin().await?;
    let step = batches::run_start(&tx, shared.clock.now(), job, &mut shared.rng()).await?;
    tx.commit().await?;
    shared.after.commit(step).await;
    Ok(Outcome::Settled)
}
