//! One file for each kind of job, and the registry that names them.

mod cancel;
mod deliver;
mod examination;
mod expand;
mod operation;
mod probe;
mod send_chunk;
mod set_chunk;
mod start;

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use crate::places::LanePlace;
use domain::delivery::send::ChunkStart;
use domain::jobs::{Claim, Claimed};
use domain::{JobKind, JobRef, Timestamp};
use sea_orm::DbErr;
use std::sync::Arc;

/// What the first step of a job came to, where it was taken in the transaction of the job's claim.
pub(crate) enum FirstStep {
    /// Of a chunk of a send.
    SendChunk(ChunkStart),
}

/// Claims a job together with its first step, if its kind has one that is short; `None`: it has none.
pub(crate) async fn claim(
    shared: &Shared,
    now: Timestamp,
    rung: JobRef,
) -> Result<Option<(Claim, Option<FirstStep>)>, DbErr> {
    match rung.kind {
        JobKind::SendChunk => {
            let (claim, begun) = send_chunk::claim(shared, now, rung.id).await?;
            Ok(Some((claim, begun.map(FirstStep::SendChunk))))
        }
        JobKind::Expand
        | JobKind::Start
        | JobKind::Cancel
        | JobKind::ImportChunk
        | JobKind::TagChunk
        | JobKind::DeleteChunk
        | JobKind::Deliver
        | JobKind::Operation
        | JobKind::Examination
        | JobKind::Probe => Ok(None),
    }
}

/// Does a claimed job as its kind does. A new kind is a file here and its line below.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    job: &Claimed,
    first: Option<FirstStep>,
    place: &mut LanePlace,
) -> Result<JobEnd, JobError> {
    match job.kind {
        JobKind::Expand => expand::run(shared, job).await,
        JobKind::Start => start::run(shared, job).await,
        JobKind::Cancel => cancel::run(shared, job).await,
        JobKind::SendChunk => {
            let begun = first.map(|FirstStep::SendChunk(begun)| begun);
            send_chunk::run(shared, job, begun, place).await
        }
        JobKind::ImportChunk | JobKind::TagChunk | JobKind::DeleteChunk => set_chunk::run(shared, job).await,
        JobKind::Deliver => deliver::run(shared, job).await,
        JobKind::Operation => operation::run(shared, job).await,
        JobKind::Examination => examination::run(shared, job).await,
        JobKind::Probe => probe::run(shared, job).await,
    }
}
