//! Does something to all the jobs or batches that match a filter, a few in each transaction.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::jobs::{self, Claimed, Ending, Finished};
use domain::queue::operations::{self, Turn};
use domain::{JobRef, db};
use faults::Commit;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    loop {
        if shared.stopping.is_cancelled() {
            let now = shared.clock.now();
            let (db, rng) = (shared.db.write(), &mut shared.rng());
            let ended = jobs::finish(db, now, job.id, job.fence, &Ending::GivenBack, rng).await?;
            return Ok(if ended == Finished::Stale { JobEnd::Stale } else { JobEnd::Settled });
        }
        let tx = shared.db.begin().await?;
        let step = operations::step(&tx, shared.clock.now(), job, &mut shared.rng()).await?;
        db::commit(tx, Commit::Steer).await?;
        match shared.after.commit(step) {
            Turn::More => {}
            Turn::Asleep(until) => {
                shared.after.ring_at(job.lane, JobRef { kind: job.kind, id: job.id }, until);
                return Ok(JobEnd::Settled);
            }
            Turn::Over => return Ok(JobEnd::Settled),
            Turn::Stale => return Ok(JobEnd::Stale),
        }
    }
}
