//! What each kind of job means to the rest: the one place that knows all of them.
//!
//! A kind's name and lane are its line in [`ring`](crate::ring), what it does is a file in the worker, and what it means
//! that one of its jobs died is said here. A new kind is a line in the first, a file, and what the compiler then asks for.

use crate::Step;
use crate::batches::chunks;
use crate::delivery::single;
use crate::jobs::{Bury, Dead};
use crate::ring::JobKind;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};

/// All kinds, as those who end jobs need to know them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds;

/// What the death of a job means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burial {
    /// Its chunk is closed, and what was not finished of it has failed. Without a chunk, its batch has failed as a whole.
    Batch,
    /// Nobody knows how far its message came.
    Message,
    /// Nothing: nobody waits for it.
    Nothing,
}

impl Burial {
    /// What the death of a job of this kind means.
    #[must_use]
    pub const fn of(kind: JobKind) -> Self {
        match kind {
            JobKind::Expand
            | JobKind::Start
            | JobKind::SendChunk
            | JobKind::ImportChunk
            | JobKind::TagChunk
            | JobKind::DeleteChunk => Self::Batch,
            JobKind::Deliver => Self::Message,
            // The row of an operation or an examination says how far it came: its job is retried, or it is stopped.
            JobKind::Cancel | JobKind::Operation | JobKind::Examination | JobKind::Probe => Self::Nothing,
        }
    }
}

impl Bury for Kinds {
    async fn bury(&self, conn: &impl ConnectionTrait, now: Timestamp, dead: &Dead<'_>) -> Result<Step<()>, DbErr> {
        match (Burial::of(dead.kind), dead.batch) {
            (Burial::Batch, Some(batch)) => chunks::bury(conn, now, batch, dead.chunk, dead.reason).await,
            (Burial::Message, _) => single::bury(conn, now, &dead.payload, dead.reason).await,
            (Burial::Batch, None) | (Burial::Nothing, _) => Ok(Step::quiet(())),
        }
    }
}
