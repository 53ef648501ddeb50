//! Turns a batch's audience into chunks, a page in each transaction.

use crate::Shared;
use crate::execute::{JobError, Outcome};
use domain::batches::{self, Expanded};
use domain::db;
use domain::jobs::Claimed;
use faults::Commit;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<Outcome, JobError> {
    loop {
        let tx = shared.db.begin().await?;
        let step = batches::run_expand(&tx, shared.clock.now(), job, &mut shared.rng()).await?;
        db::commit(tx, Commit::Expand).await?;
        match shared.after.commit(step) {
            Expanded::More => {}
            Expanded::Done => return Ok(Outcome::Settled),
            Expanded::Stale => return Ok(Outcome::Stale),
        }
    }
}
