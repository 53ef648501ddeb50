//! One file for each kind of job, and the registry that names them.

mod cancel;
mod deliver;
mod expand;
mod operation;
mod probe;
mod send_chunk;
mod set_chunk;
mod start;

use crate::Shared;
use crate::execute::{JobEnd, JobError};
use crate::places::LanePlace;
use domain::JobKind;
use domain::jobs::Claimed;
use std::sync::Arc;

/// Does a claimed job as its kind does. A new kind is a file here and its line below.
pub(crate) async fn run(shared: &Arc<Shared>, job: &Claimed, place: &mut LanePlace) -> Result<JobEnd, JobError> {
    match job.kind {
        JobKind::Expand => expand::run(shared, job).await,
        JobKind::Start => start::run(shared, job).await,
        JobKind::Cancel => cancel::run(shared, job).await,
        JobKind::SendChunk => send_chunk::run(shared, job, place).await,
        JobKind::ImportChunk | JobKind::TagChunk | JobKind::DeleteChunk => set_chunk::run(shared, job).await,
        JobKind::Deliver => deliver::run(shared, job).await,
        JobKind::Operation => operation::run(shared, job).await,
        JobKind::Probe => probe::run(shared, job).await,
    }
}
