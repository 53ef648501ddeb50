//! Does nothing, and tells when: how long its lane takes from commit to handler.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::jobs::{self, Claimed, Ending, Finished};
use std::time::Instant;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let began = Instant::now();
    if let Some(probes) = &shared.settings.probes
        && probes.send((job.id, began)).is_err()
    {
        tracing::debug!("nobody listens to probes any more");
    }
    let now = shared.clock.now();
    let ended = jobs::finish(shared.db.write(), now, job.id, job.fence, &Ending::Done, &mut shared.rng()).await?;
    Ok(if ended == Finished::Stale { JobEnd::Stale } else { JobEnd::Settled })
}
