//! Imports, changes tags or deletes: one chunk, one transaction.

use crate::Shared;
use crate::execute::{JobError, Outcome};
use domain::JobKind;
use domain::batches::{self, Ran};
use domain::db;
use domain::jobs::Claimed;
use faults::Commit;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<Outcome, JobError> {
    let now = shared.clock.now();
    let rng = &mut shared.rng();
    let tx = shared.db.begin().await?;
    let step = match job.kind {
        JobKind::ImportChunk => batches::run_import(&tx, now, job, rng).await?,
        JobKind::TagChunk => batches::run_tag(&tx, now, job, rng).await?,
        JobKind::DeleteChunk => batches::run_delete(&tx, now, job, rng).await?,
        JobKind::Expand | JobKind::Start | JobKind::SendChunk | JobKind::Deliver | JobKind::Probe => {
            return Err(JobError::Permanent(format!("{} is no set-based kind", job.kind)));
        }
    };
    db::commit(tx, Commit::Set).await?;
    Ok(match shared.after.commit(step) {
        Ran::Done | Ran::Paused | Ran::Ended => Outcome::Settled,
        Ran::Stale => Outcome::Stale,
    })
}
