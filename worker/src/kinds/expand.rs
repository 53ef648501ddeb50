//! Turns a batch's audience into chunks, a page in each transaction.

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use domain::batches::{self, Expanded, NextPage};
use domain::db::{self, Trouble};
use domain::jobs::Claimed;
use faults::Commit;
use sea_orm::DbErr;

pub(crate) async fn run(shared: &Shared, job: &Claimed) -> Result<JobEnd, JobError> {
    let mut limit = NextPage::CONTACTS;
    loop {
        match step(shared, job, limit).await {
            Ok(Expanded::More) => {}
            Ok(Expanded::Done) => return Ok(JobEnd::Settled),
            Ok(Expanded::Stale) => return Ok(JobEnd::Stale),
            Err(error) if Trouble::of(&error) == Trouble::TooLong && limit > 1 => {
                limit /= 2;
                metrics::counter!("paceline_steps_halved_total", "kind" => job.kind.as_str()).increment(1);
                tracing::warn!(%error, limit, "a page took too long; the next one is half as large");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn step(shared: &Shared, job: &Claimed, limit: u64) -> Result<Expanded, DbErr> {
    let page = NextPage::read(shared.db.read(), job, limit).await?;
    let tx = shared.db.begin().await?;
    let step = batches::run_expand(&tx, shared.clock.now(), job, page.as_ref(), &mut shared.rng()).await?;
    db::commit(tx, Commit::Expand).await?;
    Ok(shared.after.commit(step))
}
